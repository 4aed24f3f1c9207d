from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from activation_artifacts import Artifact, file_artifact, ignore, noise

from edgeswarm.activation import UNMANAGED, FileInstaller
from edgeswarm.errors import ActivationError
from edgeswarm.files import OsFiles

OLD, NEW, NEWER = (file_artifact(noise(seed, 200_000)) for seed in (1, 2, 3))


def install(installer: FileInstaller, artifact: Artifact) -> None:
    installer.stage(artifact.manifest, "x", artifact.read, ignore)
    installer.activate()


def test_the_file_that_was_there_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "tool"
    target.write_bytes(b"by hand")
    target.chmod(0o711)
    installer = FileInstaller(str(target))
    install(installer, OLD)
    assert target.read_bytes() == OLD.stream
    assert installer.previous().manifest == UNMANAGED
    assert installer.rollback().manifest == UNMANAGED == installer.active().manifest
    assert target.read_bytes() == b"by hand"
    assert stat.S_IMODE(target.stat().st_mode) == 0o711
    install(installer, NEW)
    assert installer.rollback().manifest == UNMANAGED
    assert target.read_bytes() == b"by hand"


def test_the_original_goes_when_newer_releases_came(tmp_path: Path) -> None:
    target = tmp_path / "tool"
    target.write_bytes(b"by hand")
    installer = FileInstaller(str(target))
    install(installer, OLD)
    assert (tmp_path / ".tool.edgeswarm/original/tool").exists()
    install(installer, NEW)
    assert not (tmp_path / ".tool.edgeswarm/original").exists()
    assert installer.rollback().manifest == OLD.manifest.digest


@pytest.mark.parametrize(("mode", "special", "wanted"), [(0o644, False, 0o644), (0o4755, False, 0o755), (0o4755, True, 0o4755)])
def test_mode(tmp_path: Path, mode: int, special: bool, wanted: int) -> None:
    target = tmp_path / "tool"
    install(FileInstaller(str(target), mode=mode, keep_special_bits=special), OLD)
    assert stat.S_IMODE(target.stat().st_mode) == wanted


def test_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        install(FileInstaller(str(tmp_path / "tool"), mode=0o755), OLD)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "tool").stat().st_mode) == 0o755


def test_an_empty_file(tmp_path: Path) -> None:
    install(FileInstaller(str(tmp_path / "flag")), file_artifact(b""))
    assert (tmp_path / "flag").read_bytes() == b""


def test_an_open_reader_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "tool"
    installer = FileInstaller(str(target))
    install(installer, OLD)
    with target.open("rb") as reader:
        head = reader.read(1000)
        install(installer, NEW)
        install(installer, NEWER)
        assert head + reader.read() == OLD.stream
    assert target.read_bytes() == NEWER.stream


def test_a_symlink_or_directory_as_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"real")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "folder").mkdir()
    for name, word in (("link", "symlink"), ("folder", "directory")):
        with pytest.raises(ActivationError, match=word):
            install(FileInstaller(str(tmp_path / name)), OLD)
    assert (tmp_path / "real").read_bytes() == b"real"
    assert (tmp_path / "link").is_symlink()


class NoLinks(OsFiles):
    """A file system without hard links, such as FAT."""

    __slots__ = ()

    def link(self, source: str, target: str) -> None:
        raise OSError(errno.EPERM, "no hard links here", target)


def test_without_hard_links_it_copies(tmp_path: Path) -> None:
    target = tmp_path / "tool"
    target.write_bytes(b"by hand")
    installer = FileInstaller(str(target), files=NoLinks(), mode=0o755)
    install(installer, OLD)
    assert target.read_bytes() == OLD.stream
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert target.stat().st_nlink == 1
    installer.rollback()
    assert target.read_bytes() == b"by hand"


def test_linking_again_to_what_the_target_is_already(tmp_path: Path) -> None:
    """rename(2) of two links to one file does nothing and leaves both."""
    target = tmp_path / "tool"
    installer = FileInstaller(str(target))
    install(installer, OLD)
    state = tmp_path / ".tool.edgeswarm/state.json"
    state.unlink()
    installer.stage(OLD.manifest, "1", OLD.read, ignore)
    installer.activate()
    assert target.read_bytes() == OLD.stream
    assert not (tmp_path / ".tool.edgeswarm/switch").exists()


def test_a_directory_in_the_way_of_a_roll_back_stops_nothing_but_that(tmp_path: Path) -> None:
    target = tmp_path / "tool"
    installer = FileInstaller(str(target))
    for artifact in (OLD, NEW):
        install(installer, artifact)
    target.unlink()
    target.mkdir()
    for _ in range(2):
        with pytest.raises(ActivationError, match="is a directory"):
            installer.rollback()
        assert installer.previous().manifest == OLD.manifest.digest
    target.rmdir()
    assert installer.rollback().manifest == OLD.manifest.digest
    assert target.read_bytes() == OLD.stream
