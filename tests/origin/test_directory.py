from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
import trio

from edgeswarm.errors import ConfigError, FetchError, LocalProtocolError, ObjectMissingError, PublishError
from edgeswarm.origin import DirectoryOrigin, DirectoryWriter, directory, open_origin, open_writer
from edgeswarm.origin.static import StaticObject, open_object
from edgeswarm.origin.threads import THREADS


def leftovers(folder: Path) -> list[str]:
    return os.listdir(folder / ".tmp")


async def test_a_missing_folder_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="mounted") as caught:
        await DirectoryOrigin(str(tmp_path / "stick")).read("a", limit=1)
    assert caught.value.temporary
    assert not isinstance(caught.value, ObjectMissingError)


async def test_nothing_but_regular_files_below_the_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "origin"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "inside").write_bytes(b"inside")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to("..")
    (folder / "loop").symlink_to("loop")
    (folder / "in").symlink_to("inside")
    os.mkfifo(folder / "fifo")
    origin = DirectoryOrigin(str(folder))
    for name in ("out", "up/secret", "fifo", "up"):
        with pytest.raises(ObjectMissingError):
            await origin.read(name, limit=100)
    with pytest.raises(FetchError):
        await origin.read("loop", limit=100)
    assert await origin.read("in", limit=100) == b"inside"


async def test_a_folder_may_itself_be_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"a")
    (tmp_path / "link").symlink_to("real")
    assert await DirectoryOrigin(str(tmp_path / "link")).read("a", limit=1) == b"a"


async def test_no_file_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 100)
    os.mkfifo(tmp_path / "fifo")
    before = os.listdir("/proc/self/fd")
    origin = DirectoryOrigin(str(tmp_path))
    for name, offset in (("a", 0), ("a", 99), ("fifo", 0)):
        try:
            async with origin.stream(name, offset=offset, length=50) as pieces:
                async for _ in pieces:
                    break
            await origin.read(name, limit=200)
        except FetchError:
            pass
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("how", ["read", "open", "block"])
async def test_a_share_that_hangs_holds_nobody(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"a" * 100)
    before = os.listdir("/proc/self/fd")
    reached, goes_on, ended = trio.Event(), threading.Event(), threading.Event()

    def hang(*arguments: object) -> bytes:
        trio.from_thread.run_sync(reached.set)
        goes_on.wait(3)
        ended.set()
        return pread(*arguments)

    def hang_in_open(*arguments: object) -> StaticObject:
        found = open_object(*arguments)
        hang(found.descriptor, 1, 0)
        return found

    pread = os.pread
    monkeypatch.setattr("os.pread", hang) if how != "open" else monkeypatch.setattr(directory, "open_object", hang_in_open)
    origin = DirectoryOrigin(str(tmp_path))

    async def use() -> None:
        if how == "read":
            await origin.read("a", limit=100)
        async with origin.stream("a", offset=0, length=50) as pieces:
            assert [piece async for piece in pieces]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        await reached.wait()
        nursery.cancel_scope.cancel()
    assert not ended.is_set()
    goes_on.set()
    with trio.fail_after(5):
        while os.listdir("/proc/self/fd") != before:
            await trio.lowlevel.checkpoint()  # the thread closes the file when it comes back


