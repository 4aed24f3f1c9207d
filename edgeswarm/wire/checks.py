"""Checks of message fields: type, range and length, with messages that say what was wanted and what was got.

All raise `LocalProtocolError`, since whoever constructs a message by hand is the caller; the decoder turns that into
`RemoteProtocolError`, since there it is the peer that chose the values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..address import split_address
from ..content.digest import DIGEST_BYTES
from ..errors import ConfigError, LocalProtocolError

Buffer = bytes | bytearray | memoryview

_WORD = re.compile(r"[a-z0-9][a-z0-9.-]{0,31}")
# The same rule as for products, versions and variants: no slash, no leading dot, so never a path.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,254}")
_DIGEST_NAME = re.compile(r"[0-9a-f]{64}")
_SHOWN_CHARACTERS = 40


def _refuse(what: str, wanted: str, got: object) -> LocalProtocolError:
    """Return the error; a value is shown only if it is short, since a peer may have chosen it."""
    shown = repr(got) if isinstance(got, bool | int | None) or (isinstance(got, str) and len(got) <= _SHOWN_CHARACTERS) else ""
    return LocalProtocolError(f"{what}: wanted {wanted}, got {shown or 'a ' + type(got).__name__}")


def check_number(value: object, what: str, low: int, high: int) -> None:
    """Check that `value` is an integer (not a bool) from `low` to `high`, both included."""
    if type(value) is not int or not low <= value <= high:
        raise _refuse(what, f"a number from {low} to {high}", value)


def check_flag(value: object, what: str) -> None:
    """Check that `value` is a bool."""
    if type(value) is not bool:
        raise _refuse(what, "true or false", value)


def check_choice(value: object, what: str, choices: Sequence[str]) -> None:
    """Check that `value` is one of a few strings."""
    if type(value) is not str or value not in choices:
        raise _refuse(what, f"one of {', '.join(choices)}", value)


def check_text(value: object, what: str, low: int, high: int) -> None:
    """Check that `value` is printable text of `low` to `high` bytes in UTF-8."""
    if type(value) is not str or not value.isprintable() or not low <= len(value.encode()) <= high:
        raise _refuse(what, f"printable text of {low} to {high} bytes", value)


def check_word(value: object, what: str) -> None:
    """Check that `value` is a word for machines: 1 to 32 of a-z, 0-9, dot and hyphen, not starting with those two."""
    if type(value) is not str or not _WORD.fullmatch(value):
        raise _refuse(what, "a lower-case word of 1 to 32 characters", value)


def check_name(value: object, what: str) -> None:
    """Check that `value` can be the name of an object: 1 to 255 of A-Z, a-z, 0-9 and `._+~-`, starting with a letter or digit."""
    if type(value) is not str or not _NAME.fullmatch(value):
        raise _refuse(what, "a name of letters, digits and ._+~- without slashes", value)


def check_digest_name(value: object, what: str) -> None:
    """Check that `value` is a digest in lower-case hex."""
    if type(value) is not str or not _DIGEST_NAME.fullmatch(value):
        raise _refuse(what, "64 lower-case hex digits", value)


def check_digest(value: object, what: str) -> None:
    """Check that `value` is the 32 bytes of a digest."""
    if type(value) is not bytes or len(value) != DIGEST_BYTES:
        raise _refuse(what, f"{DIGEST_BYTES} bytes", value)


def check_data(value: object, what: str, low: int, high: int) -> None:
    """Check that `value` is `low` to `high` bytes in any buffer."""
    if not isinstance(value, bytes | bytearray | memoryview) or not low <= len(value) <= high:
        size = f" of {len(value)} bytes" if isinstance(value, bytes | bytearray | memoryview) else ""
        raise LocalProtocolError(f"{what}: wanted {low} to {high} bytes, got a {type(value).__name__}{size}")


def check_address(value: object, what: str) -> None:
    """Check that `value` is empty or `host:port`, with an IPv6 host in brackets."""
    if value == "":
        return
    if type(value) is not str or not value.isascii():
        raise _refuse(what, "host:port or nothing", value)
    try:
        split_address(value, what, dialled=True)
    except ConfigError as error:
        raise _refuse(what, "host:port or nothing", value) from error
