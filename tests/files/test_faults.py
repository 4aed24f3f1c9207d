from __future__ import annotations

import errno
from pathlib import Path

import pytest

from edgeswarm.files import CrashError, FaultyFiles, OsFiles


def work(files: FaultyFiles, folder: str) -> None:
    file = files.open(folder + "/a", create=True)
    try:
        file.pwrite(b"x", 0)
        file.datasync()
    finally:
        file.close()
    files.rename(folder + "/a", folder + "/b")
    files.sync_directory(folder)


def test_operations_are_counted_and_the_nth_fails(tmp_path: Path) -> None:
    files = FaultyFiles(OsFiles())
    work(files, str(tmp_path))
    names = ["open", "pwrite", "datasync", "rename", "sync_directory"]
    assert [name.split()[0] for name in files.operations] == names
    assert not files.failed
    for number in range(1, 6):
        files = FaultyFiles(OsFiles(), fail_at=number, error=errno.EIO)
        with pytest.raises(OSError, match="Input/output error") as caught:
            work(files, str(tmp_path))
        assert caught.value.errno == errno.EIO
        assert files.failed
        assert len(files.operations) == number
        files.mkdir(str(tmp_path))  # only that one fails


@pytest.mark.parametrize("after", [False, True])
def test_after_a_crash_nothing_works_and_nothing_handles_it(after: bool, tmp_path: Path) -> None:
    files = FaultyFiles(OsFiles(), fail_at=4, error=None, after=after)
    with pytest.raises(CrashError):
        work(files, str(tmp_path))
    assert (tmp_path / "b").exists() == after
    with pytest.raises(CrashError):
        files.exists(str(tmp_path))
    assert not issubclass(CrashError, Exception)


def test_a_write_beyond_the_quota_writes_what_fits(tmp_path: Path) -> None:
    files = FaultyFiles(OsFiles(), quota_bytes=10)
    a = files.open(str(tmp_path / "a"), create=True)
    a.pwrite(b"123456", 0)
    a.pwrite(b"abc", 2)  # takes no more room
    assert files.free_bytes(str(tmp_path)) == 4
    with pytest.raises(OSError, match="No space left") as caught:
        a.pwrite(b"789012345", 6)
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "a").read_bytes() == b"12abc67890"
    with pytest.raises(OSError, match="No space left"):
        a.truncate(11)
    a.truncate(4)
    a.close()
    assert files.used_bytes() == 4


def test_the_quota_follows_names(tmp_path: Path) -> None:
    root = str(tmp_path)
    files = FaultyFiles(OsFiles(), quota_bytes=100)
    files.mkdir(root + "/d")
    file = files.open(root + "/d/a", create=True)
    file.pwrite(bytes(60), 0)
    file.close()
    files.link(root + "/d/a", root + "/d/b")
    assert files.used_bytes() == 60
    files.unlink(root + "/d/a")
    assert files.used_bytes() == 60
    files.rename(root + "/d", root + "/e")
    files.rmtree(root + "/e")
    assert files.used_bytes() == 0
