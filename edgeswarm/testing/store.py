"""Conformance suite of `abc.ChunkStore`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..abc import ChunkStore
from ..content.digest import Digest, digest
from ..content.manifest import ArtifactKind, Manifest, build_manifest
from ..content.tree import Entry, EntryType, encode_entries
from ..errors import ChunkMissingError, ContentError, EdgeswarmError, StoreError

MakeStore = Callable[[str], ChunkStore]
"""Opens the store that is kept in a directory, or makes one; the directory's parent exists."""

_CHUNK_BYTES = 1000
_OWNER = digest(b"owner")
_OTHER = digest(b"other owner")


def check_store(make_store: MakeStore, directory: str, *, durable: bool = True) -> None:
    """Run every check of the suite.

    Args:
        make_store: Opens or makes the store of a directory.
        directory: An empty directory to work in; absolute path.
        durable: Whether a store that is opened again must hold what it held.

    Raises:
        AssertionError: The implementation breaks a promise of `abc.ChunkStore`; the message says which.
    """
    for check in STORE_CHECKS + (DURABLE_CHECKS if durable else ()):
        place = os.path.join(directory, check.__name__)
        os.mkdir(place)
        check(make_store, place)


def check_put_and_get(make_store: MakeStore, place: str) -> None:
    """What was put is had and read; what was not put is missing."""
    chunks = sample_chunks(5)
    with _open(make_store, place) as store:
        store.put(chunks[:4], owner=_OWNER)
        store.put(chunks[:2], owner=_OWNER)
        store.put([], owner=_OWNER)
        for name, data in chunks[:4]:
            _expect(store.get(name) == data, "get returns what was put")
        _expect(store.have([name for name, _ in chunks]) == b"\1\1\1\1\0", "have tells what is here, in the order asked")
        _expect(store.have([]) == b"", "have of nothing is empty")
        _expect_error(ChunkMissingError, lambda: store.get(chunks[4][0]), "get of a chunk that is not here")
        found = store.statistics()
        _expect((found.chunks, found.chunk_bytes) == (4, 4 * _CHUNK_BYTES), "statistics count each chunk once")
        _expect(found.segment_bytes >= found.chunk_bytes, "segments hold at least the chunks")


def check_room(make_store: MakeStore, place: str) -> None:
    """Whether chunks fit can be asked before they are fetched, and asking changes nothing."""
    with _open(make_store, place) as store:
        store.check_room(0)
        store.check_room(_CHUNK_BYTES)
        _expect(store.statistics().segment_bytes == 0, "asking for room writes nothing")
    _expect_error(StoreError, lambda: store.check_room(1), "asking a closed store")


def check_wrong_bytes(make_store: MakeStore, place: str) -> None:
    """A put with one wrong chunk stores none."""
    good, (name, _) = sample_chunks(2)
    with _open(make_store, place) as store:
        _expect_error(ContentError, lambda: store.put([good, (name, b"wrong")], owner=_OWNER), "put of wrong bytes")
        _expect(store.have([good[0], name]) == b"\0\0", "a refused put stores nothing")


def check_same_chunk_twice(make_store: MakeStore, place: str) -> None:
    """A chunk that stands twice in a put is stored once."""
    chunk = sample_chunks(1)[0]
    with _open(make_store, place) as store:
        store.put([chunk, chunk], owner=_OWNER)
        _expect(store.get(chunk[0]) == chunk[1], "get returns it")
        _expect(store.statistics().chunks == 1, "it is held once")


def check_pins(make_store: MakeStore, place: str) -> None:
    """Collect frees what no pinned owner needs, and nothing else."""
    mine, shared, others = sample_chunks(3)
    with _open(make_store, place) as store:
        store.keep(_OWNER, "active release")
        store.put([mine, shared], owner=_OWNER)
        store.keep(_OTHER, "previous release")
        store.put([shared, others], owner=_OTHER)
        store.collect()
        _expect(store.have(_names(mine, shared, others)) == b"\1\1\1", "pinned chunks survive")
        store.release(_OWNER)
        _expect(store.collect() > 0, "collect says what it freed")
        _expect(store.have(_names(mine, shared, others)) == b"\0\1\1", "what the other owner put too survives")
        _expect(store.get(shared[0]) == shared[1], "and can be read")
        store.release(_OTHER)
        store.release(digest(b"nobody"))
        store.collect()
        _expect(store.have(_names(mine, shared, others)) == b"\0\0\0", "nothing is kept for nobody")
        _expect(store.collect() == 0, "a second collect finds nothing")


