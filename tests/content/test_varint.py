from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.content.varint import pack_varints, read_varint, unpack_varints, unzigzag, zigzag
from edgeswarm.errors import ContentError

u64 = st.integers(0, 2**64 - 1)


@given(st.lists(u64))
def test_round_trip(values: list[int]) -> None:
    assert unpack_varints(pack_varints(values), len(values)) == values


@given(st.integers(-(2**63), 2**63 - 1))
def test_zigzag_round_trip(value: int) -> None:
    assert unzigzag(zigzag(value)) == value
    assert 0 <= zigzag(value) < 2**64


@given(st.binary(max_size=12), st.integers(0, 14))
def test_any_bytes_give_a_number_in_canonical_form_or_an_error(data: bytes, at: int) -> None:
    try:
        value, end = read_varint(data, at)
    except ContentError:
        return
    assert data[at:end] == pack_varints([value])
    assert value < 2**64


@pytest.mark.parametrize(("data", "count"), [(b"\1\2", 1), (b"\1", 2), (b"", 1), (b"\1", 0), (b"\x80", 1)])
def test_wrong_counts_are_refused(data: bytes, count: int) -> None:
    with pytest.raises(ContentError):
        unpack_varints(data, count)


def test_a_lying_count_costs_nothing() -> None:
    with pytest.raises(ContentError):
        unpack_varints(b"\1" * 10, 10**18)
