"""Whether two releases on disk are the same. Blocking."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from ..errors import ConfigError

_BLOCK_BYTES = 1024 * 1024  # a release may be larger than this machine's memory


class Row(NamedTuple):
    """One entry of a tree.

    Attributes:
        name: Its path below the top.
        what: The digest of a file, the target of a link, or `/` for a directory.
        mode: The bits that the manifest carries, 0o7777; 0 for a link.
        first: The first name of the same file, if it has several: what was one file must be one file.
    """

    name: str
    what: str
    mode: int
    first: str


def same_content(one: Path, other: Path) -> bool:
    """Tell if two files or trees hold the same bytes, and trees the same names, types, modes and groups of hard links.

    Raises:
        ConfigError: A tree holds something that no release can.
    """
    if not one.exists():
        return False
    if other.is_file():
        return one.is_file() and _digest_of(one) == _digest_of(other)
    return one.is_dir() and listing(one) == listing(other)


def listing(folder: Path) -> list[Row]:
    """Return what a tree holds, by name.

    Raises:
        ConfigError: It holds a device, a socket or a pipe, which could be read for ever.
    """
    top, firsts = folder.resolve(), dict[tuple[int, int], str]()
    rows = []
    for path in sorted(top.rglob("*")):
        name, found = str(path.relative_to(top)), path.lstat()
        is_link = stat.S_ISLNK(found.st_mode)
        if not is_link and not stat.S_ISDIR(found.st_mode) and not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path}: is a device, a socket or a pipe, which no release can hold: take it out")
        what = str(path.readlink()) if is_link else "/" if stat.S_ISDIR(found.st_mode) else _digest_of(path)
        # A directory has one name only, whatever its link count says.
        first = firsts.setdefault((found.st_dev, found.st_ino), name)
        rows.append(Row(name, what, 0 if is_link else stat.S_IMODE(found.st_mode), first))
    return rows


def _digest_of(path: Path) -> str:
    summed = blake3()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            summed.update(block)
    return summed.hexdigest()
