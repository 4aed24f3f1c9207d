"""Covers are found, whole or by parts, and are covers: in order, apart, inside both streams."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numpy", reason="the [publish] extra is not installed")
pytest.importorskip("hdiffpatch", reason="the [publish] extra is not installed")

from edgeswarm.content.delta.covers import matching
from edgeswarm.content.delta.covers.matching import MatchOptions, find_covers, match, parts_of
from edgeswarm.errors import PublishError

OLD = Random(3).randbytes(600_000)
Range = tuple[int, int]


def covers_of(new: bytes, wanted: list[Range], options: MatchOptions | None = None, old: bytes = OLD) -> list[list[int]]:
    found = find_covers(
        lambda at, n: old[at : at + n], len(old), lambda at, n: new[at : at + n], wanted, options or MatchOptions()
    )  # fmt: skip
    rows: list[list[int]] = found.tolist()
    end = 0
    for at, place, length in rows:
        assert 0 <= at < at + length <= len(old)
        assert end <= place < place + length <= len(new)
        assert any(start <= place and place + length <= start + size for start, size in wanted)
        end = place + length
    return rows


def covered(rows: list[list[int]]) -> int:
    return sum(length for _, _, length in rows)


def test_what_moved_is_found() -> None:
    new = OLD[300_000:400_000] + b"new" + OLD[:50_000]
    assert covers_of(new, [(0, len(new))]) == [[300_000, 0, 100_000], [0, 100_003, 50_000]]


def test_only_what_is_wanted_is_matched() -> None:
    new = OLD[300_000:400_000] + OLD[:50_000]
    rows = covers_of(new, [(10_000, 20_000), (120_000, 1000)])
    assert rows == [[310_000, 10_000, 20_000], [20_000, 120_000, 1000]]


@pytest.mark.parametrize(("old", "new"), [(b"", b"abc"), (b"abc", b""), (b"", b""), (b"a", b"b")])
def test_nothing_in_common_is_no_cover(old: bytes, new: bytes) -> None:
    assert covers_of(new, [(0, len(new))] if new else [], old=old) == []


def test_little_memory_finds_nearly_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    new = bytearray(b"".join(OLD[at : at + 90_000] for at in range(500_000, -1, -100_000)))
    for at in range(0, len(new), 500):
        new[at] ^= 0x55
    whole = covers_of(bytes(new), [(0, len(new))])
    monkeypatch.setattr(matching, "_LEAST_MEMORY_BYTES", 0)
    monkeypatch.setattr(matching, "_MOST_PART_BYTES", 100_000)
    parts = covers_of(bytes(new), [(0, len(new))], MatchOptions(memory_bytes=2_500_000))
    assert covered(parts) >= 0.98 * covered(whole)


def test_a_small_change_of_a_large_stream_does_not_match_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def noted(old: bytes, new: bytes) -> object:
        sizes.append(len(old))
        return match(old, new)

    monkeypatch.setattr(matching, "match", noted)
    old = Random(4).randbytes(5_000_000)
    new = old[:200_000] + b"!" + old[200_000:]
    assert covered(covers_of(new, [(190_000, 20_000)], old=old)) >= 19_900
    assert sum(sizes) < len(old) / 10


@pytest.mark.parametrize("size", [1, 100, 20_000])
def test_a_base_that_is_small_beside_what_is_new(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_LEAST_MEMORY_BYTES", 0)
    monkeypatch.setattr(matching, "_LITTLE_BYTES", 0)
    new = OLD[300_000:] + OLD[:size]
    rows = covers_of(new, [(0, len(new))], MatchOptions(memory_bytes=700_000), old=OLD[:size])
    assert covered(rows) >= (size if size > 1000 else 0)


def test_a_base_below_a_grain_is_matched_by_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_LITTLE_BYTES", 0)
    old = OLD[:60_000]
    new = old[:3000] + b"!" + old[3001:5000]
    assert covered(covers_of(new, [(0, len(new))], old=old)) >= 4990


def test_zeros_take_no_memory_to_sample() -> None:
    import tracemalloc

    from edgeswarm.content.delta.sampling import SampledBase

    for unit in (bytes(16), b"\xff" * 16, b"abc", Random(2).randbytes(24)):
        block = (unit * (8_000_000 // len(unit) + 1))[:8_000_000]
        tracemalloc.start()
        found = SampledBase(lambda at, n, block=block: block[at : at + n], len(block))  # type: ignore[misc]  # bound now
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(found._hashes) <= 24
        assert peak < 100e6


@given(st.lists(st.integers(1, 500), max_size=20), st.integers(1, 300))
@settings(max_examples=200)
def test_parts_are_all_that_is_wanted(lengths: list[int], most: int) -> None:
    wanted, at = [], 0
    for length in lengths:
        wanted.append((at, length))
        at += length + 7
    parts = list(parts_of(wanted, most))
    assert [place for part in parts for start, size in part for place in range(start, start + size)] == [
        place for start, size in wanted for place in range(start, start + size)
    ]
    assert all(sum(size for _, size in part) == most for part in parts[:-1])
    assert all(0 < sum(size for _, size in part) <= most for part in parts)


def test_the_same_again_is_the_same() -> None:
    new = OLD[100:90_000] + Random(8).randbytes(3000) + OLD[400_000:500_000]
    assert covers_of(new, [(0, len(new))]) == covers_of(new, [(0, len(new))])


def test_another_format_of_patches_is_refused() -> None:
    with pytest.raises(PublishError, match="wanted a patch in format HDIFF13"):
        matching._covers_of(b"HDIFF99&\0" + bytes(20))