def check_require(make_store: MakeStore, place: str) -> None:
    """Chunks that an owner requires stay, whoever brought them."""
    mine, shared = sample_chunks(2)
    with _open(make_store, place) as store:
        store.put([mine, shared], owner=_OWNER)
        store.keep(_OTHER, "wants it too")
        store.require(_OTHER, [shared[0], digest(b"not here")])
        store.collect()
        _expect(store.have(_names(mine, shared)) == b"\0\1", "only what is required survives")
        _expect(store.get(shared[0]) == shared[1], "and can be read")


def check_linked_file(make_store: MakeStore, place: str) -> None:
    """An installed file is a source of its chunks, as long as it verifies."""
    chunks = sample_chunks(4)
    path = os.path.join(place, "installed")
    _write(path, b"".join(data for _, data in chunks))
    manifest = _manifest(ArtifactKind.FILE, chunks)
    names = _names(*chunks)
    with _open(make_store, place) as store:
        store.link(manifest, path)
        store.link(manifest, path)
        _expect(store.have(names) == b"\1\1\1\1", "linked chunks are here")
        _expect([store.get(name) for name in names] == [data for _, data in chunks], "and can be read")
        _expect(store.statistics().linked_chunks == 4, "statistics count them")
        _damage(path, 2 * _CHUNK_BYTES)
        _expect_error(ChunkMissingError, lambda: store.get(names[2]), "get of a chunk whose file has changed")
        _expect(store.have(names) == b"\1\1\0\1", "it counts as missing from then on")
        store.put([chunks[2]], owner=_OWNER)
        _expect(store.get(names[2]) == chunks[2][1], "and can be put again")
        store.put([chunks[3]], owner=_OWNER)
        store.unlink(manifest.digest, path)
        store.unlink(manifest.digest, path)
        _expect(store.have(names) == b"\0\0\1\1", "unlinked chunks are gone, but those that were put, installed or not")


def check_linked_tree(make_store: MakeStore, place: str) -> None:
    """An installed tree is a source of its chunks, its entries included; no symlink in it is followed."""
    first, second = (data for _, data in sample_chunks(2))
    rows = [Entry("d", EntryType.DIRECTORY, 0o755), Entry("d/a", EntryType.FILE, 0o644, len(first))]
    rows += [Entry("d/b", EntryType.HARDLINK, target="d/a"), Entry("e", EntryType.FILE, 0o600)]
    rows += [Entry("z", EntryType.FILE, 0o644, len(second))]
    entries = encode_entries(rows)
    chunks = [(digest(data), data) for data in (entries, first, second)]
    manifest = _manifest(ArtifactKind.TREE, chunks, len(entries))
    tree = os.path.join(place, "tree")
    os.makedirs(os.path.join(tree, "d"))
    _write(os.path.join(tree, "d", "a"), first)
    _write(os.path.join(tree, "z"), second)
    with _open(make_store, place) as store:
        _expect_error(ChunkMissingError, lambda: store.link(manifest, tree), "link of a tree whose entries are not here")
        store.put(chunks[:1], owner=_OWNER)
        store.link(manifest, tree)
        store.collect()
        _expect([store.get(name) for name, _ in chunks] == [data for _, data in chunks], "all chunks can be read")
        os.rename(os.path.join(tree, "d"), os.path.join(place, "moved"))
        os.symlink(os.path.join(place, "moved"), os.path.join(tree, "d"))
        _expect_error(ChunkMissingError, lambda: store.get(chunks[1][0]), "get through a symlink inside the tree")
        _expect(store.get(chunks[2][0]) == second, "other files are still read")


def check_linked_is_freed(make_store: MakeStore, place: str) -> None:
    """Collect frees pinned chunks only if the installed artifact verifies."""
    chunks = sample_chunks(4)
    path = os.path.join(place, "installed")
    _write(path, b"".join(data for _, data in chunks))
    _damage(path, 0)
    with _open(make_store, place) as store:
        store.keep(_OWNER, "installed")
        store.put(chunks, owner=_OWNER)
        store.link(_manifest(ArtifactKind.FILE, chunks), path)
        store.collect()
        _expect(store.statistics().chunks < 4, "chunks that can be read from the installed file are freed")
        _expect([store.get(name) for name, _ in chunks] == [data for _, data in chunks], "none is lost")


