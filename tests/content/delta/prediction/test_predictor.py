"""Predictions: nearly right on programs that were linked again, and the same by both paths, whatever a map says."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numpy", reason="the [publish] extra is not installed")
pytest.importorskip("hdiffpatch", reason="the [publish] extra is not installed")

from edgeswarm.content.delta.covers.matching import match
from edgeswarm.content.delta.port import ReadBase
from edgeswarm.content.delta.prediction import predictor
from edgeswarm.content.delta.prediction.addresses import Move, Space, Spaces
from edgeswarm.content.delta.prediction.areas import Area, AreaKind, Column, DataField
from edgeswarm.content.delta.prediction.code import Bounds
from edgeswarm.content.delta.prediction.elf import find_files
from edgeswarm.content.delta.prediction.files import FileMap, FileReferences, windows
from edgeswarm.content.delta.prediction.maker import FileMaker, Made
from edgeswarm.content.delta.prediction.pairing import Pair
from edgeswarm.content.delta.prediction.predictor import Predictor, Segment, within
from edgeswarm.content.delta.prediction.values import width_of

from .programs import AARCH64, NEW, OLD, X86_64, path, program
from .test_walked import FRAMES, TABLE


def reader(data: bytes) -> ReadBase:
    def read(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(data)
        return data[offset : offset + length]

    return read


@cache
def made(machine: int) -> Made:
    old, new = program(OLD, machine), program(NEW, machine)
    pair = Pair(find_files(reader(old), len(old))[0], find_files(reader(new), len(new))[0])
    found = FileMaker(pair, reader(old), reader(new), match).make()
    assert found is not None
    return found


def opened(rows: Sequence[Sequence[int]], files: Sequence[FileMap]) -> Predictor:
    return Predictor(*(array("q", column) for column in zip(*rows, strict=True)), files)


def predicted(
    base: bytes, rows: Sequence[Sequence[int]], files: Sequence[FileMap], start: int, stop: int, *, at_once: bool
) -> bytes:
    """Return what a unit copies, predicted, with zeros between."""
    with path(at_once=at_once):
        its_map = opened(rows, files)
        out = bytearray(stop - start + 4)
        segments = its_map.segments(start, stop)
        for old, new, length in segments:
            out[new - start : new - start + length] = base[old : old + length]
        its_map.predict(out, start, segments, reader(base))
    return bytes(out)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("machine", [X86_64, AARCH64])
def test_what_was_linked_again_is_nearly_right(machine: int, at_once: bool) -> None:
    old, new, found = program(OLD, machine), program(NEW, machine), made(machine)
    rows = found.covers.tolist()
    copied = [at + n for _, at, length in rows for n in range(length)]
    plain = sum(old[row[0] + n] != new[row[1] + n] for row in rows for n in range(row[2]))
    out = predicted(old, rows, [found.file], 0, len(new), at_once=at_once)
    wrong = sum(out[at] != new[at] for at in copied)
    assert plain > 3000
    assert wrong < plain / 20
    assert len(copied) > len(new) * 0.9


@pytest.mark.parametrize("machine", [X86_64, AARCH64])
def test_each_kind_of_area_is_predicted(machine: int) -> None:
    """Without an area, what lies in it is as wrong as it was."""
    old, new, found = program(OLD, machine), program(NEW, machine), made(machine)
    rows = found.covers.tolist()
    all_of = predicted(old, rows, [found.file], 0, len(new), at_once=True)
    wrong = sum(a != b for a, b in zip(all_of, new, strict=False))
    assert {area.kind for area in found.file.areas} > {AreaKind.POINTERS, AreaKind.TABLE, AreaKind.EH_FRAME}
    for area in found.file.areas:
        fewer = replace(found.file, areas=tuple(one for one in found.file.areas if one is not area))
        out = predicted(old, rows, [fewer], 0, len(new), at_once=True)
        assert sum(a != b for a, b in zip(out, new, strict=False)) > wrong + 20, area.kind


# ---------------------------------------------------------------------- both paths


def data_area(kind: AreaKind, offset: int, size: int, entry: int = 0, columns: tuple[Column, ...] = ()) -> Area:
    return Area(kind, (1 << 32) - 1, offset, size, entry, columns)


GO_COLUMNS = tuple(Column(DataField.INDEX if n == 4 else DataField.OFFSET, 0, 1000 * n, 2000 * n + 3) for n in range(6))
BASE = program(OLD, X86_64) + program(OLD, AARCH64) + FRAMES * 20 + TABLE + Random(3).randbytes(2000)
_X86_END = len(program(OLD, X86_64))
_A64_END = _X86_END + len(program(OLD, AARCH64))
_FRAMES_END = _A64_END + len(FRAMES * 20)


@cache
def base_files() -> tuple[FileMap, ...]:
    """Two programs, and a file of all that they have not."""
    files = []
    for machine, start in ((X86_64, 0), (AARCH64, _X86_END)):
        file = made(machine).file
        files.append(
            replace(
                file, old_start=start, new_start=0,
                old_spaces=Spaces([row._replace(offset=row.offset + start) for row in file.old_spaces.rows]),
                areas=tuple(area._replace(offset=area.offset + start) for area in file.areas),
            )
        )  # fmt: skip
    table = data_area(
        AreaKind.TABLE, _FRAMES_END + len(TABLE), 900, 20, (Column(DataField.ABSOLUTE, 0, 0, 7), Column(DataField.INDEX, 12, 5, 9))
    )
    areas = (
        data_area(AreaKind.EH_FRAME, _A64_END, len(FRAMES * 20)),
        data_area(AreaKind.GO_FUNCTIONS, _FRAMES_END, len(TABLE), 3, GO_COLUMNS),
        table, data_area(AreaKind.POINTERS, _FRAMES_END + len(TABLE) + 1000, 1000),
    )  # fmt: skip
    size = len(BASE) - _A64_END
    files.append(
        FileMap(_A64_END, size, 0, 0, Spaces([Space(_A64_END, 0x1000, size)]), Spaces([]), Bounds(0, 1 << 62, 0, 1 << 62), areas)
    )
    return tuple(files)


@st.composite
def hostile_maps(draw: st.DrawFn) -> tuple[list[tuple[int, int, int]], list[FileMap]]:
    """Covers that overlap in the old stream and go over all borders; files and spaces that begin and end anywhere."""
    dice = Random(draw(st.integers(0, 2**32)))
    rows, new = [], dice.randrange(50)
    for _ in range(dice.randrange(1, 25)):
        old = dice.choice((dice.randrange(len(BASE) - 1), _A64_END + dice.randrange(len(BASE) - _A64_END - 1)))
        length = min(len(BASE) - old, dice.choice((1, 3, 4, 7, 9, 30, 500, 6000)))
        rows.append((old, new, length))
        new += length + dice.choice((0, 0, 1, 5))
    files, at = [], 0
    while at < new:
        size = dice.choice((3, 200, 5000, 40_000))
        file = dice.choice(base_files())
        offset, spaces = at, list[Space]()
        while offset < at + size and len(spaces) < 20:
            spaces.append(Space(offset, dice.choice((0, 0x400000, 1 << 61)) + dice.randrange(1 << 20), dice.choice((2, 90, 9000))))
            offset += spaces[-1].size + dice.choice((0, 0, 1, 40))
        anchors = tuple(Move(dice.randrange(1 << 23), 100, dice.randrange(1 << 12)) for _ in range(3))
        corrections = {dice.randrange(0x400000, 0x410000): dice.randrange(-99, 99) for _ in range(20)}
        files.append(
            replace(file, new_start=at, new_size=size, new_spaces=Spaces(spaces), anchors=anchors, corrections=corrections)
        )
        at += size + dice.choice((0, 0, 7))
    return rows, files


@given(made=hostile_maps(), cut=st.tuples(st.integers(0, 99), st.integers(0, 99)))
@settings(max_examples=250, deadline=None)
def test_both_paths_predict_the_same(made: tuple[list[tuple[int, int, int]], list[FileMap]], cut: tuple[int, int]) -> None:
    rows, files = made
    end = rows[-1][1] + rows[-1][2]
    start, stop = sorted(end * part // 99 for part in cut)
    plainly = predicted(BASE, rows, files, start, stop, at_once=False)
    assert predicted(BASE, rows, files, start, stop, at_once=True) == plainly


def test_what_is_not_loaded_between_two_spaces_hides_none_of_them() -> None:
    """A field between two spaces, and one in each of them, in one cover."""
    base = b"".join((0x1000 + 8 * n).to_bytes(8, "little") for n in range(40)) + bytes(4096)
    area = data_area(AreaKind.TABLE, 0, 320, 8, (Column(DataField.OFFSET, 0, 0, 0),))
    jumps = data_area(AreaKind.POINTERS, 320, 400)
    words = b"".join((-0x1100).to_bytes(4, "little", signed=True) for _ in range(100))
    base = base[:320] + words + base[720:]
    file = FileMap(
        0, len(base), 0, 1 << 20, Spaces([Space(0, 0x1000, len(base))]), Spaces([Space(400, 0x9000, 40), Space(600, 0xA000, 40)]),
        Bounds(0x10, 0x9000, 0x10, 0x9000), (area, jumps), (Move(0, 0x400, 0),),
    )  # fmt: skip
    outs = [predicted(base, [(0, 0, 800)], [file], 0, 800, at_once=at_once) for at_once in (False, True)]
    assert outs[0] == outs[1]
    changed = [at for at in range(320, 720, 4) if outs[0][at : at + 4] != base[at : at + 4]]
    assert changed == [*range(400, 440, 4), *range(600, 640, 4)]


# ---------------------------------------------------------------------- windows


@given(which=st.integers(0, 2), ends=st.lists(st.integers(0, 10_000), min_size=2, max_size=6))
@settings(max_examples=200, deadline=None)
def test_references_do_not_depend_on_how_an_area_is_cut(which: int, ends: list[int]) -> None:
    file = base_files()[which]
    refers = FileReferences(file, reader(BASE))
    for area in file.areas:
        whole = list(zip(*refers.find(area, area.offset, area.offset + area.size), strict=True))
        cuts = sorted({min(end, area.size) for end in ends} if area.kind is not AreaKind.X86_64 else {0, area.size})
        for first, stop in pairwise(cuts):
            found = refers.find(area, area.offset + first, area.offset + stop)
            assert [(row[0] + first, *row[1:]) for row in zip(*found, strict=True)] == [
                row for row in whole if first <= row[0] and row[0] + width_of(row[2]) <= stop
            ], area.kind


def test_ranges_that_are_near_are_searched_together() -> None:
    assert windows([(0, 10), (20, 30), (25, 28), (41, 50)], 10) == [(0, 30), (41, 50)]
    assert windows([], 10) == []


def test_an_area_is_walked_once_but_by_each_file_as_it_says() -> None:
    """Two files of one place in the base, one of which takes for Go's functions what the other takes for frames."""
    third = base_files()[2]
    frames = third.areas[0]
    other = replace(
        third, new_start=5000, new_size=5000,
        areas=(data_area(AreaKind.GO_FUNCTIONS, frames.offset, frames.size, 3, GO_COLUMNS),),
    )  # fmt: skip
    first = replace(third, new_start=0, new_size=5000)
    rows = [(frames.offset, 0, frames.size), (frames.offset, 5000, frames.size)]
    both = predicted(BASE, rows, [first, other], 0, 10_000, at_once=False)
    alone = predicted(BASE, rows, [other], 0, 10_000, at_once=False)
    assert both[5000:] == alone[5000:]
    reads: list[int] = []

    def noted(offset: int, length: int) -> bytes:
        reads.append(length)
        return reader(BASE)(offset, length)

    its_map, out = opened(rows, [first]), bytearray(104)
    for start in range(0, 1000, 100):
        its_map.predict(out, start, its_map.segments(start, start + 100), noted)
    assert reads.count(frames.size) == 1


