from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.content.manifest import MAX_CHUNKS
from edgeswarm.errors import LocalProtocolError
from edgeswarm.wire import Form, count_indices, decode_flags, decode_indices, encode_flags, encode_indices, split_flags

FLAGS = st.lists(st.tuples(st.booleans(), st.integers(1, 40))).map(lambda runs: b"".join(bytes([bit]) * n for bit, n in runs))


@pytest.mark.parametrize(
    ("indices", "form", "data"),
    [
        ([], Form.RUNS, ""),
        ([0], Form.BITMAP, "01"),
        (range(4096), Form.RUNS, "008020"),
        ([300], Form.RUNS, "ac0201"),
        ([0, 2, 4, 9], Form.BITMAP, "1502"),
        ([100, 101, 500], Form.RUNS, "64028e0301"),
    ],
)
def test_golden_bytes(indices: list[int], form: Form, data: str) -> None:
    assert encode_indices(indices) == (form, bytes.fromhex(data))
    assert decode_indices(form, bytes.fromhex(data), 5000, most=5000) == list(indices)


@given(FLAGS)
def test_flags_come_back(flags: bytes) -> None:
    form, data = encode_flags(flags)
    assert decode_flags(form, data, len(flags)) == flags
    assert count_indices(form, data, len(flags)) == flags.count(1)
    assert len(data) <= max(len(flags.rstrip(b"\0")) + 7, 0) // 8


@given(st.sets(st.integers(0, 5000)))
def test_indices_come_back_sorted(indices: set[int]) -> None:
    form, data = encode_indices(indices)
    assert decode_indices(form, data, 5001, most=5001) == sorted(indices)


@given(st.integers(0, 3), st.binary(max_size=60), st.integers(0, 400))
def test_any_bytes_are_refused_or_one_set_of_that_bound(form: int, data: bytes, chunks: int) -> None:
    try:
        flags = decode_flags(form, data, chunks)
    except LocalProtocolError:
        return
    assert len(flags) == chunks
    assert set(flags) <= {0, 1}
    assert decode_indices(form, data, chunks, most=chunks) == [i for i, flag in enumerate(flags) if flag]


@pytest.mark.parametrize(
    ("form", "data", "what"),
    [
        (0, "0100", "zero byte"),
        (0, "000002", "bits below"),
        (1, "00", "pairs"),
        (1, "0000", "pairs"),
        (1, "00010001", "pairs"),
        (1, "0011", "below 16"),
        (1, "0f02", "below 16"),
        (1, "8000", "varint"),
        (1, "000180", "varint"),
        (1, "ffffffffff01", "varint"),
        (2, "01", "form"),
    ],
)
def test_refused(form: int, data: str, what: str) -> None:
    with pytest.raises(LocalProtocolError, match=what):
        count_indices(form, bytes.fromhex(data), 16)


def test_more_indices_than_accepted_are_refused_before_they_are_made() -> None:
    form, data = Form.RUNS, bytes.fromhex("00ffffff1f")  # 67 million in 5 bytes
    assert count_indices(form, data, MAX_CHUNKS) == MAX_CHUNKS - 1
    with pytest.raises(LocalProtocolError, match="at most 4096"):
        decode_indices(form, data, MAX_CHUNKS, most=4096)


@pytest.mark.parametrize("indices", [[-1], [MAX_CHUNKS]])
def test_indices_out_of_range_are_the_callers_fault(indices: list[int]) -> None:
    with pytest.raises(LocalProtocolError, match="chunk index"):
        encode_indices(indices)


@given(FLAGS)
def test_parts_add_up(flags: bytes) -> None:
    parts = split_flags(flags, most=9)
    total = bytearray(len(flags))
    for form, data in parts:
        assert len(data) <= 9
        for index in decode_indices(form, data, len(flags), most=len(flags)):
            assert not total[index]
            total[index] = 1
    assert total == flags
