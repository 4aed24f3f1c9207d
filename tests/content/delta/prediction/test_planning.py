"""From two streams with programs in them to maps and units: exact, smaller than without, and the same whenever they are made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numpy", reason="the [publish] extra is not installed")
pytest.importorskip("hdiffpatch", reason="the [publish] extra is not installed")

import numpy as np

from edgeswarm.content.delta import EngineOptions, PairEncoder, Place, decode_unit, engine
from edgeswarm.content.delta.covers.encoder import clip
from edgeswarm.content.delta.covers.matching import MatchOptions, find_covers
from edgeswarm.content.delta.prediction import decode_map, layout, planning, predictor
from edgeswarm.content.delta.prediction.areas import AreaKind
from edgeswarm.content.delta.prediction.code import Bounds
from edgeswarm.content.delta.prediction.corrections import Evidence, agreed
from edgeswarm.content.delta.prediction.decoder import METHOD
from edgeswarm.content.delta.prediction.pairing import pairs_of

from .programs import AARCH64, NEW, OLD, X86_64, path, program
from .test_elf import HEADS, PROGRAM, Stream

Range = tuple[int, int]
TEXT = b"".join(b"line %d of a file\n" % n for n in range(3000))


def encoder(old: bytes, new: bytes, wanted: Sequence[Range] | None = None, *, predict: bool = True) -> PairEncoder:
    ranges = wanted if wanted is not None else [(0, len(new))]
    return PairEncoder(
        Stream(old).read, len(old), Stream(new).read, len(new), ranges, EngineOptions(predict=predict)
    )  # fmt: skip


def units(made: PairEncoder, old: bytes, new: bytes, cuts: Sequence[Range]) -> list[bytes]:
    """Encode parts of the new stream, and prove each by both paths."""
    its_map = decode_map(made.maps[0].data, len(old)) if made.maps else None
    found = []
    for start, length in cuts:
        unit = made.encode(new[start : start + length], start)
        for at_once in (False, True):
            with path(at_once=at_once):
                plain = decode_unit(unit, Stream(old).read, len(old), length, Place(start, its_map))
            assert plain == new[start : start + length]
        found.append(unit)
    return found


def total(made: PairEncoder, found: Sequence[bytes]) -> int:
    return sum(len(one.data) for one in made.maps) + sum(map(len, found))


@pytest.mark.parametrize("machine", [X86_64, AARCH64])
def test_a_program_that_was_linked_again_is_predicted(machine: int) -> None:
    old, new = program(OLD, machine), program(NEW, machine)
    cuts = [(at, min(20_000, len(new) - at)) for at in range(0, len(new), 20_000)]
    made, plain = encoder(old, new), encoder(old, new, predict=False)
    found = units(made, old, new, cuts)
    assert [(one.start, one.end) for one in made.maps] == [(0, len(new))]
    assert {unit[0] for unit in found} == {METHOD}
    assert plain.maps == []
    assert total(made, found) * 1.5 < total(plain, units(plain, old, new, cuts))


def test_weights_see_what_is_predicted() -> None:
    old, new = program(), program(NEW)
    ends = [20_000, 40_000, len(new)]
    assert sum(encoder(old, new).weights(new, 0, ends)) * 2 < sum(encoder(old, new, predict=False).weights(new, 0, ends))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (TEXT, TEXT[:9000] + b"!" + TEXT[9000:]), (program(), TEXT), (TEXT, program(NEW)), (b"", program(NEW)), (program(), b""),
        (program(OLD, X86_64), program(OLD, AARCH64)),
    ],
)  # fmt: skip
def test_what_is_no_pair_of_programs_has_no_map(old: bytes, new: bytes) -> None:
    made = encoder(old, new, [(0, len(new))] if new else [])
    units(made, old, new, [(0, len(new))])
    assert made.maps == []


def test_a_map_that_does_not_pay_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two functions change their places: it is made out of hope, and would be larger than what it saves."""
    old, new = program(), program((*OLD[:5], 6, 5, *OLD[7:]))
    plain, made = encoder(old, new, predict=False), encoder(old, new)
    assert made.maps == []
    assert units(made, old, new, [(0, len(new))]) == units(plain, old, new, [(0, len(new))])
    quick = iter((1 << 30, 0))
    monkeypatch.setattr(PairEncoder, "_quick_size", lambda *_: next(quick))
    forced = encoder(old, new)
    assert len(forced.maps) == 1
    assert total(forced, units(forced, old, new, [(0, len(new))])) > total(plain, [plain.encode(new, 0)])