def check_objects(make_store: MakeStore, place: str) -> None:
    """Small objects are replaced, listed and removed by name."""
    with _open(make_store, place) as store:
        _expect(store.load_object("a/1") is None, "an unknown object is None")
        for name, data in (("a/1", b"old"), ("a/1", b"new"), ("a/2", b""), ("b%", b"x"), ("a_", b"y")):
            store.save_object(name, data)
        _expect(store.load_object("a/1") == b"new", "the last one counts")
        _expect(store.load_object("a/2") == b"", "an empty one is not None")
        _expect(store.list_objects("a/") == ["a/1", "a/2"], "listed by prefix, sorted")
        _expect(store.list_objects("b%") == ["b%"], "a prefix is text, not a pattern")
        store.delete_object("a/1")
        store.delete_object("a/1")
        _expect(store.list_objects("") == ["a/2", "a_", "b%"], "a deleted one is gone")
        store.save_objects({"c": b"1", "a_": b"2"}, gone=["a/2", "never"])
        _expect(store.list_objects("") == ["a_", "b%", "c"], "several are stored and removed together")
        _expect(store.load_object("a_") == b"2", "one of several is replaced")
        store.save_objects({"c": b"3"}, gone=["c"])
        _expect(store.load_object("c") == b"3", "what is both removed and stored is stored")


def check_closed(make_store: MakeStore, place: str) -> None:
    """After close everything but close is refused."""
    store = make_store(os.path.join(place, "store"))
    store.close()
    store.close()
    for use in (
        lambda: store.put(sample_chunks(1), owner=_OWNER),
        lambda: store.get(_OWNER),
        lambda: store.have([_OWNER]),
        lambda: store.save_object("a", b""),
        store.collect,
        store.statistics,
    ):
        _expect_error(StoreError, use, "use after close")


def check_reopen(make_store: MakeStore, place: str) -> None:
    """Chunks, objects, pins and links survive closing."""
    chunks = sample_chunks(3)
    path = os.path.join(place, "installed")
    _write(path, chunks[2][1])
    with _open(make_store, place) as store:
        store.keep(_OWNER, "kept")
        store.put(chunks[:1], owner=_OWNER)
        store.put(chunks[1:2], owner=_OTHER)
        store.link(_manifest(ArtifactKind.FILE, chunks[2:]), path)
        store.save_object("state", b"7")
    with _open(make_store, place) as store:
        _expect([store.get(name) for name, _ in chunks] == [data for _, data in chunks], "chunks survive")
        _expect(store.load_object("state") == b"7", "objects survive")
        store.collect()
        _expect(store.have(_names(*chunks)) == b"\1\0\1", "pins and links survive")
        store.put(chunks[1:2], owner=_OWNER)
        _expect(store.get(chunks[1][0]) == chunks[1][1], "the store is writable")


STORE_CHECKS: tuple[Callable[[MakeStore, str], None], ...] = (
    check_put_and_get,
    check_room,
    check_wrong_bytes,
    check_same_chunk_twice,
    check_pins,
    check_require,
    check_linked_file,
    check_linked_tree,
    check_linked_is_freed,
    check_objects,
    check_closed,
)
"""Checks for every store: each takes `make_store` and an empty directory of its own."""

DURABLE_CHECKS: tuple[Callable[[MakeStore, str], None], ...] = (check_reopen,)
"""Checks for stores that outlive their process."""


def sample_chunks(count: int, size: int = _CHUNK_BYTES) -> list[tuple[Digest, bytes]]:
    """Return different chunks of `size` bytes with their digests, the same every time."""
    chunks = [index.to_bytes(4, "big") * (size // 4) for index in range(count)]
    return [(digest(data), data) for data in chunks]


@contextmanager
def _open(make_store: MakeStore, place: str) -> Iterator[ChunkStore]:
    store = make_store(os.path.join(place, "store"))
    try:
        yield store
    finally:
        store.close()


def _manifest(kind: ArtifactKind, chunks: Sequence[tuple[Digest, bytes]], entries: int = 0) -> Manifest:
    return build_manifest(kind, [(name, len(data)) for name, data in chunks], entries).manifest


def _names(*chunks: tuple[Digest, bytes]) -> list[Digest]:
    return [name for name, _ in chunks]


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _damage(path: str, offset: int) -> None:
    """Flip a byte."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def _expect(met: bool, promise: str) -> None:
    if not met:
        raise AssertionError(f"broken promise: {promise}")


def _expect_error(wanted: type[EdgeswarmError], use: Callable[[], object], what: str) -> None:
    try:
        use()
    except wanted:
        return
    raise AssertionError(f"{what}: wanted {wanted.__name__}, got no error")
