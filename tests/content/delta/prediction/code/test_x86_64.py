from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeswarm.content.delta.prediction.code import Bounds, Class, Field, References, find_x86_64, x86_64
from edgeswarm.content.delta.prediction.code.references import ADDRESS_SPACE
from edgeswarm.content.delta.prediction.code.x86_64 import find_x86_64_at_once, find_x86_64_plainly
from edgeswarm.errors import ContentError, LocalProtocolError

from . import rules
from .real_code import X86_64, code_of

Finder = Callable[[bytes, int, int, int, Bounds], References]

HAS_NUMPY = find_spec("numpy") is not None
ADDRESS = 0x401000
BOUNDS = Bounds(low=0x400000, high=0x500000, code_low=0x401000, code_high=0x480000)
EVERYWHERE = Bounds(0, ADDRESS_SPACE, 0, ADDRESS_SPACE)

# Instructions up to their field; the bytes from there to their end.
CALLS = [("e8", 4)]
JUMPS = [("e9", 4), ("0f80", 4), ("0f84", 4), ("0f8f", 4)]
RELATIVE = [
    # one byte: add, mov load and store, lea, test, fld, cmp imm8, imul imm8, imul imm32
    ("480105", 4), ("488b05", 4), ("448935", 4), ("4c8d3d", 4), ("850d", 4), ("d905", 4), ("db2d", 4), ("833d", 5), ("486b05", 5),
    ("486905", 8), ("803d", 5), ("c605", 5), ("48630d", 4), ("8705", 4),
    # immediates of 32 bits, and of 16 behind 66, but not where REX.W overrules that
    ("c705", 8), ("48c705", 8), ("66c705", 6), ("66448105", 6), ("66478105", 6), ("66488105", 8), ("664f8105", 8), ("66693d", 6),
    # groups: test imm, not, neg, mul, div; inc, dec, call, jmp, push
    ("f605", 5), ("f705", 8), ("66f705", 6), ("6640f705", 6), ("f615", 4), ("f71d", 4), ("f725", 4), ("f73d", 4),
    ("ff05", 4), ("ff0d", 4), ("ff15", 4), ("ff25", 4), ("ff35", 4),
    # map 1, without and with an immediate
    ("0f1005", 4), ("f20f100d", 4), ("660f6f05", 4), ("0fb605", 4), ("480f4405", 4), ("f00fb10d", 4), ("0f9405", 4), ("0fae15", 4),
    ("660f7005", 5), ("0fc605", 5), ("0fba25", 5), ("0fc205", 5), ("0fa405", 5),
    # maps 2 and 3
    ("660f380005", 4), ("660f38f005", 4), ("660f3a0f05", 5), ("660f3a2205", 5),
    # VEX of two bytes, of three, and EVEX
    ("c5f96f05", 4), ("c5f97005", 5), ("c5f8c61d", 5), ("c5f16905", 4), ("c4e1796f05", 4),
    ("c461796f05", 4), ("c4e1797005", 5), ("c4e27d1805", 4), ("c4e27d8305", 4), ("c4e37d0f05", 5), ("c463798b05", 5),
    ("62f17c481005", 4), ("62e17c481005", 4), ("62717c481005", 4), ("62f17c487005", 5), ("62f27d480005", 4), ("62f37d482505", 5),
]  # fmt: skip
NOTHING = [
    "90", "05", "b805", "8405", "c005", "c105", "fe05", "f60d", "f70d", "ff1d", "ff2d", "ff3d", "c60d", "c71d", "8b04", "8b45",
    "0f0505", "1f80", "0f7f", "0f90", "e7", "ea", "c4e07d1805", "c4e47d1805", "c4c27d1805", "c4c1796f05", "c4a1796f05",
    "62f378481005", "62f178481005", "62d17c481005", "62b17c481005", "62f47c481005", "62f07c481005", "62f97c481005",
]  # fmt: skip
ESCAPES = (
    "9090", "9066", "6640", "900f", "0f38", "0f3a", "c5f9", "c4e179", "c4e27d", "c4e37d", "62f17c48", "62f27d48", "62f37d48",
)  # fmt: skip
CASES = [
    *((code, extra, Class.CALL) for code, extra in CALLS),
    *((code, extra, Class.JUMP) for code, extra in JUMPS),
    *((code, extra, Class.RIP) for code, extra in RELATIVE),
]


