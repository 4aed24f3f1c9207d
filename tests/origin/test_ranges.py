from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.origin.ranges import ByteRange, format_range, parse_content_range, parse_range


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=0-99", ByteRange(0, 100)),
        ("Bytes= 10-19", ByteRange(10, 10)),
        ("bytes=90-", ByteRange(90, 10)),
        ("bytes=90-400", ByteRange(90, 10)),
        ("bytes=-5", ByteRange(95, 5)),
        ("bytes=-500", ByteRange(0, 100)),
        ("bytes=-0", ByteRange(100, 0)),
        ("bytes=100-", ByteRange(100, 0)),
        ("bytes=100-200", ByteRange(100, 0)),
        ("bytes=200-300", ByteRange(200, 0)),
        ("bytes=9-5", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=" + "9" * 30 + "-", None),
        ("", None),
    ],
)
def test_ranges_of_a_hundred_bytes(header: str, wanted: ByteRange | None) -> None:
    assert parse_range(header, 100) == wanted


def test_an_empty_object_has_no_range() -> None:
    for header in ("bytes=0-0", "bytes=0-", "bytes=-1"):
        found = parse_range(header, 0)
        assert found is not None
        assert found.length == 0


@given(st.integers(0, 2**50), st.integers(1, 2**50))
def test_a_range_survives_the_round_trip(offset: int, length: int) -> None:
    wanted = ByteRange(offset, length)
    size = offset + length
    assert parse_range(format_range(wanted), size) == wanted
    assert parse_content_range(f"bytes {offset}-{size - 1}/{size}") == wanted
    assert parse_content_range(f"bytes {offset}-{size - 1}/*") == wanted


@given(st.text(), st.integers(0, 1000))
def test_a_parser_takes_anything(header: str, size: int) -> None:
    found = parse_range(header, size)
    assert found is None or found.length == 0 or found.offset + found.length <= size
    parse_content_range(header)


@pytest.mark.parametrize(
    "header", ["", "bytes", "bytes */5", "bytes 5-4/9", "bytes 0-9/9", "bytes 0-9", "items 0-1/2", "bytes 0-1/2, 3-4/5"]
)
def test_other_content_ranges_are_none(header: str) -> None:
    assert parse_content_range(header) is None
