"""The publisher's folder: who may sign, who may join, and where releases go.

Files:
    fleet.toml: name, origin and expiries.
    root.json: the first TUF root, which every node is given.
    keys/root-<n>.pem, keys/{targets,snapshot,timestamp}.pem, keys/product-<name>.pem: signing keys.
    ca/ca.key, ca/ca.crt: the fleet's certificate authority.
    sites/<site>/: keys of the sites' beacons, and records of their nodes (module `sites`).
    origin/: the origin, unless fleet.toml names another place.

All but the origin is secret, and its mode is 0600. A CI job needs `fleet.toml`, `root.json` and the keys of the roles it signs.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from ..abc import OriginWriter
from ..errors import ConfigError, ObjectMissingError, PublishError, TrustError
from ..origin import TIMESTAMP, open_writer
from ..trust.authority import Authority
from ..trust.ceremony import Expiries, draft_root, sign_draft
from ..trust.keys import Keyring, SigningKey
from ..trust.names import check_name, check_product
from ..trust.repository import Repository
from .clock import check_clock
from .folders import MAX_FILE_BYTES, list_folder, make_folder, new_folder, read_file, write_files, write_new
from .signing import write_metadata

FLEET_FILE = "fleet.toml"
ROOT_FILE = "root.json"
_ONLINE_ROLES = ("targets", "snapshot", "timestamp")
_REPAIR = "If files were lost or damaged there: `edgeswarm refresh --repair`"
_MAX_ROOT_KEYS = 16  # a guess: more people than that never meet for a ceremony


@dataclass(frozen=True, slots=True)
class Fleet:
    """An open publisher's folder. Keys are read when they are needed.

    Attributes:
        directory: Absolute path of the folder.
        name: Name of the fleet.
        origin: Path or address of the origin.
        expiries: How long signatures last.
        passphrase: Of the keys, or None.
    """

    directory: str
    name: str
    origin: str
    expiries: Expiries = field(default_factory=Expiries)
    passphrase: bytes | None = field(default=None, repr=False)

    @classmethod
    def open(cls, directory: str, *, passphrase: bytes | None = None) -> Fleet:
        """Open a folder that `init_fleet` made.

        Args:
            directory: The folder.
            passphrase: Of the keys, if they have one.

        Raises:
            ConfigError: There is no such folder, or its `fleet.toml` is wrong.
        """
        folder = os.path.abspath(directory)
        path = os.path.join(folder, FLEET_FILE)
        if not os.path.exists(path):
            raise ConfigError(f"{folder}: is no fleet folder (no {FLEET_FILE}): make one with `edgeswarm init`, or give --fleet")
        try:
            values = tomllib.loads(read_file(path, "fleet file").decode())
            return cls._from_values(folder, values, passphrase)
        except (ValueError, TrustError) as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def _from_values(cls, folder: str, values: Mapping[str, Any], passphrase: bytes | None) -> Fleet:
        unknown = sorted(set(values) - {"name", "origin", "expiry_days"})
        if unknown or not isinstance(values.get("origin"), str):
            raise ValueError(f"unknown key {unknown[0]!r}" if unknown else "origin: wanted a path or an address")
        origin = values["origin"] if "://" in values["origin"] else os.path.join(folder, values["origin"])
        return cls(folder, check_name(values.get("name"), "fleet"), origin, _expiries_of(values.get("expiry_days", {})), passphrase)

    def path(self, *parts: str) -> str:
        """Return the path of something in the folder."""
        return os.path.join(self.directory, *parts)

    @property
    def root(self) -> bytes:
        """The root that is trusted from the start."""
        return read_file(self.path(ROOT_FILE), "TUF root")

    def authority(self) -> Authority:
        """Return the fleet's certificate authority; `ConfigError` or `TrustError` if its files are not usable."""
        key, certificate = (read_file(self.path("ca", name), "certificate authority") for name in ("ca.key", "ca.crt"))
        return Authority.load(self.name, key, certificate, passphrase=self.passphrase)

    def writer(self) -> OriginWriter:
        """Return the publisher's side of the origin."""
        return open_writer(self.origin)

    def repository(self, writer: OriginWriter, *, now: datetime, seen: dict[str, int] | None = None) -> Repository:
        """Return the metadata at the origin, verified.

        Args:
            writer: The origin.
            now: Aware.
            seen: Is given the bytes of every metadata file that was read, by name.

        Raises:
            PublishError: Nothing of this fleet is there, or something of it is lost.
            TrustError: What is there was not signed by this fleet's keys, or is damaged.
        """
        if not writer.exists(TIMESTAMP):
            raise PublishError(
                f"origin {self.origin}: has no {TIMESTAMP}; is it mounted, and is it the origin of {self.name!r}? {_REPAIR}"
            )
        sizes = {} if seen is None else seen

        def fetch(name: str, limit: int) -> bytes | None:
            data = writer.get(f"metadata/{name}", limit=limit)
            sizes[name] = len(data or b"")
            return data

        try:
            return Repository.load(fetch, bootstrap=self.root, now=now)
        except (ObjectMissingError, PublishError) as error:
            raise PublishError(f"origin {self.origin}: {error}. {_REPAIR}") from error
        except TrustError as error:
            raise TrustError(f"origin {self.origin}: {error}. {_REPAIR}") from error

    def signing_keys(self) -> list[SigningKey]:
        """Return the keys at hand but for those of the root, sorted by file name."""
        return [self._key(name) for name in self._key_names() if not name.startswith("root-")]

    def product_keyring(self, product: str) -> Keyring:
        """Return who signs a product: its key, made now if there is none."""
        name = f"product-{check_product(product)}.pem"
        if name not in self._key_names():
            pem = SigningKey.generate().to_pem(passphrase=self.passphrase)
            write_new(self.path("keys", name), pem, "signing key")
        return Keyring((self._key(name).public,))

    def _key_names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.path("keys")) if name.endswith(".pem"))
        except OSError as error:
            raise ConfigError(f"{self.path('keys')}: the signing keys cannot be listed: {error.strerror}") from error

    def _key(self, name: str) -> SigningKey:
        path = self.path("keys", name)
        try:
            return SigningKey.from_pem(read_file(path, "signing key"), passphrase=self.passphrase)
        except TrustError as error:
            raise TrustError(f"{path}: {error} (EDGESWARM_PASSPHRASE)") from error


