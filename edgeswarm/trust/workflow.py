"""The steps of TUF's client workflow, one after the other, over python-tuf's trusted set.

Theory of operation: see `client`, which is what callers use. Each step is a generator that yields a `Want` for what is not
here. A saved timestamp or snapshot is loaded first, whether or not it is still current, because python-tuf compares what
comes next with it: that is the protection against rollback.

Source: TUF specification 1.0.34, section 5, "Detailed client workflow"; each step cites its number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import ExpiredError, ObjectMissingError, TrustError
from .clock import check_aware
from .floor import VersionFloor
from .local import LocalFiles
from .names import file_name
from .steps import ExpiryPolicy, Steps, Want

if TYPE_CHECKING:
    from tuf.api.metadata import MetaFile, Signed, Targets
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

# Source of the next five: the defaults of python-tuf's UpdaterConfig.
MAX_ROOT_ROTATIONS = 256
"""New roots followed in one refresh; the next refresh follows the rest."""
ROOT_MAX_BYTES = 512_000
TIMESTAMP_MAX_BYTES = 16_384
SNAPSHOT_MAX_BYTES = 2_000_000
TARGETS_MAX_BYTES = 5_000_000

TIMESTAMP_FILE = "timestamp.json"


@dataclass(frozen=True, slots=True)
class Use:
    """A verified file in use: what it says, and its bytes."""

    signed: Signed
    data: bytes


class Workflow:
    """One pass through the workflow.

    Args:
        files: What was saved before.
        now: The time to judge by, aware.
        bootstrap: Root to start from; None for the newest in `files`.
        expiry: What to do with expired metadata.
        floor: Versions trusted before.

    Attributes:
        now: The time to judge by; a verified `issued` raises it.
        issued: When the timestamp was signed, as it says.
        changed: Verified files that were not here before.
        damaged: Names of saved files that were replaced.
        uses: Verified files in use by name, the newest of each role.
        targets: Verified targets roles by (delegator, role).

    Raises:
        TrustError: There is no root to start from, or it is damaged.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        *,
        now: datetime,
        bootstrap: bytes | None,
        expiry: ExpiryPolicy,
        floor: VersionFloor,
    ) -> None:
        from . import metadata

        self._edge = metadata
        self._expiry = expiry
        self._floor = floor
        self.local = LocalFiles(files)
        self.now = check_aware(now)
        self.issued: datetime | None = None
        self.changed: dict[str, bytes] = {}
        self.damaged: list[str] = []
        self.uses: dict[str, Use] = {}
        self.targets: dict[tuple[str, str], Targets] = {}
        self.trusted = self._open(bootstrap)

    def _open(self, bootstrap: bytes | None) -> TrustedMetadataSet:
        """5.2: load the trusted root."""
        name, data = "the bootstrap root", bootstrap
        if data is None:
            newest = self.local.newest("root")
            if newest is None:
                raise TrustError("there is no root to start from: give a bootstrap root, as enrolment does")
            _, name, data = newest
        trusted = self._edge.open_set(data, name, self._reference())
        saved = file_name("root", trusted.root.version)
        if bootstrap is None and saved != name:
            raise TrustError(f"the saved file {name} is damaged: it holds root v{trusted.root.version}")
        self._use(saved, trusted.root, data, fresh=self.local.get(saved) != data)
        return trusted

    def update_root(self) -> Steps[None]:
        """5.3: follow the roots one by one; each is signed by the one before it and by itself. Saved ones count for nothing."""
        while (saved := self.local.get(self._next_root())) is not None:
            self._follow_root(saved, fresh=False)
        for _ in range(MAX_ROOT_ROTATIONS):
            data = yield from _want(self._next_root(), ROOT_MAX_BYTES)
            if data is None:
                break
            self._follow_root(data, fresh=True)
        self._floor.check_root(self.trusted.root.version)
        self._check_expiry(file_name("root", self.trusted.root.version))  # 5.3.10

    def _next_root(self) -> str:
        return file_name("root", self.trusted.root.version + 1)

    def _follow_root(self, data: bytes, *, fresh: bool) -> None:
        name, before = self._next_root(), file_name("root", self.trusted.root.version)
        with self._edge.judged(name if fresh else f"{name} (saved here: damaged, or of another trust root)"):
            self.trusted.update_root(data)
        del self.uses[before]
        self._use(name, self.trusted.root, data, fresh=fresh)

    def update_timestamp(self) -> Steps[None]:
        """5.4: the newest timestamp; the saved one guards against rollback, and serves when there is no other."""
        saved = self.local.get(TIMESTAMP_FILE)
        if saved is not None:
            self._load_saved("timestamp", TIMESTAMP_FILE, saved, self.trusted.update_timestamp)
        data = yield from _want(TIMESTAMP_FILE, TIMESTAMP_MAX_BYTES)
        if data is not None and self._is_newer_timestamp(data):
            self._use(TIMESTAMP_FILE, self.trusted.timestamp, data, fresh=True)
        elif saved is not None and "timestamp" in self.trusted:
            self._use(TIMESTAMP_FILE, self.trusted.timestamp, saved, fresh=False)
        else:
            raise ObjectMissingError("there is no timestamp.json: is anything published there?")
        self._check_timestamp()

    def _is_newer_timestamp(self, data: bytes) -> bool:
        with self._edge.judged(TIMESTAMP_FILE):
            try:
                self.trusted.update_timestamp(data)
            except self._edge.EqualVersionNumberError:  # 5.4.3.1: the same version is no news
                return False
            except self._edge.ExpiredMetadataError:
                # It is loaded all the same; its signed `issued` has its say before expiry is judged.
                return True
        return True

    def _check_timestamp(self) -> None:
        """5.4.3 against the floor, then 5.4.4.

        The signed `issued` corrects a clock that is behind, but never beyond the root's expiry: root keys are offline,
        timestamp keys are not, and a thief of the latter must not move time further than a new root can undo.
        """
        timestamp, root = self.trusted.timestamp, self.trusted.root
        self._floor.check_online(self._edge.online_keys(root), timestamp.version, timestamp.snapshot_meta.version)
        issued = self._edge.issued_by(timestamp)
        if issued is not None:
            self.issued = min(issued, root.expires)
            self.now = max(self.now, self.issued)
            self.trusted.reference_time = self._reference()
        self._check_expiry(file_name("root", root.version))
        self._check_expiry(TIMESTAMP_FILE)

    def update_snapshot(self) -> Steps[None]:
        """5.5: the snapshot that the timestamp names; the saved one guards against rollback of every role."""
        meta = self.trusted.timestamp.snapshot_meta
        name = file_name("snapshot", meta.version)
        data = self._saved_snapshot(meta.version)
        fresh = data is None
        if data is None:
            data = yield from self._wanted("snapshot", meta, SNAPSHOT_MAX_BYTES)
            with self._edge.judged(name):
                self.trusted.update_snapshot(data)
        self._use(name, self.trusted.snapshot, data, fresh=fresh)
        self._check_expiry(name)  # 5.5.6

    def _saved_snapshot(self, wanted: int) -> bytes | None:
        """Load the newest saved snapshot; return its bytes if it is the wanted version."""
        saved = self.local.newest("snapshot")
        if saved is None:
            return None
        version, name, data = saved
        self._load_saved("snapshot", name, data, lambda data: self.trusted.update_snapshot(data, trusted=True))
        if "snapshot" not in self.trusted:
            return None
        if self.trusted.snapshot.version != version:
            raise TrustError(f"the saved file {name} is damaged: it holds snapshot v{self.trusted.snapshot.version}")
        return data if version == wanted else None

    def load_targets(self, role: str, parent: str) -> Steps[Targets]:
        """5.6: the version of a targets role that the snapshot names, trusted by `parent`; once is enough."""
        known = self.targets.get((parent, role))
        if known is not None:
            return known
        meta = self.trusted.snapshot.meta.get(f"{role}.json")
        if meta is None:
            raise TrustError(f"role {role!r} is delegated to but is not in the snapshot: the publisher must sign it")
        name = file_name(role, meta.version)
        data = self._saved_targets(name, role, parent)
        fresh = data is None
        if data is None:
            data = yield from self._wanted(role, meta, TARGETS_MAX_BYTES)
            with self._edge.judged(name):
                self.trusted.update_delegated_targets(data, role, parent)
        # Kept by delegator: the same role may be trusted under other keys elsewhere in the tree.
        targets = self.targets[parent, role] = self._edge.targets_in(self.trusted, role)
        self._use(name, targets, data, fresh=fresh)
        return targets

    def _saved_targets(self, name: str, role: str, parent: str) -> bytes | None:
        """Return the saved file if it verifies. A damaged one is replaced: the snapshot guards the versions of targets."""
        data = self.changed.get(name, self.local.get(name))
        if data is None:
            return None
        try:
            with self._edge.judged(name):
                self.trusted.update_delegated_targets(data, role, parent)
        except ExpiredError:
            raise
        except TrustError:
            self.damaged.append(name)
            return None
        return data

    def stand_in(self, role: str, parent: str) -> Targets | None:
        """Return a role as it is here, or as it was saved before; None: neither verifies.

        Signature, expiry and number are judged as of now, by the delegations of now: a role whose keys were revoked does not stand
        in. Only the snapshot's version and hashes cannot be: they are those of the version that is not to be had.
        """
        known = self.targets.get((parent, role))
        meta, saved = self.trusted.snapshot.meta.get(f"{role}.json"), self.local.newest(role)
        if known is not None or meta is None or saved is None:
            return known
        version, name, data = saved
        delegators = [targets for (_, delegator), targets in self.targets.items() if delegator == parent]
        try:
            metadata = self._edge.parse_targets(data, name)
        except TrustError:
            return None
        signed = metadata.signed
        is_trusted = any(self._edge.verified_by(delegator, role, metadata) for delegator in delegators)
        if not is_trusted or signed.version != version or version >= meta.version or signed.is_expired(self.trusted.reference_time):
            return None
        self.targets[parent, role] = signed
        self._use(name, signed, data, fresh=False)
        return signed

    def _load_saved(self, role: str, name: str, data: bytes, update: Callable[[bytes], object]) -> None:
        """Load a saved file for its version. Expired or outdated is fine.

        A rollback could hide behind a damaged one: it is replaced if a floor covers its version, which was raised when the file
        was saved, and an error if there is none.

        Raises:
            TrustError: Neither the current root nor any earlier one verifies it, and there is no floor.
        """
        try:
            with self._edge.judged(name):
                update(data)
        except TrustError as exc:
            # 5.3.11: after a rotation of its keys a file counts no more, nor do its versions.
            if self.local.signed_under_any_root(role, data, self.changed):
                return
            if not self._floor.covers(role):
                raise TrustError(f"the saved file {name} is damaged: restore it, or enrol the node again ({exc})") from exc
            self.damaged.append(name)

    def _wanted(self, role: str, meta: MetaFile, max_bytes: int) -> Steps[bytes]:
        """Want an object that signed metadata names: there must be one."""
        name = file_name(role, meta.version)
        if not self.trusted.root.consistent_snapshot:
            name = name.partition(".")[2]
        data = yield from _want(name, min(meta.length or max_bytes, max_bytes))
        if data is None:
            raise ObjectMissingError(
                f"signed metadata names {name}, which is not to be had here: ask another source, or again later"
            )
        return data

    def floor(self) -> VersionFloor:
        """Return the versions in use, to persist."""
        root, timestamp, snapshot = self.trusted.root, self.trusted.timestamp, self.trusted.snapshot
        versions = (root.version, timestamp.version, snapshot.version)
        if any(type(version) is not int for version in versions):  # JSON's true is an int in Python
            raise TrustError(f"a version in signed metadata is no whole number: {versions}")
        return VersionFloor(*versions, self._edge.online_keys(root))

    def _use(self, name: str, signed: Signed, data: bytes, *, fresh: bool) -> None:
        self.uses[name] = Use(signed, data)
        if fresh:
            self.changed[name] = data

    def _reference(self) -> datetime:
        """The time at which python-tuf judges expiry: earlier than now by the grace."""
        earliest = datetime.min.replace(tzinfo=self.now.tzinfo)
        return self.now - min(self._expiry.grace, self.now - earliest)

    def _check_expiry(self, name: str) -> None:
        signed = self.uses[name].signed
        if signed.is_expired(self.trusted.reference_time):
            raise ExpiredError(
                f"{name} expired on {signed.expires}, and it is {self.now} (grace: {self._expiry.grace.days} days): "
                "its publisher must run `edgeswarm refresh`, or the clock is wrong"
            )


def _want(name: str, max_bytes: int) -> Steps[bytes | None]:
    data = yield Want(name, max_bytes)
    if data is not None and len(data) > max_bytes:
        raise TrustError(f"metadata {name} is {len(data)} bytes long, wanted at most {max_bytes}: ask another source")
    return data
