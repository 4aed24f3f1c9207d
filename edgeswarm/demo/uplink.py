"""A site's uplink to its origin: slow, breaking, and counted to the byte.

A proxy on loopback. It copies TCP streams between the nodes of a site and the origin's web server, through one meter a direction,
and watches the HTTP inside. Socket buffers are small, so that what counts as passed has passed but for about 16 KiB. `cut` resets
all connections at once and every new one, until `heal`. It carries about 200 Mbit/s on one slow core.

    async with open_uplink("127.0.0.1:8080", rate=parse_rate("2mbit")) as uplink:
        ... fetch from f"http://{uplink.address}/" ...
        uplink.cut(5)
        ...
        print(uplink.counters())

As a process: `python -m edgeswarm.demo.uplink --upstream 127.0.0.1:8080 --rate 2mbit --control /run/uplink.sock` prints one JSON
line, `{"listen": "127.0.0.1:40123"}`, and then takes JSON lines at the socket: `{"do": "cut", "seconds": 5}`, `{"do": "heal"}`,
`{"do": "rate", "rate": "512kbit"}`, `{"do": "counters"}`; it answers each with a line.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import struct
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio
from trio import socket as tsocket

from ..address import join_address, split_address
from ..errors import ConfigError, EdgeswarmError
from .shaping import Meter, parse_rate
from .traffic import Seen, Traffic

PIECE_BYTES = 4 * 1024
"""Bytes that pass the meter at once: 16 ms at 2 Mbit/s, so that connections share the link evenly."""

_BUFFER_BYTES = 8 * 1024  # For SO_SNDBUF and SO_RCVBUF; the kernel doubles it (socket(7)), which makes 16 KiB.
_SEGMENT_BYTES = (
    1400  # TCP segments as on a real link. Loopback's own, 64 KiB, do not go with small buffers: each send waits for its ACK.
)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s: close() resets the connection and drops what is queued (socket(7)).
_CONTROL_LINE_BYTES = 4096


class Uplink:
    """A running uplink; made by `open_uplink`.

    Attributes:
        address: `host:port` where the site's nodes reach the origin.
        moved: Who is parked here is woken whenever bytes have passed.
    """

    def __init__(
        self,
        listener: tsocket.SocketType,
        upstream: tuple[str, int],
        rate: float | None,
        nursery: trio.Nursery,
        seen: Seen | None = None,
    ) -> None:
        self.moved = trio.lowlevel.ParkingLot()
        self.address = join_address(*listener.getsockname()[:2])
        self._upstream = upstream
        self._down = Meter(rate)
        self._up = Meter(rate)
        self._traffic = Traffic(seen)
        self._nursery = nursery
        self._open: dict[trio.CancelScope, None] = {}
        self._is_cut = False
        nursery.start_soon(self._accept, listener)

    def cut(self, seconds: float | None = None) -> None:
        """Break the link now: every connection is reset, and every new one, for some seconds or until `heal`.

        Raises:
            ConfigError: `seconds` is below 0 or no number.
        """
        if seconds is not None and not seconds >= 0:
            raise ConfigError(f"cut: want 0 seconds or more, got {seconds}")
        self._is_cut = True
        self._traffic.counters.cuts += 1
        for scope in self._open:
            scope.cancel()
        self._down.reset()
        self._up.reset()
        if seconds is not None:
            self._nursery.start_soon(self._heal_later, seconds, self._traffic.counters.cuts)

    def heal(self) -> None:
        """Let new connections through again."""
        self._is_cut = False

    def set_rate(self, rate: float | None) -> None:
        """Change the rate in bit/s of both directions; None lifts the limit."""
        self._down.set_rate(rate)
        self._up.set_rate(rate)

    def counters(self) -> dict[str, Any]:
        """Return what passed since the start, for JSON: see `traffic.Counters.as_dict`."""
        return self._traffic.counters.as_dict()

    async def _heal_later(self, seconds: float, cut: int) -> None:
        await trio.sleep(seconds)
        if cut == self._traffic.counters.cuts:  # no later cut has taken over
            self.heal()

    async def _accept(self, listener: tsocket.SocketType) -> None:
        while True:
            client, _ = await listener.accept()
            if self._is_cut:
                _reset(client)
            else:
                # Noted here and not by the task, which starts a moment later: a cut in between must reach it.
                scope = trio.CancelScope()
                self._open[scope] = None
                self._nursery.start_soon(self._carry, client, scope)

    def _noting(self, passed: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def note(data: bytes) -> None:
            passed(data)
            self.moved.unpark_all()

        return note

    async def _carry(self, client: tsocket.SocketType, scope: trio.CancelScope) -> None:
        """Carry one connection to its end; whatever breaks it, resets it."""
        with scope:
            try:
                async with _connected(self._upstream) as origin, trio.open_nursery() as nursery:
                    seen = self._traffic.open_conversation()
                    nursery.start_soon(_copy, client, origin, self._up, self._noting(seen.passed_up), scope)
                    nursery.start_soon(_copy, origin, client, self._down, self._noting(seen.passed_down), scope)
            except OSError:
                scope.cancel()
            finally:
                del self._open[scope]
                if scope.cancel_called:
                    _reset(client)
                client.close()


async def _copy(
    source: tsocket.SocketType, sink: tsocket.SocketType, meter: Meter, passed: Callable[[bytes], None], scope: trio.CancelScope
) -> None:
    """Copy one direction to its end; `passed` gets the bytes that the kernel took, no matter what becomes of the rest."""
    try:
        while piece := await source.recv(PIECE_BYTES):
            await meter.pass_on(len(piece))
            while piece:
                sent = await sink.send(piece)
                passed(piece[:sent])
                piece = piece[sent:]
        sink.shutdown(tsocket.SHUT_WR)
    except OSError:
        scope.cancel()


def _reset(connection: tsocket.SocketType) -> None:
    connection.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_LINGER, _RESET)
    connection.close()


def _open_socket(host: str) -> tsocket.SocketType:
    """Return a TCP socket with small buffers and segments; what a listener accepts takes them over (tcp(7), socket(7))."""
    opened = tsocket.socket(tsocket.AF_INET6 if ":" in host else tsocket.AF_INET, tsocket.SOCK_STREAM)
    opened.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_REUSEADDR, 1)
    opened.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_SNDBUF, _BUFFER_BYTES)
    opened.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_RCVBUF, _BUFFER_BYTES)
    opened.setsockopt(tsocket.IPPROTO_TCP, tsocket.TCP_NODELAY, 1)
    opened.setsockopt(tsocket.IPPROTO_TCP, tsocket.TCP_MAXSEG, _SEGMENT_BYTES)
    return opened


@asynccontextmanager
async def _connected(address: tuple[str, int]) -> AsyncIterator[tsocket.SocketType]:
    with _open_socket(address[0]) as opened:
        await opened.connect(address)
        yield opened


@asynccontextmanager
async def open_uplink(
    upstream: str, *, listen: str = "127.0.0.1:0", rate: float | None = None, seen: Seen | None = None
) -> AsyncIterator[Uplink]:
    """Run an uplink until the block ends; its connections are reset then.

    Args:
        upstream: `host:port` of the origin's web server; need not be there yet.
        listen: `host:port` to listen at; port 0 takes a free one.
        rate: In bit/s, for each direction; None for no limit.
        seen: What has passed, if several uplinks are one site's: see `Traffic`.

    Raises:
        ConfigError: An address is malformed or taken.
    """
    target, here = split_address(upstream, "upstream", dialled=True), split_address(listen, "listen")
    failure: Exception | None = None
    with _open_socket(here[0]) as listener:
        try:
            await listener.bind(here)
        except OSError as exc:
            raise ConfigError(f"cannot listen at {listen}: {exc.strerror or exc}") from exc
        listener.listen()
        async with trio.open_nursery() as nursery:
            try:
                yield Uplink(listener, target, rate, nursery, seen)
            except Exception as exc:  # raised below, where no nursery wraps it into a group
                failure = exc
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def serve_control(uplink: Uplink, path: str, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
    """Take orders as JSON lines at a Unix socket that only its owner may use, until cancelled."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    with tsocket.socket(tsocket.AF_UNIX, tsocket.SOCK_STREAM) as listener:
        os.fchmod(listener.fileno(), 0o600)  # before bind, which makes the file with this mode (Linux)
        await listener.bind(path)
        listener.listen()
        try:
            await trio.serve_listeners(partial(_take_orders, uplink), [trio.SocketListener(listener)], task_status=task_status)
        finally:
            os.unlink(path)


