from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.errors import LocalProtocolError, RemoteProtocolError
from edgeswarm.wire import CONTROL_BODY_BYTES, DATA_BODY_BYTES, Frame, FrameReader, encode_frame


def drain(reader: FrameReader) -> list[tuple[int, bytes]]:
    frames = []
    while frame := reader.next_frame():
        frames.append((frame.type, bytes(frame.body)))
    return frames


def test_golden_bytes() -> None:
    assert encode_frame(3, b"ab", b"c") == bytes.fromhex("0000000403616263")
    assert encode_frame(255) == bytes.fromhex("00000001ff")


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40))), st.lists(st.integers(0, 60)))
def test_any_cut_of_the_stream_gives_the_same_frames(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(encode_frame(kind, body) for kind, body in frames)
    reader, got = FrameReader(), []
    for cut in cuts:
        reader.receive_data(stream[:cut])
        stream = stream[cut:]
        got += drain(reader)
    reader.receive_data(stream)
    assert got + drain(reader) == frames
    assert reader.unread == 0


def test_frames_may_be_left_unread_for_a_while() -> None:
    reader = FrameReader()
    for number in range(5):
        reader.receive_data(encode_frame(number, b"x" * number))
    assert [kind for kind, _ in drain(reader)] == [0, 1, 2, 3, 4]


def test_a_frame_that_came_whole_is_not_copied() -> None:
    data = encode_frame(11, b"payload")
    reader = FrameReader()
    reader.receive_data(data)
    frame = reader.next_frame()
    assert isinstance(frame, Frame)
    assert isinstance(frame.body, memoryview)
    assert frame.body.obj is data


def test_a_frame_handed_out_stays_as_it_was() -> None:
    reader = FrameReader()
    first, second = encode_frame(11, b"a" * 100), encode_frame(11, b"b" * 100)
    reader.receive_data(first[:50])
    assert reader.next_frame() is None
    reader.receive_data(first[50:] + second[:50])
    frame = reader.next_frame()
    assert frame is not None
    assert reader.next_frame() is None
    reader.receive_data(second[50:])
    assert reader.next_frame() is not None
    assert frame.body == b"a" * 100


@pytest.mark.parametrize(("kind", "most"), [(8, CONTROL_BODY_BYTES), (7, DATA_BODY_BYTES), (11, DATA_BODY_BYTES)])
def test_lengths_are_judged_by_the_header_alone(kind: int, most: int) -> None:
    reader = FrameReader()
    reader.receive_data(struct.pack(">IB", most + 1, kind))
    assert reader.next_frame() is None
    reader = FrameReader()
    reader.receive_data(struct.pack(">IB", most + 2, kind))
    with pytest.raises(RemoteProtocolError, match="wanted a length"):
        reader.next_frame()
    with pytest.raises(LocalProtocolError, match="at most"):
        encode_frame(kind, bytes(most + 1))


@pytest.mark.parametrize("cut", [0, 1, 4])
def test_a_length_of_zero_is_refused_however_it_arrives(cut: int) -> None:
    reader = FrameReader()
    header = struct.pack(">IB", 0, 3)
    reader.receive_data(header[:cut])
    assert reader.next_frame() is None
    reader.receive_data(header[cut:])
    with pytest.raises(RemoteProtocolError):
        reader.next_frame()


def test_memory_is_bounded() -> None:
    reader = FrameReader()
    reader.receive_data(bytes(1024 * 1024))
    with pytest.raises(LocalProtocolError, match="unread"):
        reader.receive_data(b"x")


def test_a_large_frame_in_single_bytes_takes_linear_time() -> None:
    frame = encode_frame(11, bytes(100_000))
    reader = FrameReader()
    for at in range(len(frame) - 1):
        reader.receive_data(frame[at : at + 1])
        assert reader.next_frame() is None
        assert reader.unread == at + 1
    reader.receive_data(frame[-1:])
    assert reader.next_frame() is not None


@given(st.binary(max_size=200))
def test_any_bytes_give_frames_or_the_documented_error(data: bytes) -> None:
    reader = FrameReader()
    reader.receive_data(data)
    try:
        frames = drain(reader)
    except RemoteProtocolError:
        return
    assert sum(len(body) + 5 for _, body in frames) + reader.unread == len(data)