def test_two_programs_in_one_stream() -> None:
    old = TEXT + program() + b"between" + program(OLD, AARCH64) + TEXT
    new = TEXT[:7000] + b"other text" + program(NEW) + b"in between" + program(NEW, AARCH64) + TEXT[:-9]
    made = encoder(old, new)
    found = decode_map(made.maps[0].data, len(old))
    assert [file.areas[-2].kind for file in found.files] == [AreaKind.X86_64, AreaKind.AARCH64]
    cuts = [(0, 30_000), (30_000, 60_000), (90_000, len(new) - 90_000)]
    plain = encoder(old, new, predict=False)
    assert total(made, units(made, old, new, cuts)) * 1.5 < total(plain, units(plain, old, new, cuts))


def test_two_programs_next_to_each_other() -> None:
    """A cover that goes over the border of both is no cover of the nothing between them."""
    old, new = program() + program(OLD, AARCH64), program(NEW) + program(NEW, AARCH64)
    made = encoder(old, new)
    assert len(decode_map(made.maps[0].data, len(old)).files) == 2
    units(made, old, new, [(0, len(new))])
    assert clip(np.array([[0, 0, 100]], np.int64), 50, 50).tolist() == []


def test_an_old_program_that_two_new_ones_are_made_of() -> None:
    other = (*range(100), 904, *range(100, 160))
    old, new = program(), program(NEW) + TEXT + program(other)
    made = encoder(old, new)
    found = decode_map(made.maps[0].data, len(old))
    assert [(file.old_start, file.old_size) for file in found.files] == [(0, len(old))] * 2
    assert {unit[0] for unit in units(made, old, new, [(0, 70_000), (70_000, len(new) - 70_000)])} == {METHOD}


@pytest.mark.parametrize("wanted", [[(16_384, 20_000)], [(16_384, 4000), (30_000, 9000)], [(10_000, 5000), (15_000, 30_000)]])
def test_a_program_of_which_only_the_middle_is_wanted(wanted: list[Range]) -> None:
    old, new = program(), program(NEW)
    made = encoder(old, new, wanted)
    (one,) = made.maps
    assert one.start <= wanted[0][0]
    assert one.end >= sum(wanted[-1])
    assert {unit[0] for unit in units(made, old, new, wanted)} == {METHOD}


def test_a_program_that_is_not_wanted_is_not_predicted() -> None:
    old, new = program() + TEXT, program(NEW) + TEXT[:5000] + b"!" + TEXT[5000:]
    made = encoder(old, new, [(len(new) - len(TEXT) - 1, len(TEXT) + 1)])
    assert made.maps == []


def test_a_program_too_large_to_match_is_not_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "most_match_bytes", lambda options: 50_000)
    assert encoder(program(), program(NEW)).maps == []


# ---------------------------------------------------------------------- what receivers take


@pytest.mark.parametrize(("module", "name", "most"), [(layout, "_MOST_TABLE_BYTES", 10), (predictor, "MAX_MOVES", 3)])
def test_without_what_no_receiver_takes(module: object, name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, name, most)
    made = encoder(program(), program(NEW))
    units(made, program(), program(NEW), [(0, len(program(NEW)))])
    assert made.maps == []


