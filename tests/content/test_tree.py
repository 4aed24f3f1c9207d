from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeswarm.content import tree
from edgeswarm.content.tree import Entry, EntryType, check_path, decode_entries, encode_entries, place_files, runs
from edgeswarm.errors import ContentError

FILE, DIRECTORY, SYMLINK, HARDLINK = EntryType

_BAD_PATHS = {
    "empty": "",
    "root": "/",
    "absolute": "/etc/passwd",
    "double absolute": "//etc",
    "parent": "..",
    "climbs": "../x",
    "climbs inside": "a/../b",
    "climbs at the end": "a/..",
    "here": ".",
    "here inside": "a/./b",
    "here at the front": "./a",
    "empty part": "a//b",
    "ends in a slash": "a/",
    "NUL": "a\0b",
    "NUL alone": "\0",
    "name too long": "n" * 256,
    "name too long in bytes": "\u00fc" * 128,
    "path too long": "/".join(["n" * 200] * 21),
    "too deep": "/".join("d" * 257),
    "not UTF-8": "a\udc80",
}
_GOOD_PATHS = (
    "a",
    "a/b",
    "...",
    "..a",
    "a..",
    " ",
    "a b",
    "\n",
    "-rf",
    "~",
    "C:\\x",
    "n" * 255,
    "/".join("d" * 256),
    "\u00fcber/\U0001f600",
)


def directory(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, DIRECTORY, mode)


def file(path: str, size: int = 0, mode: int = 0o644) -> Entry:
    return Entry(path, FILE, mode, size)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, SYMLINK, target=target)


def hardlink(path: str, target: str) -> Entry:
    return Entry(path, HARDLINK, target=target)


def many(count: int) -> list[Entry]:
    return [file(f"{i:06}") for i in range(count)]


def packed(*entries: list[Any]) -> bytes:
    return b"\1" + msgpack.packb(list(entries))


# ---------------------------------------------------------------------- paths


@pytest.mark.parametrize("path", _BAD_PATHS.values(), ids=_BAD_PATHS)
def test_bad_paths_are_refused_wherever_they_stand(path: str) -> None:
    with pytest.raises(ContentError):
        check_path(path)
    with pytest.raises(ContentError):
        file(path)
    with pytest.raises(ContentError):
        hardlink("z", path)
    if path != _BAD_PATHS["not UTF-8"]:
        with pytest.raises(ContentError):
            decode_entries(packed([path, 0, 0o644, 0, ""]))


@pytest.mark.parametrize("path", _GOOD_PATHS)
def test_good_paths(path: str) -> None:
    check_path(path)


def test_raw_bytes_that_are_no_utf8_are_refused() -> None:
    row = b"\x95\xa1\xff\0\xcd\x01\xa4\0\xa0"
    with pytest.raises(ContentError, match="not msgpack"):
        decode_entries(b"\1\x91" + row)


# ---------------------------------------------------------------------- links


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("l", "/etc/passwd"),
        ("l", ".."),
        ("l", "../x"),
        ("a/l", "../../x"),
        ("a/b/l", "../../../x"),
        ("l", "x/../.."),
        ("l", "./.."),
        ("l", "a\0b"),
        ("l", "t" * 4096),
        ("l", "a\udc80"),
        ("l", ""),
    ],
)
def test_symlinks_that_leave_the_tree_are_refused(path: str, target: str) -> None:
    with pytest.raises(ContentError):
        symlink(path, target)


@pytest.mark.parametrize(
    "target", ["x", ".", "./x", "b", "b/c", "nowhere", "../x", "..", "../b", "b//c", "b/", "../b/../x", "b/../x"]
)
def test_symlinks_inside_the_tree_are_fine(target: str) -> None:
    entries = [directory("a"), directory("a/b"), symlink("a/l", target), directory("b"), file("x")]
    assert decode_entries(encode_entries(entries)) == tuple(entries)


@pytest.mark.parametrize(
    "entries",
    [
        [symlink("here", "."), symlink("out", "here/..")],
        [directory("a"), directory("a/b"), symlink("a/b/up", "../.."), symlink("z", "a/b/up/..")],
        [directory("a"), symlink("a/here", ".."), symlink("z", "a/here/../x")],
        [symlink("z", "nowhere/../x")],
        [file("f"), symlink("z", "f/../x")],
    ],
)
def test_a_climb_behind_anything_but_a_directory_is_refused(entries: list[Entry]) -> None:
    """`here -> .` and `out -> here/..` are each fine by their text, and together lead outside."""
    with pytest.raises(ContentError, match="not a directory here"):
        encode_entries(entries)


