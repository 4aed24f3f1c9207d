from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgeswarm.abc import ChunkStore
from edgeswarm.content.digest import Digest, digest
from edgeswarm.content.manifest import ArtifactKind, build_manifest
from edgeswarm.errors import ChunkMissingError, ContentError, NoSpaceError, StoreError
from edgeswarm.files import CrashError, FaultyFiles, OsFiles
from edgeswarm.store import MemoryStore, Store
from edgeswarm.store import append as append_module
from edgeswarm.store import segments as segments_module
from edgeswarm.testing.store import DURABLE_CHECKS, STORE_CHECKS, MakeStore, check_store, sample_chunks

OWNER, OTHER = digest(b"a"), digest(b"b")
CHUNKS = sample_chunks(12)


def open_durable(path: str) -> ChunkStore:
    return Store.open(path)


def open_memory(path: str) -> ChunkStore:
    return MemoryStore()


@pytest.mark.parametrize("check", STORE_CHECKS + DURABLE_CHECKS, ids=lambda check: check.__name__)
def test_durable_store_conforms(check: Callable[[MakeStore, str], None], tmp_path: Path) -> None:
    check(open_durable, str(tmp_path))


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_memory_store_conforms(check: Callable[[MakeStore, str], None], tmp_path: Path) -> None:
    check(open_memory, str(tmp_path))


def test_the_suite_notices_a_store_that_does_not_verify(tmp_path: Path) -> None:
    class Trusting(MemoryStore):
        def _read_installed(self, wanted: Digest) -> bytes | None:
            found = next(((r, p[wanted]) for r, p in self._links.values() if wanted in p), None)
            return found and found[0](*found[1])

    with pytest.raises(AssertionError, match="file has changed"):
        check_store(lambda path: Trusting(), str(tmp_path), durable=False)


def segment_files(path: Path) -> list[Path]:
    return sorted((path / "segments").iterdir())