# ---------------------------------------------------------------------- what is copied where


@given(
    lengths=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(0, 90)), min_size=1, max_size=9),
    start=st.integers(0, 130), size=st.integers(0, 130),
)  # fmt: skip
def test_segments_are_the_parts_of_covers_in_a_range(lengths: list[tuple[int, int, int]], start: int, size: int) -> None:
    ends = list(accumulate(gap + length for gap, length, _ in lengths))
    rows = [(old, end - length, length) for (_, length, old), end in zip(lengths, ends, strict=True)]
    by_hand = {new + n: old + n for old, new, length in rows for n in range(length) if start <= new + n < start + size}
    its_map = opened(rows, [])
    found = its_map.segments(start, start + size)
    assert {new + n: old + n for old, new, length in found for n in range(length)} == by_hand
    assert len(found) <= its_map.count(start, start + size) <= len(found) + 2
    assert its_map.covers().tolist() == [list(row) for row in rows]


def test_a_segment_counts_where_it_lies_in_a_file_in_both_streams() -> None:
    file = replace(base_files()[2], old_start=100, old_size=50, new_start=1000, new_size=60)
    assert within(Segment(90, 1000, 100), file) == Segment(100, 1010, 50)
    assert within(Segment(140, 990, 100), file) is None
    assert within(Segment(120, 1050, 100), file) == Segment(120, 1050, 10)
    assert within(Segment(150, 1000, 10), file) is None


def test_a_file_looks_only_at_what_is_copied_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of files and as many covers: each with each would take for ever."""
    looked: list[Segment] = []

    def noted(segment: Segment, file: FileMap) -> Segment | None:
        looked.append(segment)
        return within(segment, file)

    monkeypatch.setattr(predictor, "within", noted)
    files = [replace(base_files()[2], new_start=2 * n, new_size=2) for n in range(300)]
    rows = [(_A64_END + n, 2 * n, 1) for n in range(300)]
    predicted(BASE, rows, files, 0, 600, at_once=False)
    assert len(looked) <= 4 * 300
