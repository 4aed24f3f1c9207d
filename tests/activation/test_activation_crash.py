"""Crashes and failures at every file operation: the target holds the old or the new release, and a retry completes (G3, G4, G5)."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from activation_artifacts import Artifact, Snapshot, file_artifact, ignore, noise, sample_tree, snapshot, tree_artifact

from edgeswarm.abc import File, FileOps
from edgeswarm.activation import DirectoryInstaller, FileInstaller, SlotInstaller
from edgeswarm.activation.exchange import exchange
from edgeswarm.content.tree import Entry, EntryType
from edgeswarm.errors import ActivationError, NoSpaceError
from edgeswarm.files import CrashError, FaultyFiles, OsFile, OsFiles


def small_tree(seed: int) -> Artifact:
    """A tree with every type of entry and few operations."""
    entries = [
        Entry("bin", EntryType.DIRECTORY, 0o755),
        Entry("bin/tool", EntryType.FILE, 0o755, 30_000),
        Entry("conf", EntryType.FILE, 0o644, 3),
        Entry("hard", EntryType.HARDLINK, target="conf"),
        Entry("soft", EntryType.SYMLINK, target="conf"),
    ]
    return tree_artifact(entries, {"bin/tool": noise(seed, 30_000), "conf": b"%3d" % seed})


class _QuickFile(OsFile):
    __slots__ = ()

    def datasync(self) -> None:
        """Takes milliseconds of a real disk and says nothing here: a crash of the process keeps the page cache."""


class QuickFiles(OsFiles):
    """The operating system's files without waiting for the disk."""

    __slots__ = ()

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False, mode: int = 0o600) -> File:
        flags = os.O_RDONLY if read_only else os.O_RDWR
        flags |= os.O_CREAT if create or exclusive else 0
        flags |= os.O_EXCL if exclusive else 0
        return _QuickFile(os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode), path)

    def sync_directory(self, path: str) -> None:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))


class Swapping(FaultyFiles):
    """Counts the swap of two paths as an operation like any other."""

    def swap(self, one: str, other: str) -> None:
        self.perform("exchange", one, lambda: exchange(one, other))


def make_file(target: str, files: Swapping) -> SlotInstaller:
    return FileInstaller(target, files=files)


def make_directory(target: str, files: Swapping) -> SlotInstaller:
    return DirectoryInstaller(target, files=files, swap=files.swap)


def unmanaged_file(target: Path) -> None:
    target.write_bytes(b"by hand")


def unmanaged_directory(target: Path) -> None:
    target.mkdir()
    (target / "data").write_bytes(b"by hand")


SETUPS = {
    "file": (make_file, cache(lambda seed: file_artifact(noise(seed, 40_000))), unmanaged_file),
    "directory": (make_directory, cache(small_tree), unmanaged_directory),
}
# A crash before an operation that only reads is a crash before the next one that writes; and one after it is one before the next.
WRITES = frozenset(
    [
        "open",
        "pwrite",
        "truncate",
        "datasync",
        "rename",
        "link",
        "symlink",
        "unlink",
        "mkdir",
        "rmtree",
        "chmod",
        "sync_directory",
        "exchange",
    ]
)
GROWS = frozenset(["open", "pwrite", "truncate", "rename", "link", "symlink", "mkdir", "sync_directory", "datasync"])


class World:
    """One target with an update to come, made anew for each run."""

    def __init__(self, folder: Path, setup: str, *, managed: bool) -> None:
        self.make, self.artifact, unmanaged = SETUPS[setup]
        folder.mkdir()
        self.target = folder / "app"
        unmanaged(self.target)
        self.old, self.new = self.artifact(1), self.artifact(2)
        if managed:
            self.update(Swapping(QuickFiles()), self.old)
        self.before = snapshot(str(self.target))

    def update(self, files: Swapping, artifact: Artifact) -> SlotInstaller:
        installer = self.make(str(self.target), files)
        installer.stage(artifact.manifest, "x", artifact.read, ignore)
        if installer.staged() is not None:  # else it is active already
            installer.activate()
        installer.confirm()
        return installer

    def there_and_back(self, files: Swapping) -> None:
        self.update(files, self.new).rollback()

    def look(self) -> Snapshot:
        return snapshot(str(self.target))


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of renames and removals take a minute on a disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="edgeswarm-test-") as folder:
        yield Path(folder)


