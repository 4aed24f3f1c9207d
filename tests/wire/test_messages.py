from __future__ import annotations

import dataclasses
import json
import re
import struct
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.errors import LocalProtocolError, RemoteProtocolError
from edgeswarm.wire import (
    MESSAGES,
    OBJECT_PART_BYTES,
    Bye,
    Cancel,
    ChunkData,
    Claim,
    Drop,
    FrameReader,
    GetObject,
    Have,
    Hello,
    Message,
    Miss,
    News,
    ObjectData,
    Partial,
    Peers,
    Ping,
    Pong,
    Release,
    Want,
    decode_message,
    encode_message,
)

ROOT = Path(__file__).parents[2]
M = bytes(range(32))
HEX = M.hex()
HELLO: dict[str, Any] = {"node": "pump-7", "role": "device", "uplink": True, "timestamp_version": 12}

EXAMPLES: list[Message] = [
    Hello(**HELLO, capabilities=("zstd",), listen="192.0.2.7:4440"),
    Bye(code="stopping", reason="shutting down"),
    Ping(nonce=2**64 - 1),
    Pong(nonce=0),
    News(timestamp_version=13, uplink=False),
    GetObject(request=1, kind="metadata", name="7.snapshot.json", limit=1_000_000),
    ObjectData(request=1, last=True, data=b'{"signed":{}}'),
    Have(manifest=M, chunks=4096, form=1, data=bytes.fromhex("008020"), complete=True),
    Drop(manifest=M, index=70_000),
    Want(request=3, manifest=M, form=0, data=b"\x15\x02"),
    ChunkData(request=3, index=9, coding="zstd", data=b"chunk"),
    Miss(request=3, index=4),
    Cancel(request=3),
    Claim(manifest=M, span=2, sequence=300, progress=65536),
    Release(manifest=M, span=2, sequence=301, reason="done"),
    Peers(addresses=("192.0.2.7:4440", "[2001:db8::7]:4440")),
    Partial(pack=M, offset=70_000, at=8192, data=b"bytes"),
]


def decode(data: bytes) -> Message:
    reader = FrameReader()
    reader.receive_data(data)
    frame = reader.next_frame()
    assert frame is not None
    assert reader.unread == 0
    return decode_message(frame.type, frame.body)


def test_there_is_an_example_of_each_message() -> None:
    assert [type(example) for example in EXAMPLES] == list(MESSAGES)
    assert [message.TYPE for message in MESSAGES] == list(range(1, 18))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda m: type(m).__name__)
def test_golden_bytes(example: Message) -> None:
    vectors = json.loads((ROOT / "tests/vectors/wire.json").read_text())
    wanted = vectors[type(example).__name__]
    assert encode_message(example).hex() == wanted
    assert decode(bytes.fromhex(wanted)) == example


def test_golden_bytes_are_what_the_specification_says() -> None:
    body = bytes([0x96]) + b"\x01\x01" + b"\xa1n" + b"\xa6device" + b"\xc3" + b"\x90"  # an independent, hand-made HELLO
    body = bytes([0x98]) + body[1:] + b"\xa0" + b"\x0c"
    assert encode_message(Hello(**{**HELLO, "node": "n"})) == struct.pack(">IB", len(body) + 1, 1) + body
    chunk = struct.pack(">IBIIB", 15, 11, 3, 9, 1) + b"chunk"
    assert encode_message(EXAMPLES[10]) == chunk
    data = struct.pack(">IBIBB", 7 + 2, 7, 5, 1, 0) + b"ab"
    assert encode_message(ObjectData(request=5, last=False, data=b"ab")) == data


def test_the_reference_names_every_message_and_field_and_shows_true_bytes() -> None:
    text = (ROOT / "docs/reference/wire.md").read_text()
    for message in MESSAGES:
        section = re.search(rf"^\| {message.TYPE} \| [A-Z_]+ \|.*$", text, re.MULTILINE)
        assert section, message
        for field in dataclasses.fields(message):  # type: ignore[arg-type]  # all messages are dataclasses
            assert f"`{field.name}`" in section[0], (message, field.name)
    vectors = json.loads((ROOT / "tests/vectors/wire.json").read_text())
    shown = re.findall(r"^(\w+) {2,}([0-9a-f ]+)$", text, re.MULTILINE)
    assert len(shown) >= 3
    for name, data in shown:
        assert vectors[name] == data.replace(" ", "")


