"""The bytes of a map: all covers of a run of chunks, and what is known of the executable files in it.

Bytes: docs/reference/formats.md, "Map". All numbers are varints; columns of them are compressed apart with LZMA, since a map of a
large program is a large part of its update.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate

from ....errors import ContentError
from ...varint import all_varints, pack_varints, read_varint, unzigzag, write_varint, zigzag
from ..covers.layout import pack_stream, unpack_stream
from .addresses import Move, Space, Spaces
from .areas import MAX_AREAS, WALKED_KINDS, Area, AreaKind, Column, DataField, check_area
from .code import Bounds
from .files import FileMap
from .predictor import Predictor

VERSION = 1
MAP_MAX_BYTES = 4 * 1024 * 1024
"""Of a map: as of any piece."""
MAX_MAP_COVERS = 1 << 20
MAX_FILES = 4096
MAX_CORRECTED = 1 << 18
_MAX_ROWS = 64  # spaces, anchors or columns
_MOST_TABLE_BYTES = 4 * 1024 * 1024  # [a file takes some hundreds]
_MAX_NUMBER = 1 << 62
MAX_WALKED_BYTES = 64 * 1024 * 1024
"""Of all areas that are walked as a whole: bounds what a malicious map costs."""


def encode_map(covers: Sequence[tuple[int, int, int]], files: Sequence[FileMap], start: int) -> bytes:
    """Return the bytes of a map.

    Args:
        covers: (old offset, new offset, length), ascending by new offset, apart from each other.
        files: Ascending by `new_start`.
        start: Where in the new stream the run of chunks begins.
    """
    literals, jumps, old_end, new_end = [], [], 0, start
    for old, new, length in covers:
        literals.append(new - new_end)
        jumps.append(zigzag(old - old_end - literals[-1]))
        old_end, new_end = old + length, new + length
    table = pack_varints(_table(files))
    corrected = [_corrected(file) for file in files]
    columns = [
        pack_varints(literals), pack_varints(length for _, _, length in covers), pack_varints(jumps), table,
        pack_varints(number for places, _ in corrected for number in places),
        pack_varints(number for _, values in corrected for number in values),
    ]  # fmt: skip
    out = bytearray([VERSION])
    write_varint(start, out)
    bodies = []
    for column in columns:
        coding, body = pack_stream(column)
        out.append(coding)
        write_varint(len(column), out)
        write_varint(len(body), out)
        bodies.append(body)
    return bytes(out) + b"".join(bodies)


def _corrected(file: FileMap) -> tuple[list[int], list[int]]:
    """Return the differences of corrected addresses, and of their corrections."""
    places = sorted(file.corrections)
    values = [file.corrections[place] for place in places]
    gaps = [place - before for before, place in zip([file.bounds.low, *places], places, strict=False)]
    return gaps, [zigzag(value - before) for before, value in zip([0, *values], values, strict=False)]


def _table(files: Sequence[FileMap]) -> Iterator[int]:
    """Yield what there is to say of files."""
    yield len(files)
    new_end = old_end = 0
    for file in files:
        yield from (file.new_start - new_end, file.new_size, zigzag(file.old_start - old_end), file.old_size)
        new_end, old_end = file.new_start + file.new_size, file.old_start + file.old_size
        bounds = file.bounds
        yield from (bounds.low, bounds.high - bounds.low, bounds.code_low - bounds.low, bounds.code_high - bounds.code_low)
        yield from _spaces(file.old_spaces, file.old_start)
        yield from _spaces(file.new_spaces, file.new_start)
        yield len(file.areas)
        end = file.old_start
        for area in file.areas:
            yield from (area.kind, area.classes, area.offset - end, area.size, area.entry, len(area.columns))
            for column in area.columns:
                yield from (column.field, column.place, column.old, column.new)
            end = area.offset + area.size
        yield len(file.anchors)
        for move in file.anchors:
            yield from (move.old, move.size, zigzag(move.shift))
        yield len(file.corrections)


def _spaces(spaces: Spaces, start: int) -> Iterator[int]:
    yield len(spaces.rows)
    for row in spaces.rows:
        yield from (row.offset - start, row.address, row.size)
        start = row.offset + row.size


def decode_map(data: bytes, base_size: int) -> Predictor:
    """Check and open a map.

    Args:
        data: Its bytes.
        base_size: Bytes of the base's stream.

    Raises:
        ContentError: Malformed.
    """
    if len(data) > MAP_MAX_BYTES:
        raise ContentError(f"map: {len(data)} bytes, at most {MAP_MAX_BYTES} are taken")
    if not data or data[0] != VERSION:
        raise ContentError(f"map: wanted version {VERSION}, got {data[:1].hex() or 'nothing'}")
    start, at = read_varint(data, 1)
    heads = []
    for most in (
        5 * MAX_MAP_COVERS,
        5 * MAX_MAP_COVERS,
        10 * MAX_MAP_COVERS,
        _MOST_TABLE_BYTES,
        5 * MAX_CORRECTED,
        10 * MAX_CORRECTED,
    ):
        if at >= len(data):
            raise ContentError("map: cut off in its head")
        coding = data[at]
        plain, at = read_varint(data, at + 1)
        coded, at = read_varint(data, at)
        if plain > most:
            raise ContentError(f"map: a column of {plain} bytes, at most {most} are taken")
        heads.append((coding, plain, coded))
    if at + sum(coded for _, _, coded in heads) != len(data):
        raise ContentError(f"map: {len(data)} bytes, its columns end elsewhere")
    columns = []
    for coding, plain, coded in heads:
        columns.append(all_varints(unpack_stream(coding, memoryview(data)[at : at + coded], plain)))
        at += coded
    literals, lengths, jumps, table, places, values = columns
    olds, news = _laid_out(start, literals, lengths, jumps, base_size)
    files = list(_files(table, places, values, base_size))
    return Predictor(olds, news, array("q", lengths), files)


def _laid_out(
    start: int, literals: list[int], lengths: list[int], jumps: list[int], base_size: int
) -> tuple[array[int], array[int]]:
    """Return where covers lie in both streams."""
    if not len(literals) == len(lengths) == len(jumps) <= MAX_MAP_COVERS:
        raise ContentError(f"map: {len(literals)} covers of {len(lengths)} lengths and {len(jumps)} jumps")
    ends = list(accumulate(literal + length for literal, length in zip(literals, lengths, strict=True)))
    if start + sum(ends[-1:]) > _MAX_NUMBER or 0 in lengths:
        raise ContentError("map: a cover of no bytes, or beyond any stream")
    news = array("q", (start + end - length for end, length in zip(ends, lengths, strict=True)))
    olds, old = array("q"), 0
    for literal, length, jump in zip(literals, lengths, jumps, strict=True):
        old += literal + unzigzag(jump)
        if not 0 <= old <= old + length <= base_size:
            raise ContentError(f"map: range {old}+{length} of a base of {base_size} bytes")
        olds.append(old)
        old += length
    return olds, news


class _Reader:
    """Takes numbers off a column."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = iter(numbers)

    def __call__(self, most: int = _MAX_NUMBER) -> int:
        number = next(self._numbers, -1)
        if not 0 <= number <= most:
            raise ContentError(f"map: wanted a number of at most {most}, got {'none' if number < 0 else number}")
        return number

    def signed(self) -> int:
        return unzigzag(self(2 * _MAX_NUMBER))

    def end(self) -> None:
        if next(self._numbers, None) is not None:
            raise ContentError("map: numbers too many in a column")