@pytest.fixture(params=["plainly", "at once"])
def find(request: pytest.FixtureRequest) -> Finder:
    if request.param == "plainly":
        return find_x86_64_plainly
    pytest.importorskip("numpy", reason="the [publish] extra is not installed")
    return find_x86_64_at_once


def instruction(code: str, extra: int, target: int, at: int = 0) -> bytes:
    """Return an instruction at `ADDRESS + at`, up to the end of its field."""
    head = bytes.fromhex(code)
    return head + (target - ADDRESS - at - len(head) - extra).to_bytes(4, "little", signed=True)


@pytest.mark.parametrize(("code", "extra", "kind"), CASES)
@pytest.mark.parametrize("target", [0x401000, 0x44B2A1, 0x47FFFF])
def test_each_form_of_a_reference(find: Finder, code: str, extra: int, kind: Class, target: int) -> None:
    data = instruction(code, extra, target)
    assert rules.rows_of(find(data, ADDRESS, 0, len(data), BOUNDS)) == [(len(data) - 4, target, Field.REL32, extra, kind)]


@pytest.mark.parametrize("code", NOTHING)
def test_what_is_no_reference(find: Finder, code: str) -> None:
    data = instruction(code, 4, 0x44B2A1)
    assert rules.rows_of(find(data, ADDRESS, 0, len(data), BOUNDS)) == []


@pytest.mark.parametrize(
    ("code", "low", "high"), [("e8", 0x401000, 0x480000), ("0f85", 0x401000, 0x480000), ("488b05", 0x400000, 0x500000)]
)
def test_a_target_is_in_its_bounds(find: Finder, code: str, low: int, high: int) -> None:
    found = []
    for target in (low - 1, low, high - 1, high):
        data = instruction(code, 4, target)
        found += find(data, ADDRESS, 0, len(data), BOUNDS).targets
    assert found == [low, high - 1]


@pytest.mark.parametrize("displacement", [-(1 << 24) - 1, -(1 << 24), (1 << 24) - 1, 1 << 24, -(1 << 31), (1 << 31) - 1])
@pytest.mark.parametrize(("code", "extra"), [("c705", 8), ("e9", 4)])
@pytest.mark.parametrize("around", [0, 100])
def test_bounds_of_one_address_at_the_ends_of_a_top_byte(
    find: Finder, code: str, extra: int, displacement: int, around: int
) -> None:
    pad, address = b"\x90" * around, 1 << 40
    data = pad + bytes.fromhex(code) + displacement.to_bytes(4, "little", signed=True) + pad
    target = address + len(data) - around - 4 + extra + displacement
    only, here = (target, target + 1), (address, address + 1)
    bounds = Bounds(*only, *here) if code == "c705" else Bounds(*here, *only)
    assert list(find(data, address, 0, len(data), bounds).targets) == [target]


@pytest.mark.slow
def test_every_opcode_is_as_it_always_was(find: Finder) -> None:
    """The tables are a part of the format: a change of them is a new method."""
    code = b"".join(
        b"\x90\x90" + bytes.fromhex(escape) + bytes([opcode, modrm]) + bytes(4)
        for escape in ESCAPES
        for opcode in range(256)
        for modrm in range(256)
    )
    found = find(code, ADDRESS, 0, len(code), Bounds(0, 1 << 40, 0, 1 << 40))
    assert len(found.places) == 36183
    assert (
        sha256(repr([list(column) for column in found]).encode()).hexdigest()
        == "1207e033a32e725f10f543d2ca8869f347519a88c3a7f1042bf5a5630827a108"
    )


def test_fields_do_not_overlap_and_the_first_stays(find: Finder) -> None:
    data = bytearray(b"\x90" * 3 + b"\xe8\xe9\xe9\xe9\xe9\xe9" + bytes(8))
    everything = find(bytes(data), 0x60000000, 0, len(data), EVERYWHERE)
    assert list(everything.places) == [4, 8]
    later = find(bytes(data), 0x60000000, 5, len(data), EVERYWHERE)
    assert list(later.places) == [5, 9]
    # What is out of bounds takes no room: the first that is in bounds has two bytes of zeros.
    assert list(find(bytes(data), ADDRESS, 0, len(data), BOUNDS).places) == [7]