BAD: list[tuple[type[Message], dict[str, Any]]] = [
    (Hello, HELLO | {"protocol": 0}),
    (Hello, HELLO | {"protocol": 2, "oldest": 3}),
    (Hello, HELLO | {"protocol": True}),
    (Hello, HELLO | {"node": ""}),
    (Hello, HELLO | {"node": "a\nb"}),
    (Hello, HELLO | {"node": "\ud800"}),
    (Hello, HELLO | {"node": "é" * 128}),
    (Hello, HELLO | {"role": "king"}),
    (Hello, HELLO | {"role": ["device"]}),
    (Hello, HELLO | {"uplink": 1}),
    (Hello, HELLO | {"capabilities": ["zstd"]}),
    (Hello, HELLO | {"capabilities": ("zstd",) * 33}),
    (Hello, HELLO | {"capabilities": ("Zstd",)}),
    (Hello, HELLO | {"listen": "nowhere"}),
    (Hello, HELLO | {"listen": "h:65536"}),
    (Hello, HELLO | {"listen": "::1:80"}),
    (Hello, HELLO | {"listen": "[:::::]:80"}),
    (Hello, HELLO | {"listen": "h:0"}),
    (Hello, HELLO | {"timestamp_version": -1}),
    (Hello, HELLO | {"timestamp_version": 2**63}),
    (Bye, {"code": "Not A Word"}),
    (Bye, {"code": "x", "reason": "r" * 513}),
    (Ping, {"nonce": 2**64}),
    (Ping, {"nonce": 1.0}),
    (Pong, {"nonce": None}),
    (News, {"timestamp_version": 1, "uplink": None}),
    (GetObject, {"request": 0, "kind": "page", "name": HEX, "limit": 1}),
    (GetObject, {"request": 2**32, "kind": "page", "name": HEX, "limit": 1}),
    (GetObject, {"request": 1, "kind": "file", "name": HEX, "limit": 1}),
    (GetObject, {"request": 1, "kind": "page", "name": "7.snapshot.json", "limit": 1}),
    (GetObject, {"request": 1, "kind": "map", "name": "7.snapshot.json", "limit": 1}),
    (GetObject, {"request": 1, "kind": "metadata", "name": "../root.json", "limit": 1}),
    (GetObject, {"request": 1, "kind": "metadata", "name": "a/b", "limit": 1}),
    (GetObject, {"request": 1, "kind": "metadata", "name": "x", "limit": 0}),
    (GetObject, {"request": 1, "kind": "metadata", "name": "x", "limit": 2**30}),
    (ObjectData, {"request": 1, "last": False, "data": b""}),
    (ObjectData, {"request": 1, "last": True, "found": False, "data": b"x"}),
    (ObjectData, {"request": 1, "last": False, "found": False, "data": b""}),
    (ObjectData, {"request": 1, "last": True, "data": bytes(OBJECT_PART_BYTES + 1)}),
    (Have, {"manifest": M[1:], "chunks": 1, "form": 1, "data": b"", "complete": True}),
    (Have, {"manifest": M, "chunks": 2**26 + 1, "form": 1, "data": b"", "complete": True}),
    (Have, {"manifest": M, "chunks": 8, "form": 1, "data": b"\x00\x09", "complete": True}),
    (Have, {"manifest": M, "chunks": 8, "form": 2, "data": b"", "complete": True}),
    (Have, {"manifest": M, "chunks": 8, "form": 1, "data": "", "complete": True}),
    (Drop, {"manifest": M, "index": 2**26}),
    (Want, {"request": 1, "manifest": M, "form": 1, "data": b""}),
    (Want, {"request": 1, "manifest": M, "form": 1, "data": bytes.fromhex("008120")}),
    (Want, {"request": 1, "manifest": M, "form": 0, "data": bytes(20480) + b"\x01"}),
    (ChunkData, {"request": 1, "index": 0, "data": b""}),
    (ChunkData, {"request": 1, "index": 0, "data": bytes(256 * 1024 + 1)}),
    (ChunkData, {"request": 1, "index": 0, "coding": "gzip", "data": b"x"}),
    (Miss, {"request": 1, "index": -1}),
    (Cancel, {"request": "1"}),
    (Claim, {"manifest": M, "span": 2**20, "sequence": 1}),
    (Claim, {"manifest": M, "span": 0, "sequence": -1}),
    (Release, {"manifest": M, "span": 0, "sequence": 1, "reason": ""}),
    (Partial, {"pack": b"x", "offset": 0, "at": 0, "data": b"x"}),
    (Partial, {"pack": M, "offset": -1, "at": 0, "data": b"x"}),
    (Partial, {"pack": M, "offset": 0, "at": 2**40, "data": b"x"}),
    (Partial, {"pack": M, "offset": 0, "at": 0, "data": b""}),
    (Partial, {"pack": M, "offset": 0, "at": 0, "data": bytes(32 * 1024 + 1)}),
    (Peers, {"addresses": ()}),
    (Peers, {"addresses": ("h:1",) * 65}),
    (Peers, {"addresses": ("",)}),
    (Peers, {"addresses": ("h:0",)}),
    (Peers, {"addresses": (1,)}),
]


