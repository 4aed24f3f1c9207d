"""An origin on a web server, read over HTTP/1.1.

What a thin metered uplink asks for shapes this: request headers are as short as can be, connections are kept, ranges are asked for
one at a time (many servers and caches know no more), bytes are handed on as they arrive, and whoever stops reading in the middle
closes the connection instead of downloading the rest. The poll for news is a conditional GET.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import trio

from .._version import __version__
from ..errors import ConfigError, FetchError
from .answers import declared_length, judge_coding, judge_range, judge_status
from .deadlines import STALL_SECONDS, whole_seconds, within
from .names import TIMESTAMP, check_name, check_range
from .ranges import ByteRange, format_range

if TYPE_CHECKING:
    import httpx

PIECE_BYTES = 64 * 1024
"""Largest piece that `stream` yields: part of the port `OriginReader`."""

_REDIRECTS = 5  # RFC 9110, section 15.4, notes that five were once the recommended maximum.
_DRAIN_BYTES = (
    4096  # About what a new TLS 1.3 connection costs: a shorter body of an error is read, so that the connection is kept.
)
_KEEP_SECONDS = 60.0  # Below nginx's keepalive_timeout of 75 s: our side hangs up first, so no request meets a closed connection.
_CLOSE_SECONDS = 5.0  # Closing sends at most one TLS record; it must not hang on a dead link.
_MAX_ETAG_CHARS = 128  # Longer ones would cost more on the way up than they save.
_MAX_REMEMBERED_BYTES = 64 * 1024
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")  # RFC 9110, sections 5.1 and 5.5


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """How to talk to a web server.

    Attributes:
        connect_seconds: Longest wait for a connection, name lookup and TLS included.
        stall_seconds: Longest wait for the next byte, or for room to send one; a whole object may take longer by its size.
        connections: Most connections at once; further requests wait for one.
        ca_file: PEM file of the certification authorities to trust instead of the system's; "" for the system's.
        headers: Added to each request, e.g. `{"authorization": "Bearer ..."}`; never sent on to another server by a redirect.
        proxies: Honour `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` of the environment.

    Raises:
        ConfigError: A value is out of range.
    """

    connect_seconds: float = 15.0
    stall_seconds: float = STALL_SECONDS
    connections: int = 8
    ca_file: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    proxies: bool = True

    def __post_init__(self) -> None:
        if not (self.connect_seconds > 0 and self.stall_seconds > 0 and self.connections > 0):
            raise ConfigError("http origin: connect_seconds, stall_seconds and connections must be above 0")
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(f"{name}: {value}"):
                raise ConfigError(f"http origin: header {name!r}: want printable ASCII on one line")


class _Remembered(NamedTuple):
    etag: str
    data: bytes


class HttpOrigin:
    """Reads objects from a web server (port `OriginReader`).

    Args:
        url: `http://` or `https://` URL of the origin's folder; may carry `user:password@`.
        options: How to talk to it.

    Raises:
        ConfigError: The URL or the CA file is malformed, or the extra `http` is not installed.
    """

    def __init__(self, url: str, options: HttpOptions | None = None) -> None:
        self._options = options or HttpOptions()
        parsed = _parse_url(url)
        self._headers = {**_credentials(parsed), **self._options.headers}
        self._base = str(parsed.copy_with(userinfo=b"")).removesuffix("/") + "/"
        self._server = parsed.netloc.decode("ascii")  # without the userinfo
        self._client = _open_client(self._options, self._headers)
        self._remembered: _Remembered | None = None

    def __repr__(self) -> str:
        return f"HttpOrigin({self._base!r})"

    async def read(self, name: str, *, limit: int) -> bytes:
        """Return a whole object of at most `limit` bytes; see `OriginReader.read`.

        The timestamp is asked for conditionally: unchanged, it costs the headers of one answer. Less than 4 kB/s, on top of one
        stall, counts as a link that is dead: a server must not hold a reader by a byte now and then.
        """
        check_name(name)
        with within(name, self._options.connect_seconds + whole_seconds(limit, self._options.stall_seconds)):
            return await self._read(name, limit)

    async def _read(self, name: str, limit: int) -> bytes:
        known = self._remembered if name == TIMESTAMP else None
        async with self._get(name, {"if-none-match": known.etag} if known else {}) as body:
            if body.status == 304 and known:
                await body.read(0)
                _check_limit(body.what, known.data, limit)
                return known.data
            if body.status != 200:
                raise FetchError(f"{body.what}: status {body.status} was not asked for")
            data = await body.read(limit)
        if name == TIMESTAMP:
            self._remember(body.headers.get("etag", ""), data)
        return data

    @asynccontextmanager
    async def stream(self, name: str, *, offset: int, length: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream exactly `length` bytes from `offset`; see `OriginReader.stream`. No bytes are no request."""
        check_range(name, offset, length)
        if not length:
            async with aclosing(_nothing()) as pieces:
                yield pieces
            return
        wanted = ByteRange(offset, length)
        async with self._get(name, {"range": format_range(wanted)}) as body:
            skip = judge_range(body.what, body.status, body.headers, wanted)
            async with aclosing(body.pieces(skip, length)) as pieces:
                yield pieces

    async def aclose(self) -> None:
        """Close connections; safe to call twice."""
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._client.aclose()

    def _remember(self, etag: str, data: bytes) -> None:
        fits = 0 < len(etag) <= _MAX_ETAG_CHARS and len(data) <= _MAX_REMEMBERED_BYTES
        self._remembered = _Remembered(etag, data) if fits else None

    @asynccontextmanager
    async def _get(self, name: str, headers: dict[str, str]) -> AsyncIterator[_Body]:
        what = f"{name} from {self._server}"
        with _mapped(what):
            body = await self._follow(self._client.build_request("GET", self._base + name, headers=headers), what)
        try:
            await body.judge()
            yield body
        finally:
            await body.aclose()

    async def _follow(self, request: httpx.Request, what: str) -> _Body:
        for _ in range(_REDIRECTS + 1):
            response = await self._client.send(request, stream=True)
            body = _Body(response, what)
            if response.next_request is None:
                return body
            try:
                await body.drain()
            finally:
                await body.aclose()
            request = self._redirected(request, response.next_request)
        raise FetchError(f"{what}: more than {_REDIRECTS} redirects", temporary=False)

    def _redirected(self, old: httpx.Request, new: httpx.Request) -> httpx.Request:
        """Take what is meant for the origin's own server out of a request to another one."""
        if (old.url.scheme, old.url.host, old.url.port) != (new.url.scheme, new.url.host, new.url.port):
            for name in self._headers:
                new.headers.pop(name, None)
        return new