def test_only_whole_fields_in_the_window(find: Finder) -> None:
    data = b"\x90\x90\xe8" + bytes(4) + b"\xe9" + bytes(4)
    for first in range(len(data) + 1):
        for stop in range(first, len(data) + 1):
            wanted = [place for place in (3, 8) if first <= place and place + 4 <= stop]
            assert list(find(data, ADDRESS, first, stop, BOUNDS).places) == wanted


def test_six_bytes_before_the_window_are_all_that_counts(find: Finder) -> None:
    data = instruction("90" * 10 + "62f27d480005", 4, 0x44B2A1)
    for given_bytes in range(len(data) - 4 + 1):
        place = given_bytes  # of the field in what is given
        part = data[len(data) - 4 - given_bytes :]
        found = find(part, ADDRESS + len(data) - len(part), place, len(part), BOUNDS)
        assert list(found.places) == ([place] if given_bytes >= 6 else [])


@pytest.mark.parametrize("address", [0, ADDRESS_SPACE - 9, 0xFFFFFFFF81000000])
def test_the_ends_of_the_address_space(find: Finder, address: int) -> None:
    data = b"\xe8" + (-5).to_bytes(4, "little", signed=True) + b"\xe9\xff\xff\xff"
    assert list(find(data, address, 0, 9, EVERYWHERE).targets) == [address]
    for displacement in (-6, -(1 << 31), (1 << 31) - 1):
        data = b"\xe8" + displacement.to_bytes(4, "little", signed=True) + bytes(4)
        target = address + 5 + displacement
        assert list(find(data, address, 0, 9, EVERYWHERE).targets) == ([target] if 0 <= target < ADDRESS_SPACE else [])


@pytest.mark.parametrize("window", [(-1, 3), (3, 2), (0, 9), (9, 9)])
def test_a_window_is_within_the_data(find: Finder, window: tuple[int, int]) -> None:
    with pytest.raises(LocalProtocolError, match=f"from {window[0]} to {window[1]}, in 8 bytes"):
        find(bytes(8), ADDRESS, *window, BOUNDS)


@pytest.mark.parametrize("address", [-1, ADDRESS_SPACE - 7, ADDRESS_SPACE])
def test_code_is_within_the_address_space(find: Finder, address: int) -> None:
    with pytest.raises(ContentError, match="8 bytes at address"):
        find(bytes(8), address, 0, 8, BOUNDS)


@pytest.mark.parametrize("bounds", [(2, 1, 0, 0), (-1, 1, 0, 0), (0, ADDRESS_SPACE + 1, 0, 0), (0, 0, 2, 1), (0, 0, -1, 1)])
def test_bounds_ascend(bounds: tuple[int, int, int, int]) -> None:
    with pytest.raises(ContentError, match="wanted an ascending range of 64 bits"):
        Bounds(*bounds)


FRAGMENTS = [bytes.fromhex(code) for code in NOTHING] + [bytes.fromhex(code) for code, _, _ in CASES]
FIELDS = st.one_of(
    st.integers(-0x2000, 0x100000).map(lambda value: value.to_bytes(4, "little", signed=True)), st.binary(min_size=0, max_size=5)
)
PIECES = st.one_of(
    st.sampled_from(FRAGMENTS), st.sampled_from(b"\x66\x0f\x40\x48\xc5\xe8\xe9\x38\x3a").map(lambda b: bytes([b])), FIELDS
)
CODE = st.lists(PIECES, max_size=60).map(b"".join)


@pytest.mark.slow
@given(code=CODE | st.binary(max_size=80), data=st.data(), far=st.booleans())
@settings(max_examples=400)
def test_both_ways_follow_the_rules(code: bytes, data: st.DataObject, far: bool) -> None:
    first = data.draw(st.integers(0, len(code)))
    stop = data.draw(st.integers(first, len(code)))
    bounds = EVERYWHERE if far else BOUNDS
    wanted = rules.x86_64(code, ADDRESS, first, stop, bounds)
    assert rules.rows_of(find_x86_64_plainly(code, ADDRESS, first, stop, bounds)) == wanted
    if HAS_NUMPY:
        assert find_x86_64_at_once(code, ADDRESS, first, stop, bounds) == find_x86_64_plainly(code, ADDRESS, first, stop, bounds)


