from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeswarm.content.delta.prediction.code import Bounds, Class, Field, References, aarch64, find_aarch64
from edgeswarm.content.delta.prediction.code.aarch64 import find_aarch64_at_once, find_aarch64_plainly
from edgeswarm.content.delta.prediction.code.references import ADDRESS_SPACE
from edgeswarm.errors import ContentError, LocalProtocolError

from . import rules

Finder = Callable[[bytes, int, int, int, Bounds], References]

HAS_NUMPY = find_spec("numpy") is not None
ADDRESS = 0x401000
BOUNDS = Bounds(low=0x400200, high=0x500400, code_low=0x401000, code_high=0x480000)
EVERYWHERE = Bounds(0, ADDRESS_SPACE, 0, ADDRESS_SPACE)

# As an assembler makes them, with 0 in the field.
COUNTING = [
    ("bl", 0x94000000, Field.B26, Class.BL, 0, 26), ("b", 0x14000000, Field.B26, Class.B, 0, 26),
    ("b.eq", 0x54000000, Field.B19, Class.BCOND, 5, 19), ("bc.eq", 0x54000010, Field.B19, Class.BCOND, 5, 19),
    ("cbz w3", 0x34000003, Field.B19, Class.BCOND, 5, 19), ("cbz x3", 0xB4000003, Field.B19, Class.BCOND, 5, 19),
    ("cbnz w3", 0x35000003, Field.B19, Class.BCOND, 5, 19), ("cbnz x3", 0xB5000003, Field.B19, Class.BCOND, 5, 19),
    ("tbz w5, #3", 0x36180005, Field.B14, Class.TB, 5, 14), ("tbnz x5, #33", 0xB7080005, Field.B14, Class.TB, 5, 14),
    ("ldr w1", 0x18000001, Field.B19, Class.LDR_LITERAL, 5, 19), ("ldr s1", 0x1C000001, Field.B19, Class.LDR_LITERAL, 5, 19),
    ("ldr x1", 0x58000001, Field.B19, Class.LDR_LITERAL, 5, 19), ("ldr d1", 0x5C000001, Field.B19, Class.LDR_LITERAL, 5, 19),
    ("ldrsw x1", 0x98000001, Field.B19, Class.LDR_LITERAL, 5, 19), ("ldr q1", 0x9C000001, Field.B19, Class.LDR_LITERAL, 5, 19),
    ("prfm", 0xD8000000, Field.B19, Class.LDR_LITERAL, 5, 19),
]  # fmt: skip
NOTHING = [0xDC000001, 0x55000000, 0x38000020, 0x74000000, 0x7F000000, 0xD503201F, 0xD65F03C0, 0x00000000, 0xFFFFFFFF]

# Of x8, with scale.
PARTNERS = [
    ("add x0, x8", 0x91000100, 0), ("ldrb w0", 0x39400100, 0), ("strb w0", 0x39000100, 0), ("ldrsb x0", 0x39800100, 0),
    ("ldrh w0", 0x79400100, 1), ("ldr w0", 0xB9400100, 2), ("ldrsw x0", 0xB9800100, 2), ("ldr x0", 0xF9400100, 3),
    ("str x0", 0xF9000100, 3), ("prfm", 0xF9800100, 3), ("ldr b0", 0x3D400100, 0), ("str b0", 0x3D000100, 0),
    ("ldr h0", 0x7D400100, 1),
    ("ldr s0", 0xBD400100, 2), ("ldr d0", 0xFD400100, 3), ("ldr q0", 0x3DC00100, 4), ("str q0", 0x3D800100, 4),
]  # fmt: skip
NO_PARTNERS = [
    ("add w0, w8", 0x11000100), ("add x0, x8, lsl #12", 0x91400100), ("sub x0, x8", 0xD1000100), ("ldur x0, [x8, #1]", 0xF8401100),
    ("add x0, x9", 0x91000120), ("ldr x0, [x9]", 0xF9400120), ("ldr x0, [x8, #4096]", 0xF9480100), ("adds x0, x8", 0xB1000100),
]  # fmt: skip