def test_as_many_files_as_receivers_take(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (planning, layout):
        monkeypatch.setattr(module, "MAX_FILES", 1)
    old, new = program() + program(OLD, AARCH64), program(NEW) + program(NEW, AARCH64)
    made = encoder(old, new)
    assert len(decode_map(made.maps[0].data, len(old)).files) == 1
    units(made, old, new, [(0, len(new))])


def test_as_much_to_walk_as_receivers_take(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (planning, layout):
        monkeypatch.setattr(module, "MAX_WALKED_BYTES", 4000)
    old, new = program() + program(OLD, AARCH64), program(NEW) + program(NEW, AARCH64)
    made = encoder(old, new)
    files = decode_map(made.maps[0].data, len(old)).files
    assert [AreaKind.EH_FRAME in {area.kind for area in file.areas} for file in files] == [True, False]
    units(made, old, new, [(0, len(new))])


# ---------------------------------------------------------------------- the same again


def fingerprint() -> str:
    old, new = program() + TEXT, TEXT[:900] + program(NEW)
    made = encoder(old, new)
    parts = [one.data for one in made.maps] + [made.encode(new[a:b], a) for a, b in pairwise((0, 25_000, len(new)))]
    return sha256(b"".join(parts)).hexdigest()


def test_the_same_again_is_the_same_in_any_process() -> None:
    here = fingerprint()
    assert fingerprint() == here
    code = f"from {__name__} import fingerprint; print(fingerprint())"
    for seed in ("1", "2"):
        again = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert again.stdout.strip() == here


# ---------------------------------------------------------------------- whatever is published


@cache
def table_at() -> int:
    return int.from_bytes(PROGRAM[40:48], "little")


@given(
    flips=st.lists(
        st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, bytes(7) + b"\x40"])),
        min_size=1, max_size=3,
    ),
    in_old=st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_broken_programs_are_published_all_the_same(flips: list[tuple[int, bytes]], in_old: bool) -> None:
    sides = [bytearray(program()), bytearray(program(NEW))]
    data = sides[0 if in_old else 1]
    for at, packed in flips:
        places = [*range(64, HEADS), *range(len(data) - 11 * 64, len(data))]
        place = places[at % len(places)]
        data[place : place + len(packed)] = packed
    old, new = bytes(sides[0]), bytes(sides[1])
    units(encoder(old, new), old, new, [(0, len(new))])


# ---------------------------------------------------------------------- pairs and corrections


def test_of_old_programs_the_one_counts_of_which_most_was_taken() -> None:
    other = program(tuple(reversed(OLD)))
    old, new = other + program() + TEXT, TEXT + program(NEW) + TEXT
    wanted = [(0, len(new))]
    covers = find_covers(Stream(old).read, len(old), Stream(new).read, wanted, MatchOptions())
    (pair,) = pairs_of(Stream(old).read, len(old), Stream(new).read, len(new), covers)
    assert (pair.old.start, pair.new.start) == (len(other), len(TEXT))
    assert pairs_of(Stream(old).read, len(old), Stream(new).read, len(new), covers[:0]) == []


BOUNDS = Bounds(1, 50, 1, 50)


def test_addresses_are_corrected_on_which_references_agree() -> None:
    def evidence(*rows: Range) -> Evidence:
        olds, errors = (np.array(column, np.int64) for column in zip(*rows, strict=True))
        return Evidence(olds, errors)

    assert agreed([], BOUNDS) == {}
    assert agreed([evidence((50, 8), (50, 8), (-5, 8), (-5, 8))], BOUNDS) == {}  # no address of the file
    assert agreed([evidence((5, 8), (6, 8)), evidence((5, 8), (7, 0))], BOUNDS) == {5: 8}  # two agree; one alone does not count
    assert agreed([evidence((5, 8), (5, 8), (5, 8), (5, 0), (5, 0))], BOUNDS) == {}  # as it is, it is right for nearly as many
    assert agreed([evidence((5, 8), (5, 8), (5, 8), (5, 8), (5, 0), (5, 9), (5, 9), (5, 9))], BOUNDS) == {5: 8}
    assert agreed([evidence((5, 1 << 31), (5, 1 << 31))], BOUNDS) == {}
    assert list(agreed([evidence((9, 1), (3, 1), (9, 1), (3, 1))], BOUNDS)) == [3, 9]
