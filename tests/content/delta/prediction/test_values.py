"""Values of fields: number by number and all at once they are the same, and refer to where they should."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("numpy", reason="the [publish] extra is not installed")

import numpy as np

from edgeswarm.content.delta.prediction.areas import DataField
from edgeswarm.content.delta.prediction.code import Field
from edgeswarm.content.delta.prediction.values import gather, new_value, new_values, scatter, width_of

FIELDS = [int(field) for field in (*Field, *DataField)]
# Targets are sums of an old address, a shift and a correction, each of at most 62 bits; 64 bits hold all of them but the sign.
TARGETS = st.integers(-3 * (1 << 62), 3 * (1 << 62)) | st.integers(-(1 << 33), 1 << 33)
ADDRESSES = st.integers(0, 1 << 62) | st.integers(0, 1 << 20)


def wrapped(value: int) -> int:
    """Return what 64 bits keep of a number."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


@given(field=st.sampled_from(FIELDS), target=TARGETS, address=ADDRESSES, word=st.integers(0, 2**32 - 1), data=st.data())
@settings(max_examples=1000)
def test_all_at_once_is_as_number_by_number(field: int, target: int, address: int, word: int, data: st.DataObject) -> None:
    extra = data.draw(st.integers(0, 8) if field <= Field.LO12 else ADDRESSES)
    value = new_value(field, extra, target, address, word)
    columns = (np.array([wrapped(number)], np.int64) for number in (extra, target, address, word))
    at_once = new_values(field, *columns).tolist()[0]
    bits = 8 * width_of(field)
    assert 0 <= value < 1 << bits
    assert at_once % (1 << 64) == value


def signed(value: int, bits: int) -> int:
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def adr_of(word: int) -> int:
    return signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)


def target_of(field: int, value: int, extra: int, address: int) -> int:
    """Return what a field refers to, as an instruction or a loader reads it."""
    reads = {
        Field.REL32: lambda: address + extra + signed(value, 32),
        Field.B26: lambda: address + 4 * signed(value & 0x3FFFFFF, 26),
        Field.B19: lambda: address + 4 * signed(value >> 5 & 0x7FFFF, 19),
        Field.B14: lambda: address + 4 * signed(value >> 5 & 0x3FFF, 14),
        Field.ADR: lambda: address + adr_of(value),
        Field.ADRP: lambda: (address >> 12) + adr_of(value) << 12,
        Field.LO12: lambda: (value >> 10 & 0xFFF) << extra,
        DataField.ABSOLUTE: lambda: value + extra,
        DataField.RELATIVE: lambda: address + signed(value, 32),
        DataField.BACKWARDS: lambda: address - value,
        DataField.OFFSET: lambda: extra + signed(value, 32),
        DataField.INDEX: lambda: extra + 4 * value,
    }
    return {int(key): read for key, read in reads.items()}[field]()


REACH = {Field.B14: 1 << 15, Field.B19: 1 << 20, Field.ADR: 1 << 20, Field.B26: 1 << 27}


@given(
    field=st.sampled_from(FIELDS), address=st.integers(1 << 33, 1 << 48), far=st.integers(-(1 << 31), (1 << 31) - 9),
    word=st.integers(0, 2**32 - 1), extra=st.integers(0, 4),
)  # fmt: skip
@example(field=int(Field.ADR), address=1 << 40, far=-1, word=0, extra=0)
@settings(max_examples=600)
def test_a_value_that_fits_refers_to_its_target(field: int, address: int, far: int, word: int, extra: int) -> None:
    reach = REACH.get(Field(field), 1 << 31) if field <= Field.LO12 else 1 << 31
    far = far % (2 * reach) - reach
    if field in (Field.B26, Field.B19, Field.B14):
        address, far = address & ~3, far & ~3
    if field == DataField.BACKWARDS:
        far = -abs(far)
    if field == Field.REL32:
        far = max(far, extra - (1 << 31))
    target = address + far
    if field == DataField.INDEX:
        extra = target - 4 * abs(far)
    elif field in (DataField.ABSOLUTE, DataField.OFFSET):
        extra = target - (far if field == DataField.OFFSET else abs(far))
    elif field == Field.LO12:
        target &= ~((1 << extra) - 1)
    value = new_value(field, extra, target, address, word)
    got = target_of(field, value, extra, address)
    if field == Field.LO12:
        assert got == target & 0xFFF
    elif field == Field.ADRP:
        assert got == target & ~0xFFF
    else:
        assert got == target


@pytest.mark.parametrize(
    ("field", "kept"),
    [(Field.B26, 0xFC000000), (Field.B19, 0xFF00001F), (Field.B14, 0xFFF8001F), (Field.ADR, 0x9F00001F), (Field.ADRP, 0x9F00001F),
     (Field.LO12, 0xFFC003FF), (Field.REL32, 0)],
)  # fmt: skip
def test_of_an_instruction_word_only_the_field_changes(field: Field, kept: int) -> None:
    for target in (0, 0x7FFFF000, 0x123456789ABC):
        for word in (0, 0xFFFFFFFF, 0x5A5A5A5A):
            assert new_value(int(field), 2, target, 0x400000, word) & kept == word & kept


def test_fields_are_gathered_and_scattered_bit_for_bit() -> None:
    data = bytearray(range(200, 240))
    view, places = np.frombuffer(data, np.uint8), np.array([1, 17])
    for width in (4, 8):
        values = gather(view, places, width)
        assert [value % (1 << 64) for value in values.tolist()] == [
            int.from_bytes(data[at : at + width], "little") for at in places.tolist()
        ]
    scatter(view, places, 8, np.array([-2, 0x1122334455667788], np.int64))
    assert data[1:9] == (2**64 - 2).to_bytes(8, "little")
    assert data[17:25] == bytes.fromhex("8877665544332211")
    assert (data[0], data[9], data[16], data[25]) == (200, 209, 216, 225)
