from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.errors import LocalProtocolError
from edgeswarm.origin.names import MAX_NAME_CHARS, check_name, check_range, is_name

GOOD = ["metadata/timestamp.json", "metadata/12.root.json", "packs/ab/" + "ab" * 32, "a", "x_y-z~1+2.3/q"]
BAD = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/../b",
    "a/.b",
    ".lock",
    "a\0",
    "a b",
    "a%2fb",
    "a\\b",
    "ä",
    "a\n",
    "a/b\n",
    "a:b",
    "?",
    "#",
]


@pytest.mark.parametrize("name", GOOD)
def test_good_names_pass(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", [*BAD, "a" * (MAX_NAME_CHARS + 1)])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="object name"):
        check_name(name)


@given(st.text())
def test_no_name_leads_anywhere_else(name: str) -> None:
    if is_name(name):
        assert not any(part in ("", ".", "..") for part in name.split("/"))
        assert name.isascii()
        assert name.isprintable()


@pytest.mark.parametrize(("offset", "length"), [(-1, 0), (0, -1)])
def test_negative_ranges_are_refused(offset: int, length: int) -> None:
    with pytest.raises(LocalProtocolError, match="0 or more"):
        check_range("a", offset, length)