ENDS_X8 = [
    ("mov x8, #1", 0xD2800028), ("movk x8, #1", 0xF2800028), ("add x8, x1, #1", 0x91000428), ("add x8, x1, x2", 0x8B020028),
    ("sub w8, w1, w2", 0x4B020028), ("csel x8, x1, x2, eq", 0x9A820028), ("lsl x8, x1, #3", 0xD37DF028),
    ("madd x8, x1, x2, x3", 0x9B020C28), ("ldr x8, [x1]", 0xF9400028), ("ldr x8, [x1, x2]", 0xF8626828), ("ldur x8", 0xF8401028),
    ("ldr x8, [x1], #8", 0xF8408428), ("ldrsw x8", 0xB9800028), ("ldp x8, x1", 0xA9400448), ("ldp x1, x8", 0xA9402041),
    ("ldpsw x1, x8", 0x69402041), ("ldxr x8", 0xC85F7C28), ("ldar x8", 0xC8DFFC28), ("ldr x8, literal", 0x58000008),
    ("ldapur x8", 0xD9400028), ("mrs x8", 0xD53BD048), ("adr x8", 0x10000008), ("b", 0x14000002), ("br x9", 0xD61F0120),
    ("ret", 0xD65F03C0), ("braaz x9", 0xD61F093F), ("bl", 0x94000002), ("blr x9", 0xD63F0120), ("blraaz x9", 0xD63F093F),
    ("adrp x8, beyond what is loaded", 0x90007FE8),
]  # fmt: skip
KEEPS_X8 = [
    ("str x8, [x1]", 0xF9000028), ("str x8, [x1, x2]", 0xF8226828), ("stur x8", 0xF8001028), ("stp x8, x9", 0xA90027E8),
    ("stp x9, x8", 0xA90023E9), ("stlr x8", 0xC89FFC28), ("stlur x8", 0xD9000028), ("cmp x8, #0", 0xF100011F),
    ("ccmp x1, x2, #8, eq", 0xFA420028), ("ccmn x1, #2, #8, eq", 0xBA420828), ("fadd d8", 0x1E622828), ("add v8.4s", 0x4EA28428),
    ("ldr d8", 0xFD400028), ("ldp d8, d9", 0x6D402428), ("ldp d9, d8", 0x6D402029), ("ld1 v8", 0x4C407828),
    ("prfm #8, [x1]", 0xF9800028), ("prfm #8, [x1, x2]", 0xF8A26828), ("prfm #8, literal", 0xD8000008), ("b.hi", 0x54000008),
    ("cbz x8", 0xB4000008), ("tbz w8", 0x36000008), ("nop", 0xD503201F), ("svc", 0xD4000001), ("msr x8", 0xD51BD048),
    ("adrp x9", 0x90000009),
]  # fmt: skip
NOP = 0xD503201F