class Hanging:
    """A share on which reads hang until it comes back.

    Attributes:
        begun: How many reads hang, or did.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.comes_back = threading.Event()
        self._pread = os.pread
        monkeypatch.setattr("os.pread", self._hang)

    def _hang(self, *arguments: int) -> bytes:
        trio.from_thread.run_sync(self._count)
        self.comes_back.wait(5)
        return self._pread(*arguments)

    def _count(self) -> None:
        self.begun += 1

    async def until(self, number: int) -> None:
        with trio.fail_after(5):
            while self.begun < number:
                await trio.lowlevel.checkpoint()


@pytest.fixture
def share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hanging]:
    (tmp_path / "a").write_bytes(b"a" * 100)
    share = Hanging(monkeypatch)
    yield share
    share.comes_back.set()


async def use(origin: DirectoryOrigin, how: str, got: list[bytes]) -> None:
    if how == "read":
        got.append(await origin.read("a", limit=100))
        return
    async with origin.stream("a", offset=0, length=100) as pieces:
        got.append(b"".join([piece async for piece in pieces]))


@pytest.mark.parametrize("how", ["read", "stream"])
async def test_what_hangs_takes_no_thread_from_others_and_is_not_waited_for(how: str, tmp_path: Path, share: Hanging) -> None:
    origin, got = DirectoryOrigin(str(tmp_path)), list[bytes]()
    async with trio.open_nursery() as nursery:
        for _ in range(THREADS):
            nursery.start_soon(use, origin, how, got)
        await share.until(THREADS)
        nursery.cancel_scope.cancel()
    assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
    for again in ("read", "stream"):
        with pytest.raises(FetchError, match="hang: is the share dead") as raised:
            await use(origin, again, got)
        assert raised.value.temporary
    assert (share.begun, got) == (THREADS, [])
    share.comes_back.set()
    with trio.fail_after(5):
        while not got:
            with suppress(FetchError):
                await use(origin, how, got)
    assert got == [b"a" * 100]


async def test_a_share_that_is_slow_is_waited_for(tmp_path: Path, share: Hanging) -> None:
    """Threads whose callers still wait do not count as hanging."""
    origin, got = DirectoryOrigin(str(tmp_path)), list[bytes]()
    async with trio.open_nursery() as nursery:
        for _ in range(THREADS + 3):
            nursery.start_soon(use, origin, "read", got)
        await share.until(THREADS)
        share.comes_back.set()
    assert got == [b"a" * 100] * (THREADS + 3)


async def test_who_was_cancelled_before_its_turn_does_not_count(tmp_path: Path, share: Hanging) -> None:
    origin, got = DirectoryOrigin(str(tmp_path)), list[bytes]()
    async with trio.open_nursery() as nursery:
        for _ in range(THREADS - 1):
            nursery.start_soon(use, origin, "read", got)
        await share.until(THREADS - 1)
        async with trio.open_nursery() as waiting:
            for _ in range(4):
                waiting.start_soon(use, origin, "read", got)
            await share.until(THREADS)
            waiting.cancel_scope.cancel()
        share.comes_back.set()
        await use(origin, "read", got)
    assert got == [b"a" * 100] * THREADS


async def test_a_failing_disk_is_a_temporary_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "a").write_bytes(b"a")
    found = open_object(str(tmp_path), "a")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", broken)
        with pytest.raises(FetchError, match="Input/output error") as caught:
            found.read(0, 1)
    assert caught.value.temporary
    found.close()


def test_an_object_is_whole_before_it_has_its_name(tmp_path: Path) -> None:
    writer = DirectoryWriter(str(tmp_path))

    def slow() -> Iterator[bytes]:
        yield b"first"
        assert not writer.exists("packs/x")
        yield b"second"

    writer.put("packs/x", slow())
    assert writer.get("packs/x", limit=11) == b"firstsecond"
    assert leftovers(tmp_path) == []


def test_files_can_be_read_by_a_web_server(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        DirectoryWriter(str(tmp_path / "origin")).put("packs/ab/x", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "origin/packs/ab/x").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "origin/packs/ab").stat().st_mode & 0o777 == 0o755


def test_every_step_is_durable_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_fsync, real_link, real_rename = os.fsync, os.link, os.rename

    def fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        steps.append("file" if os.path.isfile(path) else "folder " + os.path.relpath(path, tmp_path))
        real_fsync(descriptor)

    def link(source: str, target: str, **options: bool) -> None:
        steps.append("name")
        real_link(source, target, **options)

    def rename(source: str, target: str) -> None:
        steps.append("rename")
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(os, "rename", rename)
    writer = DirectoryWriter(str(tmp_path))
    writer.put("packs/ab/x", b"x")
    assert steps == ["folder .", "folder packs", "folder .", "file", "name", "folder packs/ab"]
    steps.clear()
    writer.put("packs/ab/x", b"y", replace=True)
    assert steps == ["file", "rename", "folder packs/ab"]


def test_a_full_disk_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = DirectoryWriter(str(tmp_path))
    writer.put("metadata/timestamp.json", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(PublishError, match="No space left"):
            writer.put("metadata/timestamp.json", b"new", replace=True)
    assert writer.get("metadata/timestamp.json", limit=9) == b"old"
    assert leftovers(tmp_path) == []


def test_a_stick_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_source: str, _target: str, **_options: bool) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    writer = DirectoryWriter(str(tmp_path))
    writer.put("packs/x", b"x")
    assert writer.get("packs/x", limit=1) == b"x"
    with pytest.raises(PublishError, match="other bytes"):
        writer.put("packs/x", b"y")


def test_of_two_writers_at_the_same_moment_one_wins(tmp_path: Path) -> None:
    other = DirectoryWriter(str(tmp_path))

    def overtaken(data: bytes) -> Iterator[bytes]:
        other.put("packs/x", b"same")
        yield data

    writer = DirectoryWriter(str(tmp_path))
    writer.put("packs/x", overtaken(b"same"))
    (tmp_path / "packs/x").unlink()
    with pytest.raises(PublishError, match="other bytes"):
        writer.put("packs/x", overtaken(b"else"))
    assert writer.get("packs/x", limit=4) == b"same"
    assert leftovers(tmp_path) == []


def test_the_lock_keeps_others_out(tmp_path: Path) -> None:
    second = DirectoryWriter(str(tmp_path), lock_seconds=0)
    with DirectoryWriter(str(tmp_path)).lock(), pytest.raises(PublishError, match=f"process {os.getpid()}"), second.lock():
        pass
    with DirectoryWriter(str(tmp_path), lock_seconds=0).lock():
        pass


def test_the_lock_is_waited_for(tmp_path: Path) -> None:
    waiting, got = threading.Event(), threading.Event()

    def second() -> None:
        waiting.set()
        with DirectoryWriter(str(tmp_path), lock_seconds=30).lock():
            got.set()

    with DirectoryWriter(str(tmp_path)).lock():
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        assert not got.is_set()
    thread.join(10)
    assert got.is_set()


def test_the_lock_is_let_go_when_the_publisher_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), DirectoryWriter(str(tmp_path)).lock():
        raise KeyError
    with DirectoryWriter(str(tmp_path), lock_seconds=0).lock():
        pass


def test_what_a_crash_left_is_removed_after_a_day(tmp_path: Path) -> None:
    writer = DirectoryWriter(str(tmp_path))
    (tmp_path / ".tmp").mkdir()
    for name, age in (("old", 90_000), ("young", 60)):
        (tmp_path / ".tmp" / name).write_bytes(b"half")
        os.utime(tmp_path / ".tmp" / name, (time.time() - age,) * 2)
    with writer.lock():
        assert leftovers(tmp_path) == ["young"]


def test_what_vanishes_while_leftovers_are_removed_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects are written without the lock: another publisher may finish one of its own at any moment."""
    folder = tmp_path / ".tmp"
    (folder / "folder").mkdir(parents=True)
    for name in ("a", "b"):
        (folder / name).touch()
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    real = os.scandir

    def overtaken(path: str) -> object:
        with real(path) as entries:
            found = list(entries)
        (folder / "a").unlink()
        return nullcontext(found)

    monkeypatch.setattr(os, "scandir", overtaken)
    with DirectoryWriter(str(tmp_path)).lock():
        assert leftovers(tmp_path) == ["folder"]


