"""Slots: how a target goes from one release to the next and back, whatever kind of target it is.

Theory of operation. Beside a target `<dir>/<name>` lies its slot folder `<dir>/.<name>.edgeswarm/`, on the same file system, with
one slot per release, named by the manifest digest. Staging builds a slot; nothing that is in use is touched. A switch is: save the
state with an `intent` (the state afterwards), switch the target with one atomic rename, save the state afterwards. After a crash in
between the target itself tells which of the two states is true, so that nothing has to be repaired when reading.

Before a switch the staged slot is read back and verified against its record, so that bits that rotted since staging never become
active. Going back is not made to depend on that: the previous release ran here with the bytes that it has.

One process at a time may change a target; reading its state is always safe.
"""

from __future__ import annotations

import errno
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from ..abc import FileOps, Installed, ReadStream
from ..content.digest import DIGEST_BYTES, Digest, short
from ..content.manifest import ArtifactKind, Manifest
from ..content.tree import check_path
from ..errors import ActivationError, ConfigError, ContentError, NoSpaceError
from ..files import OsFiles
from ..files.whole import read_file, save_file
from .layout import SlotRecord, decode_record, layout_of, record_of
from .staging import Modes, Staging, intact, is_directory, remove
from .state import ORIGINAL, STATE_NAME, SlotRef, TargetState, load_target_state, save_target_state

UNMANAGED: Digest = bytes(DIGEST_BYTES)
"""The manifest digest that stands for what was in a target before edgeswarm: 32 zero bytes, which no manifest has."""

RESERVE_NAME = "reserve"
# Four blocks of ext4 or xfs: a state file and its directory row need two. Not zeros, which some file systems do not store.
_RESERVE = b"kept for saving the state on a full disk\n" * 400

_SLOT_NAMES = re.compile("([0-9a-f]{64}|original.*)([.]slot)?")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

logger = logging.getLogger(__name__)


