"""Whether two releases on disk are the same. Blocking."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import NamedTuple

from ..content.digest import digest


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
    """Tell if two files or trees hold the same bytes, and trees the same names, types, modes and groups of hard links."""
    if not one.exists():
        return False
    if other.is_file():
        return one.is_file() and _digest_of(one) == _digest_of(other)
    return one.is_dir() and listing(one) == listing(other)


def listing(folder: Path) -> list[Row]:
    """Return what a tree holds, by name."""
    top, firsts = folder.resolve(), dict[tuple[int, int], str]()
    rows = []
    for path in sorted(top.rglob("*")):
        name, found = str(path.relative_to(top)), path.lstat()
        is_link = stat.S_ISLNK(found.st_mode)
        what = str(path.readlink()) if is_link else "/" if stat.S_ISDIR(found.st_mode) else _digest_of(path)
        # A directory has one name only, whatever its link count says.
        first = firsts.setdefault((found.st_dev, found.st_ino), name)
        rows.append(Row(name, what, 0 if is_link else stat.S_IMODE(found.st_mode), first))
    return rows


def _digest_of(path: Path) -> str:
    return digest(path.read_bytes()).hex()