class _Body:
    """The body of one answer, read piece by piece."""

    def __init__(self, response: httpx.Response, what: str) -> None:
        self._response = response
        self._raw = response.aiter_raw()
        self._ended = False
        self.what = what
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def judge(self) -> None:
        """Raise what the status and the headers mean, unless they are fine."""
        try:
            judge_status(self.what, self.status, self.headers)
            judge_coding(self.what, self.headers)
        except FetchError:
            with suppress(FetchError):
                await self.drain()
            raise

    async def receive(self) -> bytes:
        """Return some bytes; b"" at the end."""
        with _mapped(self.what):
            async for data in self._raw:
                if data:
                    return data
        self._ended = True
        return b""

    async def read(self, limit: int) -> bytes:
        """Return all of at most `limit` bytes."""
        # The length in a 304 is that of the object, and the body is empty (RFC 9110, section 8.6).
        declared = declared_length(self.headers) if self.status == 200 else 0
        if declared is not None and declared > limit:
            raise FetchError(f"{self.what}: want at most {limit} bytes, it has {declared}", temporary=False)
        data = bytearray()
        while piece := await self.receive():
            data += piece
            _check_limit(self.what, data, limit)
        return bytes(data)

    async def pieces(self, skip: int, length: int) -> AsyncGenerator[bytes, None]:
        """Yield `length` bytes that come after `skip` others; read on to the end of a 206, so that its connection is kept."""
        left = length
        while left or self.status == 206:
            data = await self.receive()
            if not data:
                break
            data, skip = data[skip:], max(0, skip - len(data))
            if self.status == 206 and len(data) > left:
                raise FetchError(f"{self.what}: the server sends more than the {length} bytes of the range")
            view = memoryview(data)[:left]
            left -= len(view)
            for start in range(0, len(view), PIECE_BYTES):
                yield bytes(view[start : start + PIECE_BYTES])
        if left:
            raise FetchError(f"{self.what}: the body ends {left} bytes too early")

    async def drain(self) -> None:
        """Read the rest if it is short, so that the connection can be used again."""
        declared = declared_length(self.headers)
        if declared is not None and declared <= _DRAIN_BYTES:
            while not self._ended and await self.receive():
                pass

    async def aclose(self) -> None:
        """Close; a connection whose body was not read to the end is closed with it, and nothing more is downloaded."""
        import httpx

        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._response.aclose()
            # httpx nests async generators and leaves the inner ones to the garbage collector, where trio complains about them. With
            # the connection closed, reading on ends all of them at once.
            with suppress(httpx.HTTPError, httpx.StreamError, FetchError):
                while not self._ended and await self.receive():
                    pass
        await self._raw.aclose()  # type: ignore[attr-defined]  # httpx says AsyncIterator; it is a generator