@dataclass
class Case:
    """Setup, whether the target was managed before, the operations of an update and back, and what the update leads to."""

    setup: str
    managed: bool
    operations: list[str]
    after: Snapshot

    def numbers(self, names: frozenset[str]) -> list[int]:
        return [n for n, operation in enumerate(self.operations, 1) if operation.split()[0] in names]

    def world(self, folder: Path) -> World:
        return World(folder, self.setup, managed=self.managed)

    def check(self, world: World, files: Swapping) -> None:
        """The target holds the old or the new release, and the installer knows which."""
        looks = world.look()
        assert looks in (world.before, self.after), files.operations[-1]
        active = world.make(str(world.target), Swapping(QuickFiles())).active()
        assert (active is not None and active.manifest == world.new.manifest.digest) == (looks == self.after)

    def check_completes(self, world: World) -> None:
        assert world.update(Swapping(QuickFiles()), world.new).active().manifest == world.new.manifest.digest
        assert world.look() == self.after


@pytest.fixture(scope="module", params=[(setup, managed) for setup in SETUPS for managed in (False, True)], ids=str)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    setup, managed = request.param
    world = World(tmp_path_factory.mktemp("count") / "w", setup, managed=managed)
    files = Swapping(QuickFiles())
    installer = world.update(files, world.new)
    after = world.look()
    installer.rollback()
    assert world.look() == world.before
    return Case(setup, managed, files.operations, after)


@pytest.mark.slow
def test_a_crash_at_every_operation(case: Case, memory_path: Path) -> None:
    for number in case.numbers(WRITES):
        world = case.world(memory_path / str(number))
        files = Swapping(QuickFiles(), fail_at=number, error=None)
        with pytest.raises(CrashError):
            world.there_and_back(files)
        case.check(world, files)
        case.check_completes(world)


@pytest.mark.slow
def test_a_crash_during_recovery(case: Case, memory_path: Path) -> None:
    """Crash, then crash again and again at operations of the retries, at changing distances."""
    for number in case.numbers(WRITES)[::6]:
        world = case.world(memory_path / str(number))
        for fail_at in (number, *range(1 + number % 5, len(case.operations), 17)):
            files = Swapping(QuickFiles(), fail_at=fail_at, error=None)
            try:
                world.there_and_back(files)
            except CrashError:
                case.check(world, files)
        case.check_completes(world)


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_a_failure_of_every_operation(case: Case, memory_path: Path, error: int) -> None:
    for number in range(1, len(case.operations) + 1) if error == errno.EIO else case.numbers(GROWS):
        world = case.world(memory_path / str(number))
        files = Swapping(QuickFiles(), fail_at=number, error=error)
        with suppress(ActivationError, NoSpaceError):  # anything else is a defect
            world.there_and_back(files)
        case.check(world, files)
        case.check_completes(world)


# --- what is durable when: the order of syncs, which no crash of a process can show -------------------------------------------


class Recorder(FaultyFiles):
    """Knows what would be lost in a power cut: bytes since the last sync of a file, names since the last sync of a folder."""

    def __init__(self, inner: FileOps) -> None:
        super().__init__(inner)
        self.dirty: set[str] = set()
        self.at_rename: dict[str, set[str]] = {}

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False, mode: int = 0o600) -> File:
        if (create or exclusive) and not self.inner.exists(path):
            self.dirty.add(path)
        return super().open(path, create=create, exclusive=exclusive, read_only=read_only, mode=mode)

    def rename(self, source: str, target: str) -> None:
        self.at_rename[target] = set(self.dirty)
        super().rename(source, target)

    def perform(self, name: str, path: str, work):
        result = super().perform(name, path, work)
        if name in {"pwrite", "truncate", "mkdir", "chmod"}:
            self.dirty.add(path)
        elif name in {"datasync", "sync_directory"}:
            self.dirty.discard(path)
        return result


