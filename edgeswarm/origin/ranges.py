"""The two range headers of HTTP. Pure.

Source: RFC 9110, sections 14.1.2 (Range) and 14.4 (Content-Range). Only single ranges of bytes: nothing here ever asks for more,
and a server may ignore the rest (section 14.2).
"""

from __future__ import annotations

import re
from typing import NamedTuple

# 18 digits hold every offset below 2**59 and stop int() from chewing on a megabyte of digits.
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)


class ByteRange(NamedTuple):
    """Some bytes of an object.

    Attributes:
        offset: Of the first byte.
        length: In bytes; 0 in an answer of `parse_range` means that the object has none of the bytes asked for (status 416).
    """

    offset: int
    length: int


def format_range(wanted: ByteRange) -> str:
    """Return the `Range` header that asks for one or more bytes."""
    return f"bytes={wanted.offset}-{wanted.offset + wanted.length - 1}"


def parse_range(header: str, size: int) -> ByteRange | None:
    """Judge a `Range` header against an object of `size` bytes.

    Returns:
        The bytes to send, clipped to the object; length 0 if there are none; None if the header is to be ignored because it is
        malformed, not about bytes, or asks for several ranges.
    """
    match = _RANGE.fullmatch(header)
    if match is None or match.group() == "" or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        return ByteRange(size - length, length)
    first, last = int(match[1]), int(match[2] or size)
    if match[2] and last < first:
        return None
    return ByteRange(first, max(0, min(last + 1, size) - first))


def parse_content_range(header: str) -> ByteRange | None:
    """Return the bytes that a 206 answer says it carries, or None if the header is malformed."""
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None or int(match[2]) < int(match[1]) or (match[3] != "*" and int(match[3]) <= int(match[2])):
        return None
    return ByteRange(int(match[1]), int(match[2]) - int(match[1]) + 1)
