"""A target that is a directory: a symlink to the slot of the active release."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable

from ..abc import FileOps
from ..content.manifest import ArtifactKind
from ..errors import ActivationError
from .exchange import exchange
from .slots import SlotInstaller
from .staging import Modes, is_directory, is_symlink
from .state import ORIGINAL, SlotRef

_CANNOT_EXCHANGE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EBUSY, errno.EPERM, errno.EOPNOTSUPP})
_SWITCH_NAME = "switch"
_UNKNOWN_VERSION = "unknown"
_SLOT_NAME = re.compile("[0-9a-f]{64}")


class DirectoryInstaller(SlotInstaller):
    """Installs a tree at a path; see `SlotInstaller` and docs/reference/activation.md.

    The target is a symlink to a slot and is replaced by a rename: who opens it gets the whole old or the whole new tree. A symlink
    that was there before is remembered. A directory that was there before is swapped with the first symlink in one step and kept
    beside it; it is never deleted by edgeswarm, since there may be data in it.

    Args:
        target: Absolute path of the directory.
        files: What does the work; the operating system by default.
        keep: How many previous releases stay on disk, at least 1.
        mode: Permission bits of the tree's root directory.
        keep_special_bits: Set setuid, setgid and sticky bits as the release says; else they are dropped.
        swap: Swaps two paths in one step; for tests, and for systems that have another way.

    Raises:
        ConfigError: See `SlotInstaller`.
    """

    _kinds = frozenset({ArtifactKind.TREE})
    _folder_mode = 0o755  # programs go through it to reach the active slot
    _prunes_original = False

    def __init__(
        self,
        target: str,
        *,
        files: FileOps | None = None,
        keep: int = 1,
        mode: int = 0o755,
        keep_special_bits: bool = False,
        swap: Callable[[str, str], None] = exchange,
    ) -> None:
        super().__init__(target, files=files, keep=keep, modes=Modes(mode | 0o500, keep_special_bits))
        self._swap = swap

    def _ref(self, slot: str, version: str) -> SlotRef:
        return SlotRef(slot, version, text=f"{self._folder_name}/{slot}")

    def _path(self, ref: SlotRef) -> str:
        return ref.text if ref.text.startswith("/") else f"{self._parent.rstrip('/')}/{ref.text}"

    def _adopt(self) -> SlotRef | None:
        if not self._files.exists(self._target):
            return None
        if is_symlink(self._files, self._target):
            return SlotRef(ORIGINAL, ORIGINAL, confirmed=True, text=self._files.readlink(self._target))
        if not is_directory(self._files, self._target):
            raise ActivationError(f"{self._target} is a file and the release is a tree: choose another target or move it away")
        slot = self._free_original()
        return SlotRef(slot, ORIGINAL, confirmed=True, text=f"{self._folder_name}/{slot}")

    def _free_original(self) -> str:
        """Return a name under which no directory is kept yet."""
        taken = [name for name in self._files.listdir(self._folder) if is_directory(self._files, f"{self._folder}/{name}")]
        return next(name for n in range(len(taken) + 1) if (name := f"{ORIGINAL}-{n}" if n else ORIGINAL) not in taken)

    def _switch(self, ref: SlotRef) -> None:
        if is_directory(self._files, self._target):
            self._swap_in(ref)
        else:
            fresh = f"{self._folder}/{_SWITCH_NAME}"
            self._make_symlink(ref.text, fresh)
            self._files.rename(fresh, self._target)
        self._files.sync_directory(self._parent)

    def _swap_in(self, ref: SlotRef) -> None:
        """Put the symlink in the place of a real directory, which then lies in the slot folder."""
        kept = f"{self._folder}/{self._free_original()}"
        self._make_symlink(ref.text, kept)
        try:
            self._swap(kept, self._target)
        except OSError as error:
            self._files.unlink(kept)
            if error.errno not in _CANNOT_EXCHANGE:
                raise
            raise ActivationError(
                f"{self._target} is a directory that cannot be swapped for a symlink in one step here ({error.strerror}): "
                f"move it away (mv {self._target} {self._target}.old) and activate again"
            ) from error
        self._files.sync_directory(self._folder)

    def _make_symlink(self, text: str, path: str) -> None:
        if self._files.exists(path):
            self._files.unlink(path)
        self._files.symlink(text, path)

    def _holds(self, ref: SlotRef) -> bool:
        return is_symlink(self._files, self._target) and self._files.readlink(self._target) == ref.text

    def _may_hold(self, ref: SlotRef) -> bool:
        return self._holds(ref)

    def _found(self) -> SlotRef | None:
        if not is_symlink(self._files, self._target):
            return None
        text = self._files.readlink(self._target)
        folder, _, slot = text.rpartition("/")
        if folder != self._folder_name or not self._files.exists(f"{self._folder}/{slot}"):
            return None
        if slot.startswith(ORIGINAL):
            return SlotRef(slot, ORIGINAL, confirmed=True, text=text)
        return SlotRef(slot, _UNKNOWN_VERSION, text=text) if _SLOT_NAME.fullmatch(slot) else None
