"""What must never be published: a fleet's folder, which holds its private keys, and the origin that is being written.

Objects at an origin are there for everybody from the moment they are written, long before anything names them: a key that was
packed once is a key that has leaked. So the source is judged before a byte of it is read.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ConfigError
from ..origin import local_path
from .fleet import FLEET_FILE, Fleet
from .source import Source

_KEYS = "keys"


def check_apart(path: str, fleet: Fleet) -> None:
    """Refuse a path that contains, is, or lies inside a fleet's folder or the origin; symlinks are resolved.

    Raises:
        ConfigError: It does.
    """
    source = Path(os.path.realpath(path))
    for what, place in (("fleet folder", fleet.directory), ("origin", local_path(fleet.origin))):
        other = Path(os.path.realpath(place))
        if source.is_relative_to(other) or other.is_relative_to(source):
            raise _refused(path, what, str(other))
    for folder in (source, *source.parents):
        if (folder / FLEET_FILE).exists() and (folder / _KEYS).exists():
            raise _refused(path, "fleet folder", str(folder))


def check_holds_no_fleet(source: Source) -> None:
    """Refuse a tree that holds the folder of any fleet, wherever in it.

    Raises:
        ConfigError: It does.
    """
    paths = {entry.path for entry in source.entries}
    for entry in source.entries:
        folder, name = os.path.split(entry.path)
        if name == FLEET_FILE and os.path.join(folder, _KEYS) in paths:
            raise _refused(source.path, "fleet folder", os.path.join(source.path, folder))


def _refused(path: str, what: str, place: str) -> ConfigError:
    return ConfigError(
        f"{path}: contains, is, or lies inside the {what} {place}, and would publish what is there, private keys too; "
        "nothing was read: publish a folder that holds nothing but the release"
    )
