from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.content.digest import digest
from edgeswarm.content.index import SPAN_CHUNKS, UNIT_MAX_OUTPUT_BYTES
from edgeswarm.content.manifest import ArtifactKind, Manifest, build_manifest
from edgeswarm.errors import PublishError
from edgeswarm.publish.encode import groups, read_chunks
from edgeswarm.publish.packs import PackFile, in_order

KIB = 1024


def manifest_of(sizes: list[int], salt: str = "") -> Manifest:
    rows = [(digest(f"{salt}{index}".encode()), size) for index, size in enumerate(sizes)]
    return build_manifest(ArtifactKind.FILE, rows).manifest


EMPTY = manifest_of([])


def test_groups_end_where_a_unit_must_and_at_span_ends() -> None:
    found = groups(manifest_of([256 * KIB] * 20 + [16 * KIB] * 64), EMPTY)
    assert found == [range(16), range(16, 64), range(64, 84)]


def test_groups_leave_out_what_the_base_has() -> None:
    new = manifest_of([16 * KIB] * 10)
    rows = [(new.chunk(index).digest, 16 * KIB) for index in (0, 4, 5)]
    base = build_manifest(ArtifactKind.FILE, rows).manifest
    assert groups(new, base) == [range(1, 4), range(6, 10)]


@given(st.lists(st.integers(1, 256 * KIB), min_size=1, max_size=300))
def test_groups_are_bounded_and_whole(sizes: list[int]) -> None:
    found = groups(manifest_of(sizes), EMPTY)
    assert [index for which in found for index in which] == list(range(len(sizes)))
    for which in found:
        assert sum(sizes[index] for index in which) <= UNIT_MAX_OUTPUT_BYTES
        assert which[0] // SPAN_CHUNKS == which[-1] // SPAN_CHUNKS


def test_chunks_that_read_differently_are_refused() -> None:
    manifest = manifest_of([100, 100])
    with pytest.raises(PublishError, match="byte 0"):
        read_chunks(lambda _offset, length: bytes(length), manifest, range(2))


def test_results_come_in_order_and_not_too_many_at_once() -> None:
    taken, first = [], threading.Event()

    def items():  # type: ignore[no-untyped-def]  # a generator
        for number in range(20):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        if number == 0:
            assert first.wait(10)  # the first to begin is the last to end
        elif number == 2:
            first.set()
        return number

    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, work, items(), 4)
        assert next(results) == 0
        assert taken == [0, 1, 2, 3]
        assert list(results) == list(range(1, 20))


def test_an_error_ends_the_work() -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise ValueError(number)
        return number

    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="3"):
        list(in_order(pool, work, range(1000), 4))
    assert len(begun) < 10


def test_a_pack_is_named_by_its_bytes() -> None:
    with PackFile() as pack:
        assert [pack.append(b"abc"), pack.append(b"de")] == [0, 3]
        assert b"".join(pack.blocks()) == b"abcde"
        assert (pack.digest, pack.size) == (digest(b"abcde"), 5)