def _expiries_of(values: object) -> Expiries:
    known = [entry.name for entry in fields(Expiries)]
    if not isinstance(values, Mapping) or not set(values) <= set(known):
        raise ValueError(f"expiry_days: wanted a table with some of {', '.join(known)}")
    for name, days in values.items():
        if type(days) not in {int, float} or not 0 < days <= 36500:
            raise ValueError(f"expiry_days.{name}: wanted a number of days up to 36500, got {days!r}")
    return Expiries(**{name: timedelta(days=days) for name, days in values.items()})


def init_fleet(
    directory: str,
    *,
    name: str,
    now: datetime,
    root_keys: int = 1,
    root_threshold: int = 1,
    origin: str | None = None,
    expiries: Expiries | None = None,
    passphrase: bytes | None = None,
) -> Fleet:
    """Make a new fleet: its folder, keys, authority, first root and an empty, signed origin.

    The folder appears as a whole. An origin elsewhere is written after it; if that is interrupted, the same call goes on with it.

    Args:
        directory: Where; nothing may be there but an empty folder.
        name: Of the fleet.
        now: Aware.
        root_keys: How many root keys to make; move all but those in use offline.
        root_threshold: How many of them must sign a root.
        origin: Folder of the origin; None: `origin` inside `directory`.
        expiries: How long signatures last.
        passphrase: Encrypts all keys.

    Raises:
        ConfigError: Something is there already, the name breaks the rule, or a number makes no sense.
        PublishError: The clock is before the build time of this software.
    """
    check_clock(now)
    check_name(name, "fleet", ConfigError)
    if not 1 <= root_threshold <= root_keys <= _MAX_ROOT_KEYS:
        raise ConfigError(f"root keys: wanted 1 to {_MAX_ROOT_KEYS}, and a threshold up to that, got {root_keys}, {root_threshold}")
    folder, lasts = os.path.abspath(directory), expiries or Expiries()
    place = None if origin is None else origin if "://" in origin else os.path.abspath(origin)
    if place is not None and open_writer(place).exists(TIMESTAMP):
        raise ConfigError(f"origin {place}: already holds the releases of a fleet")
    if place is not None and _is_begun(folder, name, place):
        return _begin_origin(Fleet.open(folder, passphrase=passphrase), now)
    with new_folder(folder, "fleet folder") as temporary:
        roots = [SigningKey.generate() for _ in range(root_keys)]
        online = {role: SigningKey.generate() for role in _ONLINE_ROLES}
        root = _first_root(roots, root_threshold, online, now, lasts)
        authority = Authority.create(name, now)
        keys = {f"keys/root-{i}.pem": key for i, key in enumerate(roots, 1)} | {f"keys/{r}.pem": k for r, k in online.items()}
        files = {file: key.to_pem(passphrase=passphrase) for file, key in keys.items()}
        files |= {"ca/ca.key": authority.key_pem(passphrase=passphrase), "ca/ca.crt": authority.certificate_pem}
        files |= {ROOT_FILE: root, FLEET_FILE: _fleet_toml(name, place or "origin", lasts)}
        write_files(temporary, files, "fleet folder")
        make_folder(os.path.join(temporary, "sites"), "folder of sites")
        if place is None:
            signed = Repository.initialise(root).sign(list(online.values()), now=now, expiries=lasts)
            write_metadata(open_writer(os.path.join(temporary, "origin")), signed)
    fleet = Fleet.open(folder, passphrase=passphrase)
    return fleet if place is None else _begin_origin(fleet, now)


