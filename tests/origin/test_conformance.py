from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from edgeswarm.errors import FetchError
from edgeswarm.origin import DirectoryOrigin, DirectoryWriter, HttpOptions, HttpOrigin, open_origin
from edgeswarm.testing.origin import check_origin, check_origin_writer, sample_objects

from .servers import nginx_server, our_server, write_objects

DIRECT = HttpOptions(proxies=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    write_objects(folder, sample_objects())
    return folder


async def test_directory(root: Path) -> None:
    await check_origin(DirectoryOrigin(str(root)), sample_objects())


async def test_file_url(root: Path) -> None:
    await check_origin(open_origin(root.as_uri()), sample_objects())


@pytest.mark.net
async def test_http_and_our_server(root: Path) -> None:
    async with our_server(root) as address:
        await check_origin(HttpOrigin(f"http://{address}", DIRECT), sample_objects())


@pytest.mark.net
@pytest.mark.slow
async def test_http_and_nginx(root: Path, tmp_path: Path) -> None:
    async with nginx_server(root, tmp_path) as address:
        await check_origin(HttpOrigin(f"http://{address}/", DIRECT), sample_objects())


def test_directory_writer(tmp_path: Path) -> None:
    check_origin_writer(DirectoryWriter(str(tmp_path / "new" / "origin")))


class _Broken(DirectoryOrigin):
    """A reader with one fault that the suite must find."""

    def __init__(self, folder: str, fault: str) -> None:
        super().__init__(folder)
        self._fault = fault

    async def read(self, name: str, *, limit: int) -> bytes:
        if self._fault == "ignores the limit":
            return await super().read(name, limit=1 << 30)
        if self._fault == "missing is temporary":
            try:
                return await super().read(name, limit=limit)
            except FetchError as exc:
                raise FetchError(str(exc)) from exc
        return await super().read(name, limit=limit)

    @asynccontextmanager
    async def stream(self, name: str, *, offset: int, length: int) -> AsyncIterator[AsyncIterator[bytes]]:
        if self._fault == "off by one" and length > 1000:
            offset += 1
        if self._fault == "short at the end":
            length = min(length, max(0, 700_001 - offset)) if name.endswith("large") else length
        if self._fault == "pieces too large":
            data = await super().read(name, limit=1 << 30)

            async def whole() -> AsyncGenerator[bytes, None]:
                yield data[offset : offset + length]

            async with aclosing(whole()) as one_piece:
                yield one_piece
            return
        async with super().stream(name, offset=offset, length=length) as pieces:
            yield pieces


@pytest.mark.parametrize(
    "fault", ["ignores the limit", "missing is temporary", "off by one", "short at the end", "pieces too large"]
)
async def test_the_suite_finds(root: Path, fault: str) -> None:
    with pytest.raises((AssertionError, FetchError)):
        await check_origin(_Broken(str(root), fault), sample_objects())


class _BrokenWriter(DirectoryWriter):
    def put(self, name: str, data: object, *, replace: bool = False) -> None:
        super().put(name, data if isinstance(data, bytes) else b"".join(data), replace=True)  # type: ignore[arg-type]


def test_the_suite_finds_a_writer_that_overwrites(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="put of other bytes"):
        check_origin_writer(_BrokenWriter(str(tmp_path)))
