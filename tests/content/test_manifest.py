from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeswarm.content.chunking import MAX_CHUNK_BYTES
from edgeswarm.content.digest import digest
from edgeswarm.content.manifest import (
    PAGE_MAX_BYTES,
    ROOT_MAX_BYTES,
    ArtifactKind,
    BuiltManifest,
    Manifest,
    Root,
    build_manifest,
    decode_root,
    load_from,
    load_manifest,
)
from edgeswarm.errors import ContentError

FILE, TREE = ArtifactKind.FILE, ArtifactKind.TREE
_FIELDS = ("kind", "chunking", "size", "chunks", "entries", "height", "body")


def rows(count: int, seed: int = 0, size: int = 0) -> list[tuple[bytes, int]]:
    dice = Random(seed)
    return [(dice.randbytes(32), size or dice.randint(1, MAX_CHUNK_BYTES)) for _ in range(count)]


def build(table: Iterable[tuple[bytes, int]], kind: ArtifactKind = FILE, entries: int = 0) -> BuiltManifest:
    return build_manifest(kind, table, entries)


def table_of(manifest: Manifest) -> list[tuple[bytes, int]]:
    return [(manifest.chunk(i).digest, manifest.chunk(i).size) for i in range(len(manifest))]


def root_with(**changes: Any) -> bytes:
    """Return the bytes of a good root of one chunk of 5 bytes with some fields changed; None drops one."""
    fields = msgpack.unpackb(build([(bytes(32), 5)]).manifest.root_bytes[1:])
    changed = {key: value for key, value in (fields | changes).items() if value is not None}
    return b"\1" + msgpack.packb(changed)


def leaf(table: list[tuple[bytes, int]]) -> bytes:
    names = b"".join(name for name, _ in table)
    return b"\1\0" + struct.pack(">I", len(table)) + names + b"".join(struct.pack(">I", size) for _, size in table)


def node(level: int, pages: list[tuple[bytes, int, int, int]]) -> bytes:
    """Return a node page of (digest, length, chunks, size)."""
    columns = b"".join(struct.pack(form, *column) for form, column in _columns(pages))
    return bytes([1, level]) + struct.pack(">I", len(pages)) + b"".join(page[0] for page in pages) + columns


def _columns(pages: list[tuple[bytes, int, int, int]]) -> list[tuple[str, list[int]]]:
    n = len(pages)
    return [(f">{n}I", [p[1] for p in pages]), (f">{n}Q", [p[2] for p in pages]), (f">{n}Q", [p[3] for p in pages])]


def by_hand(body: bytes, chunks: int, size: int, height: int) -> bytes:
    return Root(FILE, size, chunks, 0, height, body).encode()


# ---------------------------------------------------------------------- round trips and shapes


@pytest.mark.parametrize(
    ("count", "height"), [(0, 0), (1, 0), (108, 0), (115, 1), (2000, 1), pytest.param(25_000, 2, marks=pytest.mark.slow)]
)
def test_round_trip_through_root_and_pages(count: int, height: int) -> None:
    table = rows(count)
    built = build(table)
    assert built.manifest.root.height == height
    assert len(built.manifest.root_bytes) <= ROOT_MAX_BYTES
    loaded = load_from(built.manifest.root_bytes, dict(built.pages))
    assert table_of(loaded) == table
    assert loaded.digest == built.manifest.digest == digest(built.manifest.root_bytes)


@pytest.mark.slow
def test_round_trip_of_three_levels() -> None:
    names = Random(5).randbytes(32 * 250_000)
    table = [(names[i * 32 : i * 32 + 31] + b"\0", 1 + i % 77) for i in range(250_000)]  # ends in zero: shortest pages
    built = build(table)
    assert built.manifest.root.height == 3
    loaded = load_from(built.manifest.root_bytes, dict(built.pages))
    assert (loaded.digests, loaded.sizes) == (built.manifest.digests, built.manifest.sizes)
    assert loaded.root.size == sum(size for _, size in table)


def test_pages_are_small_and_named_by_digest() -> None:
    built = build(rows(25_000))
    assert all(digest(page) == name and len(page) <= PAGE_MAX_BYTES for name, page in built.pages)