async def _take_orders(uplink: Uplink, stream: trio.SocketStream) -> None:
    async with stream:
        buffer = bytearray()
        with suppress(trio.BrokenResourceError):
            async for data in stream:
                buffer += data
                *lines, rest = bytes(buffer).split(b"\n")
                for line in lines:
                    await stream.send_all(json.dumps(obey(uplink, line)).encode() + b"\n")
                buffer = bytearray(rest)
                if len(buffer) > _CONTROL_LINE_BYTES:
                    return


def obey(uplink: Uplink, line: bytes) -> dict[str, Any]:
    """Do what one JSON line says; return the answer: `{"ok": true, ...}` or `{"ok": false, "error": "..."}`."""
    try:
        order = json.loads(line)
        if order["do"] == "cut":
            uplink.cut(None if order.get("seconds") is None else float(order["seconds"]))
        elif order["do"] == "heal":
            uplink.heal()
        elif order["do"] == "rate":
            uplink.set_rate(parse_rate(order["rate"]))
        elif order["do"] == "counters":
            return {"ok": True, "counters": uplink.counters()}
        else:
            return {"ok": False, "error": f"unknown order {order['do']!r}: want cut, heal, rate or counters"}
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as exc:
        return {"ok": False, "error": f"{type(exc).__name__}: {exc}"}
    return {"ok": True}


async def run(upstream: str, listen: str, rate: float | None, control: str | None) -> None:
    """Run an uplink and its control socket until SIGTERM or SIGINT."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_uplink(upstream, listen=listen, rate=rate) as uplink, trio.open_nursery() as nursery:
            if control is not None:
                await nursery.start(serve_control, uplink, control)
            print(json.dumps({"listen": uplink.address}), flush=True)
            async for _ in signals:
                break
            nursery.cancel_scope.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m edgeswarm.demo.uplink", description="A slow, breaking, counted uplink on loopback."
    )
    parser.add_argument("--listen", default="127.0.0.1:0", help="host:port to listen at (default: a free port of 127.0.0.1)")
    parser.add_argument("--upstream", required=True, help="host:port of the origin's web server")
    parser.add_argument("--rate", help="of each direction, e.g. 2mbit (default: no limit)")
    parser.add_argument("--control", help="path of the Unix socket that takes orders")
    chosen = parser.parse_args(arguments)
    try:
        trio.run(run, chosen.upstream, chosen.listen, parse_rate(chosen.rate) if chosen.rate else None, chosen.control)
    except EdgeswarmError as exc:
        print(f"uplink: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