@pytest.mark.parametrize(
    "entries",
    [
        [hardlink("a", "b"), file("b")],
        [hardlink("a", "a")],
        [directory("a"), hardlink("b", "a")],
        [symlink("a", "x"), hardlink("b", "a")],
        [file("a"), hardlink("b", "a"), hardlink("c", "b")],
        [hardlink("b", "nowhere")],
    ],
)
def test_hard_links_need_an_earlier_regular_file(entries: list[Entry]) -> None:
    with pytest.raises(ContentError, match="no regular file"):
        encode_entries(entries)


# ---------------------------------------------------------------------- entries together


@pytest.mark.parametrize(
    "entries",
    [
        [file("b"), file("a")],
        [file("a"), file("a")],
        [file("a"), directory("a")],
        [directory("a"), file("a-b"), file("a/b"), file("a.b")],
        [file("a/b")],
        [file("a"), file("a/b")],
        [symlink("a", "b"), file("a/x"), directory("b")],
        [directory("a"), file("a/b"), hardlink("c", "a/b"), file("c/d")],
        [directory("a"), file("a/b/c")],
    ],
)
def test_entries_that_do_not_fit_together_are_refused(entries: list[Entry]) -> None:
    with pytest.raises(ContentError):
        encode_entries(entries)
    rows = [[e.path, int(e.type), e.mode, e.size, e.target] for e in entries]
    with pytest.raises(ContentError):
        decode_entries(packed(*rows))


def test_order_is_by_bytes_of_the_path() -> None:
    entries = [directory("a"), file("a-b"), file("a/b"), file("z"), file("\u00fc"), file("\U0001f600")]
    assert decode_entries(encode_entries(entries)) == tuple(entries)


@pytest.mark.parametrize(
    "row",
    [
        ["a", 4, 0, 0, ""],
        ["a", -1, 0, 0, ""],
        ["a", 0, 0o10000, 0, ""],
        ["a", 0, -1, 0, ""],
        ["a", 0, 0o644, -1, ""],
        ["a", 0, 0o644, 2**64 - 1, ""],
        ["a", 0, 0o644, 0, "target"],
        ["a", 1, 0o755, 1, ""],
        ["a", 1, 0o755, 0, "target"],
        ["a", 2, 0o777, 0, "b"],
        ["a", 2, 0, 5, "b"],
        ["a", 2, 0, 0, ""],
        ["a", True, 0, 0, ""],
        ["a", 0, 0o644, 1.0, ""],
        ["a", 0, 0o644, 0, None],
        [b"a", 0, 0o644, 0, ""],
        ["a", 0, 0o644, 0],
        ["a", 0, 0o644, 0, "", 0],
        ["a", [], 0, 0, ""],
        [],
        [[[[]]]],
        5,
        {},
        "text",
    ],
    ids=str,
)
def test_wrong_rows_are_refused(row: Any) -> None:
    with pytest.raises(ContentError):
        decode_entries(packed(row))


def test_other_encodings_are_refused() -> None:
    good = encode_entries([file("a", 5)])
    assert decode_entries(good)
    row = good[2:]
    for wrong in (
        b"",
        b"\1",
        b"\2" + good[1:],
        good + b"\0",
        good[:-1],
        b"\1\xdc\0\1" + row,  # the count in more bytes than needed
        b"\1\xdd\0\0\0\1" + row,
        b"\1\x92" + row,  # more rows promised than there are
        b"\1\x90" + row,
        b"\1\x81" + row,
        good.replace(b"\x05\xa0", b"\xcc\x05\xa0"),
    ):
        with pytest.raises(ContentError):
            decode_entries(wrong)


