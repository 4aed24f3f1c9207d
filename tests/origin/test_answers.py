from __future__ import annotations

import pytest

from edgeswarm.errors import FetchError, ObjectMissingError
from edgeswarm.origin.answers import MAX_RETRY_SECONDS, SKIP_BYTES, judge_coding, judge_range, judge_status, retry_seconds
from edgeswarm.origin.ranges import ByteRange

DATE = "Tue, 15 Nov 1994 08:12:31 GMT"


@pytest.mark.parametrize(
    ("status", "temporary"),
    [(status, True) for status in (408, 416, 425, 429, 500, 503, 599)]
    + [(status, False) for status in (100, 204, 301, 400, 401, 403, 405, 451)],
)
def test_a_status_is_temporary_or_final(status: int, temporary: bool) -> None:
    with pytest.raises(FetchError, match=f"a: .*{status}") as caught:
        judge_status("a", status, {})
    assert caught.value.temporary == temporary
    assert not isinstance(caught.value, ObjectMissingError)


@pytest.mark.parametrize("status", [404, 410])
def test_missing(status: int) -> None:
    with pytest.raises(ObjectMissingError):
        judge_status("a", status, {})


@pytest.mark.parametrize("status", [200, 206, 304])
def test_fine(status: int) -> None:
    judge_status("a", status, {})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "999999999"}, MAX_RETRY_SECONDS),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Tue, 15 Nov 1994 08:13:31 GMT", "date": DATE}, 60.0),
        ({"retry-after": "Tue, 15 Nov 1994 08:13:31 -0000", "date": DATE}, 60.0),
        ({"retry-after": "Tue, 15 Nov 1994 08:11:31 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Tue, 15 Nov 2094 08:11:31 GMT", "date": DATE}, MAX_RETRY_SECONDS),
        ({"retry-after": DATE}, None),
        ({"retry-after": DATE, "date": "Tue, 99 Nov 1994 08:13:31 GMT"}, None),
    ],
)
def test_the_pause_a_server_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_seconds(headers) == seconds
    with pytest.raises(FetchError) as caught:
        judge_status("a", 503, headers)
    assert caught.value.retry_after == seconds


def test_compressed_bodies_are_refused() -> None:
    judge_coding("a", {})
    judge_coding("a", {"content-encoding": "Identity"})
    with pytest.raises(FetchError, match="gzip") as caught:
        judge_coding("a", {"content-encoding": "gzip"})
    assert not caught.value.temporary


WANTED = ByteRange(10, 5)


@pytest.mark.parametrize(
    "headers", [{"content-range": "bytes 10-14/100"}, {"content-range": "bytes 10-14/*", "content-length": "5"}]
)
def test_the_right_range_passes(headers: dict[str, str]) -> None:
    assert judge_range("a", 206, headers, WANTED) == 0


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, {}),
        (206, {"content-range": "bytes 0-4/100"}),
        (206, {"content-range": "bytes 10-13/14"}),
        (206, {"content-range": "bytes 10-15/100"}),
        (206, {"content-range": "bytes 10-14/100", "content-length": "6"}),
        (206, {"content-type": "multipart/byteranges; boundary=x"}),
        (200, {"content-length": "14"}),
        (304, {}),
    ],
)
def test_a_wrong_range_is_temporary(status: int, headers: dict[str, str]) -> None:
    with pytest.raises(FetchError) as caught:
        judge_range("a", status, headers, WANTED)
    assert caught.value.temporary


def test_a_server_without_ranges_is_read_from_the_start_if_that_costs_little() -> None:
    assert judge_range("a", 200, {"content-length": "15"}, WANTED) == 10
    assert judge_range("a", 200, {}, WANTED) == 10
    assert judge_range("a", 200, {}, ByteRange(SKIP_BYTES, 1)) == SKIP_BYTES
    with pytest.raises(FetchError, match="knows no ranges") as caught:
        judge_range("a", 200, {}, ByteRange(SKIP_BYTES + 1, 1))
    assert not caught.value.temporary