@pytest.mark.parametrize(("message", "values"), BAD)
def test_wrong_values_cannot_be_made(message: type[Message], values: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match="wanted"):
        message(**values)


@pytest.mark.parametrize(
    # OBJECT and CHUNK are not msgpack (see test_malformed_bodies), and msgpack has no number of 65 bits.
    ("message", "values"),
    [bad for bad in BAD if bad[0] not in (ObjectData, ChunkData) and bad[1].get("nonce") != 2**64],
)
def test_wrong_values_of_a_peer_are_the_peers_fault(message: type[Message], values: dict[str, Any]) -> None:
    defaults = {f.name: f.default for f in dataclasses.fields(message)}  # type: ignore[arg-type]  # all messages are dataclasses
    sent = [list(v) if type(v) is tuple else v for v in (defaults | values).values()]
    if values.get("capabilities") == ["zstd"]:
        sent[5] = "zstd"  # a list is what the wire has for a tuple, so another wrong type stands in
    with pytest.raises(RemoteProtocolError):
        decode_message(message.TYPE, msgpack.packb(sent, unicode_errors="surrogatepass"))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (0, b""),
        (17, b"\x91\x01"),
        (16, b"\x91\x01"),
        (255, b"\x90"),
        (3, b""),
        (3, b"\x90"),
        (3, b"\x92\x01\x02"),
        (3, b"\x91\x01\x00"),
        (3, b"\x01"),
        (3, b"\x81\xa5nonce\x01"),
        (3, b"\x91\x80"),
        (3, b"\x91\x81\x01\x01"),
        (3, b"\x91\xd6\xff\x00\x00\x00\x00"),
        (3, b"\x91\xc7\x00\xff"),
        (3, b"\x91" * 2000),
        (3, b"\xdc\xff\xff"),
        (3, b"\xc1"),
        (3, bytes([0xDC, 0x10, 0x00]) + b"\x01" * 4096),
        (2, b"\x92\xa1a\xa1\xff"),
        (7, b"\x00\x00\x00\x01\x02\x01"),
        (7, b"\x00\x00\x00\x01\x01\x02"),
        (7, b"\x00\x00\x00\x01\x01"),
        (7, b"\x00\x00\x00\x00\x01\x01"),
        (11, b"\x00\x00\x00\x01\x00\x00\x00\x01\x02x"),
        (11, b"\x00\x00\x00\x01\x00\x00\x00\x01\x00"),
        (11, b"\x00\x00\x00\x01\x00\x00\x00"),
        (11, b"\x00\x00\x00\x01\xff\xff\xff\xff\x00x"),
    ],
)
def test_malformed_bodies(kind: int, body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_message(kind, body)


@given(st.integers(0, 20), st.binary(max_size=80))
def test_any_body_gives_a_message_or_the_documented_error(kind: int, body: bytes) -> None:
    try:
        message = decode_message(kind, body)
    except RemoteProtocolError:
        return
    assert decode(encode_message(message)) == message


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.sampled_from(MESSAGES), st.lists(VALUES, max_size=9))
def test_any_values_give_a_message_or_the_documented_error(wanted: type[Message], values: list[object]) -> None:
    try:
        message = decode_message(wanted.TYPE, msgpack.packb(values))
    except RemoteProtocolError:
        return
    assert type(message) is wanted


