from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from activation_artifacts import Artifact, ignore, sample_tree, snapshot, tree_artifact

from edgeswarm.activation import UNMANAGED, DirectoryInstaller
from edgeswarm.activation.exchange import exchange
from edgeswarm.content.manifest import ArtifactKind, build_manifest
from edgeswarm.content.tree import Entry, EntryType
from edgeswarm.errors import ActivationError, ContentError

OLD, NEW = sample_tree(1), sample_tree(2)


def install(installer: DirectoryInstaller, artifact: Artifact) -> None:
    installer.stage(artifact.manifest, "x", artifact.read, ignore)
    installer.activate()


def bits(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_type_of_entry_and_its_mode(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        install(DirectoryInstaller(str(tmp_path / "app")), OLD)
    finally:
        os.umask(before)
    app = tmp_path / "app"
    assert os.readlink(app) == f".app.edgeswarm/{OLD.manifest.digest.hex()}"
    assert (app / "etc/a.conf").read_bytes() == b"a = 1\n"
    assert (app / "bin/zero").read_bytes() == (app / "last").read_bytes() == b""
    assert os.readlink(app / "bin/alias") == "tool"
    assert (app / "bin/zwei").samefile(app / "bin/tool")
    names = ["", "bin/tool", "etc", "etc/empty", "etc/a.conf", "etc/b.conf", "last"]
    assert [bits(app / name) for name in names] == [0o755, 0o755, 0o555, 0o750, 0o600, 0o444, 0o644]
    assert bits(tmp_path / ".app.edgeswarm") == 0o755
    assert sorted(snapshot(str(app))) == sorted(
        ["bin", "bin/alias", "bin/tool", "bin/zero", "bin/zwei", "conf", "etc", "etc/a.conf", "etc/b.conf", "etc/empty", "last"]
    )


def test_slots_share_no_files(tmp_path: Path) -> None:
    """A file that is edited in one release must not change in another."""
    installer = DirectoryInstaller(str(tmp_path / "app"))
    install(installer, OLD)
    install(installer, NEW)
    assert not (tmp_path / "app/etc/b.conf").samefile(Path(installer.previous().path) / "etc/b.conf")


@pytest.mark.parametrize(("keep", "wanted"), [(False, 0o755), (True, 0o6755)])
def test_setuid_is_dropped_unless_asked_for(tmp_path: Path, keep: bool, wanted: int) -> None:
    install(DirectoryInstaller(str(tmp_path / "app"), keep_special_bits=keep), sample_tree(1, mode=0o6755))
    assert bits(tmp_path / "app/bin/tool") == wanted


def test_the_owner_can_always_read(tmp_path: Path) -> None:
    entries = [Entry("secret", EntryType.FILE, 0, 5), Entry("shut", EntryType.DIRECTORY, 0)]
    install(DirectoryInstaller(str(tmp_path / "app")), tree_artifact(entries, {"secret": b"hello"}))
    assert bits(tmp_path / "app/secret") == 0o400
    assert bits(tmp_path / "app/shut") == 0o500


def test_an_empty_tree(tmp_path: Path) -> None:
    install(DirectoryInstaller(str(tmp_path / "app")), tree_artifact([], {}))
    assert os.listdir(tmp_path / "app") == []


def test_a_directory_that_was_there_is_swapped_and_kept(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "data").write_text("mine")
    installer = DirectoryInstaller(str(app))
    install(installer, OLD)
    assert app.is_symlink()
    assert installer.previous().manifest == UNMANAGED
    assert (Path(installer.previous().path) / "data").read_text() == "mine"
    installer.rollback()
    assert (app / "data").read_text() == "mine"
    for artifact in (OLD, NEW, sample_tree(3), sample_tree(4)):
        install(installer, artifact)
    assert (tmp_path / ".app.edgeswarm/original/data").read_text() == "mine"


def test_two_directories_that_were_there_are_both_kept(tmp_path: Path) -> None:
    app = tmp_path / "app"
    installer = DirectoryInstaller(str(app))
    for artifact, text in ((OLD, "one"), (NEW, "two")):
        if app.is_symlink():
            app.unlink()
        app.mkdir()
        (app / "data").write_text(text)
        install(installer, artifact)
    assert (tmp_path / ".app.edgeswarm/original/data").read_text() == "one"
    assert (tmp_path / ".app.edgeswarm/original-1/data").read_text() == "two"
    installer.rollback()
    assert (app / "data").read_text() == "two"


def test_where_swapping_is_impossible_it_says_what_to_do(tmp_path: Path) -> None:
    def refuse(one: str, other: str) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    app = tmp_path / "app"
    app.mkdir()
    installer = DirectoryInstaller(str(app), swap=refuse)
    with pytest.raises(ActivationError, match=r"mv .*app.old.* activate again"):
        install(installer, OLD)
    assert app.is_dir()
    assert not app.is_symlink()
    app.rename(tmp_path / "app.old")
    installer.activate()
    assert (app / "bin/tool").exists()


@pytest.mark.parametrize("relative", [True, False])
def test_a_symlink_that_was_there_is_remembered(tmp_path: Path, relative: bool) -> None:
    (tmp_path / "app-0").mkdir()
    (tmp_path / "app-0/data").write_text("mine")
    text = "app-0" if relative else str(tmp_path / "app-0")
    (tmp_path / "app").symlink_to(text)
    installer = DirectoryInstaller(str(tmp_path / "app"))
    install(installer, OLD)
    assert (Path(installer.previous().path) / "data").read_text() == "mine"
    installer.rollback()
    assert os.readlink(tmp_path / "app") == text


def test_a_file_as_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app").write_text("mine")
    with pytest.raises(ActivationError, match="is a file"):
        install(DirectoryInstaller(str(tmp_path / "app")), OLD)
    assert (tmp_path / "app").read_text() == "mine"


def test_the_target_of_the_symlink_moves_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    install(DirectoryInstaller(str(tmp_path / "one/app")), OLD)
    (tmp_path / "one").rename(tmp_path / "two")
    assert (tmp_path / "two/app/etc/a.conf").read_bytes() == b"a = 1\n"
    assert DirectoryInstaller(str(tmp_path / "two/app")).active().manifest == OLD.manifest.digest


def test_a_leftover_part_is_cleaned_and_not_followed(tmp_path: Path) -> None:
    """Whatever lies in a part: symlinks to the outside, wrong types, strangers, read-only files."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/tool").write_text("untouched")
    part = tmp_path / f".app.edgeswarm/{OLD.manifest.digest.hex()}.part"
    (part / "etc").mkdir(parents=True)
    (part / "bin").symlink_to(tmp_path / "outside")
    (part / "last").symlink_to(tmp_path / "outside/tool")
    (part / "etc/a.conf").mkdir()
    (part / "etc/a.conf/deep").write_text("x")
    (part / "etc/b.conf").write_bytes(b"b = 1\n and more")
    (part / "etc/b.conf").chmod(0o400)
    (part / "etc/empty").write_text("no directory")
    (part / "stranger").mkdir()
    (part / "conf").write_text("no symlink")
    install(DirectoryInstaller(str(tmp_path / "app")), OLD)
    install(DirectoryInstaller(str(tmp_path / "fresh")), OLD)
    assert snapshot(str(tmp_path / "app")) == snapshot(str(tmp_path / "fresh"))
    assert (tmp_path / "outside/tool").read_text() == "untouched"
    assert os.listdir(tmp_path / "outside") == ["tool"]


def test_a_leftover_part_that_is_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    folder = tmp_path / ".app.edgeswarm"
    folder.mkdir()
    (folder / f"{OLD.manifest.digest.hex()}.part").symlink_to(tmp_path / "outside")
    install(DirectoryInstaller(str(tmp_path / "app")), OLD)
    assert os.listdir(tmp_path / "outside") == []


def test_entries_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    whole = tree_artifact([Entry("a", EntryType.FILE, 0o644, 5)], {"a": b"hello"})
    manifest = whole.manifest
    rows = [(manifest.chunk(0).digest, manifest.chunk(0).size), (manifest.chunk(1).digest, 4)]
    lying = build_manifest(ArtifactKind.TREE, rows, manifest.root.entries).manifest
    with pytest.raises(ContentError, match="add up"):
        DirectoryInstaller(str(tmp_path / "app")).stage(lying, "1", whole.read, ignore)


def test_exchange_swaps(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").write_text("two")
    exchange(str(tmp_path / "one"), str(tmp_path / "two"))
    assert (tmp_path / "one").read_text() == "two"
    assert (tmp_path / "two").is_dir()
    with pytest.raises(FileNotFoundError):
        exchange(str(tmp_path / "one"), str(tmp_path / "three"))