async def _nothing() -> AsyncGenerator[bytes, None]:
    for piece in tuple[bytes, ...]():
        yield piece


def _check_limit(what: str, data: bytes | bytearray, limit: int) -> None:
    if len(data) > limit:
        raise FetchError(f"{what}: want at most {limit} bytes, it has more", temporary=False)


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    """Map what httpx raises to `FetchError`, in one place."""
    import httpx

    try:
        yield
    except httpx.TimeoutException as exc:
        raise FetchError(f"{what}: the link is stalled ({type(exc).__name__})") from exc
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as exc:
        raise FetchError(f"{what}: {type(exc).__name__}: {_reason(exc)}") from exc


def _reason(exc: BaseException) -> str:
    """Return the first message in the chain of causes; httpx hides the one of TLS, with the chain cut, below two empty ones."""
    cause: BaseException | None = exc
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return str(cause or "no reason given")


def _parse_url(url: str) -> httpx.URL:
    try:
        import httpx
    except ImportError as exc:
        raise ConfigError("an http origin needs the extra: pip install 'edgeswarm[http]'") from exc
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ConfigError(f"origin URL is malformed: {exc}") from exc
    if parsed.scheme not in ("http", "https") or not parsed.host or (parsed.port or 0) > 65535 or parsed.query or parsed.fragment:
        raise ConfigError(f"origin URL {parsed.copy_with(userinfo=b'')}: want http(s)://host[:port]/folder without ? or #")
    return parsed


def _credentials(url: httpx.URL) -> dict[str, str]:
    if not url.userinfo:
        return {}
    return {"authorization": "Basic " + b64encode(unquote(url.userinfo.decode("ascii")).encode()).decode("ascii")}


def _open_client(options: HttpOptions, headers: Mapping[str, str]) -> httpx.AsyncClient:
    import ssl
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    import httpx

    try:
        tls = ssl.create_default_context(cafile=options.ca_file or None)
    except OSError as exc:  # ssl.SSLError is one
        raise ConfigError(f"http origin: CA file {options.ca_file}: {exc}") from exc
    client = httpx.AsyncClient(
        verify=tls,
        trust_env=options.proxies,
        timeout=httpx.Timeout(options.stall_seconds, connect=options.connect_seconds, pool=None),
        limits=httpx.Limits(
            max_connections=options.connections, max_keepalive_connections=options.connections, keepalive_expiry=_KEEP_SECONDS
        ),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"user-agent": f"edgeswarm/{__version__}", "accept-encoding": "identity", **headers},
    )
    # HTTP/1.1 keeps connections by itself, and everything is acceptable to whoever does not say (RFC 9112, 9.3; RFC 9110, 12.5.1).
    del client.headers["connection"], client.headers["accept"]
    return client
