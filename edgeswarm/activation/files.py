"""A target that is one file: a program, an image, a model."""

from __future__ import annotations

import errno

from ..abc import File, FileOps
from ..content.manifest import ArtifactKind
from ..errors import ActivationError
from .slots import SlotInstaller
from .staging import Modes, is_directory, is_symlink
from .state import ORIGINAL, SlotRef

# What link(2) says where hard links are impossible or forbidden: other file system, FAT, too many links, fs.protected_hardlinks.
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES})
_COPY_BYTES = 1024 * 1024
_SWITCH_NAME = "switch"


class FileInstaller(SlotInstaller):
    """Installs a file or image at a path; see `SlotInstaller` and docs/reference/activation.md.

    A slot is a folder that holds the file under the target's name. The target is a hard link to it (a copy where the file system
    has no hard links), put there by a rename: who opens it gets the whole old or the whole new file. A file that was there before
    is kept as the slot `original` until `keep` newer releases have come.

    Args:
        target: Absolute path of the file. Not a symlink: name the file itself.
        files: What does the work; the operating system by default.
        keep: How many previous releases stay on disk, at least 1.
        mode: Permission bits of the file.
        keep_special_bits: Let `mode` set setuid, setgid and sticky.

    Raises:
        ConfigError: See `SlotInstaller`.
    """

    _kinds = frozenset({ArtifactKind.FILE, ArtifactKind.IMAGE})
    _folder_mode = 0o700  # nobody enters it: programs use the target
    _prunes_original = True

    def __init__(
        self, target: str, *, files: FileOps | None = None, keep: int = 1, mode: int = 0o644, keep_special_bits: bool = False
    ) -> None:
        super().__init__(target, files=files, keep=keep, modes=Modes(0o700, keep_special_bits), file_mode=mode)

    def _ref(self, slot: str, version: str) -> SlotRef:
        return SlotRef(slot, version)

    def _path(self, ref: SlotRef) -> str:
        return f"{self._folder}/{ref.slot}/{self._name}"

    def _adopt(self) -> SlotRef | None:
        if not self._files.exists(self._target):
            return None
        self._check_replaceable()
        ref = SlotRef(ORIGINAL, ORIGINAL, confirmed=True)
        self._files.mkdir(f"{self._folder}/{ORIGINAL}", 0o700)
        self._duplicate(self._target, self._path(ref))
        self._files.sync_directory(f"{self._folder}/{ORIGINAL}")
        self._files.sync_directory(self._folder)
        return ref

    def _check_replaceable(self) -> None:
        if is_symlink(self._files, self._target):
            raise ActivationError(f"{self._target} is a symlink: name the file it points to as the target, or remove the symlink")
        if is_directory(self._files, self._target):
            raise ActivationError(f"{self._target} is a directory and the release is a file: choose another target or move it away")

    def _switch(self, ref: SlotRef) -> None:
        if self._files.exists(self._target):
            self._check_replaceable()
        fresh = f"{self._folder}/{_SWITCH_NAME}"
        self._duplicate(self._path(ref), fresh)
        self._files.rename(fresh, self._target)
        if self._files.exists(fresh):  # rename(2) does nothing when both names are links to the same file
            self._files.unlink(fresh)
        self._files.sync_directory(self._parent)

    def _duplicate(self, source: str, path: str) -> None:
        """Make `path` a hard link to `source`, or a durable copy."""
        if self._files.exists(path):
            self._files.unlink(path)
        try:
            self._files.link(source, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._copy(source, path)

    def _copy(self, source: str, path: str) -> None:
        reader = self._files.open(source, read_only=True)
        try:
            writer = self._files.open(path, create=True, exclusive=True, mode=0o600)
            try:
                for at in range(0, reader.size(), _COPY_BYTES):
                    writer.pwrite(reader.pread(_COPY_BYTES, at), at)
                self._files.chmod(path, self._copy_mode())
                writer.datasync()
            finally:
                writer.close()
        finally:
            reader.close()

    def _copy_mode(self) -> int:
        return self._file_mode & (0o7777 if self._modes.special else 0o777) | 0o400

    def _may_hold(self, ref: SlotRef) -> bool:
        return self._files.exists(self._target)

    def _holds(self, ref: SlotRef) -> bool:
        if not self._files.exists(self._target) or is_symlink(self._files, self._target) or is_directory(self._files, self._target):
            return False
        return self._same(self._target, self._path(ref))

    def _same(self, one: str, other: str) -> bool:
        first = self._files.open(one, read_only=True)
        try:
            second = self._files.open(other, read_only=True)
            try:
                return _equal(first, second)
            finally:
                second.close()
        finally:
            first.close()


def _equal(first: File, second: File) -> bool:
    size = first.size()
    if size != second.size():
        return False
    return all(first.pread(_COPY_BYTES, at) == second.pread(_COPY_BYTES, at) for at in range(0, size, _COPY_BYTES))
