"""Small text with its own checksum: `text`, a line end, the BLAKE3-256 of the text in hex, a line end.

For files that only this node writes and reads: damage is noticed, whoever can write may still lie.
"""

from __future__ import annotations

from .digest import digest


def seal(line: bytes) -> bytes:
    """Return one line, which has no line end of its own, with the line of its checksum."""
    return line + b"\n" + digest(line).hex().encode() + b"\n"


def unseal(data: bytes) -> bytes | None:
    """Return the line that `seal` was given; None if the data is damaged."""
    line, _, rest = data.partition(b"\n")
    return line if digest(line).hex().encode() + b"\n" == rest else None