def looks_real(size: int, seed: int) -> bytes:
    """Return forms of references, most of them in bounds, with a few other bytes between them."""
    dice, out = Random(seed), bytearray()
    while len(out) < size:
        code, extra, _ = dice.choice(CASES)
        out += instruction(code, extra, dice.randrange(0x401000, 0x490000), len(out)) + dice.randbytes(dice.choice((0, 0, 1, 4)))
    return bytes(out[:size])


@pytest.mark.slow
def test_every_window_of_code() -> None:
    pytest.importorskip("numpy", reason="the [publish] extra is not installed")
    code = looks_real(70, 1)
    for first in range(len(code) + 1):
        for stop in range(first, len(code) + 1):
            plain = find_x86_64_plainly(code, ADDRESS, first, stop, BOUNDS)
            assert plain == find_x86_64_at_once(code, ADDRESS, first, stop, BOUNDS)
            near = code[max(0, first - 6) : stop]
            moved = find_x86_64_plainly(near, ADDRESS + stop - len(near), first - stop + len(near), len(near), BOUNDS)
            assert moved.targets == plain.targets


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [BOUNDS, EVERYWHERE])
def test_both_ways_on_much_code(bounds: Bounds) -> None:
    pytest.importorskip("numpy", reason="the [publish] extra is not installed")
    dice, code = Random(5), bytearray(looks_real(120_000, 2))
    for _ in range(3000):
        code[dice.randrange(len(code))] = dice.choice((dice.randrange(256), 0, 0xFF, 0xE8, 0x05, 0x0F, 0x66))
    plain = find_x86_64_plainly(bytes(code), ADDRESS, 11, len(code) - 3, bounds)
    assert plain == find_x86_64_at_once(bytes(code), ADDRESS, 11, len(code) - 3, bounds)
    assert len(plain.places) > 10_000
    assert rules.rows_of(plain) == rules.x86_64(bytes(code), ADDRESS, 11, len(code) - 3, bounds)


@pytest.mark.slow
def test_both_ways_on_programs() -> None:
    pytest.importorskip("numpy", reason="the [publish] extra is not installed")
    for name, code, address, bounds in code_of(X86_64):
        plain = find_x86_64_plainly(code, address, 0, len(code), bounds)
        assert plain == find_x86_64_at_once(code, address, 0, len(code), bounds), name
        assert len(plain.places) > len(code) / 200, name


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["e8", "e9", "0f80", "05", "8b05", "e80000000005", "ff", "662e", "c4e27d1805"])
def test_hostile_bytes_take_no_longer_than_others(find: Finder, unit: str) -> None:
    """Work that grew with the square of the length would take a day here: there is no end to wait for."""
    code = (bytes.fromhex(unit) * 700_000)[:700_000]
    places = list(find(code, 1 << 40, 0, len(code), EVERYWHERE).places)
    near = [row[0] for row in rules.x86_64(code[:60], 1 << 40, 0, 60, EVERYWHERE)]
    assert places[: len(near)] == near
    assert all(after - before >= 4 for before, after in pairwise(places))


def test_numpy_is_chosen_where_it_is_imported_and_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    monkeypatch.setattr(x86_64, "find_x86_64_plainly", lambda *_: chosen.append("plainly"))
    monkeypatch.setattr(x86_64, "find_x86_64_at_once", lambda *_: chosen.append("at once"))
    long, short = bytes(x86_64._NUMPY_FROM_BYTES), bytes(x86_64._NUMPY_FROM_BYTES - 1)
    monkeypatch.setitem(sys.modules, "numpy", sys)
    find_x86_64(long, ADDRESS, 0, len(long), BOUNDS)
    find_x86_64(short, ADDRESS, 0, len(short), BOUNDS)
    monkeypatch.delitem(sys.modules, "numpy")
    find_x86_64(long, ADDRESS, 0, len(long), BOUNDS)
    assert chosen == ["at once", "plainly", "plainly"]


@pytest.mark.parametrize("find_one", [find_x86_64, find_x86_64_plainly])
def test_columns_are_arrays_and_bytes(find_one: Finder) -> None:
    found = find_one(b"\xe8" + bytes(4), ADDRESS, 0, 5, BOUNDS)
    assert [type(column).__name__ for column in found] == ["array", "array", "bytes", "bytes", "bytes"]
    assert found == find_one(b"\xe8" + bytes(4), ADDRESS, 0, 5, BOUNDS)