@pytest.mark.parametrize("entries", [0, 1, 200, 70_000])
def test_every_root_up_to_the_limit_fits(entries: int) -> None:
    """The room for rows depends on the lengths of the fields before them."""
    for kind in (FILE, ArtifactKind.IMAGE) if not entries else (TREE,):
        for count, size in ((count, size) for count in range(105, 118) for size in (700, 70_000, 262_144)):
            assert len(build(rows(count, size=size), kind, entries).manifest.root_bytes) <= ROOT_MAX_BYTES


def test_every_root_of_page_references_up_to_the_limit_fits() -> None:
    """Digests that end in zeros make leaves of 32 rows, so that the number of leaves is known."""
    heights = []
    for leaves in range(70, 82):
        built = build([(i.to_bytes(31, "big") + b"\0", MAX_CHUNK_BYTES) for i in range(32 * leaves)])
        heights.append(built.manifest.root.height)
        assert len(built.manifest.root_bytes) <= ROOT_MAX_BYTES
    assert heights == sorted(heights)
    assert set(heights) == {1, 2}


def test_pages_come_in_the_order_in_which_they_are_asked_for() -> None:
    built = build(rows(25_000))
    pages = dict(built.pages)
    loader = load_manifest(built.manifest.root_bytes)
    asked = refs = next(loader)
    for _ in range(built.manifest.root.height - 1):
        refs = loader.send([pages[ref.digest] for ref in refs])
        asked = asked + refs
    assert [(ref.digest, ref.length) for ref in asked] == [(name, len(page)) for name, page in built.pages]


def test_a_stream_of_equal_chunks_has_equal_pages_and_loads() -> None:
    built = build([(digest(bytes(MAX_CHUNK_BYTES)), MAX_CHUNK_BYTES)] * 30_000)
    assert len(dict(built.pages)) < len(built.pages)
    assert len(load_from(built.manifest.root_bytes, dict(built.pages))) == 30_000


def test_an_inserted_chunk_changes_few_pages() -> None:
    table = rows(20_000)
    old = build(table)
    new = build([*table[:9000], (b"n" * 32, 777), *table[9000:]])
    fresh = set(dict(new.pages)) - set(dict(old.pages))
    assert len(new.pages) > 50
    assert len(fresh) <= 4


@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.integers(1, MAX_CHUNK_BYTES)), max_size=150))
@settings(max_examples=50)
def test_round_trip(table: list[tuple[bytes, int]]) -> None:
    built = build(table)
    assert table_of(load_from(built.manifest.root_bytes, dict(built.pages))) == table


# ---------------------------------------------------------------------- the chunk table


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=40), data=st.data())
def test_locate_and_range_agree_with_counting(sizes: list[int], data: st.DataObject) -> None:
    manifest = build([(bytes([i] * 32), size) for i, size in enumerate(sizes)]).manifest
    owner = [i for i, size in enumerate(sizes) for _ in range(size)]
    offset = data.draw(st.integers(0, len(owner) - 1))
    length = data.draw(st.integers(0, len(owner) - offset))
    assert manifest.locate(offset) == owner[offset]
    assert list(manifest.range(offset, length)) == sorted(set(owner[offset : offset + length]))
    chunk = manifest.chunk(owner[offset])
    assert chunk.offset <= offset < chunk.offset + chunk.size


def test_outside_the_stream() -> None:
    manifest = build([(bytes(32), 5)]).manifest
    for wrong in (-1, 5):
        with pytest.raises(IndexError):
            manifest.locate(wrong)
    for wrong in (-1, 1):
        with pytest.raises(IndexError):
            manifest.chunk(wrong)
    with pytest.raises(IndexError):
        manifest.range(3, 3)
    assert list(manifest.range(5, 0)) == []


def test_find_returns_the_first_place() -> None:
    a, b = b"a" * 32, b"b" * 32
    manifest = build([(a, 1), (b, 2), (a, 1)]).manifest
    assert [manifest.find(a), manifest.find(b), manifest.find(b"c" * 32)] == [0, 1, None]


# ---------------------------------------------------------------------- what a builder refuses


@pytest.mark.parametrize("row", [(bytes(31), 5), (bytes(32), 0), (bytes(32), MAX_CHUNK_BYTES + 1)])
def test_impossible_chunks_are_not_built(row: tuple[bytes, int]) -> None:
    with pytest.raises(ContentError):
        build([row])


@pytest.mark.parametrize(("kind", "entries"), [(FILE, 1), (TREE, 0), (TREE, 6)])
def test_impossible_entries_are_not_built(kind: ArtifactKind, entries: int) -> None:
    with pytest.raises(ContentError, match="bytes of entries"):
        build([(bytes(32), 5)], kind, entries)


