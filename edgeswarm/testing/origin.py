"""The conformance suite of the ports `OriginReader` and `OriginWriter`.

objects = sample_objects()  # publish these by whatever means fit, then
await check_origin(reader, objects)
check_origin_writer(writer)  # of an empty origin
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import trio

from ..abc import OriginReader, OriginWriter
from ..errors import FetchError, LocalProtocolError, ObjectMissingError, PublishError

PIECE_BYTES = 64 * 1024
"""Largest piece that a reader may yield."""

_BAD_NAMES = (
    "",
    "/etc/passwd",
    "../outside",
    "packs/../../outside",
    "packs//x",
    "packs/",
    "packs/.hidden",
    "packs/a\0b",
    "packs/a b",
)
_LARGE = "packs/ab/large"
_SMALL = "manifests/small"
_EMPTY = "index/00/empty"


def sample_objects() -> dict[str, bytes]:
    """Return the objects that `check_origin` expects at an origin: name to bytes, the same ones each time."""
    dice = random.Random(20)  # noqa: S311  # sample bytes, not a secret
    return {
        "metadata/timestamp.json": b'{"signed": {"version": 1}}',
        "metadata/1.a-b_c.d+e~f.json": b"{}",
        _SMALL: dice.randbytes(1234),
        _LARGE: dice.randbytes(700_001),
        _EMPTY: b"",
    }


async def check_origin(origin: OriginReader, objects: Mapping[str, bytes]) -> None:
    """Check one reader against the contract of `OriginReader`.

    Args:
        origin: Reads an origin that holds `objects`; closed at the end.
        objects: What `sample_objects` returned.

    Raises:
        AssertionError: It breaks the contract; the message says where.
    """
    checks = (
        _check_read,
        _check_limits,
        _check_missing,
        _check_names,
        _check_ranges,
        _check_bad_ranges,
        _check_leaving,
        _check_parallel,
    )
    for check in checks:
        await check(origin, objects)
    await origin.aclose()
    await origin.aclose()


async def _check_read(origin: OriginReader, objects: Mapping[str, bytes]) -> None:
    for _ in range(2):  # a reader may remember what it read
        for name, data in objects.items():
            _require(await origin.read(name, limit=len(data)) == data, f"read {name}: wrong bytes")


async def _check_limits(origin: OriginReader, objects: Mapping[str, bytes]) -> None:
    for name, data in objects.items():
        if data:
            with _raises(FetchError, f"read {name} below its size") as caught:
                await origin.read(name, limit=len(data) - 1)
            _require(not isinstance(caught[0], ObjectMissingError), f"read {name} below its size: it is not missing")


async def _check_missing(origin: OriginReader, _: Mapping[str, bytes]) -> None:
    for name in ("packs/ab/missing", "nowhere/at/all", f"{_SMALL}/below"):
        with _raises(ObjectMissingError, f"read {name}") as caught:
            await origin.read(name, limit=100)
        _require(not caught[0].temporary, f"read {name}: a missing object is a final answer")
        with _raises(ObjectMissingError, f"stream {name}"):
            await _collect(origin, name, 0, 5)


async def _check_names(origin: OriginReader, _: Mapping[str, bytes]) -> None:
    for name in _BAD_NAMES:
        with _raises(LocalProtocolError, f"read {name!r}"):
            await origin.read(name, limit=100)
        with _raises(LocalProtocolError, f"stream {name!r}"):
            await _collect(origin, name, 0, 5)


async def _check_ranges(origin: OriginReader, objects: Mapping[str, bytes]) -> None:
    data = objects[_LARGE]
    for offset, length in ((0, 1), (0, len(data)), (len(data) - 1, 1), (65_535, 65_537), (1, 300_000), (5, 0), (len(data), 0)):
        got = await _collect(origin, _LARGE, offset, length)
        _require(got == data[offset : offset + length], f"stream {length} bytes at {offset}: wrong bytes")


async def _check_bad_ranges(origin: OriginReader, objects: Mapping[str, bytes]) -> None:
    size = len(objects[_LARGE])
    for offset, length in ((size, 1), (size - 1, 2), (0, size + 1), (size + 9, 9)):
        with _raises(FetchError, f"stream {length} bytes at {offset}") as caught:
            await _collect(origin, _LARGE, offset, length)
        _require(caught[0].temporary, "an object that is too short may be a stale copy: temporary, and not missing")
    for offset, length in ((-1, 1), (0, -1)):
        with _raises(LocalProtocolError, f"stream {length} bytes at {offset}"):
            await _collect(origin, _LARGE, offset, length)


async def _check_leaving(origin: OriginReader, objects: Mapping[str, bytes]) -> None:
    """A reader that is left, cancelled or failed upon in the middle works on."""
    data = objects[_LARGE]
    async with origin.stream(_LARGE, offset=0, length=len(data)) as pieces:
        async for piece in pieces:
            _require(data.startswith(piece), "first piece: wrong bytes")
            break
    with trio.CancelScope() as scope:
        async with origin.stream(_LARGE, offset=0, length=len(data)) as pieces:
            async for _ in pieces:
                scope.cancel()
    _require(scope.cancelled_caught, "a cancelled stream went on to its end")
    with _raises(KeyError, "an error of the caller"):
        async with origin.stream(_LARGE, offset=0, length=len(data)):
            raise KeyError("of the caller")
    _require(await _collect(origin, _LARGE, 7, 9) == data[7:16], "after leaving: wrong bytes")


async def _check_parallel(origin: OriginReader, objects: Mapping[str, bytes]) -> None:
    data = objects[_LARGE]

    async def fetch(offset: int) -> None:
        got = await _collect(origin, _LARGE, offset, 50_000)
        _require(got == data[offset : offset + 50_000], f"parallel stream at {offset}: wrong bytes")

    async with trio.open_nursery() as nursery:
        for offset in range(0, 600_000, 50_000):
            nursery.start_soon(fetch, offset)


def check_origin_writer(writer: OriginWriter) -> None:
    """Check one writer against the contract of `OriginWriter`. Blocking.

    Args:
        writer: Writes to an origin that is empty and may be changed.

    Raises:
        AssertionError: It breaks the contract; the message says where.
    """
    _require(writer.get(_SMALL, limit=10) is None and not writer.exists(_SMALL), "an empty origin has an object")
    with writer.lock():
        for name, data in sample_objects().items():
            writer.put(name, data)
            _require(writer.get(name, limit=len(data)) == data and writer.exists(name), f"get {name}: not what was put")
    folders = {name.split("/")[0] for name in sample_objects() if "/" in name}
    listed = [name for folder in sorted(folders) for name in writer.names(folder)]
    _require(listed == sorted(name for name in sample_objects() if "/" in name), "names: not those that were put")
    _require(writer.names("nothing") == [], "names of a folder that is not there: want none")
    _check_immutable(writer)
    _check_replace(writer)
    _check_broken_put(writer)
    _check_delete(writer)
    for name in _BAD_NAMES:
        with _raises(LocalProtocolError, f"put {name!r}"):
            writer.put(name, b"x")
    with _raises(PublishError, "get above the limit"):
        writer.get(_SMALL, limit=1)


def _check_immutable(writer: OriginWriter) -> None:
    data = sample_objects()[_LARGE]
    writer.put(_LARGE, data)
    writer.put(_LARGE, iter([data[:9], b"", data[9:]]))
    for other in (data[:-1], data + b"x", b"\0" + data[1:], b""):
        with _raises(PublishError, "put of other bytes"):
            writer.put(_LARGE, other)
        with _raises(PublishError, "put of other bytes in pieces"):
            writer.put(_LARGE, iter([other]))
    _require(writer.get(_LARGE, limit=len(data)) == data, "a refused put changed the object")


def _check_replace(writer: OriginWriter) -> None:
    for name in ("metadata/timestamp.json", "packs/fresh"):
        writer.put(name, b"two", replace=True)
        _require(writer.get(name, limit=3) == b"two", f"put {name} with replace: the bytes are not there")


def _check_broken_put(writer: OriginWriter) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise KeyError("of the caller")

    for name, replace in (("metadata/timestamp.json", True), ("packs/new", False)):
        before = writer.get(name, limit=100)
        with _raises(KeyError, f"put {name}: an error of the caller"):
            writer.put(name, broken(), replace=replace)
        _require(writer.get(name, limit=100) == before, f"put {name}: one that failed in the middle left its traces")


def _check_delete(writer: OriginWriter) -> None:
    data = sample_objects()[_LARGE]
    _require(writer.size(_LARGE) == len(data) and writer.size("packs/none") == 0, "size: not that of the object")
    others = [name for name in writer.names("packs") if name != _LARGE]
    for _ in range(2):  # the second time there is nothing to remove
        writer.delete(_LARGE)
        _require(not writer.exists(_LARGE) and writer.size(_LARGE) == 0, "delete: the object is still there")
    _require(writer.names("packs") == others, "delete: another object is gone too")
    writer.put(_LARGE, data[:9])
    _require(writer.get(_LARGE, limit=9) == data[:9], "put after delete: the name is not free")


async def _collect(origin: OriginReader, name: str, offset: int, length: int) -> bytes:
    parts = []
    async with origin.stream(name, offset=offset, length=length) as pieces:
        async for piece in pieces:
            _require(0 < len(piece) <= PIECE_BYTES, f"stream {name}: a piece of {len(piece)} bytes")
            parts.append(piece)
    return b"".join(parts)


_Error = TypeVar("_Error", bound=Exception)


@contextmanager
def _raises(kind: type[_Error], what: str) -> Iterator[list[_Error]]:
    """Expect the block to raise `kind`; the list it yields then holds the error."""
    caught: list[_Error] = []
    try:
        yield caught
    except kind as exc:
        caught.append(exc)
    _require(bool(caught), f"{what}: want {kind.__name__}, nothing was raised")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