class SlotInstaller(ABC):
    """Installs releases into one target by way of slots; satisfies `abc.Installer`. Blocking.

    Args:
        target: Absolute path that programs use. Its folder must exist; the slot folder is made beside it.
        files: What does the work; the operating system by default.
        keep: How many previous releases stay on disk, at least 1.
        modes: Which permission bits are set.

    Raises:
        ConfigError: The target is not an absolute, normalised path, or `keep` is below 1.
    """

    _kinds: frozenset[ArtifactKind]
    _folder_mode: int
    _prunes_original: bool

    def __init__(self, target: str, *, files: FileOps | None, keep: int, modes: Modes, file_mode: int = 0) -> None:
        _check_target(target)
        if keep < 1:
            raise ConfigError(
                f"target {target}: keep must be at least 1, got {keep}; without a previous release none can be rolled back"
            )
        parent, _, name = target.rpartition("/")
        self._files: FileOps = files or OsFiles()
        self._keep = keep
        self._modes = modes
        self._file_mode = file_mode
        self._target = target
        self._parent = parent or "/"
        self._name = name
        self._folder_name = f".{name}.edgeswarm"
        self._folder = f"{parent}/{self._folder_name}"

    @property
    def target(self) -> str:
        """The path that programs use."""
        return self._target

    # what a kind of target decides

    @abstractmethod
    def _ref(self, slot: str, version: str) -> SlotRef:
        """Return the reference to a slot of a release."""

    @abstractmethod
    def _path(self, ref: SlotRef) -> str:
        """Return where the release of a slot can be read."""

    @abstractmethod
    def _adopt(self) -> SlotRef | None:
        """Keep what is in the target without being managed, so that it can come back; None if there is nothing."""

    @abstractmethod
    def _switch(self, ref: SlotRef) -> None:
        """Let the target hold a slot, atomically."""

    @abstractmethod
    def _holds(self, ref: SlotRef) -> bool:
        """Tell for sure if the target holds a slot; may read much: asked after a crash only."""

    @abstractmethod
    def _may_hold(self, ref: SlotRef) -> bool:
        """Tell at a glance if the target cannot hold a slot any more, because somebody else changed it."""

    def _found(self) -> SlotRef | None:
        """Return the slot that the target itself names, where it can: for a state that was lost or that somebody else outdated."""
        return None

    # state

    def staged(self) -> Installed | None:
        """Return the release that is staged and not active; see `abc.Installer`."""
        return self._installed(self._load().staged)

    def active(self) -> Installed | None:
        """Return the release that the target holds; `UNMANAGED` after a roll back to what was there before edgeswarm."""
        return self._installed(self._load().active)

    def previous(self) -> Installed | None:
        """Return the release that `rollback` goes back to."""
        history = self._load().history
        return self._installed(history[0]) if history else None

    def confirmed(self) -> bool:
        """Tell if the active release was confirmed."""
        active = self._load().active
        return active is not None and active.confirmed

    def _installed(self, ref: SlotRef | None) -> Installed | None:
        return None if ref is None else self._installed_of(ref)

    def _installed_of(self, ref: SlotRef) -> Installed:
        manifest = UNMANAGED if ref.is_original else bytes.fromhex(ref.slot)
        return Installed(manifest, self._path(ref), ref.version)

    def _load(self) -> TargetState:
        """Return the state as the target proves it, with slots that are really there."""
        with self._mapped("read the state of"):
            state = load_target_state(self._files, self._folder) or TargetState()
            intent = state.intent
            if intent is not None:
                switched = intent.active is not None and self._holds(intent.active)
                state = intent if switched else replace(state, intent=None)
            staged = state.staged if state.staged and self._exists(state.staged) else None
            active = state.active if state.active and self._may_hold(state.active) else self._found()
            return TargetState(staged, active, tuple(ref for ref in state.history if self._exists(ref)))

    def _exists(self, ref: SlotRef) -> bool:
        return self._files.exists(self._path(ref))

    def _save(self, state: TargetState) -> None:
        try:
            save_target_state(self._files, self._folder, state)
        except OSError as error:
            reserve = f"{self._folder}/{RESERVE_NAME}"
            if error.errno not in _FULL or not self._files.exists(reserve):
                raise
            # A release that fills the disk must not be able to prevent that it is rolled back.
            self._files.unlink(reserve)
            save_target_state(self._files, self._folder, state)

    @contextmanager
    def _mapped(self, action: str) -> Iterator[None]:
        """Turn what the system says into our errors."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise NoSpaceError(f"cannot {action} {self._target}: the disk is full; free some space and retry") from error
            raise ActivationError(f"cannot {action} {self._target}: {error}") from error

    # stage

    def stage(self, manifest: Manifest, version: str, read: ReadStream, progress: Callable[[int], None]) -> Installed:
        """Write the release into a slot beside the target; see `abc.Installer`.

        What an interrupted call wrote is verified and kept. A release that is active already is returned as it is.

        Raises:
            ActivationError: The artifact is not of a kind for this target, or the disk failed.
            ContentError: `read` gave bytes that do not verify, or the tree is malformed.
            NoSpaceError: It does not fit; nothing is left behind.
        """
        if manifest.root.kind not in self._kinds:
            raise ActivationError(f"{self._target} takes {' or '.join(sorted(self._kinds))} artifacts, not a {manifest.root.kind}")
        state, ref = self._load(), self._ref(manifest.digest.hex(), version)
        with self._mapped("stage a release for"):
            active = state.active
            if active is not None and active.slot == ref.slot:
                if state.staged is not None:
                    self._save(replace(state, staged=None))
                return self._installed_of(active)
            self._make_folder()
            whole = self._is_whole(state, ref, progress)
            state = replace(state, staged=ref if whole else None)
            self._save(state)
            if whole:
                progress(manifest.root.size)
            else:
                self._build_in_time(state, manifest, ref, read, progress)
                self._save(replace(state, staged=ref))
            self._prune(state, building=ref.slot)
            return self._installed_of(ref)

    def _build_in_time(
        self, state: TargetState, manifest: Manifest, ref: SlotRef, read: ReadStream, progress: Callable[[int], None]
    ) -> None:
        """Build a slot while the ones that nobody needs are still there: `read` may read from them. Only want of room ends that."""
        self._prune(state, building=ref.slot, slots=False)
        try:
            self._build(manifest, ref.slot, read, progress)
        except (NoSpaceError, OSError) as error:
            is_full = isinstance(error, NoSpaceError) or error.errno in _FULL
            if not is_full or not self._prune(state, building=ref.slot):
                raise
            self._build(manifest, ref.slot, read, progress)

    def _make_folder(self) -> None:
        if not is_directory(self._files, self._folder):
            self._files.mkdir(self._folder, self._folder_mode)
            self._files.chmod(self._folder, self._folder_mode)
            self._files.sync_directory(self._parent)
        if not self._files.exists(f"{self._folder}/{RESERVE_NAME}"):
            save_file(self._files, self._folder, RESERVE_NAME, _RESERVE)

    def _is_whole(self, state: TargetState, ref: SlotRef, progress: Callable[[int], None]) -> bool:
        """Tell if a slot can be taken as it is. One that was active may have been edited: it is read."""
        if not is_directory(self._files, f"{self._folder}/{ref.slot}"):
            return False
        if state.staged is not None and state.staged.slot == ref.slot:
            return True
        return self._is_intact(ref.slot, lambda _read: progress(0))

    def _is_intact(self, slot: str, progress: Callable[[int], None]) -> bool:
        record = self._record(slot)
        return record is not None and intact(record, f"{self._folder}/{slot}", progress)

    def _record(self, slot: str) -> SlotRecord | None:
        try:
            return decode_record(read_file(self._files, f"{self._folder}/{slot}.slot"))
        except (FileNotFoundError, ContentError):
            return None

    def _build(self, manifest: Manifest, slot: str, read: ReadStream, progress: Callable[[int], None]) -> None:
        layout = layout_of(manifest, read, self._name, self._file_mode)
        part = f"{self._folder}/{slot}.part"
        try:
            Staging(self._files, part, layout, self._modes).fill(manifest, read, progress)
            save_file(self._files, self._folder, f"{slot}.slot", record_of(manifest, layout).encode())
            self._place(part, slot)
        except OSError:
            # Full, or failed: after a failed sync the page cache lies about what is on disk, so nothing of this is kept.
            with suppress(OSError):
                remove(self._files, part)
            raise

    def _place(self, part: str, slot: str) -> None:
        path = f"{self._folder}/{slot}"
        if self._files.exists(path):  # a damaged one: a folder can't be replaced in one step
            self._files.rename(path, f"{path}.old")
        self._files.rename(part, path)
        self._files.sync_directory(self._folder)
        remove(self._files, f"{path}.old")

    def _prune(self, state: TargetState, *, building: str = "", slots: bool = True) -> bool:
        """Remove what no slot of `state` needs, slots only with `slots`; return whether there was anything.

        Whatever can't be removed now is tried again with the next release.
        """
        needed = {STATE_NAME, RESERVE_NAME, f"{building}.part"}
        for slot in state.slots() | ({building} if building else set()):
            needed |= {slot, f"{slot}.slot"}
        names = [name for name in self._files.listdir(self._folder) if name not in needed and not self._is_kept_original(name)]
        chosen = [name for name in names if slots or not _SLOT_NAMES.fullmatch(name)]
        return any([self._remove(name) for name in chosen])  # all of them

    def _remove(self, name: str) -> bool:
        path = f"{self._folder}/{name}"
        try:
            remove(self._files, path)
        except OSError as error:
            logger.warning("cannot remove %s, it takes space until that works: %s", path, error)
            return False
        return True

    def _is_kept_original(self, name: str) -> bool:
        is_original = name.startswith(ORIGINAL) and is_directory(self._files, f"{self._folder}/{name}")
        return is_original and not self._prunes_original

    # activate, confirm, roll back

    def activate(self, progress: Callable[[int], None] = lambda _read: None) -> Installed:
        """Verify the staged release and switch the target to it; see `abc.Installer`.

        Raises:
            ActivationError: Nothing is staged, what is staged no longer verifies (stage it again), or the switch failed: then
                `active` tells what the target holds.
        """
        state = self._load()
        staged = state.staged
        if staged is None:
            raise ActivationError(f"{self._target}: no release is staged; stage one first")
        with self._mapped("activate a release in"):
            if not self._is_intact(staged.slot, progress):
                self._save(replace(state, staged=None))
                raise ActivationError(f"{self._target}: staged release {staged.version} no longer verifies; stage it again")
            held = state.active or self._adopt()
            history = tuple(ref for ref in (held, *state.history) if ref is not None and ref.slot != staged.slot)
            after = TargetState(None, replace(staged, confirmed=False), history[: self._keep])
            self._go(replace(state, active=held), after)
            self._prune(after)
            return self._installed_of(staged)

    def _go(self, before: TargetState, after: TargetState) -> None:
        if after.active is None:
            raise ActivationError(f"{self._target}: there is nothing to switch to")
        self._save(replace(before, intent=after))
        self._switch(after.active)
        self._save(after)

    def confirm(self) -> None:
        """Declare the active release good; see `abc.Installer`.

        Raises:
            ActivationError: The target holds no release.
        """
        state = self._load()
        if state.active is None:
            raise ActivationError(f"{self._target}: there is no active release to confirm")
        if not state.active.confirmed:
            with self._mapped("confirm the release in"):
                self._save(replace(state, active=replace(state.active, confirmed=True)))

    def rollback(self) -> Installed:
        """Switch the target back to the previous release; see `abc.Installer`.

        Raises:
            ActivationError: There is none, or the switch failed: then `active` tells what the target holds.
        """
        state = self._load()
        if not state.history:
            raise ActivationError(f"{self._target}: there is no previous release to go back to")
        previous, *older = state.history
        with self._mapped("roll back the release in"):
            self._go(state, TargetState(state.staged, previous, tuple(older)))
            return self._installed_of(previous)

    def describe(self) -> str:
        """Return one line for people: what is active, staged and previous."""
        state = self._load()
        parts = [("active", state.active), ("staged", state.staged), ("previous", state.history[0] if state.history else None)]
        return ", ".join(f"{what} {ref.version} ({_short_name(ref)})" for what, ref in parts if ref is not None) or "empty"


def _check_target(target: str) -> None:
    try:
        check_path(target.removeprefix("/") if target.startswith("/") else "")
    except ContentError as error:
        raise ConfigError(f"target {target!r}: wanted an absolute path without '.', '..' or a '/' at its end") from error


def _short_name(ref: SlotRef) -> str:
    return ref.slot if ref.is_original else short(bytes.fromhex(ref.slot))