def code(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


def adrp(register: int, target: int, place: int = 0, address: int = ADDRESS) -> int:
    pages = (target >> 12) - (address + place >> 12)
    return 0x90000000 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5 | register


def lo12(word: int, target: int, scale: int) -> int:
    return word | (target & 0xFFF) >> scale << 10


@pytest.fixture(params=["plainly", "at once"])
def find(request: pytest.FixtureRequest) -> Finder:
    if request.param == "plainly":
        return find_aarch64_plainly
    pytest.importorskip("numpy", reason="the [publish] extra is not installed")
    return find_aarch64_at_once


def found_in(find: Finder, data: bytes, bounds: Bounds = BOUNDS, address: int = ADDRESS) -> list[rules.Row]:
    return rules.rows_of(find(data, address, 0, len(data), bounds))


@pytest.mark.parametrize("case", COUNTING, ids=[name for name, *_ in COUNTING])
def test_fields_that_count_words(find: Finder, case: tuple[str, int, Field, Class, int, int]) -> None:
    _, word, field, kind, low, bits = case
    for count in (0, 1, -1, (1 << bits - 1) - 1, -(1 << bits - 1)):
        data = code(NOP, word | (count & (1 << bits) - 1) << low)
        assert found_in(find, data, EVERYWHERE, 1 << 40) == [(4, (1 << 40) + 4 + 4 * count, field, 0, kind)]


@pytest.mark.parametrize("ahead", [0, 1, 2, 3, 4, -1, (1 << 20) - 1, -(1 << 20)])
def test_adr(find: Finder, ahead: int) -> None:
    word = 0x10000001 | (ahead & 3) << 29 | (ahead >> 2 & 0x7FFFF) << 5
    assert found_in(find, code(word), EVERYWHERE, 1 << 40) == [(0, (1 << 40) + ahead, Field.ADR, 0, Class.ADR)]


@pytest.mark.parametrize("word", NOTHING)
def test_what_is_no_reference(find: Finder, word: int) -> None:
    assert found_in(find, code(word), EVERYWHERE, 1 << 40) == []


@pytest.mark.parametrize(("word", "kind"), [(0x94000000, Class.BL), (0x36000000, Class.TB), (0x58000000, Class.LDR_LITERAL)])
def test_a_target_is_in_its_bounds(find: Finder, word: int, kind: Class) -> None:
    for low, high, is_in in ((0, 4, False), (4, 8, True), (8, 12, False), (0, 12, True)):
        ends, nowhere = (ADDRESS + low, ADDRESS + high), (0, 0)
        bounds = Bounds(*nowhere, *ends) if kind < Class.ADR else Bounds(*ends, *nowhere)
        assert [row[4] for row in found_in(find, code(NOP, word), bounds)] == ([kind] if is_in else [])


@pytest.mark.parametrize(("word", "scale"), [case[1:] for case in PARTNERS], ids=[case[0] for case in PARTNERS])
def test_each_partner(find: Finder, word: int, scale: int) -> None:
    for target in (0x4FF000, 0x4FFFF0, 0x401230):
        pair = code(NOP, adrp(8, target), NOP, lo12(word, target, scale))
        assert found_in(find, pair) == [(4, target, Field.ADRP, 0, Class.ADRP), (12, target, Field.LO12, scale, Class.LO12)]


@pytest.mark.parametrize("word", [case[1] for case in NO_PARTNERS], ids=[case[0] for case in NO_PARTNERS])
def test_what_is_no_partner(find: Finder, word: int) -> None:
    assert found_in(find, code(adrp(8, 0x4FF000), word)) == [(0, 0x4FF800, Field.ADRP, 0, Class.ADRP)]


@pytest.mark.parametrize("word", [case[1] for case in ENDS_X8], ids=[case[0] for case in ENDS_X8])
def test_an_adrp_is_followed_no_further(find: Finder, word: int) -> None:
    found = found_in(find, code(adrp(8, 0x4FF000), word, lo12(0x91000100, 0x4FF120, 0)))
    assert [(row[0], row[1]) for row in found if row[4] in (Class.ADRP, Class.LO12)] == [(0, 0x4FF800)]


@pytest.mark.parametrize("word", [case[1] for case in KEEPS_X8], ids=[case[0] for case in KEEPS_X8])
def test_an_adrp_is_followed_past_what_leaves_its_register(find: Finder, word: int) -> None:
    found = found_in(find, code(adrp(8, 0x4FF000), word, lo12(0x91000100, 0x4FF120, 0)))
    kept = [(row[0], row[1]) for row in found if row[4] is Class.LO12 or row[0] == 0]
    assert kept == [(0, 0x4FF120), (8, 0x4FF120)]


@pytest.mark.parametrize("register", range(32))
@pytest.mark.parametrize("call", [0x94000002, 0xD63F0120])
def test_calls_leave_what_they_must_keep(find: Finder, register: int, call: int) -> None:
    found = found_in(find, code(adrp(register, 0x4FF000), call, 0x91000000 | 0x48 << 10 | register << 5 | 1))
    assert (Class.LO12 in [row[4] for row in found]) == (19 <= register <= 29)


def test_register_31_is_none(find: Finder) -> None:
    assert found_in(find, code(adrp(31, 0x4FF000), lo12(0x910003E0, 0x4FF120, 0))) == [(0, 0x4FF800, Field.ADRP, 0, Class.ADRP)]


def test_a_partner_that_writes_the_register_is_the_last(find: Finder) -> None:
    add = lo12(0x91000108, 0x4FF120, 0)  # add x8, x8
    load = lo12(0xF9400108, 0x4FF120, 3)  # ldr x8, [x8]
    store = lo12(0xF9000108, 0x4FF120, 3)  # str x8, [x8]
    assert [row[0] for row in found_in(find, code(adrp(8, 0x4FF000), add, add))] == [0, 4]
    assert [row[0] for row in found_in(find, code(adrp(8, 0x4FF000), load, add))] == [0, 4]
    assert [row[0] for row in found_in(find, code(adrp(8, 0x4FF000), store, add))] == [0, 4, 8]


def test_several_partners_and_the_first_says_what_the_adrp_means(find: Finder) -> None:
    data = code(adrp(8, 0x4FF000), lo12(0x91000100, 0x4FF210, 0), lo12(0xF9400101, 0x4FF128, 3), lo12(0x39400102, 0x4FFFFF, 0))
    assert [row[:2] for row in found_in(find, data)] == [(0, 0x4FF210), (4, 0x4FF210), (8, 0x4FF128), (12, 0x4FFFFF)]


def test_a_partner_belongs_to_the_nearest_adrp(find: Finder) -> None:
    data = code(
        adrp(8, 0x4FF000), adrp(9, 0x4FE000), adrp(8, 0x4FD000), lo12(0x91000100, 0x4FD120, 0), lo12(0x91000120, 0x4FE100, 0)
    )
    assert [row[1] for row in found_in(find, data)] == [0x4FF800, 0x4FE100, 0x4FD120, 0x4FD120, 0x4FE100]


def test_partners_are_loaded(find: Finder) -> None:
    # The page 0x500000 is loaded up to 0x500400: its middle, which an ADRP without a partner stands for, is not.
    high, beyond = lo12(0x91000100, 0x5003FF, 0), lo12(0x91000100, 0x500400, 0)
    assert [row[:2] for row in found_in(find, code(adrp(8, 0x500000), beyond, high))] == [(0, 0x5003FF), (8, 0x5003FF)]
    assert found_in(find, code(adrp(8, 0x500000), beyond)) == []
    assert found_in(find, code(adrp(8, 0x501000), lo12(0x91000100, 0x501000, 0))) == []
    assert found_in(find, code(adrp(8, 0x3FF000), lo12(0x91000100, 0x3FFFFF, 0))) == []
    low, below = lo12(0x91000100, 0x400200, 0), lo12(0x91000100, 0x4001FF, 0)
    assert [row[:2] for row in found_in(find, code(adrp(8, 0x400000), below, low))] == [(0, 0x400200), (8, 0x400200)]


@pytest.mark.parametrize(("distance", "is_partner"), [(1, True), (47, True), (48, True), (49, False)])
def test_an_adrp_is_followed_for_48_words(find: Finder, distance: int, is_partner: bool) -> None:
    data = code(adrp(8, 0x4FF000), *[NOP] * (distance - 1), lo12(0x91000100, 0x4FF120, 0))
    wanted = [(0, 0x4FF120), (4 * distance, 0x4FF120)] if is_partner else [(0, 0x4FF800)]
    assert [row[:2] for row in found_in(find, data)] == wanted


def test_context_is_looked_at_as_far_as_48_words(find: Finder) -> None:
    data = code(adrp(8, 0x4FF000), *[NOP] * 47, lo12(0x91000100, 0x4FF120, 0))
    last = len(data) - 4
    assert rules.rows_of(find(data, ADDRESS, last, len(data), BOUNDS)) == [(last, 0x4FF120, Field.LO12, 0, Class.LO12)]
    assert rules.rows_of(find(data, ADDRESS, 0, 4, BOUNDS)) == [(0, 0x4FF120, Field.ADRP, 0, Class.ADRP)]
    assert rules.rows_of(find(data[4:], ADDRESS + 4, last - 4, last, BOUNDS)) == []
    assert rules.rows_of(find(data[:-4], ADDRESS, 0, 4, BOUNDS)) == [(0, 0x4FF800, Field.ADRP, 0, Class.ADRP)]


def test_windows_and_addresses_that_4_does_not_divide(find: Finder) -> None:
    words = code(0x94000000, adrp(8, 0x4FF000), lo12(0x91000100, 0x4FF120, 0))
    for odd in range(4):
        data = bytes(odd) + words + bytes(3 - odd)
        for first in range(len(data) + 1):
            for stop in range(first, len(data) + 1):
                found = find(data, ADDRESS - odd, first, stop, BOUNDS)
                wanted = [place for place in (odd, odd + 4, odd + 8) if first <= place and place + 4 <= stop]
                assert list(found.places) == wanted
                assert all(target == 0x4FF120 for place, target in zip(found.places, found.targets, strict=True) if place > odd)


@pytest.mark.parametrize("address", [0, ADDRESS_SPACE - 8, 0xFFFF800008000000])
def test_the_ends_of_the_address_space(find: Finder, address: int) -> None:
    for word, ahead in ((0x97FFFFFF, -4), (0x94000001, 4), (0x94000000, 0)):
        target = address + 4 + ahead
        wanted = [target] if 0 <= target < ADDRESS_SPACE else []
        assert [row[1] for row in found_in(find, code(NOP, word), EVERYWHERE, address)] == wanted
    for pages in (-1, 0, 1):
        target = (address + 4096 * pages & ~0xFFF) + 0x800 if address + 4096 * pages >= 0 else -1
        word = adrp(8, max(0, target), 0, address) if target >= 0 else adrp(8, 0, 0, 4096)
        wanted = [target] if 0 <= target < ADDRESS_SPACE else []
        assert [row[1] for row in found_in(find, code(word), EVERYWHERE, address)] == wanted


def test_a_window_and_its_code_are_checked(find: Finder) -> None:
    with pytest.raises(LocalProtocolError, match="from 3 to 9, in 8 bytes"):
        find(bytes(8), ADDRESS, 3, 9, BOUNDS)
    with pytest.raises(ContentError, match="8 bytes at address"):
        find(bytes(8), ADDRESS_SPACE - 7, 0, 8, BOUNDS)


def test_the_tables_are_as_they_always_were() -> None:
    """They are a part of the format: a change of them is a new method."""
    tables = aarch64._effects(), aarch64._kinds_of_tops(adrp=True), aarch64._kinds_of_tops(adrp=False)
    assert [sha256(table).hexdigest()[:16] for table in tables] == ["6bb66feb714d2119", "e9f5606bc59d0c9a", "52d5199d84686dba"]


REGISTERS = st.sampled_from([0, 8, 8, 9, 18, 19, 30, 31])
PLAIN = [case[1] for case in (*COUNTING, *PARTNERS, *NO_PARTNERS, *ENDS_X8, *KEEPS_X8)] + NOTHING
WORDS = st.one_of(
    st.sampled_from(PLAIN),
    st.builds(lambda register, page: adrp(register, page << 12), REGISTERS, st.integers(0x3FF, 0x501)),
    st.builds(
        lambda case, rn, rd, offset: case[1] & ~0x3FF | rn << 5 | rd | offset << 10,
        st.sampled_from(PARTNERS), REGISTERS, REGISTERS, st.integers(0, 0xFFF),
    ),
    st.just(NOP),
    st.integers(0, 0xFFFFFFFF),
)  # fmt: skip
CODE = st.lists(WORDS, max_size=60).map(lambda words: code(*words))


@pytest.mark.slow
@given(data=CODE | st.binary(max_size=60), choose=st.data(), odd=st.integers(0, 3), far=st.booleans())
@settings(max_examples=300)
def test_both_ways_follow_the_rules(data: bytes, choose: st.DataObject, odd: int, far: bool) -> None:
    first = choose.draw(st.integers(0, len(data)))
    stop = choose.draw(st.integers(first, len(data)))
    bounds, address = EVERYWHERE if far else BOUNDS, ADDRESS + choose.draw(st.sampled_from([0, odd]))
    wanted = rules.aarch64(data, address, first, stop, bounds)
    assert rules.rows_of(find_aarch64_plainly(data, address, first, stop, bounds)) == wanted
    if HAS_NUMPY:
        assert find_aarch64_at_once(data, address, first, stop, bounds) == find_aarch64_plainly(data, address, first, stop, bounds)


def looks_real(words: int, seed: int) -> bytes:
    """Return words of all kinds, few of which end what went before."""
    dice, out = Random(seed), []
    for place in range(0, 4 * words, 4):
        pair = (
            dice.choice(PARTNERS)[1] & ~0x3FF
            | dice.choice((8, 8, 9, 19)) << 5
            | dice.choice((0, 1, 8))
            | dice.randrange(0x200) << 10
        )
        page = adrp(dice.choice((8, 9, 19)), dice.randrange(0x3FF000, 0x502000), place)
        branch = dice.choice(COUNTING)[1] | dice.randrange(1 << 14) << 5
        out.append(dice.choices((NOP, pair, page, dice.choice(PLAIN), branch, dice.getrandbits(32)), (12, 6, 3, 2, 2, 1))[0])
    return code(*out)


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [BOUNDS, EVERYWHERE])
def test_both_ways_on_much_code(bounds: Bounds) -> None:
    pytest.importorskip("numpy", reason="the [publish] extra is not installed")
    data = looks_real(30_000, 3)
    plain = find_aarch64_plainly(data, ADDRESS, 9, len(data) - 7, bounds)
    assert plain == find_aarch64_at_once(data, ADDRESS, 9, len(data) - 7, bounds)
    assert rules.rows_of(plain) == rules.aarch64(data, ADDRESS, 9, len(data) - 7, bounds)
    assert plain.classes.count(Class.LO12) > 2000


