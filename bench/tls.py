"""Measure the TLS pump against `trio.SSLStream`: one link over loopback, each end in a process of its own, rounds interleaved.

    python -m bench.tls [--json] [--megabytes 256] [--piece-kib 256] [--rounds 5]

Prints the median MB/s (10^6 bytes) and the median CPU seconds per GB (10^9 bytes) of the sending and the receiving end, handshake
excluded. On a noisy machine trust the CPU seconds and the ratio, not the MB/s.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from statistics import median
from typing import NamedTuple, TypeAlias

import trio

from edgeswarm.testing.fleet import SampleFleet
from edgeswarm.transport.pump import TlsPump, make_scratch
from edgeswarm.transport.tls import make_contexts
from edgeswarm.trust.bundle import Identity

_RECEIVE_BYTES = 256 * 1024

Send: TypeAlias = Callable[[bytes], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[bytes | bytearray]]


class Job(NamedTuple):
    """One transfer.

    Attributes:
        kind: `pump` or `ssl_stream`.
        total: Bytes to send.
        piece: Bytes of one `send`.
        identity: Of both ends.
    """

    kind: str
    total: int
    piece: int
    identity: Identity


class Result(NamedTuple):
    """What one transfer took.

    Attributes:
        mb_per_s: From the first to the last byte at the receiver.
        sender_cpu_s_per_gb: Of the sending process.
        receiver_cpu_s_per_gb: Of the receiving process.
    """

    mb_per_s: float
    sender_cpu_s_per_gb: float
    receiver_cpu_s_per_gb: float


async def open_link(job: Job, sock: socket.socket, *, server_side: bool) -> tuple[Send, Receive]:
    """Shake hands over a connected socket; return how to send and to receive."""
    context = make_contexts(job.identity)[0 if server_side else 1]
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    if job.kind == "pump":
        pump = TlsPump(sock, context, make_scratch(), server_side=server_side, name="peer")
        await pump.handshake()
        return pump.send, pump.receive
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    secure = trio.SSLStream(stream, context, server_side=server_side, https_compatible=False)
    await secure.do_handshake()
    return secure.send_all, lambda: secure.receive_some(_RECEIVE_BYTES)


async def send(job: Job, port: int) -> float:
    """Wait for the receiver's first byte, send everything; return the CPU seconds of the sending."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        send_bytes, receive = await open_link(job, sock, server_side=True)
        await receive()
        data = bytes(job.piece)
        started = time.process_time()
        for _ in range(job.total // job.piece):
            await send_bytes(data)
        used = time.process_time() - started
        await receive()  # the receiver has all
        return used


async def receive(job: Job, sock: socket.socket) -> tuple[float, float]:
    """Receive everything; return seconds and CPU seconds."""
    send_bytes, receive_bytes = await open_link(job, sock, server_side=False)
    await send_bytes(b"go")
    missing = job.total // job.piece * job.piece
    started, started_cpu = time.perf_counter(), time.process_time()
    while missing:
        missing -= len(await receive_bytes())
    took = time.perf_counter() - started, time.process_time() - started_cpu
    await send_bytes(b"done")
    return took


def run_sender(job: Job, port: int, answer: Connection) -> None:
    """Be the sending process."""
    answer.send(trio.run(send, job, port))


def measure(job: Job) -> Result:
    """Run one transfer, with the sender in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = spawn.Process(target=run_sender, args=(job, listener.getsockname()[1], theirs))
        sender.start()
        with listener.accept()[0] as sock:
            seconds, cpu = trio.run(receive, job, sock)
    sender_cpu = ours.recv()
    sender.join()
    gigabytes = job.total / 1e9
    return Result(job.total / 1e6 / seconds, sender_cpu / gigabytes, cpu / gigabytes)


def compare(total: int, piece: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the medians by kind, measured in turn so that both meet the same noise."""
    now = datetime.now(UTC)
    identity = SampleFleet.create("bench", now).identity("site", "node", now)
    results: dict[str, list[Result]] = {"pump": [], "ssl_stream": []}
    for _ in range(rounds):
        for kind, measured in results.items():
            measured.append(measure(Job(kind, total, piece, identity)))
    return {
        kind: {field: round(median(getattr(result, field) for result in measured), 3) for field in Result._fields}
        for kind, measured in results.items()
    }


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.tls", description="TLS pump against trio.SSLStream over loopback")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--megabytes", type=int, default=256, help="MiB per transfer")
    parser.add_argument("--piece-kib", type=int, default=256, help="KiB per send")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    medians = compare(options.megabytes << 20, options.piece_kib << 10, options.rounds)
    if options.json:
        print(json.dumps({"megabytes": options.megabytes, "piece_kib": options.piece_kib, "rounds": options.rounds, **medians}))
        return
    for kind, figures in medians.items():
        print(f"{kind:10} {'  '.join(f'{field} {value:.2f}' for field, value in figures.items())}")


if __name__ == "__main__":
    main()
