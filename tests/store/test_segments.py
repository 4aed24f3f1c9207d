from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.content.digest import digest
from edgeswarm.files import OsFiles
from edgeswarm.store.append import Append
from edgeswarm.store.recover import scan_segment
from edgeswarm.store.segments import (
    HEAD_BYTES,
    RECORD_HEAD_BYTES,
    Segments,
    decode_head,
    decode_record_head,
    encode_head,
    encode_record_head,
    segment_name,
    segment_number,
)

VECTORS = json.loads(Path(__file__).parents[1].joinpath("vectors", "segment.json").read_text())


def make_segments(path: Path) -> Segments:
    return Segments(str(path), OsFiles(), [], 7)


def write(segments: Segments, owner: bytes, chunks: list[bytes]) -> Append:
    append = Append(segments, owner)
    for data in chunks:
        append.add(digest(data), data)
    append.sync()
    append.commit()
    return append


def test_golden_bytes(tmp_path: Path) -> None:
    segments = make_segments(tmp_path)
    chunks = [bytes.fromhex(chunk) for chunk in VECTORS["chunks"]]
    write(segments, bytes.fromhex(VECTORS["owner"]), chunks[:1])
    write(segments, bytes.fromhex(VECTORS["owner"]), chunks[1:])
    assert (tmp_path / VECTORS["file"]).read_bytes().hex() == VECTORS["bytes"]


def test_a_scan_finds_every_record_and_stops_at_the_first_bad_head(tmp_path: Path) -> None:
    segments = make_segments(tmp_path)
    append = write(segments, b"o" * 32, [b"one", b"", b"three"])
    path = tmp_path / segment_name(7)
    whole = path.read_bytes()

    def scan(data: bytes, number: int = 7) -> object:
        path.write_bytes(data)
        file = OsFiles().open(str(path))
        try:
            return scan_segment(file, number)
        finally:
            file.close()

    assert scan(whole) == (b"o" * 32, append.rows, len(whole))
    assert scan(whole + b"tail") == (b"o" * 32, append.rows, len(whole))
    assert scan(whole[:-1]) == (b"o" * 32, append.rows[:2], append.rows[1].offset)
    bad = bytearray(whole)
    bad[append.rows[1].offset - 1] ^= 1
    assert scan(bytes(bad)) == (b"o" * 32, append.rows[:1], append.rows[0].offset + 3)
    assert scan(whole[:HEAD_BYTES]) == (b"o" * 32, [], HEAD_BYTES)
    assert scan(whole[: HEAD_BYTES - 1]) is None
    assert scan(b"\0" + whole[1:]) is None
    assert scan(whole, 8) is None


@given(number=st.integers(0, (1 << 64) - 1), owner=st.binary(min_size=32, max_size=32), flip=st.integers(0, HEAD_BYTES * 8 - 1))
def test_head_round_trip(number: int, owner: bytes, flip: int) -> None:
    head = bytearray(encode_head(number, owner))
    assert len(head) == HEAD_BYTES
    assert decode_head(bytes(head)) == (number, owner)
    head[flip // 8] ^= 1 << flip % 8
    assert decode_head(bytes(head)) is None


@given(size=st.integers(0, 1 << 26), name=st.binary(min_size=32, max_size=32), flip=st.integers(0, RECORD_HEAD_BYTES * 8 - 1))
def test_record_head_round_trip(size: int, name: bytes, flip: int) -> None:
    head = bytearray(encode_record_head(name, size))
    assert len(head) == RECORD_HEAD_BYTES
    assert decode_record_head(bytes(head)) == (name, size)
    head[flip // 8] ^= 1 << flip % 8
    assert decode_record_head(bytes(head)) is None


def test_a_record_above_the_limit_is_no_record() -> None:
    assert decode_record_head(encode_record_head(bytes(32), (1 << 26) + 1)) is None


@pytest.mark.parametrize("name", ["", "x.seg", "00000000000000AB.seg", "0000000000000001.seg.bak", "+000000000000001.seg"])
def test_other_names_are_no_segments(name: str) -> None:
    assert segment_number(name) is None


def test_names_round_trip() -> None:
    assert segment_number(segment_name(255)) == 255
    assert segment_name(255) == "00000000000000ff.seg"


def test_a_reader_in_a_removed_segment_finishes_undisturbed(tmp_path: Path) -> None:
    segments = make_segments(tmp_path)
    row = write(segments, b"o" * 32, [b"data"]).rows[0]
    handle = segments._borrow(row.segment)
    segments.remove(row.segment)
    assert handle.file.pread(row.size, row.offset) == b"data"
    segments._give_back(handle)
    with pytest.raises(FileNotFoundError):
        segments.read(row.segment, row.offset, row.size)


def test_only_so_many_files_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeswarm.store.segments._OPEN_FILES", 2)
    segments = make_segments(tmp_path)
    rows = [write(segments, bytes([index]) * 32, [b"data"]).rows[0] for index in range(5)]
    for row in rows + rows[::-1]:
        assert segments.read(row.segment, row.offset, row.size) == b"data"
        assert len(segments._handles) <= 2
    segments.close()
