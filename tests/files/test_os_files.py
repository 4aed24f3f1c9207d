from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from edgeswarm.files import OsFile, OsFiles

FILES = OsFiles()


def test_positioned_reads_and_writes(tmp_path: Path) -> None:
    file = FILES.open(str(tmp_path / "f"), create=True, mode=0o640)
    file.pwrite(b"world", 6)
    file.pwrite(memoryview(b"hello "), 0)
    file.pwrite(b"", 100)
    assert file.pread(100, 0) == b"hello world"
    assert file.pread(3, 9) == b"ld"
    assert file.pread(3, 11) == b""
    file.truncate(5)
    assert file.size() == 5
    file.datasync()
    file.close()
    file.close()
    assert stat.S_IMODE(os.stat(tmp_path / "f").st_mode) == 0o640
    assert FILES.read(str(tmp_path / "f"), 5) == b"hello"
    with pytest.raises(OSError, match="larger than 4") as caught:
        FILES.read(str(tmp_path / "f"), 4)
    assert caught.value.errno == errno.EFBIG


def test_short_reads_and_writes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pread, pwrite = os.pread, os.pwrite
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: pread(fd, min(length, 3), offset))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:2], offset))
    file = FILES.open(str(tmp_path / "f"), create=True)
    file.pwrite(b"0123456789", 0)
    assert file.pread(8, 1) == b"12345678"
    assert file.pread(100, 4) == b"456789"
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: 0)
    with pytest.raises(OSError, match="nothing was written"):
        file.pwrite(b"x", 0)
    file.close()


def test_open_takes_only_regular_files_and_follows_no_symlink(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        FILES.open(str(tmp_path / "fifo"))
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match="link") as caught:
        FILES.open(str(tmp_path / "link"))
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(FileExistsError):
        FILES.open(str(tmp_path / "file"), exclusive=True)
    with pytest.raises(FileNotFoundError):
        FILES.open(str(tmp_path / "none"))
    read_only = FILES.open(str(tmp_path / "file"), read_only=True)
    with pytest.raises(OSError, match="Bad file descriptor"):
        read_only.pwrite(b"y", 0)
    read_only.close()


def test_descriptors_are_not_inherited(tmp_path: Path) -> None:
    file = FILES.open(str(tmp_path / "f"), create=True)
    assert isinstance(file, OsFile)
    assert not os.get_inheritable(file._descriptor)
    file.close()


def test_names(tmp_path: Path) -> None:
    folder = str(tmp_path / "d")
    FILES.mkdir(folder)
    FILES.mkdir(folder)
    FILES.open(folder + "/b", create=True).close()
    FILES.link(folder + "/b", folder + "/a")
    with pytest.raises(FileExistsError):
        FILES.link(folder + "/b", folder + "/a")
    with pytest.raises(FileExistsError):
        FILES.mkdir(folder + "/a")
    FILES.symlink("nowhere", folder + "/s")
    assert FILES.readlink(folder + "/s") == "nowhere"
    assert FILES.exists(folder + "/s")
    assert not FILES.exists(folder + "/nowhere")
    FILES.rename(folder + "/a", folder + "/c")
    assert FILES.listdir(folder) == ["b", "c", "s"]
    FILES.unlink(folder + "/c")
    with pytest.raises(FileNotFoundError):
        FILES.unlink(folder + "/c")
    FILES.sync_directory(folder)
    with pytest.raises(NotADirectoryError):
        FILES.sync_directory(folder + "/b")
    assert FILES.free_bytes(folder) > 0


def test_rmtree_follows_no_symlink(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "link").symlink_to(tmp_path / "outside")
    FILES.rmtree(str(tmp_path / "tree"))
    FILES.rmtree(str(tmp_path / "tree"))
    assert sorted(os.listdir(tmp_path)) == ["outside"]
    assert (tmp_path / "outside" / "kept").exists()


def test_chmod_follows_no_symlink(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    (tmp_path / "link").symlink_to("file")
    FILES.chmod(str(tmp_path / "file"), 0)
    FILES.chmod(str(tmp_path / "file"), 0o4755)
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o4755
    with pytest.raises(OSError, match="is a symlink"):
        FILES.chmod(str(tmp_path / "link"), 0o777)
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o4755
