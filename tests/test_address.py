from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.address import join_address, split_address
from edgeswarm.errors import ConfigError

GOOD = [
    ("host:1", "host", 1),
    (":7651", "", 7651),
    ("127.0.0.1:0", "127.0.0.1", 0),
    ("[::1]:0", "::1", 0),
    ("[::]:80", "::", 80),
    ("[2001:db8::1]:65535", "2001:db8::1", 65535),
    ("[fe80::1%eth0]:7651", "fe80::1%eth0", 7651),
    ("box-1.example:8080", "box-1.example", 8080),
    ("my_host:1", "my_host", 1),
    ("b\u00fccher.example:1", "b\u00fccher.example", 1),
]
BAD = [
    "", ":", "host", "host:", "host:-1", "host:+1", "host:65536", "host:123456", "host:\u0663", "host:80x", "host:1 ",
    " host:1", "host:1\n", "host\n:1", "::1", "::1:80", "fe80::1%eth0:80", "[::1]", "[::1]:", "[::1]80", "[::1:80",
    "::1]:80", "[]:80", "[host]:80", "[127.0.0.1]:80", "[::1]x:80", "[::1%]:80", "[::1%a b]:80", "[:::::]:80",
    "[[::1]]:80", "http://host:80", "user@host:80", "host/path:80", "a b:80", "\u0000:80", "h" * 254 + ":80",
]  # fmt: skip


@pytest.mark.parametrize(("text", "host", "port"), GOOD)
def test_good_addresses(text: str, host: str, port: int) -> None:
    assert split_address(text) == (host, port)
    assert join_address(host, port) == text


@pytest.mark.parametrize("text", BAD)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"lan\.peers: wanted host:port"):
        split_address(text, "lan.peers")


@pytest.mark.parametrize("text", [":80", "host:0", "[::1]:0"])
def test_what_is_dialled_has_a_host_and_a_port(text: str) -> None:
    split_address(text)
    with pytest.raises(ConfigError, match="to be reached"):
        split_address(text, dialled=True)


@given(st.one_of(st.text(max_size=30), st.from_regex(r"\[?[0-9a-f:.%]{0,12}\]?:[0-9]{0,6}")))
def test_any_text_is_split_or_refused(text: str) -> None:
    try:
        host, port = split_address(text)
    except ConfigError:
        return
    assert split_address(join_address(host, port)) == (host, port)
