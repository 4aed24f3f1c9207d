"""What must never be published: a fleet's folder, which holds its private keys, and the origin that is being written.

And what hardly ever is meant to be: any other private key, as in the identity folder of a node or a backup of a fleet's keys.

Objects at an origin are there for everybody from the moment they are written, long before anything names them: a key that was
packed once is a key that has leaked. So the source is judged before a byte of it is read.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import ConfigError
from ..origin import local_path
from .fleet import FLEET_FILE, Fleet
from .source import Source

_KEYS = "keys"
_NODE_KEY, _NODE_CERTIFICATE = "node.key", "node.crt"  # `trust.bundle.FILE_NAMES`
_KEY_FILE_BYTES = 64 * 1024
"""Longest file that is looked at. Source: a guess; an RSA key of 16,384 bits takes 13 KB of PEM, chains of certificates as much."""
_PEM = b"-----BEGIN "
_PRIVATE_KEY = re.compile(rb"^-----BEGIN [A-Z0-9 ]*PRIVATE KEY", re.MULTILINE)
"""Source: RFC 7468, sections 10 and 11; the labels of OpenSSL, OpenSSH and PGP end, or go on, likewise."""


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


def check_holds_no_keys(source: Source) -> None:
    """Refuse a file that is a private key in PEM, alone or after a certificate, and `node.key` beside `node.crt` whatever that is.

    Raises:
        ConfigError: There is one; it is named.
        PublishError: A file changes or cannot be read.
    """
    paths = {entry.path for entry in source.entries}
    for path in sorted(paths):
        folder, name = os.path.split(path)
        if name == _NODE_KEY and os.path.join(folder, _NODE_CERTIFICATE) in paths:
            raise _key_found(os.path.join(source.path, path))
    for path, data in source.small_files(_KEY_FILE_BYTES):
        if data.lstrip().startswith(_PEM) and _PRIVATE_KEY.search(data):
            raise _key_found(path)


def _key_found(path: str) -> ConfigError:
    return ConfigError(
        f"{path}: is a private key, and what is published is there for everybody; nothing was published: take it out, or, if that "
        "key is no secret, say so with --allow-private-keys"
    )


def _refused(path: str, what: str, place: str) -> ConfigError:
    return ConfigError(
        f"{path}: contains, is, or lies inside the {what} {place}, and would publish what is there, private keys too; "
        "nothing was read: publish a folder that holds nothing but the release"
    )
