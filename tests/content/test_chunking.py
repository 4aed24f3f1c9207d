from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeswarm.content import chunking
from edgeswarm.content.chunking import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, chunk_lengths, cut_run, first_cut

_K = 1024
_EDGES = (0, 1, 2, 16 * _K - 1, 16 * _K, 16 * _K + 1, 16 * _K + 2, 64 * _K - 1, 64 * _K, 64 * _K + 1, 256 * _K, 256 * _K + 1)


def noise(size: int, seed: int = 0) -> bytes:
    return Random(seed).randbytes(size)


def blocks(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = turn = 0
    while at < len(data):
        yield data[at : at + sizes[turn % len(sizes)]]
        at, turn = at + sizes[turn % len(sizes)], turn + 1


@pytest.mark.parametrize("size", _EDGES)
def test_definition_and_fast_backend_cut_alike_at_the_edges(size: int) -> None:
    for data in (noise(size, size), bytes(size), b"\xff\x00\x7f" * (size // 3) + bytes(size % 3)):
        lengths = chunk_lengths(data)
        assert lengths == chunk_lengths(data, pure=True)
        assert sum(lengths) == size


@pytest.mark.slow
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), size=st.integers(0, 400_000), alphabet=st.integers(2, 256))
def test_definition_and_fast_backend_cut_alike(seed: int, size: int, alphabet: int) -> None:
    data = bytes(byte % alphabet for byte in noise(size, seed))
    assert chunk_lengths(data) == chunk_lengths(data, pure=True)


def test_the_fast_backend_is_in_use_where_it_is_installed() -> None:
    pytest.importorskip("pyfastcdc", reason="the [publish] extra is not installed")
    assert chunking._backend() is chunking._lengths_fast


def test_every_chunk_but_the_last_keeps_the_limits() -> None:
    lengths = chunk_lengths(noise(4_000_000))
    assert all(MIN_CHUNK_BYTES <= length <= MAX_CHUNK_BYTES for length in lengths[:-1])
    assert 0 < lengths[-1] <= MAX_CHUNK_BYTES


def test_nothing_gives_no_chunks() -> None:
    assert chunk_lengths(b"") == []
    assert list(cut_run([])) == []
    assert list(cut_run([b"", b""])) == []


def test_first_cut_looks_at_no_more_than_the_maximum() -> None:
    data = noise(MAX_CHUNK_BYTES)
    assert first_cut(memoryview(data)) == first_cut(memoryview(data + noise(9999, 9)))


def test_an_edit_moves_only_cuts_near_it() -> None:
    old = noise(3_000_000)
    new = old[:1_000_000] + b"inserted" + old[1_000_000:]
    shared = {bytes(chunk) for chunk in cut_run([old])} & {bytes(chunk) for chunk in cut_run([new])}
    assert sum(map(len, shared)) > 2_000_000


@given(sizes=st.lists(st.integers(1, 300_000), min_size=1, max_size=5), size=st.integers(0, 1_500_000))
@settings(max_examples=20)
def test_blocks_do_not_matter(sizes: list[int], size: int) -> None:
    data = noise(size)
    chunks = list(cut_run(blocks(data, [max(part, size // 50 + 1) for part in sizes])))
    assert b"".join(chunks) == data
    assert [len(chunk) for chunk in chunks] == chunk_lengths(data)


def test_windows_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    data = noise(2_000_000, 7) + bytes(1_000_000)
    wanted = chunk_lengths(data)
    for window in (MAX_CHUNK_BYTES, MAX_CHUNK_BYTES + 1, 700_001):
        monkeypatch.setattr(chunking, "_WINDOW_BYTES", window)
        assert [len(chunk) for chunk in cut_run(blocks(data, [100_003]))] == wanted


def test_memory_stays_at_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks come out while blocks go in: at no time is more held back than the window and one block."""
    monkeypatch.setattr(chunking, "_WINDOW_BYTES", 600_000)
    taken = given_out = 0

    def source() -> Iterator[bytes]:
        nonlocal taken
        for turn in range(60):
            assert taken - given_out <= 600_000 + 100_000
            taken += 100_000
            yield noise(100_000, turn)

    for chunk in cut_run(source()):
        given_out += len(chunk)
    assert given_out == taken == 6_000_000