def _is_begun(folder: str, name: str, place: str) -> bool:
    """Tell if an earlier run made a fleet's folder, and came no further: nothing was published or enrolled with it."""
    if not os.path.exists(os.path.join(folder, FLEET_FILE)):
        return False
    fleet = Fleet.open(folder)
    used = list_folder(fleet.path("sites"), "sites") or any(file.startswith("product-") for file in fleet._key_names())
    return (fleet.name, fleet.origin) == (name, place) and not used


def _begin_origin(fleet: Fleet, now: datetime) -> Fleet:
    """Write the first metadata to an origin outside of the folder: last, since nobody could sign there without the keys."""
    signed = Repository.initialise(fleet.root).sign(fleet.signing_keys(), now=now, expiries=fleet.expiries)
    write_metadata(fleet.writer(), signed)
    return fleet


def _first_root(roots: list[SigningKey], threshold: int, online: Mapping[str, SigningKey], now: datetime, lasts: Expiries) -> bytes:
    targets, snapshot, timestamp = (Keyring((online[role].public,)) for role in _ONLINE_ROLES)
    ring = Keyring(tuple(key.public for key in roots), threshold)
    draft = draft_root(root=ring, targets=targets, snapshot=snapshot, timestamp=timestamp, now=now, expiries=lasts)
    return sign_draft(draft, roots)


def _fleet_toml(name: str, origin: str, lasts: Expiries) -> bytes:
    """Return the text of `fleet.toml`. A JSON string is a TOML string, but for DEL, which TOML wants escaped."""
    days = {entry.name: getattr(lasts, entry.name) / timedelta(days=1) for entry in fields(Expiries)}
    text = json.dumps(origin).replace("\x7f", "\\u007f")
    lines = [f'name = "{name}"', f"origin = {text}  # a relative path is relative to this file", ""]
    lines += ["[expiry_days]  # how long signatures last", *(f"{role} = {value:g}" for role, value in days.items())]
    data = ("\n".join(lines) + "\n").encode()
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"origin: a path of {len(origin)} characters is too long")
    return data