@pytest.mark.parametrize("setup", sorted(SETUPS))
def test_everything_is_synced_before_it_counts(tmp_path: Path, setup: str) -> None:
    make, artifact, _ = SETUPS[setup]
    files = Recorder(OsFiles())
    new, target = artifact(2), tmp_path / "app"
    installer = make(str(target), files) if setup == "file" else DirectoryInstaller(str(target), files=files)
    installer.stage(new.manifest, "x", new.read, ignore)
    folder = f"{tmp_path}/.app.edgeswarm"
    slot = f"{folder}/{new.manifest.digest.hex()}"

    part = {path for path in files.at_rename[slot] if path.startswith(f"{slot}.part")}
    assert part == set(), "the part was renamed before it was durable"
    assert not {path for path in files.at_rename[f"{folder}/state.json"] if path.endswith((".part", ".slot.new", ".json.new"))}
    names = [operation.replace(str(tmp_path), "") for operation in files.operations]
    placed = names.index(f"rename /.app.edgeswarm/{new.manifest.digest.hex()}.part")
    assert names[placed + 1] == "sync_directory /.app.edgeswarm"

    files.operations.clear()
    installer.activate()
    names = [operation.replace(str(tmp_path), "") for operation in files.operations]
    switched = names.index("rename /.app.edgeswarm/switch")
    saved = [i for i, name in enumerate(names) if name == "rename /.app.edgeswarm/state.json.new"]
    synced = [i for i, name in enumerate(names) if name == "sync_directory "]
    assert saved[0] < switched < synced[-1] < saved[1], "intent, switch, sync, state"
    assert names[saved[0] + 1] == names[saved[1] + 1] == "sync_directory /.app.edgeswarm"


def test_after_a_failed_sync_nothing_of_the_part_is_kept(tmp_path: Path) -> None:
    """The page cache says that the bytes are there, and the disk may not have them (G5)."""
    artifact = sample_tree(1)

    class BadSync(OsFiles):
        __slots__ = ()

        def sync_directory(self, path: str) -> None:
            if path.endswith("/bin"):
                raise OSError(errno.EIO, "sync failed", path)
            super().sync_directory(path)

    target = str(tmp_path / "app")
    with pytest.raises(ActivationError, match="sync failed"):
        DirectoryInstaller(target, files=BadSync()).stage(artifact.manifest, "x", artifact.read, ignore)
    artifact.reads.clear()
    DirectoryInstaller(target).stage(artifact.manifest, "x", artifact.read, ignore)
    assert len(artifact.reads) == len(artifact.manifest)


def test_an_interrupted_part_is_verified_and_continued(tmp_path: Path) -> None:
    artifact = sample_tree(1)
    target = str(tmp_path / "app")

    class Stopped(BaseException):
        pass

    def stop(offset: int, length: int) -> bytes:
        if len(artifact.reads) == len(artifact.manifest) - 1:
            raise Stopped
        return artifact.read(offset, length)

    with pytest.raises(Stopped):
        DirectoryInstaller(target).stage(artifact.manifest, "x", stop, ignore)
    kept = len(artifact.reads)
    assert kept > 2
    artifact.reads.clear()
    installer = DirectoryInstaller(target)
    installer.stage(artifact.manifest, "x", artifact.read, ignore)
    assert len(artifact.reads) == len(artifact.manifest) - kept + 1  # and the entries once more
    installer.activate()
    fresh = DirectoryInstaller(str(tmp_path / "fresh"))
    fresh.stage(artifact.manifest, "x", artifact.read, ignore)
    fresh.activate()
    assert snapshot(target) == snapshot(fresh.target)
