"""Names of objects: checked once, at the edge."""

from __future__ import annotations

import re

from ..errors import LocalProtocolError

MAX_NAME_CHARS = 512
"""Longest object name. Ours have at most 150; the rest is room. A guess well below every file system's 4096 (PATH_MAX)."""

TIMESTAMP = "metadata/timestamp.json"
"""The one object of an origin that is ever replaced."""

# The unreserved characters of RFC 3986, section 2.3, and "+", which stands for itself in a path. So a name is the same text as a
# path of a file, as a URL and as a key of a bucket. No part may start with a dot: that shuts out "..", and hides our own files.
_PART = r"[A-Za-z0-9_~+-][A-Za-z0-9._~+-]*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")


def is_name(name: str) -> bool:
    """Tell if this may be the name of an object: relative, no empty part, no part that starts with a dot, plain ASCII."""
    return len(name) <= MAX_NAME_CHARS and _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Refuse a name that an origin cannot have.

    Raises:
        LocalProtocolError: It is not such a name.
    """
    if not is_name(name):
        raise LocalProtocolError(
            f"object name {name[:80]!r}: want parts of letters, digits and ._~+- joined by '/', none starting with '.'"
        )


def check_range(name: str, offset: int, length: int) -> None:
    """Refuse a range that starts or ends before zero.

    Raises:
        LocalProtocolError: The name is malformed, or the offset or the length is negative.
    """
    check_name(name)
    if offset < 0 or length < 0:
        raise LocalProtocolError(f"{name}: want an offset and a length of 0 or more, got {offset} and {length}")