# ---------------------------------------------------------------------- malformed roots


def test_the_helper_makes_a_good_root() -> None:
    assert decode_root(root_with()).size == 5
    assert tuple(msgpack.unpackb(root_with()[1:])) == _FIELDS


@pytest.mark.parametrize("name", _FIELDS)
@pytest.mark.parametrize("value", [None, -1, 2**62, 2**64 - 1, 1.0, True, "text", b"bytes", [], [1], {}], ids=str)
def test_wrong_fields_are_refused(name: str, value: Any) -> None:
    if name == "body" and value == b"bytes":
        return  # bytes are what it must be; what is in them is looked at when the pages are read
    if value is None:
        fields = msgpack.unpackb(root_with()[1:])
        del fields[name]
        wrong = b"\1" + msgpack.packb(fields)
    else:
        wrong = root_with(**{name: value})
    with pytest.raises(ContentError):
        decode_root(wrong)


def test_unknown_fields_are_refused_unless_they_may_be_ignored() -> None:
    assert decode_root(root_with(**{"x-hint": [1]})).ignorable == {"x-hint": [1]}
    with pytest.raises(ContentError, match="recipe"):
        decode_root(root_with(recipe=b"r"))


def test_other_orders_and_encodings_are_refused() -> None:
    fields = msgpack.unpackb(root_with()[1:])
    turned = b"\1" + msgpack.packb(dict(reversed(fields.items())))
    padded = root_with().replace(b"\xa6chunks\x01", b"\xa6chunks\xcc\x01")
    unsorted = b"\1" + msgpack.packb(fields | {"x-b": 1, "x-a": 1})
    twice = root_with(**{"x-a": 1}).replace(b"\x88", b"\x89", 1) + msgpack.packb("x-a") + msgpack.packb(1)
    assert padded != root_with()
    for wrong in (turned, padded, unsorted, twice, root_with() + b"\0"):
        with pytest.raises(ContentError):
            decode_root(wrong)


@pytest.mark.parametrize("wrong", [b"", b"\1", b"\2" + root_with()[1:], b"\1\x80", b"\1\x90", b"\1\xc0", b"\1" + b"a" * 4096])
def test_other_things_are_refused(wrong: bytes) -> None:
    with pytest.raises(ContentError):
        decode_root(wrong)


@pytest.mark.parametrize("depth", [5, 500, 600, 1100, 3000])
def test_deep_ignorable_fields_raise_nothing_else(depth: int) -> None:
    plain = root_with()
    deep = plain[:1] + b"\x88" + plain[2:] + msgpack.packb("x-a") + b"\x91" * depth + b"\0"
    try:
        assert decode_root(deep).encode() == deep
    except ContentError:
        assert depth > 100


