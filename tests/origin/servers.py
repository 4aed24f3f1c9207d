"""Servers to read from: ours, nginx, and one that says exactly what a test tells it to."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from edgeswarm.origin.server import Served, ServerLimits, serve_origin

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

NGINX_CONF = """
daemon off;
{user}
worker_processes 1;
pid {work}/nginx.pid;
error_log {work}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log {work}/access.log;
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
  server {{ listen {address}; root {root}; }}
}}
"""


def write_objects(root: Path, objects: Mapping[str, bytes]) -> None:
    for name, data in objects.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@asynccontextmanager
async def our_server(root: Path, *, seen: list[Served] | None = None, limits: ServerLimits | None = None) -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        note = seen.append if seen is not None else None
        address = await nursery.start(partial(serve_origin, str(root), "127.0.0.1:0", on_request=note, limits=limits))
        yield address
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def nginx_server(root: Path, work: Path) -> AsyncIterator[str]:
    if NGINX is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nginx is not installed, and CI has to test against it")
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # nginx takes a listening socket over, as in its own upgrades: no race for the port, and nothing to wait for.
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        config = work / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(NGINX_CONF.format(user=user, work=work, root=root, address=address))
        start = partial(
            trio.run_process,
            [NGINX, "-c", str(config), "-p", str(work), "-e", str(work / "start.log")],
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
            check=False,
        )
        async with trio.open_nursery() as nursery:
            process = await nursery.start(start)
            listener.close()
            yield address
            process.terminate()


class ScriptedServer:
    """Answers each request on a connection with the next script; remembers the requests."""

    def __init__(self, *scripts: bytes | Callable[[trio.abc.Stream], Awaitable[None]]) -> None:
        self.scripts = list(scripts)
        self.requests: list[bytes] = []
        self.connections = 0
        self.address = ""

    async def handle(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        async with stream:
            try:
                while await self._answer(stream):
                    pass
            except trio.BrokenResourceError:
                pass

    async def _answer(self, stream: trio.abc.Stream) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = await stream.receive_some(65536)
            if not data:
                return False
            head += data
        self.requests.append(head)
        script = self.scripts.pop(0) if self.scripts else b""
        if callable(script):
            await script(stream)
            return False
        await stream.send_all(script)
        return script.startswith(b"HTTP/1.1 ") and b"connection: close" not in script

    @property
    def url(self) -> str:
        return f"http://{self.address}/origin/"


@asynccontextmanager
async def scripted(*scripts: bytes | Callable[[trio.abc.Stream], Awaitable[None]]) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(*scripts)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.handle, 0, host="127.0.0.1"))
        server.address = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield server
        nursery.cancel_scope.cancel()


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Write an answer as bytes; header names with `_` for `-`; a length unless one is given as `content_length` (empty: none)."""
    fields = {"content_length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value]
    return "\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode() + body