async def test_what_is_not_finished_is_no_object(tmp_path: Path) -> None:
    writer, origin = DirectoryWriter(str(tmp_path)), DirectoryOrigin(str(tmp_path))

    def blocks() -> Iterator[bytes]:
        yield b"half"
        (name,) = leftovers(tmp_path)
        assert (tmp_path / ".tmp").stat().st_mode & 0o007 == 0
        for hidden in (f".tmp/{name}", ".lock"):
            with pytest.raises(LocalProtocolError, match="starting with"):
                open_object(str(tmp_path), hidden)
        assert writer.names("packs") == []

    with writer.lock():
        writer.put("packs/x", blocks())
    assert await origin.read("packs/x", limit=4) == b"half"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    writer = DirectoryWriter(str(tmp_path / "file"))
    with pytest.raises(PublishError, match="cannot be published"):
        writer.put("a", b"a")
    with pytest.raises(PublishError, match="cannot be published"), writer.lock():
        pass


@pytest.mark.parametrize("where", ["ftp://host/x", "s3://bucket/x", "file://otherhost/x", "", "file://", "a\0b"])
def test_other_places_are_refused(where: str) -> None:
    with pytest.raises(ConfigError, match="origin"):
        open_origin(where)
    with pytest.raises(ConfigError, match="origin"):
        open_writer(where)


def test_nobody_publishes_over_http() -> None:
    with pytest.raises(ConfigError, match="http"):
        open_writer("http://host/x")


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert repr(open_origin("sub/origin")) == f"DirectoryOrigin({str(tmp_path / 'sub/origin')!r})"
    assert repr(open_origin("file:///srv/my%20origin")) == "DirectoryOrigin('/srv/my origin')"
    assert repr(open_writer("file:///srv/origin")) == "DirectoryWriter('/srv/origin')"
    assert repr(open_origin("https://user:secret@host/x", stall_seconds=5)) == "HttpOrigin('https://host/x/')"
    with pytest.raises(ConfigError, match="unknown option"):
        open_origin("http://host/", colour="blue")