def test_fields_that_parse_and_cannot_be_packed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packer of msgpack 1.1 nests 511 deep, its parser 1024."""
    deep = root_with(**{"x-a": [[[]]]})

    def shallow(_value: object) -> bytes:
        raise ValueError("recursion limit exceeded")

    monkeypatch.setattr(msgpack, "packb", shallow)
    with pytest.raises(ContentError, match="nest too deep: recursion limit"):
        decode_root(deep)


# ---------------------------------------------------------------------- malformed pages


def two_leaves() -> tuple[list[bytes], list[tuple[bytes, int, int, int]]]:
    pages = [leaf(rows(3, seed=1, size=10)), leaf(rows(4, seed=2, size=20))]
    return pages, [(digest(pages[0]), len(pages[0]), 3, 30), (digest(pages[1]), len(pages[1]), 4, 80)]


def load_two(refs: list[tuple[bytes, int, int, int]], pages: list[bytes], chunks: int = 7, size: int = 110) -> Manifest:
    return load_from(by_hand(node(1, refs), chunks, size, 1), {digest(page): page for page in pages})


def test_pages_made_by_hand_load() -> None:
    pages, refs = two_leaves()
    assert table_of(load_two(refs, pages)) == rows(3, seed=1, size=10) + rows(4, seed=2, size=20)


def test_totals_must_agree_page_by_page() -> None:
    pages, (one, two) = two_leaves()
    for wrong in (
        [(one[0], one[1], 4, 30), (two[0], two[1], 3, 80)],  # right in all, wrong for each page
        [(one[0], one[1], 3, 31), (two[0], two[1], 4, 79)],
        [one],
        [one, two, two],
        [one, two, (digest(leaf([])), 6, 0, 0)],  # pages without chunks would cost requests for nothing
    ):
        with pytest.raises(ContentError):
            load_two(wrong, [*pages, leaf([])])
    for chunks, size in ((8, 110), (7, 111)):
        with pytest.raises(ContentError):
            load_two([one, two], pages, chunks, size)


@pytest.mark.parametrize("length", [0, 6, PAGE_MAX_BYTES + 1, 2**32 - 1])
def test_page_lengths_are_bounded_before_a_page_is_asked_for(length: int) -> None:
    refs = two_leaves()[1]
    loader = load_manifest(by_hand(node(1, [(refs[0][0], length, 3, 30), refs[1]]), 7, 110, 1))
    with pytest.raises(ContentError, match="up to 65536 bytes"):
        next(loader)


def test_a_page_without_chunks_is_not_asked_for() -> None:
    refs = two_leaves()[1]
    loader = load_manifest(by_hand(node(1, [*refs, (bytes(32), 42, 0, 0)]), 7, 110, 1))
    with pytest.raises(ContentError, match="must hold chunks"):
        next(loader)


def test_totals_of_node_pages_must_agree_page_by_page() -> None:
    pages, refs = two_leaves()
    nodes = [node(1, refs[:1]), node(1, refs[1:])]

    def root(first: tuple[int, int], second: tuple[int, int]) -> bytes:
        above = [(digest(nodes[0]), len(nodes[0]), *first), (digest(nodes[1]), len(nodes[1]), *second)]
        return by_hand(node(2, above), 7, 110, 2)

    at_hand = {digest(page): page for page in (*pages, *nodes)}
    assert len(load_from(root((3, 30), (4, 80)), at_hand)) == 7
    for first, second in (((4, 30), (3, 80)), ((3, 80), (4, 30))):
        loader = load_manifest(root(first, second))
        next(loader)
        with pytest.raises(ContentError, match="of level 1: wanted"):
            loader.send(nodes)


@pytest.mark.parametrize("size", [0, MAX_CHUNK_BYTES + 1])
def test_chunk_sizes_are_bounded(size: int) -> None:
    page = leaf([(bytes(32), size), (bytes(32), 9)])
    with pytest.raises(ContentError):
        load_from(by_hand(page, 2, size + 9, 0), {})


def test_wrong_and_missing_pages() -> None:
    pages, refs = two_leaves()
    root = by_hand(node(1, refs), 7, 110, 1)
    with pytest.raises(ContentError, match="is missing"):
        load_from(root, {refs[0][0]: pages[0]})
    with pytest.raises(ContentError, match="wanted digest"):
        load_from(root, {refs[0][0]: pages[0], refs[1][0]: pages[0]})


def _version(page: bytes) -> bytes:
    return b"\2" + page[1:]


def _level(page: bytes) -> bytes:
    return page[:1] + b"\1" + page[2:]


def _count(page: bytes) -> bytes:
    return page[:2] + b"\xff\xff\xff\xff" + page[6:]


@pytest.mark.parametrize(
    "change", [_version, _level, _count, lambda p: p[:-1], lambda p: p + b"\0", lambda _: b"", lambda p: p[:5]]
)
def test_malformed_pages_are_refused(change: Callable[[bytes], bytes]) -> None:
    page = change(leaf(rows(3, size=10)))
    with pytest.raises(ContentError):
        load_from(by_hand(page, 3, 30, 0), {})


@given(st.data())
@settings(max_examples=150)
def test_changed_roots_load_nothing_or_raise_content_error(data: st.DataObject) -> None:
    root = bytearray(build(rows(5)).manifest.root_bytes)
    for _ in range(data.draw(st.integers(1, 3))):
        root[data.draw(st.integers(0, len(root) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        root = root[: data.draw(st.integers(0, len(root)))]
    try:
        manifest = load_from(bytes(root), {})
    except ContentError:
        return
    assert manifest.root.encode() == bytes(root)


@given(st.binary(max_size=300))
def test_any_bytes_raise_content_error(data: bytes) -> None:
    for wrong in (data, b"\1" + data, b"\1\x87\xa4kind\xa4file" + data):
        with pytest.raises(ContentError):
            load_from(wrong, {})
