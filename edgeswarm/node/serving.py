"""What a node owes one peer: objects and chunks that it asked for, answered one request after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import trio

from ..content.digest import Digest
from ..wire.messages import OBJECT_PART_BYTES, ChunkData, GetObject, Miss, ObjectData, Want
from .tasks import plain_nursery

_HOLD_SECONDS = 15.0  # a guess: below the 20 s after which a peer that does not answer counts as mute
Answer = ObjectData | ChunkData | Miss


class Source(Protocol):
    """Where answers come from."""

    async def find_object(self, asker: bytes, kind: str, name: str, limit: int) -> bytes | None:
        """Return a small object for a peer, or None."""

    def coming(self, kind: str, name: str) -> trio.Event | None:
        """Return what is set when an object has arrived here, or will not; None: nobody here is getting it."""

    async def read_chunks(self, manifest: Digest, chunks: Sequence[int]) -> list[bytes | None]:
        """Return the first of `chunks`, at least one, verified as they were read; None for those that are not here."""


@dataclass(frozen=True, slots=True)
class _Job:
    request: int
    chunks: tuple[int, ...]
    manifest: Digest = b""
    object: GetObject | None = None
    held: bool = False


class Serving:
    """Answers the requests of one peer.

    A question for a small object that is on its way here is held open for a while: so the peer knows that it is coming, and
    does not fetch it over an uplink of its own. Other requests are answered meanwhile.

    Args:
        asker: The peer's node id.
        answer: Sends an answer, unless its request was cancelled; returns whether it was sent.

    Attributes:
        busy: Whether the peer waits for answers.
        sent_bytes: Chunk bytes that were sent.
    """

    def __init__(self, asker: bytes, answer: Callable[[Answer], Awaitable[bool]]) -> None:
        self.busy = False
        self.sent_bytes = 0
        self._asker = asker
        self._answer = answer
        self._jobs: deque[_Job] = deque()
        self._filled = trio.Event()

    def add(self, wanted: GetObject | Want) -> None:
        """Queue a request; the session bounds how many there are: 64, of 4096 chunks."""
        if isinstance(wanted, Want):
            self._jobs.append(_Job(wanted.request, tuple(wanted.indices()), wanted.manifest))
        else:
            self._jobs.append(_Job(wanted.request, (), object=wanted))
        self._filled.set()

    def drop(self, request: int) -> None:
        """Forget a request that was not begun."""
        self._jobs = deque(job for job in self._jobs if job.request != request)

    async def run(self, source: Source) -> None:
        """Answer until cancelled."""
        async with plain_nursery() as nursery:
            while True:
                await self._filled.wait()
                self._filled = trio.Event()
                self.busy = True
                while self._jobs:
                    await self._do(source, self._jobs.popleft(), nursery)
                self.busy = False

    async def _do(self, source: Source, job: _Job, nursery: trio.Nursery) -> None:
        if job.object is None:
            await self._send_chunks(source, job)
            return
        coming = None if job.held else source.coming(job.object.kind, job.object.name)
        if coming is not None:
            nursery.start_soon(self._hold, job, coming)
        else:
            await self._send_object(source, job.object)

    async def _hold(self, job: _Job, coming: trio.Event) -> None:
        with trio.move_on_after(_HOLD_SECONDS):
            await coming.wait()
        self._jobs.append(replace(job, held=True))
        self._filled.set()

    async def _send_object(self, source: Source, wanted: GetObject) -> None:
        data = await source.find_object(self._asker, wanted.kind, wanted.name, wanted.limit)
        if data is None:
            await self._answer(ObjectData(request=wanted.request, found=False, last=True))
            return
        for at in range(0, max(1, len(data)), OBJECT_PART_BYTES):
            part = data[at : at + OBJECT_PART_BYTES]
            last = at + OBJECT_PART_BYTES >= len(data)
            if not await self._answer(ObjectData(request=wanted.request, last=last, data=part)):
                return

    async def _send_chunks(self, source: Source, job: _Job) -> None:
        """Send the chunks of one WANT, in batches of the source's choice."""
        left = job.chunks
        while left:
            batch = await source.read_chunks(job.manifest, left)
            for chunk, data in zip(left, batch, strict=False):
                answer = _chunk_answer(job.request, chunk, data)
                if not await self._answer(answer):
                    return
                self.sent_bytes += len(data or b"")
            left = left[len(batch) :]


def _chunk_answer(request: int, chunk: int, data: bytes | None) -> ChunkData | Miss:
    return Miss(request=request, index=chunk) if data is None else ChunkData(request=request, index=chunk, data=data)
