from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.demo.traffic import Conversation, Intervals, Seen, Traffic


def test_intervals() -> None:
    found = Intervals()
    assert found.add(10, 20) == 0
    assert found.add(20, 30) == 0
    assert found.add(10, 30) == 20
    assert found.add(0, 100) == 20
    assert found.add(5, 5) == 0
    assert len(found) == 100


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=30))
def test_intervals_are_a_set(ranges: list[tuple[int, int]]) -> None:
    found, model = Intervals(), set[int]()
    for start, length in ranges:
        added = set(range(start, start + length))
        assert found.add(start, start + length) == len(added & model)
        model |= added
        assert len(found) == len(model)


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: x", *headers, "", ""]).encode()


def reply(body: bytes, *headers: str, status: int = 200) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers, "", ""]).encode() + body


def part(offset: int, body: bytes) -> bytes:
    return reply(body, f"content-range: bytes {offset}-{offset + len(body) - 1}/1000", 'etag: "1"', status=206)


def talk(traffic: Traffic, *turns: tuple[bytes, bytes]) -> Conversation:
    conversation = traffic.open_conversation()
    for up, down in turns:
        conversation.passed_up(up)
        conversation.passed_down(down)
    return conversation


def test_what_passes_another_uplink_of_the_site_again_is_repeated() -> None:
    seen: Seen = {}
    for traffic, repeated in ((Traffic(seen), 0), (Traffic(seen), 5), (Traffic(), 0)):
        talk(traffic, (get("/packs/ab/x", "range: bytes=0-4"), part(0, b"abcde")))
        assert traffic.counters.as_dict()["repeated_body_bytes"] == repeated


def test_bytes_are_counted_by_class() -> None:
    traffic = Traffic()
    turns = [
        (get("/metadata/timestamp.json"), reply(b"{}")),
        (get("/origin/packs/ab/x", "range: bytes=0-4"), part(0, b"abcde")),
        (get("/index/x?y=packs"), reply(b"i" * 9)),
        (get("/favicon.ico"), reply(b"nope", status=404)),
    ]
    talk(traffic, *turns)
    counted = traffic.counters.as_dict()
    up, down = sum(len(turn[0]) for turn in turns), sum(len(turn[1]) for turn in turns)
    classes = counted.pop("classes")
    assert isinstance(classes, dict)
    assert counted == {
        "bytes_down": down,
        "bytes_up": up,
        "bytes_total": up + down,
        "header_bytes_down": down - 20,
        "header_bytes_up": up,
        "body_bytes": 20,
        "largest_header_bytes": max(len(u) + len(d) - n for (u, d), n in zip(turns, (2, 5, 9, 4), strict=True)),
        "repeated_body_bytes": 0,
        "requests": 4,
        "connections": 1,
        "cuts": 0,
    }
    assert {name: (c["requests"], c["body_bytes"]) for name, c in classes.items()} == {
        "metadata": (1, 2),
        "manifests": (0, 0),
        "index": (1, 9),
        "packs": (1, 5),
        "other": (1, 4),
    }


def test_repeated_bytes_are_known_across_connections() -> None:
    traffic = Traffic()
    talk(traffic, (get("/packs/x"), part(100, b"x" * 50)), (get("/packs/x"), part(140, b"x" * 20)))
    talk(traffic, (get("/packs/x"), part(0, b"x" * 110)), (get("/packs/y"), part(100, b"x" * 50)))
    assert traffic.counters.classes["packs"].repeated_body_bytes == 20
    assert traffic.counters.classes["packs"].body_bytes == 230


def test_a_new_version_of_an_object_is_no_repetition() -> None:
    traffic = Traffic()
    for tag in ('etag: "1"', 'etag: "2"', 'etag: "2"'):
        talk(traffic, (get("/metadata/timestamp.json"), reply(b"{}", tag)))
    assert traffic.counters.classes["metadata"].repeated_body_bytes == 2


def test_other_answers() -> None:
    traffic = Traffic()
    turns = [
        (get("/packs/x", method="HEAD"), reply(b"", "content-length: 0", status=200).replace(b"content-length: 0", b"x: y", 1)),
        (get("/packs/x", 'if-none-match: "1"'), b"HTTP/1.1 304 X\r\n\r\n"),
        (get("/packs/x"), b"HTTP/1.1 103 Early\r\nlink: y\r\n\r\n" + reply(b"early")),
        (get("/packs/x"), b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nchunk\r\n0\r\n\r\n"),
        (get("/packs/x", "content-length: 4", method="POST") + b"body", reply(b"posted", status=500)),
        (get("/packs/z", "connection: close"), b"HTTP/1.1 200 X\r\n\r\nto the end"),
    ]
    talk(traffic, *turns)
    counters = traffic.counters
    assert counters.classes["packs"].requests == 6
    assert counters.classes["packs"].body_bytes == len("early") + len("chunk") + len("posted") + len("to the end")
    assert counters.request_body_bytes == 4


def test_requests_that_are_sent_ahead() -> None:
    traffic = Traffic()
    talk(traffic, (get("/packs/x") + get("/packs/y") + get("/index/z"), reply(b"x") + reply(b"yy") + reply(b"zzz")))
    assert traffic.counters.classes["packs"].body_bytes == 3
    assert traffic.counters.classes["index"].body_bytes == 3


@given(st.data())
def test_it_does_not_matter_how_the_bytes_arrive(data: st.DataObject) -> None:
    ups = get("/packs/x", "range: bytes=7-11") + get("/metadata/timestamp.json")
    downs = part(7, b"abcde") + reply(b"{}")
    traffic = Traffic()
    conversation = traffic.open_conversation()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(downs)), max_size=20)))
    conversation.passed_up(ups)
    for start, end in zip([0, *cuts], [*cuts, len(downs)], strict=True):
        conversation.passed_down(downs[start:end])
    assert traffic.counters.bytes_down == len(downs)
    assert traffic.counters.classes["packs"].body_bytes == 5
    assert traffic.counters.classes["metadata"].body_bytes == 2


@pytest.mark.parametrize("up", [b"", b"\x16\x03\x01 hello", b"GET\r\n\r\n"])
def test_what_is_no_http_is_counted_as_bytes(up: bytes) -> None:
    traffic = Traffic()
    talk(traffic, (up, reply(b"body")), (get("/packs/x"), b"more"))
    assert traffic.counters.bytes_up == len(up) + len(get("/packs/x"))
    assert traffic.counters.bytes_down == len(reply(b"body")) + 4
    assert traffic.counters.classes["other"].body_bytes == 0


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), max_size=10))
def test_nothing_upsets_it(turns: list[tuple[bool, bytes]]) -> None:
    traffic = Traffic()
    conversation = traffic.open_conversation()
    conversation.passed_up(get("/packs/x"))
    for is_up, data in turns:
        (conversation.passed_up if is_up else conversation.passed_down)(data)
    assert traffic.counters.bytes_down == sum(len(data) for is_up, data in turns if not is_up)
