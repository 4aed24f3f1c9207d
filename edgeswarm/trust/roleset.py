"""The signed roles of one origin: what they say, which of them are due for a new signature, and the signing; pure.

When a role is signed again. A targets role: when it changed, or half of its life is over. The snapshot: when any targets role was
signed, when a new root trusts other keys for it, or half of its life is over. The timestamp: always. See
docs/decisions/0009-roles-are-signed-at-half-life.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from ..errors import TrustError
from .ceremony import Expiries, check_root, expiry
from .clock import check_aware, format_time
from .keys import SigningKey
from .metadata import ISSUED_FIELD, issued_by, parse, verified_by
from .names import file_name
from .workflow import TIMESTAMP_FILE

_Payload = TypeVar("_Payload", Targets, Snapshot, Timestamp)


class RoleSet:
    """The newest metadata of each role.

    Args:
        root: The newest root, verified.
        targets: Targets roles by name: `targets` and one for each product; verified.
        snapshot: The newest snapshot; None if a new one must be made.
        timestamp: The newest timestamp; likewise.
        seen: Versions of snapshot and timestamp that count as used up, by role.

    Attributes:
        root: The newest root.
        targets: What the targets roles say, by name; changed in place, then marked.
    """

    def __init__(
        self,
        root: bytes,
        *,
        targets: Mapping[str, bytes],
        snapshot: bytes | None = None,
        timestamp: bytes | None = None,
        seen: Mapping[str, int] | None = None,
    ) -> None:
        self._root_bytes = root
        self.root = parse(root, Root, "root").signed
        self._files = dict(targets)
        self.targets = {name: parse(data, Targets, name).signed for name, data in targets.items()}
        self._snapshot = None if snapshot is None else parse(snapshot, Snapshot, "snapshot").signed
        self._snapshot_bytes = snapshot
        self._timestamp = None if timestamp is None else parse(timestamp, Timestamp, "timestamp").signed
        self._seen = dict(seen or {})
        self._dirty: list[str] = []
        self._new: dict[str, bytes] = {}
        if "targets" not in self.targets:
            self.add("targets")

    def add(self, role: str) -> None:
        """Add an empty targets role, if there is none of that name, and mark it."""
        self.targets.setdefault(role, Targets(version=1))
        self.mark(role)

    def mark(self, role: str) -> None:
        """Say that a targets role changed and must be signed."""
        if role not in self._dirty:
            self._dirty.append(role)

    def unsigned(self) -> list[str]:
        """Return the sorted names of the targets roles that changed and wait for `sign`."""
        return sorted(self._dirty)

    def expiries(self) -> dict[str, datetime]:
        """Return when each signed role expires, by role."""
        roles = {name: self.targets[name].expires for name in self._files}
        online = {"snapshot": self._snapshot, "timestamp": self._timestamp}
        return {"root": self.root.expires, **roles, **{name: role.expires for name, role in online.items() if role}}

    def versions(self) -> dict[str, int]:
        """Return the version of the newest file of each role below the root, less the timestamp, by role."""
        snapshot = {"snapshot": self._snapshot.version} if self._snapshot else {}
        return snapshot | {role: self.targets[role].version for role in self._files}

    def signed_times(self) -> tuple[datetime | None, datetime | None]:
        """Return when the newest timestamp was signed and when it expires; None for what is not known."""
        return (issued_by(self._timestamp), self._timestamp.expires) if self._timestamp else (None, None)

    def start(self) -> None:
        """Write the root, too, with what is signed next: it is new."""
        self._new[file_name("root", self.root.version)] = self._root_bytes

    def rotate_root(self, root: bytes) -> None:
        """Go on under a new root; roles whose signatures it does not trust any more are signed again.

        Raises:
            TrustError: It does not follow the present one, or signatures are missing.
        """
        self.root = check_root(root, self._root_bytes)
        self._root_bytes = root
        self.start()
        data = self._files.get("targets")
        if data is not None and not verified_by(self.root, "targets", parse(data, Targets, "targets")):
            self.mark("targets")

    # ------------------------------------------------------------------ which roles

    def due(self, now: datetime, lasts: Expiries, *, every: bool = False) -> list[str]:
        """Return the roles below the root, less the timestamp, that should be signed: they changed, or half of their life is over.

        Args:
            now: Aware.
            lasts: How long signatures last.
            every: All roles count as due.
        """
        half = now + lasts.targets / 2
        old = [role for role in self._files if every or self.targets[role].expires < half]
        snapshot = ["snapshot"] if every or self._needs_snapshot(now, lasts) else []
        return list(dict.fromkeys([*self._dirty, *old, *snapshot]))

    def lacking(self, role: str, keys: Iterable[SigningKey]) -> str:
        """Return what is wrong if the threshold of a role cannot be met by `keys`; "" if it can."""
        trusted = self._delegator(role).get_delegated_role(role)
        here = len({key.public.keyid for key in keys}.intersection(trusted.keyids))
        if here >= trusted.threshold:
            return ""
        return f"role {role!r} takes {trusted.threshold} of its {len(trusted.keyids)} keys, and {here} are here"

    def _needs_snapshot(self, now: datetime, lasts: Expiries) -> bool:
        if self._snapshot is None or self._snapshot_bytes is None or self._dirty:
            return True
        trusted = verified_by(self.root, "snapshot", parse(self._snapshot_bytes, Snapshot, "snapshot"))
        return not trusted or self._snapshot.expires < now + lasts.snapshot / 2

    def _delegator(self, role: str) -> Root | Targets:
        return self.root if role in self.root.roles else self.targets["targets"]

    # ------------------------------------------------------------------ signatures

    def sign(self, keys: Sequence[SigningKey], *, now: datetime, expiries: Expiries | None = None) -> dict[str, bytes]:
        """Sign what changed, the snapshot if it is due, and the timestamp.

        Args:
            keys: Any number of keys; each role takes those that it trusts.
            now: Aware; stands signed in the timestamp as `issued`.
            expiries: How long the new signatures last.

        Returns:
            New files by name below `metadata/`, in the order in which they must be written; the last one replaces `timestamp.json`.

        Raises:
            TrustError: Keys of a role are missing; nothing was signed.
        """
        lasts, now = expiries or Expiries(), check_aware(now)
        snapshot = ["snapshot"] if self._needs_snapshot(now, lasts) else []
        return self._sign([*self._dirty, *snapshot], keys, now, lasts)

    def renew(
        self, keys: Sequence[SigningKey], *, now: datetime, expiries: Expiries | None = None, every: bool = False
    ) -> dict[str, bytes]:
        """Sign every role that is due and whose keys are here, and the timestamp; `due` tells then what is left.

        A targets role is of use only with a snapshot that names it, so that without the snapshot's keys none is signed. One that
        changed must be signed.

        Args:
            keys: As for `sign`.
            now: As for `sign`.
            expiries: As for `sign`.
            every: All roles are due.

        Returns:
            As `sign`.

        Raises:
            TrustError: The keys of the timestamp are missing, or those of a role that must be made; nothing was signed.
        """
        lasts, now = expiries or Expiries(), check_aware(now)
        due = self.due(now, lasts, every=every)
        here = [role for role in due if role != "snapshot" and not self.lacking(role, keys)]
        targets = list(dict.fromkeys([*self._dirty, *here]))
        if self._snapshot is not None and not self._dirty and self.lacking("snapshot", keys):
            return self._sign([], keys, now, lasts)
        return self._sign([*targets, "snapshot"] if targets or "snapshot" in due else [], keys, now, lasts)

    def _sign(self, roles: Collection[str], keys: Sequence[SigningKey], now: datetime, lasts: Expiries) -> dict[str, bytes]:
        for role in [*roles, "timestamp"]:
            if problem := self.lacking(role, keys):
                raise TrustError(problem)
        files, self._new = dict(self._new), {}
        for role in roles:
            if role != "snapshot":
                self._sign_targets(role, keys, expiry(now, lasts.targets), files)
        if "snapshot" in roles:
            self._sign_snapshot(keys, expiry(now, lasts.snapshot), files)
        self._dirty = [role for role in self._dirty if role not in roles]
        files[TIMESTAMP_FILE] = self._sign_timestamp(keys, now, expiry(now, lasts.timestamp))
        return files

    def _signed(self, role: str, payload: _Payload, keys: Sequence[SigningKey]) -> bytes:
        metadata = Metadata(payload)
        trusted = self._delegator(role).get_delegated_role(role).keyids
        for key in keys:
            if key.public.keyid in trusted:
                metadata.sign(key.signer, append=True)
        return metadata.to_bytes()

    def _sign_targets(self, role: str, keys: Sequence[SigningKey], expires: datetime, files: dict[str, bytes]) -> None:
        payload = self.targets[role]
        payload.version += role in self._files
        payload.expires = expires
        data = self._files[role] = self._signed(role, payload, keys)
        files[file_name(role, payload.version)] = data

    def _sign_snapshot(self, keys: Sequence[SigningKey], expires: datetime, files: dict[str, bytes]) -> None:
        """Name every targets role by version, length and hash: a stolen product key alone cannot give one site another file."""
        version = self._next("snapshot", self._snapshot)
        meta = {
            f"{name}.json": MetaFile.from_data(self.targets[name].version, data, ["sha256"]) for name, data in self._files.items()
        }
        self._snapshot = Snapshot(version=version, expires=expires, meta=meta)
        self._snapshot_bytes = files[file_name("snapshot", version)] = self._signed("snapshot", self._snapshot, keys)

    def _sign_timestamp(self, keys: Sequence[SigningKey], now: datetime, expires: datetime) -> bytes:
        """Name the snapshot by version and length; both roles' keys are kept together, so that a hash would add nothing."""
        if self._snapshot is None or self._snapshot_bytes is None:
            raise TrustError("there is no snapshot to name")
        meta = MetaFile(self._snapshot.version, length=len(self._snapshot_bytes))
        issued = {ISSUED_FIELD: format_time(now)}
        version = self._next("timestamp", self._timestamp)
        self._timestamp = Timestamp(version=version, expires=expires, snapshot_meta=meta, unrecognized_fields=issued)
        return self._signed("timestamp", self._timestamp, keys)

    def _next(self, role: str, before: Snapshot | Timestamp | None) -> int:
        return max(before.version if before else 0, self._seen.get(role, 0)) + 1