def _files(table: Sequence[int], places: Sequence[int], values: Sequence[int], base_size: int) -> Iterator[FileMap]:
    take, place, value = _Reader(table), _Reader(places), _Reader(values)
    new_end = old_end = walked = 0
    for _ in range(take(MAX_FILES)):
        new_start, new_size = new_end + take(), take()
        old_start, old_size = old_end + take.signed(), take()
        new_end, old_end = new_start + new_size, old_start + old_size
        if not (0 <= old_start <= old_end <= base_size and new_end <= _MAX_NUMBER):
            raise ContentError(f"map: a file at {old_start}+{old_size} of a base of {base_size} bytes")
        low = take()
        high, code_low = low + take(), low + take()
        bounds = Bounds(low, high, code_low, code_low + take())
        if max(bounds.high, bounds.code_high) > _MAX_NUMBER:
            raise ContentError("map: an address above any")
        old_spaces, new_spaces = _read_spaces(take, old_start), _read_spaces(take, new_start)
        areas = tuple(_areas(take, old_start, old_end, old_spaces))
        walked += sum(area.size for area in areas if area.kind in WALKED_KINDS)
        if walked > MAX_WALKED_BYTES:
            raise ContentError(f"map: frames of {walked} bytes, at most {MAX_WALKED_BYTES} are taken")
        anchors = tuple(_move(take) for _ in range(take(_MAX_ROWS)))
        corrections, at, last = {}, low, 0
        for _ in range(take(MAX_CORRECTED)):
            at, last = at + place(), last + value.signed()
            if not (at < _MAX_NUMBER and abs(last) < _MAX_NUMBER):
                raise ContentError("map: a correction above any")
            corrections[at] = last
        yield FileMap(old_start, old_size, new_start, new_size, old_spaces, new_spaces, bounds, areas, anchors, corrections)
    for reader in (take, place, value):
        reader.end()


def _move(take: _Reader) -> Move:
    move = Move(take(), take(), take.signed())
    if move.old + move.size > _MAX_NUMBER or not 0 <= move.old + move.shift <= _MAX_NUMBER:
        raise ContentError(f"map: an impossible move {move}")
    return move


def _read_spaces(take: _Reader, start: int) -> Spaces:
    rows = []
    for _ in range(take(_MAX_ROWS)):
        row = Space(start + take(), take(), take())
        start = row.offset + row.size
        if max(start, row.address + row.size) > _MAX_NUMBER or not row.size:
            raise ContentError(f"map: an impossible space {row}")
        rows.append(row)
    return Spaces(rows)


def _column(take: _Reader) -> Column:
    field = take()
    if field not in (DataField.ABSOLUTE, DataField.OFFSET, DataField.INDEX):
        raise ContentError(f"map: a column of fields of kind {field}")
    return Column(DataField(field), take(), take(), take())


def _areas(take: _Reader, start: int, end: int, spaces: Spaces) -> Iterator[Area]:
    at = start
    for _ in range(take(MAX_AREAS)):
        kind, classes, offset = take(), take(), at + take()
        if kind not in AreaKind.__members__.values():
            raise ContentError(f"map: areas of kind {kind} are not known here; a newer edgeswarm made it")
        area = Area(AreaKind(kind), classes, offset, take(), take(), tuple(_column(take) for _ in range(take(_MAX_ROWS))))
        check_area(area, end)
        loaded = spaces.parts(area.offset, area.size)
        if area.kind is not AreaKind.TABLE and (len(loaded) != 1 or loaded[0][1] != area.size):
            raise ContentError(f"map: an area at {area.offset}+{area.size} is not loaded as a whole")
        at = area.offset + area.size
        yield area