def test_a_second_opener_is_told_who_has_it(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
        Store.open(str(tmp_path / "s"))
    store.close()
    Store.open(str(tmp_path / "s")).close()


def test_bit_rot_becomes_a_miss_and_can_be_put_again(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    store.put(CHUNKS, owner=OWNER)
    (file,) = segment_files(tmp_path / "s")
    data = bytearray(file.read_bytes())
    data[data.index(CHUNKS[3][1]) + 5] ^= 1
    file.write_bytes(data)
    with pytest.raises(ChunkMissingError):
        store.get(CHUNKS[3][0])
    assert store.have([name for name, _ in CHUNKS]) == bytes(index != 3 for index in range(12))
    store.put(CHUNKS, owner=OWNER)
    assert store.get(CHUNKS[3][0]) == CHUNKS[3][1]
    store.close()


def test_a_segment_that_vanished_or_shrank_is_forgotten_at_open(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    store.put(CHUNKS[:4], owner=OWNER)
    store.put(CHUNKS[4:8], owner=OTHER)
    store.close()
    first, second = segment_files(tmp_path / "s")
    first.unlink()
    os.truncate(second, second.stat().st_size - 1)
    store = Store.open(str(tmp_path / "s"))
    assert store.have([name for name, _ in CHUNKS]) == b"\0\0\0\0\1\1\1\0\0\0\0\0"
    store.put(CHUNKS, owner=OTHER)
    assert [store.get(name) for name, _ in CHUNKS] == [data for _, data in CHUNKS]
    store.close()


def test_what_a_crash_left_behind_the_end_is_cut_off_and_orphans_go(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    store.put(CHUNKS[:4], owner=OWNER)
    store.close()
    (file,) = segment_files(tmp_path / "s")
    size = file.stat().st_size
    with file.open("ab") as stream:
        stream.write(b"torn")
    (file.parent / f"{99:016x}.seg").write_bytes(b"orphan")
    (file.parent / "notes.txt").write_bytes(b"not ours")
    store = Store.open(str(tmp_path / "s"))
    assert [path.name for path in segment_files(tmp_path / "s")] == [file.name, "notes.txt"]
    assert file.stat().st_size == size
    store.put(CHUNKS[4:], owner=OWNER)
    assert [store.get(name) for name, _ in CHUNKS] == [data for _, data in CHUNKS]
    store.close()


def test_the_quota_and_the_reserve_refuse_before_anything_is_written(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"), quota_bytes=3000)
    store.put(CHUNKS[:2], owner=OWNER)
    with pytest.raises(NoSpaceError, match="quota of 3000"):
        store.put(CHUNKS[2:4], owner=OWNER)
    assert store.have([name for name, _ in CHUNKS[:4]]) == b"\1\1\0\0"
    assert store.collect() > 0
    store.put(CHUNKS[2:4], owner=OWNER)
    store.close()
    store = Store.open(str(tmp_path / "s"), min_free_bytes=1 << 60)
    store.put(CHUNKS[2:4], owner=OWNER)  # needs no room
    with pytest.raises(NoSpaceError, match="free on the disk"):
        store.put(CHUNKS[4:5], owner=OWNER)
    store.close()


def test_memory_store_has_a_quota_too() -> None:
    store = MemoryStore(quota_bytes=3000)
    store.put(CHUNKS[:3], owner=OWNER)
    store.put(CHUNKS[:3], owner=OWNER)
    with pytest.raises(NoSpaceError):
        store.put(CHUNKS[3:4], owner=OWNER)


def scenario(path: str, files: FaultyFiles, acknowledged: dict[bytes, bytes], *, again: bool = False) -> None:
    """Puts, a roll over, a collection with a rewrite; notes what the store acknowledged and must still hold."""
    store = Store.open(path, files=files, min_free_bytes=0)
    try:
        store.keep(OWNER, "kept")
        for at in range(0, 6, 2):
            store.put(CHUNKS[at : at + 2], owner=OWNER)
            acknowledged.update(CHUNKS[at : at + 2])
        store.put(CHUNKS[6:10], owner=OTHER)
        store.require(OWNER, [CHUNKS[6][0]])
        acknowledged.update(CHUNKS[6:7])
        store.collect()
        store.put(CHUNKS[10:], owner=OWNER)
        acknowledged.update(CHUNKS[10:])
    finally:
        store.close()


def check_survival(path: str, acknowledged: dict[bytes, bytes], *, unreadable: int = 0) -> None:
    store = Store.open(path)
    assert store.recovery == ""
    missing = [name for name in acknowledged if not store.have([name])[0]]
    assert len(missing) <= unreadable
    assert all(store.get(name) == data for name, data in acknowledged.items() if name not in missing)
    for name, held in zip(CHUNKS, store.have([name for name, _ in CHUNKS]), strict=True):
        assert not held or store.get(name[0]) == name[1]
    store.put(CHUNKS, owner=OWNER)
    assert [store.get(name) for name, _ in CHUNKS] == [data for _, data in CHUNKS]
    store.close()


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (append_module, segments_module):
        monkeypatch.setattr(module, "SEGMENT_MAX_BYTES", 4000)


def count_operations(tmp_path: Path) -> int:
    files = FaultyFiles(OsFiles())
    scenario(str(tmp_path / "count"), files, {})
    assert len(segment_files(tmp_path / "count")) > 1
    return len(files.operations)


@pytest.mark.slow
@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_any_file_operation_may_fail(error: int, tmp_path: Path) -> None:
    failures: dict[str, type[StoreError]] = {}
    for number in range(1, count_operations(tmp_path) + 1):
        files, acknowledged = FaultyFiles(OsFiles(), fail_at=number, error=error), {}
        path = str(tmp_path / str(number))
        try:
            scenario(path, files, acknowledged)
        except StoreError as caught:
            failures[files.operations[number - 1].split()[0]] = type(caught)
        assert files.failed
        # A sector that can't be read is a chunk that is missing: the one case in which something is lost.
        reading = error == errno.EIO and files.operations[number - 1].startswith(("pread", "open"))
        check_survival(path, acknowledged, unreadable=int(reading))
    full = NoSpaceError if error == errno.ENOSPC else StoreError
    assert failures["pwrite"] is failures["datasync"] is failures["sync_directory"] is full


@pytest.mark.slow
@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("after", [False, True])
def test_any_file_operation_may_be_the_last(after: bool, tmp_path: Path) -> None:
    for number in range(1, count_operations(tmp_path) + 1):
        files, acknowledged = FaultyFiles(OsFiles(), fail_at=number, error=None, after=after), {}
        path = str(tmp_path / str(number))
        with pytest.raises(CrashError):
            scenario(path, files, acknowledged)
        check_survival(path, acknowledged)


def test_a_full_disk_harms_nothing_and_gives_the_space_back(tmp_path: Path) -> None:
    files = FaultyFiles(OsFiles(), quota_bytes=5000)
    store = Store.open(str(tmp_path / "s"), files=files, min_free_bytes=0)
    store.put(CHUNKS[:2], owner=OWNER)
    held = store.statistics().segment_bytes
    files.quota_bytes = 2500  # so that the preflight, which asks the file system, has seen more
    files.inner = type("Roomy", (OsFiles,), {"free_bytes": lambda self, path: 1 << 40})()
    files.free_bytes = files.inner.free_bytes  # type: ignore[method-assign] # a preflight that is wrong
    with pytest.raises(NoSpaceError):
        store.put(CHUNKS[2:], owner=OWNER)
    assert files.used_bytes() == held
    assert store.have([name for name, _ in CHUNKS]) == b"\1\1" + bytes(10)
    files.quota_bytes = None
    store.put(CHUNKS[2:], owner=OWNER)
    assert [store.get(name) for name, _ in CHUNKS] == [data for _, data in CHUNKS]
    store.close()


def test_a_file_that_failed_to_sync_is_never_written_again(tmp_path: Path) -> None:
    files = FaultyFiles(OsFiles())
    store = Store.open(str(tmp_path / "s"), files=files)
    store.put(CHUNKS[:2], owner=OWNER)
    (first,) = segment_files(tmp_path / "s")
    at = len(files.operations)
    store.put(CHUNKS[2:3], owner=OWNER)
    sync = next(n for n, name in enumerate(files.operations[at:], at) if name.startswith("datasync"))
    files.fail_at = len(files.operations) + sync - at + 1
    with pytest.raises(StoreError, match="put"):
        store.put(CHUNKS[3:4], owner=OWNER)
    assert files.failed
    assert files.operations[files.fail_at - 1] == f"datasync {first}"
    size = first.stat().st_size
    store.put(CHUNKS[3:5], owner=OWNER)
    store.close()
    store = Store.open(str(tmp_path / "s"))
    store.put(CHUNKS[5:6], owner=OWNER)
    assert first.stat().st_size == size
    assert [store.get(name) for name, _ in CHUNKS[:6]] == [data for _, data in CHUNKS[:6]]
    store.close()


def test_order_is_write_sync_directory_then_index(tmp_path: Path) -> None:
    class Watching(OsFiles):
        held: ClassVar[list[int]] = []

        def sync_directory(self, path: str) -> None:
            super().sync_directory(path)
            if path.endswith("segments"):
                with sqlite3.connect(tmp_path / "s" / "index.sqlite") as connection:
                    self.held.append(connection.execute("SELECT count(*) FROM chunks").fetchone()[0])
                connection.close()

    files = FaultyFiles(Watching())
    store = Store.open(str(tmp_path / "s"), files=files)
    at = len(files.operations)
    store.put(CHUNKS[:2], owner=OWNER)
    assert [name.split()[0] for name in files.operations[at:]] == ["free_bytes", "open", "pwrite", "datasync", "sync_directory"]
    assert Watching.held == [0]
    store.close()


def test_a_full_index_is_no_space(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    pages = store._database.query("PRAGMA page_count")[0][0]
    store._database._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(NoSpaceError, match="full"):
        store.save_object("large", bytes(100_000))
    with pytest.raises(NoSpaceError, match="full"):
        store.put([(digest(data), data) for data in (index.to_bytes(2, "big") for index in range(500))], owner=OWNER)
    assert store.statistics().segment_bytes == 0
    assert segment_files(tmp_path / "s") == []
    store.close()


def damage_index(path: Path) -> None:
    data = bytearray((path / "index.sqlite").read_bytes())
    data[:100] = bytes(100)
    (path / "index.sqlite").write_bytes(data)


def fill(path: Path) -> None:
    store = Store.open(str(path))
    store.keep(OWNER, "kept")
    store.put(CHUNKS[:6], owner=OWNER)
    store.put(CHUNKS[6:], owner=OTHER)
    store.save_object("state", b"7")
    store.close()


def test_a_damaged_index_is_rebuilt_from_the_segments(tmp_path: Path) -> None:
    fill(tmp_path / "s")
    damage_index(tmp_path / "s")
    store = Store.open(str(tmp_path / "s"))
    assert "damaged" in store.recovery
    assert [store.get(name) for name, _ in CHUNKS] == [data for _, data in CHUNKS]
    store.put(CHUNKS, owner=OWNER)
    store.close()
    store = Store.open(str(tmp_path / "s"))
    assert store.recovery == ""
    store.close()
    assert sorted(os.listdir(tmp_path / "s")) == ["index.sqlite", "lock", "segments"]


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_an_index_that_is_gone_is_rebuilt(how: str, tmp_path: Path) -> None:
    fill(tmp_path / "s")
    (tmp_path / "s" / "index.sqlite").unlink()
    if how == "empty":
        (tmp_path / "s" / "index.sqlite").touch()
    store = Store.open(str(tmp_path / "s"))
    assert "gone" in store.recovery
    assert [store.get(name) for name, _ in CHUNKS] == [data for _, data in CHUNKS]
    store.close()


def damage_chunks_table(path: Path) -> None:
    connection = sqlite3.connect(path / "index.sqlite")
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'chunks'").fetchone()[0]
    connection.close()
    data = bytearray((path / "index.sqlite").read_bytes())
    data[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    (path / "index.sqlite").write_bytes(data)


def test_damage_found_in_use_is_rebuilt_at_the_next_opening_and_objects_and_pins_are_saved(tmp_path: Path) -> None:
    fill(tmp_path / "s")
    damage_chunks_table(tmp_path / "s")
    store = Store.open(str(tmp_path / "s"))
    with pytest.raises(StoreError, match="open the store again"):
        store.get(CHUNKS[0][0])
    store.close()
    store = Store.open(str(tmp_path / "s"))
    assert "damaged while in use" in store.recovery
    assert store.load_object("state") == b"7"
    assert store.pins() == {OWNER: "kept"}
    store.collect()
    assert store.have([name for name, _ in CHUNKS]) == b"\1" * 6 + b"\0" * 6
    store.close()


@pytest.mark.slow
def test_a_rebuild_may_crash_anywhere(tmp_path: Path) -> None:
    finished, number = False, 0
    while not finished:
        number += 1
        path = tmp_path / str(number)
        fill(path)
        damage_chunks_table(path)
        (path / "index.sqlite-suspect").touch()
        files = FaultyFiles(OsFiles(), fail_at=number, error=None)
        try:
            Store.open(str(path), files=files).close()
            finished = True
        except CrashError:
            pass
        store = Store.open(str(path))
        assert not (path / "index-damaged").exists()
        assert store.load_object("state") == b"7"
        assert [store.get(name) for name, _ in CHUNKS] == [data for _, data in CHUNKS]
        store.close()
    assert number > 30


def test_a_chunk_that_has_moved_is_not_forgotten(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    store.put(CHUNKS[:1], owner=OWNER)
    row = store._index.find(CHUNKS[0][0])
    assert row is not None
    store._index.forget(row._replace(segment=row.segment + 1))
    store._index.forget(row._replace(offset=row.offset + 1))
    assert store._index.find(CHUNKS[0][0]) == row
    store._index.forget(row)
    assert store._index.find(CHUNKS[0][0]) is None
    store.close()


def test_the_index_is_as_durable_as_the_crash_tests_found_necessary(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    assert store._database._writer.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert store._database._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    Store.open(str(tmp_path / "s")).close()
    connection = sqlite3.connect(tmp_path / "s" / "index.sqlite")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(StoreError, match="has schema 2, this edgeswarm knows 1"):
        Store.open(str(tmp_path / "s"))


def test_a_damaged_object_is_loud(tmp_path: Path) -> None:
    fill(tmp_path / "s")
    connection = sqlite3.connect(tmp_path / "s" / "index.sqlite")
    connection.execute("UPDATE objects SET data = x'38'")
    connection.commit()
    connection.close()
    store = Store.open(str(tmp_path / "s"))
    with pytest.raises(StoreError, match="'state': damaged"):
        store.load_object("state")
    store.close()


@pytest.mark.usefixtures("small_segments")
def test_pages_of_an_installed_release_survive_in_a_rewritten_segment(tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    installed.write_bytes(b"".join(data for _, data in CHUNKS[:10]))
    manifest = build_manifest(ArtifactKind.FILE, [(name, len(data)) for name, data in CHUNKS[:10]]).manifest
    store = Store.open(str(tmp_path / "s"))
    store.keep(manifest.digest, "active")
    store.put(CHUNKS, owner=manifest.digest)
    before = store.statistics().segment_bytes
    store.link(manifest, str(installed))
    freed = store.collect()
    assert freed == before - store.statistics().segment_bytes
    assert sum(path.stat().st_size for path in segment_files(tmp_path / "s")) == store.statistics().segment_bytes
    assert store.collect() == 0
    assert 2 <= store.statistics().chunks <= 6
    assert [store.get(name) for name, _ in CHUNKS] == [data for _, data in CHUNKS]
    store.close()


def test_a_chunk_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_module, "RECORD_MAX_BYTES", 999)
    store = Store.open(str(tmp_path / "s"))
    with pytest.raises(ContentError, match="at most 999"):
        store.put(CHUNKS[:1], owner=OWNER)
    assert segment_files(tmp_path / "s") == []
    store.close()


@pytest.mark.slow
@pytest.mark.usefixtures("small_segments")
def test_readers_run_beside_puts_and_collections(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    store.keep(OWNER, "kept")
    store.put(CHUNKS, owner=OWNER)
    stop, errors = threading.Event(), []

    def read() -> None:
        try:
            while not stop.is_set():
                for name, data in CHUNKS:
                    assert store.get(name) == data
        except BaseException as error:  # carried to the test's thread
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    fresh = [(digest(data), data) for data in (index.to_bytes(4, "big") * 200 for index in range(1000, 1200))]
    for at in range(0, len(fresh), 10):
        store.put(CHUNKS[::3] + fresh[at : at + 10], owner=OTHER)
        store.collect()
    stop.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert store.statistics().chunks == len(CHUNKS)
    store.close()


KILLED = """
import os, sys
from edgeswarm.store import Store
from edgeswarm.testing.store import sample_chunks
store = Store.open(sys.argv[1])
for number, chunk in enumerate(sample_chunks(100_000)):
    store.put([chunk], owner=b"o" * 32)
    os.write(1, b"%d\\n" % number)
"""


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 40])
def test_sigkill_loses_nothing_that_was_acknowledged(lines: int, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "s")], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        seen += process.stdout.readlines()
    acknowledged = [int(line) for line in seen if line.endswith(b"\n")]
    store = Store.open(str(tmp_path / "s"))
    for name, data in sample_chunks(acknowledged[-1] + 1):
        assert store.get(name) == data
    store.close()


class Twins(RuleBasedStateMachine):
    """The durable store and its twin in memory answer alike, also across restarts."""

    chunks = sample_chunks(8, 400)
    some = st.lists(st.sampled_from(chunks), max_size=4)
    owners = st.sampled_from([OWNER, OTHER])

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.durable = Store.open(self.folder.name + "/s")
        self.memory = MemoryStore()

    @rule(chunks=some, owner=owners)
    def put(self, chunks: list[tuple[Digest, bytes]], owner: Digest) -> None:
        self.durable.put(chunks, owner=owner)
        self.memory.put(chunks, owner=owner)

    @rule(owner=owners)
    def keep(self, owner: Digest) -> None:
        self.durable.keep(owner, "why")
        self.memory.keep(owner, "why")

    @rule(owner=owners)
    def release(self, owner: Digest) -> None:
        # Only collections define what is left, so that both see the same needs.
        self.durable.release(owner)
        self.memory.release(owner)
        self.collect()

    @rule()
    def collect(self) -> None:
        self.durable.collect()
        self.memory.collect()

    @precondition(lambda self: self.memory.pins())
    @rule()
    def reopen(self) -> None:
        self.durable.close()
        self.durable = Store.open(self.folder.name + "/s")

    @invariant()
    def durable_holds_at_least_what_is_needed(self) -> None:
        # A segment of which more than half is needed stays, so the durable store may hold more, never less.
        names = [name for name, _ in self.chunks]
        for (name, data), here, there in zip(self.chunks, self.memory.have(names), self.durable.have(names), strict=True):
            assert there >= here
            assert not there or self.durable.get(name) == data
        assert self.durable.pins() == self.memory.pins()

    def teardown(self) -> None:
        self.durable.close()
        self.folder.cleanup()


class TestTwins(Twins.TestCase):  # type: ignore[misc] # built by hypothesis
    pytestmark = pytest.mark.slow
    settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
