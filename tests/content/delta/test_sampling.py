from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numpy", reason="the [publish] extra is not installed")

from edgeswarm.content.delta import sampling
from edgeswarm.content.delta.sampling import GRAIN_BYTES, SampledBase

BASE = Random(4).randbytes(20 * GRAIN_BYTES + 1234)


def sampled(base: bytes) -> SampledBase:
    return SampledBase(lambda offset, length: base[offset : offset + length], len(base))


@pytest.fixture(scope="module")
def found() -> SampledBase:
    return sampled(BASE)


def holds(ranges: list[tuple[int, int]], offset: int, length: int) -> bool:
    return any(start <= offset and offset + length <= start + size for start, size in ranges)


@given(grain=st.integers(0, 19), within=st.integers(0, GRAIN_BYTES - 9000), shift=st.integers(0, 20))
@settings(max_examples=40)
def test_moved_content_is_found_wherever_it_stands(found: SampledBase, grain: int, within: int, shift: int) -> None:
    at = grain * GRAIN_BYTES + within
    new = bytes(shift) + BASE[at : at + 9000]
    assert holds(found.ranges_like(new, GRAIN_BYTES), at, 9000)


def test_ranges_ascend_are_joined_and_stay_in_the_base(found: SampledBase) -> None:
    assert found.ranges_like(BASE, 1 << 30) == [(0, len(BASE))]
    new = BASE[17 * GRAIN_BYTES :] + BASE[3 * GRAIN_BYTES : 5 * GRAIN_BYTES]
    ranges = found.ranges_like(new, 8 * GRAIN_BYTES)
    assert ranges == [(3 * GRAIN_BYTES, 2 * GRAIN_BYTES), (17 * GRAIN_BYTES, len(BASE) - 17 * GRAIN_BYTES)]


@pytest.mark.parametrize("grains", [0, 1, 3, 20])
def test_the_limit_is_kept_and_goes_to_what_shares_most(found: SampledBase, grains: int) -> None:
    new = b"".join(BASE[i * GRAIN_BYTES : i * GRAIN_BYTES + 3000 * (i + 1)] for i in range(20))
    ranges = found.ranges_like(new, grains * GRAIN_BYTES + 5)
    assert sum(length for _, length in ranges) <= grains * GRAIN_BYTES
    if grains == 1:
        assert ranges == [(19 * GRAIN_BYTES, GRAIN_BYTES)]


def test_strangers_share_nothing(found: SampledBase) -> None:
    assert found.ranges_like(Random(99).randbytes(300_000), 1 << 22) == []


def test_what_stands_everywhere_says_nothing() -> None:
    page = Random(8).randbytes(4096)
    assert sampled(page * 200).ranges_like(page, 1 << 22) == []
    assert sampled(bytes(500_000)).ranges_like(bytes(70_000), 1 << 22) == []


@pytest.mark.parametrize("size", [0, 1, 7, 8, 15, 16, 17, 23])
def test_tiny_bases_and_news(found: SampledBase, size: int) -> None:
    assert sampled(BASE[:size]).ranges_like(BASE, 1 << 22) in ([], [(0, size)])
    assert isinstance(found.ranges_like(BASE[:size], 1 << 22), list)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch, found: SampledBase) -> None:
    new = b"".join(BASE[i : i + 500] for i in range(0, len(BASE), 50_000))
    wanted = found.ranges_like(new, 6 * GRAIN_BYTES)
    for block in (2000, 65_536):  # 2000: every position near a seam counts
        monkeypatch.setattr(sampling, "_BLOCK_BYTES", block)
        again = sampled(BASE)
        assert again.ranges_like(new, 6 * GRAIN_BYTES) == wanted
        assert again._places.tolist() == found._places.tolist()


def test_a_large_base_is_sampled_more_thinly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_MOST_SAMPLES", 2000)
    assert len(sampled(BASE)._hashes) < 4000
