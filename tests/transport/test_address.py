from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.errors import ConfigError
from edgeswarm.transport.address import join_address, split_address


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("host:1", ("host", 1)),
        (":7117", ("", 7117)),
        ("[::1]:0", ("::1", 0)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
    ],
)
def test_split(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text) == parts
    assert join_address(*parts) == text


@pytest.mark.parametrize("text", ["", "host", "host:", "host:-1", "host:65536", "::1:5", "host:٣", "[::1]", "host:1 "])
def test_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        split_address(text)


@given(st.text(max_size=30))
def test_any_text_is_split_or_refused(text: str) -> None:
    try:
        host, port = split_address(text)
    except ConfigError:
        return
    assert split_address(join_address(host, port)) == (host, port)