@pytest.mark.slow
def test_48_words_on_both_sides_are_all_that_counts(find: Finder) -> None:
    data = looks_real(700, 4)
    dice = Random(6)
    differs_with_less = False
    for _ in range(300):
        first = 4 * dice.randrange(60, 600)
        stop = first + 4 * dice.randrange(1, 40)
        everything = rules.rows_of(find(data, ADDRESS, first, stop, BOUNDS))
        before, behind = first - 192, stop + 192
        near = rules.rows_of(find(data[before:behind], ADDRESS + before, 192, stop - before, BOUNDS))
        assert [(place + before, *rest) for place, *rest in near] == everything
        alone = rules.rows_of(find(data[first:stop], ADDRESS + first, 0, stop - first, BOUNDS))
        differs_with_less |= [(place + first, *rest) for place, *rest in alone] != everything
    assert differs_with_less


@pytest.mark.slow
def test_every_window_of_code() -> None:
    pytest.importorskip("numpy", reason="the [publish] extra is not installed")
    data = looks_real(8, 8)
    for odd in range(4):
        for first in range(len(data) + 1):
            for stop in range(first, len(data) + 1):
                window = (data, ADDRESS + odd, first, stop, BOUNDS)
                assert find_aarch64_plainly(*window) == find_aarch64_at_once(*window)


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    [0x90000008], [0x90000000 | register for register in range(32)], [0x90000008, *[NOP] * 47],
    [*(0x90000000 | register for register in range(31)), *(0x3D400000 | register << 5 for register in range(17))],
    [0x94000000], [0x14000001], [0x10000000], [0x3D400100], [0xA9402041],
])  # fmt: skip
def test_hostile_words_take_no_longer_than_others(find: Finder, words: list[int]) -> None:
    """Work that grew with the square of the length would take a day here: there is no end to wait for."""
    data = code(*words) * (150_000 // len(words))
    found = rules.rows_of(find(data, 1 << 40, 0, len(data), EVERYWHERE))
    near = rules.aarch64(data[:1600], 1 << 40, 0, 1000, EVERYWHERE)
    assert found[: len(near)] == near


def test_numpy_is_chosen_where_it_is_imported_and_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    monkeypatch.setattr(aarch64, "find_aarch64_plainly", lambda *_: chosen.append("plainly"))
    monkeypatch.setattr(aarch64, "find_aarch64_at_once", lambda *_: chosen.append("at once"))
    long, short = bytes(aarch64._NUMPY_FROM_BYTES), bytes(aarch64._NUMPY_FROM_BYTES - 1)
    monkeypatch.setitem(sys.modules, "numpy", sys)
    find_aarch64(long, ADDRESS, 0, len(long), BOUNDS)
    find_aarch64(short, ADDRESS, 0, len(short), BOUNDS)
    monkeypatch.delitem(sys.modules, "numpy")
    find_aarch64(long, ADDRESS, 0, len(long), BOUNDS)
    assert chosen == ["at once", "plainly", "plainly"]
