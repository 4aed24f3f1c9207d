"""The engine: whatever the streams, units make exactly what they should, and each is the smallest of what was tried."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numpy", reason="the [publish] extra is not installed")
pytest.importorskip("hdiffpatch", reason="the [publish] extra is not installed")

from edgeswarm.content.codec import STORED, ZSTD, ZSTD_RANGES
from edgeswarm.content.delta import PairEncoder, decode_unit
from edgeswarm.content.delta.covers.layout import METHOD as COVERS

OLD = Random(6).randbytes(300_000)


def encoder(old: bytes, new: bytes) -> PairEncoder:
    return PairEncoder(
        lambda at, n: old[at : at + n], len(old), lambda at, n: new[at : at + n], len(new), [(0, len(new))] if new else []
    )  # fmt: skip


def made(old: bytes, new: bytes, cuts: list[int] | None = None) -> list[bytes]:
    """Encode parts of a new stream, and prove each."""
    engine, bounds = encoder(old, new), [0, *sorted(set(cuts or [])), len(new)]
    units = []
    for start, end in pairwise(bounds):
        units.append(engine.encode(new[start:end], start))
        assert decode_unit(units[-1], lambda at, n: old[at : at + n], len(old), end - start) == new[start:end]
    return units


@given(
    old=st.binary(max_size=3000), edits=st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=40)), max_size=8),
    cuts=st.lists(st.integers(1, 2999), max_size=4),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_any_change_comes_back(old: bytes, edits: list[tuple[int, bytes]], cuts: list[int]) -> None:
    new = bytearray(old)
    for at, data in edits:
        new[at : at + len(data) // 2] = data
    made(old, bytes(new), [cut for cut in cuts if cut < len(new)])


@pytest.mark.parametrize(
    ("new", "method"),
    [
        (Random(9).randbytes(30_000), STORED),
        (b"line\n" * 9999, ZSTD),
        (OLD[1000:200_000] + b"!" + OLD[200_000:], COVERS),
        (b"".join(OLD[at : at + 24] + b"%d" % at for at in Random(1).choices(range(0, 40_000, 80), k=3000)), ZSTD_RANGES),
    ],
)
def test_the_smallest_coding_is_taken(new: bytes, method: int) -> None:
    assert made(OLD, new)[0][0] == method


def test_moved_addresses_cost_little() -> None:
    """Addresses among other bytes, all of which moved by the same distance, with and without a carry."""
    code = [Random(n).randbytes(12) for n in range(5000)]
    old, new = (
        b"".join(part + (0x40_0000 + 37 * n * n % 0xFFFF + moved).to_bytes(4, "little") for n, part in enumerate(code))
        for moved in (0, 0x1234)
    )
    assert sum(map(len, made(old, new))) < 1000


def test_weights_say_where_the_bytes_are() -> None:
    fresh = Random(2).randbytes(100_000)
    new = OLD[:100_000] + fresh + OLD[200_000:]
    weights = encoder(OLD, new).weights(new, 0, [100_000, 200_000, 300_000])
    assert weights[0] < 100
    assert weights[2] < 100
    assert weights[1] > 30_000


def test_the_same_again_is_the_same() -> None:
    new = OLD[5000:60_000] + b"!" + OLD[100_000:210_000]
    assert made(OLD, new, [50_000]) == made(OLD, new, [50_000])