@pytest.mark.parametrize("count", [15, 16, pytest.param(65_536, marks=pytest.mark.slow)])
def test_every_form_of_the_count(count: int) -> None:
    entries = tuple(many(count))
    assert decode_entries(encode_entries(entries)) == entries


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x90" * 200_000,
        b"\x91" * 200_000,
        b"\x95" * 200_000,
        b"\xdd\0\x3d\x09\0" * 1000,
        b"\xdd\xff\xff\xff\xff",
        b"\x80" * 200_000,
    ],
    ids=["empty rows", "deep", "deep rows", "deep long lists", "longest list", "empty maps"],
)
def test_bombs_take_little_time_and_memory(bomb: bytes) -> None:
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(ContentError):
            decode_entries(b"\1\xdd\0\0\0\1" + bomb)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 2


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = many(21)
    data = encode_entries(entries)
    monkeypatch.setattr(tree, "MAX_ENTRIES", 20)
    with pytest.raises(ContentError, match="at most 20"):
        decode_entries(data)
    with pytest.raises(ContentError, match="at most 20"):
        encode_entries(entries)


def test_too_long_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_entries(many(20))
    monkeypatch.setattr(tree, "ENTRIES_MAX_BYTES", len(data))
    assert decode_entries(encode_entries(many(20)))
    monkeypatch.setattr(tree, "ENTRIES_MAX_BYTES", len(data) - 1)
    with pytest.raises(ContentError):
        decode_entries(data)
    with pytest.raises(ContentError):
        encode_entries(many(20))


# ---------------------------------------------------------------------- properties

_names = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in {".", ".."}
)


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    """Draw a tree: directories below directories, then files and links in them."""
    folders, entries = [""], dict[str, Entry]()

    def place() -> str:
        return f"{draw(st.sampled_from(folders))}/{draw(_names)}".lstrip("/")

    for _ in range(draw(st.integers(0, 5))):
        if (path := place()) and path not in entries:
            entries[path] = directory(path, draw(st.integers(0, 0o7777)))
            folders.append(path)
    for _ in range(draw(st.integers(0, 8))):
        if not (path := place()) or path in entries:
            continue
        kind = draw(st.sampled_from([FILE, FILE, SYMLINK, HARDLINK]))
        files = [e.path for e in entries.values() if e.type is FILE and e.path.encode() < path.encode()]
        if kind is HARDLINK and files:
            entries[path] = hardlink(path, draw(st.sampled_from(files)))
        elif kind is SYMLINK:
            entries[path] = symlink(path, "../" * draw(st.integers(0, path.count("/"))) + draw(_names))
        else:
            entries[path] = file(path, draw(st.integers(0, 100_000)), draw(st.integers(0, 0o7777)))
    return sorted(entries.values(), key=lambda entry: entry.path.encode())


@given(trees())
def test_round_trip(entries: list[Entry]) -> None:
    assert decode_entries(encode_entries(entries)) == tuple(entries)


@given(entries=trees(), size=st.integers(2, 5000))
def test_files_fill_the_stream_behind_the_entries(entries: list[Entry], size: int) -> None:
    placed = place_files(entries, size)
    end = size
    for entry, offset in placed:
        assert offset == end
        end += entry.size
    assert [entry for entry, _ in placed] == [entry for entry in entries if entry.type is FILE]


@given(trees())
def test_runs_hold_every_byte_once_in_order(entries: list[Entry]) -> None:
    groups = runs(entries)
    assert [entry for group in groups for entry in group] == [e for e in entries if e.type is FILE and e.size]
    for group in groups:
        assert len(group) == 1 or all(entry.size < 16384 for entry in group)
    small = [all(entry.size < 16384 for entry in group) for group in groups]
    assert not any(one and two for one, two in pairwise(small))


def test_a_large_file_is_a_run_and_the_small_ones_between_are_one() -> None:
    sizes = {"a": 5, "b": 16383, "c": 16384, "d": 20000, "e": 0, "f": 1, "g": 16384, "h": 7}
    found = [[entry.path for entry in run] for run in runs([file(path, size) for path, size in sizes.items()])]
    assert found == [["a", "b"], ["c"], ["d"], ["f"], ["g"], ["h"]]


@given(data=st.data(), entries=trees())
@settings(max_examples=100)
@pytest.mark.slow
def test_changed_bytes_decode_to_what_they_encode_or_raise_content_error(data: st.DataObject, entries: list[Entry]) -> None:
    encoded = bytearray(encode_entries(entries))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_entries(bytes(encoded))
    except ContentError:
        return
    assert encode_entries(found) == bytes(encoded)


@given(st.binary(max_size=200))
def test_any_bytes_raise_content_error_or_are_canonical(data: bytes) -> None:
    for wrong in (data, b"\1" + data, b"\1\x91\x95\xa1a" + data):
        try:
            found = decode_entries(wrong)
        except ContentError:
            continue
        assert encode_entries(found) == wrong