def test_a_longer_hello_is_understood_and_nothing_else_may_grow() -> None:
    values = [2, 1, "n", "device", False, [], "", 0, "of version 2"]
    hello = decode_message(1, msgpack.packb(values))
    assert hello == Hello(protocol=2, node="n", role="device", uplink=False, timestamp_version=0)
    with pytest.raises(RemoteProtocolError):
        decode_message(1, msgpack.packb(values[:7]))
    with pytest.raises(RemoteProtocolError, match="max_map_len"):
        decode_message(1, msgpack.packb([*values[:8], {"a": "map"}]))
    with pytest.raises(RemoteProtocolError):
        decode_message(5, msgpack.packb([1, False, 0]))


@pytest.mark.parametrize(("kind", "most"), [(1, 4096), (10, 32 * 1024)])
def test_long_bodies_are_refused_before_they_are_parsed(kind: int, most: int) -> None:
    with pytest.raises(RemoteProtocolError, match="at most"):
        decode_message(kind, bytes(most + 1))


@pytest.mark.parametrize("listen", ["", "h:1", "gw.example:65535", "[fe80::1%eth0]:4440", "10.0.0.1:80"])
def test_addresses(listen: str) -> None:
    assert Hello(**HELLO, listen=listen).listen == listen


def test_as_many_and_as_long_addresses_as_may_be_fit() -> None:
    peers = Peers(addresses=("h" * 250 + ":4440",) * 64)
    assert decode(encode_message(peers)) == peers


def test_have_carries_flags() -> None:
    flags = bytes([1, 0, 1, 1])
    (have,) = Have.announce(manifest=M, flags=flags, complete=True)
    got = decode(encode_message(have))
    assert isinstance(got, Have)
    assert got.flags(4) == flags
    assert got.complete
    with pytest.raises(RemoteProtocolError, match="wanted 5 chunks"):
        got.flags(5)


@pytest.mark.slow
def test_a_have_of_millions_of_scattered_chunks_is_split() -> None:
    flags = b"\x01\x00" * 1_100_000
    haves = Have.announce(manifest=M, flags=flags, complete=True)
    assert [have.complete for have in haves] == [True] + [False] * (len(haves) - 1)
    got = bytearray(len(flags))
    for have in haves:
        assert len(encode_message(have)) <= 256 * 1024
        got = bytearray((int.from_bytes(got, "big") | int.from_bytes(have.flags(len(flags)), "big")).to_bytes(len(flags), "big"))
    assert got == flags


def test_the_largest_have_in_one_message() -> None:
    flags = b"\x01\x00" * 1_000_000
    (have,) = Have.announce(manifest=M, flags=flags, complete=False)
    assert have.form == 0
    assert decode(encode_message(have)) == have


def test_want_carries_indices() -> None:
    want = Want.ask(request=7, manifest=M, indices=[900_000, 5, 6, 7])
    assert want.indices() == [5, 6, 7, 900_000]
    widest = Want.ask(request=7, manifest=M, indices=[(k + 1) * 16383 for k in range(4096)])
    got = decode(encode_message(widest))
    assert isinstance(got, Want)
    assert len(got.indices()) == 4096
    with pytest.raises(LocalProtocolError):
        Want.ask(request=7, manifest=M, indices=list(range(4097)))


def test_chunk_data_is_not_copied_on_the_way_in() -> None:
    data = encode_message(ChunkData(request=1, index=0, data=b"z" * 1000))
    got = decode(data)
    assert isinstance(got, ChunkData)
    assert isinstance(got.data, memoryview)
    assert got.data.obj is data


def test_messages_of_a_peer_are_not_quoted_at_length() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_message(2, msgpack.packb(["x" * 4000, ""]))
    assert len(str(caught.value)) < 200
