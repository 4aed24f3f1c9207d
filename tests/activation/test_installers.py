"""What every installer promises, for both kinds of target."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from activation_artifacts import Artifact, file_artifact, ignore, noise, sample_tree, snapshot

from edgeswarm.abc import Installed, Installer
from edgeswarm.activation import UNMANAGED, DirectoryInstaller, FileInstaller, SlotInstaller
from edgeswarm.content.manifest import ArtifactKind
from edgeswarm.errors import ActivationError, ConfigError, ContentError, NoSpaceError, StoreError
from edgeswarm.files import FaultyFiles, OsFiles


@dataclass
class Kind:
    """One kind of target, so that each test runs for both."""

    make: Callable[..., SlotInstaller]
    artifact: Callable[[int], Artifact]
    wrong: Callable[[int], Artifact]


KINDS = {
    "file": Kind(FileInstaller, lambda seed: file_artifact(noise(seed, 400_000)), sample_tree),
    "directory": Kind(DirectoryInstaller, sample_tree, lambda seed: file_artifact(noise(seed, 1000))),
}


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def target(tmp_path: Path) -> str:
    return str(tmp_path / "app")


def stage(installer: Installer, artifact: Artifact, version: str) -> Installed:
    return installer.stage(artifact.manifest, version, artifact.read, ignore)


def install(installer: Installer, artifact: Artifact, version: str) -> Installed:
    stage(installer, artifact, version)
    return installer.activate()


def slot_folder(installer: SlotInstaller) -> Path:
    path = Path(installer.target)
    return path.parent / f".{path.name}.edgeswarm"


def test_a_fresh_target_has_nothing(kind: Kind, target: str) -> None:
    installer: Installer = kind.make(target)
    assert (installer.staged(), installer.active(), installer.previous(), installer.confirmed()) == (None, None, None, False)
    with pytest.raises(ActivationError, match="no release is staged"):
        installer.activate()
    with pytest.raises(ActivationError, match="no previous release"):
        installer.rollback()
    with pytest.raises(ActivationError, match="no active release"):
        installer.confirm()
    assert os.listdir(os.path.dirname(target)) == []


def test_stage_activate_confirm_and_roll_back(kind: Kind, target: str) -> None:
    installer = kind.make(target)
    old, new = kind.artifact(1), kind.artifact(2)

    staged = stage(installer, old, "1.0")
    assert staged.manifest == old.manifest.digest
    assert staged == installer.staged()
    assert not os.path.lexists(target)

    assert installer.activate() == installer.active() == staged
    assert not installer.confirmed()
    installer.confirm()
    assert installer.confirmed()
    before = snapshot(target)

    install(installer, new, "2.0")
    assert snapshot(target) != before
    assert not installer.confirmed()
    assert installer.staged() is None
    assert installer.previous() == staged

    again = kind.make(target)  # a restart
    assert again.rollback() == staged == again.active()
    assert snapshot(target) == before
    assert again.confirmed()
    with pytest.raises(ActivationError, match="no previous release"):
        again.rollback()


def test_installed_path_reads_as_the_target_does(kind: Kind, target: str) -> None:
    installer = kind.make(target)
    installed = install(installer, kind.artifact(1), "1.0")
    before = snapshot(target)
    install(installer, kind.artifact(2), "2.0")
    assert snapshot(installed.path) == before


def test_progress_adds_up_to_the_size(kind: Kind, target: str) -> None:
    artifact, counts = kind.artifact(1), []
    installer = kind.make(target)
    for _ in range(2):
        installer.stage(artifact.manifest, "1.0", artifact.read, counts.append)
        assert sum(counts) == artifact.manifest.root.size
        counts.clear()


def test_staging_twice_writes_once_and_reads_nothing(kind: Kind, target: str) -> None:
    artifact = kind.artifact(1)
    installer = kind.make(target)
    first = stage(installer, artifact, "1.0")
    artifact.reads.clear()
    assert stage(installer, artifact, "1.0") == first
    assert artifact.reads == []


def test_staging_what_is_active_changes_nothing(kind: Kind, target: str) -> None:
    artifact = kind.artifact(1)
    installer = kind.make(target)
    active = install(installer, artifact, "1.0")
    stage(installer, kind.artifact(2), "2.0")
    assert stage(installer, artifact, "1.0") == active
    assert installer.staged() is None


def test_another_release_replaces_the_staged_one(kind: Kind, target: str) -> None:
    installer = kind.make(target)
    first = stage(installer, kind.artifact(1), "1.0")
    second = stage(installer, kind.artifact(2), "2.0")
    assert installer.staged() == second
    assert not os.path.exists(first.path)


@pytest.mark.parametrize("keep", [1, 2])
def test_keep_says_how_far_back_one_can_go(kind: Kind, target: str, keep: int) -> None:
    installer = kind.make(target, keep=keep)
    for seed in (1, 2, 3, 4):
        install(installer, kind.artifact(seed), f"{seed}.0")
    wanted = [kind.artifact(seed).manifest.digest for seed in (3, 2)[:keep]]
    slots = [name for name in os.listdir(slot_folder(installer)) if len(name) == 64]
    assert sorted(slots) == sorted([digest.hex() for digest in wanted] + [kind.artifact(4).manifest.digest.hex()])
    assert [installer.rollback().manifest for _ in range(keep)] == wanted


def test_a_release_can_come_back(kind: Kind, target: str) -> None:
    installer = kind.make(target)
    old = kind.artifact(1)
    install(installer, old, "1.0")
    before = snapshot(target)
    install(installer, kind.artifact(2), "2.0")
    old.reads.clear()
    install(installer, old, "1.0 again")
    assert old.reads == []  # its slot was still whole
    assert snapshot(target) == before
    assert installer.rollback().version == "2.0"


def test_a_previous_slot_that_was_edited_is_built_anew(kind: Kind, target: str) -> None:
    installer = kind.make(target)
    old = kind.artifact(1)
    install(installer, old, "1.0")
    before = snapshot(target)
    path = _some_file(target)
    install(installer, kind.artifact(2), "2.0")
    _flip(str(path).replace(target, installer.previous().path) if os.path.isdir(target) else installer.previous().path)
    install(installer, old, "1.0 again")
    assert snapshot(target) == before


def _some_file(target: str) -> Path:
    return Path(target) / "bin/tool" if os.path.isdir(target) else Path(target)


def _flip(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(200_000)
        byte = file.read(1)[0]
        file.seek(200_000)
        file.write(bytes([byte ^ 1]))


def test_rotten_bits_are_never_activated(kind: Kind, target: str) -> None:
    installer = kind.make(target)
    install(installer, kind.artifact(1), "1.0")
    before = snapshot(target)
    staged = stage(installer, kind.artifact(2), "2.0")
    _flip(str(_some_file(staged.path)))
    with pytest.raises(ActivationError, match="no longer verifies"):
        installer.activate()
    assert snapshot(target) == before
    assert installer.staged() is None
    install(installer, kind.artifact(2), "2.0")
    assert installer.active().version == "2.0"


def test_a_lost_slot_record_is_like_rotten_bits(kind: Kind, target: str) -> None:
    installer = kind.make(target)
    stage(installer, kind.artifact(1), "1.0")
    record = slot_folder(installer) / f"{kind.artifact(1).manifest.digest.hex()}.slot"
    record.write_bytes(record.read_bytes()[:-1])
    with pytest.raises(ActivationError, match="no longer verifies"):
        installer.activate()


def test_wrong_bytes_are_refused_and_good_ones_kept(kind: Kind, target: str) -> None:
    artifact = kind.artifact(1)
    last = artifact.manifest.chunk(len(artifact.manifest) - 1).offset
    installer = kind.make(target)

    def lie(offset: int, length: int) -> bytes:
        return bytes(length) if offset == last else artifact.read(offset, length)

    with pytest.raises(ContentError, match="wanted digest"):
        installer.stage(artifact.manifest, "1.0", lie, ignore)
    assert installer.staged() is None
    artifact.reads.clear()
    stage(installer, artifact, "1.0")
    assert len(artifact.reads) <= 3  # the chunk that was wrong, entries, and the chunk of small files behind it
    assert snapshot(installer.activate().path)


def test_an_error_of_the_store_leaves_the_part_for_later(kind: Kind, target: str) -> None:
    artifact = kind.artifact(1)

    def gone(offset: int, length: int) -> bytes:
        if offset > 150_000:
            raise StoreError("the chunk is gone")
        return artifact.read(offset, length)

    installer = kind.make(target)
    with pytest.raises(StoreError, match="gone"):
        installer.stage(artifact.manifest, "1.0", gone, ignore)
    assert [name for name in os.listdir(slot_folder(installer)) if name.endswith(".part")]
    install(installer, artifact, "1.0")
    assert not [name for name in os.listdir(slot_folder(installer)) if name.endswith(".part")]


def test_a_kind_of_artifact_that_does_not_fit_is_refused(kind: Kind, target: str) -> None:
    artifact = kind.wrong(1)
    with pytest.raises(ActivationError, match="takes"):
        stage(kind.make(target), artifact, "1.0")


def test_no_space_is_seen_before_anything_is_written(kind: Kind, target: str) -> None:
    files = FaultyFiles(OsFiles(), quota_bytes=380_000 if kind is KINDS["file"] else 280_000)
    installer = kind.make(target, files=files)
    with pytest.raises(NoSpaceError, match="staging needs"):
        stage(installer, kind.artifact(1), "1.0")
    assert sorted(os.listdir(slot_folder(installer))) == ["reserve", "state.json"]


class _FullLater(OsFiles):
    """Says that there is room and then there is none."""

    __slots__ = ()

    def free_bytes(self, path: str) -> int:
        return 1 << 40


def test_no_space_in_the_middle_leaves_nothing_behind(kind: Kind, target: str) -> None:
    inner = FaultyFiles(_FullLater(), quota_bytes=250_000)
    inner.free_bytes = inner.inner.free_bytes  # type: ignore[method-assign]  # the file system promised what it cannot keep
    installer = kind.make(target, files=inner)
    with pytest.raises(NoSpaceError, match="disk is full"):
        stage(installer, kind.artifact(1), "1.0")
    assert sorted(os.listdir(slot_folder(installer))) == ["reserve", "state.json"]
    inner.quota_bytes = None
    install(installer, kind.artifact(1), "1.0")


def test_a_full_disk_does_not_prevent_rolling_back(kind: Kind, target: str) -> None:
    files = FaultyFiles(OsFiles())
    installer = kind.make(target, files=files)
    install(installer, kind.artifact(1), "1.0")
    before = snapshot(target)
    install(installer, kind.artifact(2), "2.0")
    files.quota_bytes = files.used_bytes() + 10
    assert installer.rollback().version == "1.0"
    assert snapshot(target) == before
    installer.confirm()


def test_without_the_reserve_a_full_disk_is_an_error_and_the_target_stays(kind: Kind, target: str) -> None:
    files = FaultyFiles(OsFiles())
    installer = kind.make(target, files=files)
    install(installer, kind.artifact(1), "1.0")
    install(installer, kind.artifact(2), "2.0")
    before = snapshot(target)
    files.unlink(str(slot_folder(installer) / "reserve"))
    files.quota_bytes = files.used_bytes()
    with pytest.raises(NoSpaceError, match="roll back"):
        installer.rollback()
    assert snapshot(target) == before
    assert installer.active().version == "2.0"


def test_a_damaged_state_is_not_a_reason_to_stop(kind: Kind, target: str, caplog: pytest.LogCaptureFixture) -> None:
    installer = kind.make(target)
    install(installer, kind.artifact(1), "1.0")
    before = snapshot(target)
    state = slot_folder(installer) / "state.json"
    state.write_bytes(state.read_bytes().replace(b"1.0", b"1.1"))
    stage(installer, kind.artifact(2), "2.0")
    assert "damaged" in caplog.text
    assert snapshot(target) == before
    installer.activate()
    is_tree = kind is KINDS["directory"]  # its symlink names the slot
    assert installer.previous().manifest == (kind.artifact(1).manifest.digest if is_tree else UNMANAGED)
    assert snapshot(installer.previous().path) == before
    installer.rollback()
    assert snapshot(target) == before


def test_a_newer_state_is_refused(kind: Kind, target: str) -> None:
    from edgeswarm.content.digest import digest

    installer = kind.make(target)
    install(installer, kind.artifact(1), "1.0")
    state = slot_folder(installer) / "state.json"
    line = state.read_bytes().splitlines()[0].replace(b'"format":1', b'"format":2')
    state.write_bytes(line + b"\n" + digest(line).hex().encode() + b"\n")
    with pytest.raises(ActivationError, match="newer edgeswarm"):
        installer.active()


def test_a_target_that_somebody_removed_holds_nothing(kind: Kind, target: str) -> None:
    installer = kind.make(target)
    install(installer, kind.artifact(1), "1.0")
    os.unlink(target)
    assert installer.active() is None
    install(installer, kind.artifact(1), "1.0")
    assert installer.active() is not None


@pytest.mark.parametrize("bad", ["app", "", "/", "/a/../b", "/a//b", "/a/b/", "/a/\0"])
def test_targets_must_be_absolute_and_normalised(kind: Kind, bad: str) -> None:
    with pytest.raises(ConfigError, match="target"):
        kind.make(bad)


def test_keep_must_be_at_least_one(kind: Kind, target: str) -> None:
    with pytest.raises(ConfigError, match="keep"):
        kind.make(target, keep=0)


def test_a_missing_folder_is_an_activation_error(kind: Kind, target: str) -> None:
    with pytest.raises(ActivationError, match="No such file"):
        stage(kind.make(f"{target}/missing/app"), kind.artifact(1), "1.0")


def test_a_slot_folder_that_is_a_symlink_is_refused(kind: Kind, target: str, tmp_path: Path) -> None:
    installer = kind.make(target)
    (tmp_path / "elsewhere").mkdir()
    slot_folder(installer).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ActivationError, match="File exists"):
        stage(installer, kind.artifact(1), "1.0")
    assert os.listdir(tmp_path / "elsewhere") == []


def test_what_cannot_be_pruned_does_not_stop_an_activation(kind: Kind, target: str, caplog: pytest.LogCaptureFixture) -> None:
    class _Stubborn(OsFiles):
        __slots__ = ()

        def rmtree(self, path: str) -> None:
            raise OSError(errno.EBUSY, "busy", path)

    installer = kind.make(target, files=_Stubborn())
    for seed in (1, 2, 3):
        install(installer, kind.artifact(seed), f"{seed}.0")
    assert "cannot remove" in caplog.text


def test_describe_names_the_slots(kind: Kind, target: str) -> None:
    installer = kind.make(target)
    assert installer.describe() == "empty"
    install(installer, kind.artifact(1), "1.0")
    stage(installer, kind.artifact(2), "2.0")
    assert installer.describe().startswith("active 1.0 (")
    assert "staged 2.0 (" in installer.describe()


def test_images_are_files(tmp_path: Path) -> None:
    artifact = file_artifact(noise(9, 100_000), ArtifactKind.IMAGE)
    installer = FileInstaller(str(tmp_path / "disk.img"))
    install(installer, artifact, "1.0")
    assert (tmp_path / "disk.img").read_bytes() == artifact.stream


def test_what_nobody_needs_stays_until_the_next_release_is_built(kind: Kind, target: str) -> None:
    """The next release may be read from it: a fix of what was rolled back is mostly what was rolled back."""
    installer = kind.make(target)
    old, bad, fix = (kind.artifact(n) for n in (1, 2, 3))
    for artifact in (old, bad):
        install(installer, artifact, "x")
    installer.rollback()
    slot = slot_folder(installer) / bad.manifest.digest.hex()

    def read(offset: int, length: int) -> bytes:
        assert slot.exists()
        return fix.read(offset, length)

    installer.stage(fix.manifest, "x", read, ignore)
    assert fix.reads
    assert not slot.exists()


def test_what_nobody_needs_makes_room_for_the_next_release(kind: Kind, target: str) -> None:
    class SmallFiles(OsFiles):
        __slots__ = ()

        def free_bytes(self, path: str) -> int:
            return 0 if slot.exists() else super().free_bytes(path)

    installer = kind.make(target)
    old, bad, fix = (kind.artifact(n) for n in (1, 2, 3))
    slot = slot_folder(installer) / bad.manifest.digest.hex()
    for artifact in (old, bad):
        install(installer, artifact, "x")
    installer.rollback()
    install(kind.make(target, files=SmallFiles()), fix, "x")
    assert installer.active().manifest == fix.manifest.digest


def test_what_the_progress_raises_stops_a_stage_and_an_activation(kind: Kind, target: str) -> None:
    class StoppedError(Exception):
        pass

    counts: list[int] = []

    def stop(count: int) -> None:
        counts.append(count)
        raise StoppedError

    installer = kind.make(target)
    artifact = kind.artifact(1)
    for _ in range(2):  # also while it looks at what the first try left
        with pytest.raises(StoppedError):
            installer.stage(artifact.manifest, "1.0", artifact.read, stop)
    assert counts == [artifact.manifest.chunk(0).size, 0]
    stage(installer, artifact, "1.0")
    with pytest.raises(StoppedError):
        installer.activate(stop)
    assert not os.path.lexists(target)
    counts.clear()
    installer.activate(counts.append)
    assert sum(counts) == artifact.manifest.root.size
