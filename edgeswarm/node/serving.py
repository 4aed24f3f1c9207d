"""What a node owes one peer: objects and chunks that it asked for, answered one request after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from ..content.digest import Digest
from ..wire.messages import OBJECT_PART_BYTES, ChunkData, GetObject, Miss, ObjectData, Want

Answer = ObjectData | ChunkData | Miss


class Source(Protocol):
    """Where answers come from."""

    async def find_object(self, kind: str, name: str, limit: int) -> bytes | None:
        """Return a small object for a peer, or None."""

    async def read_chunks(self, manifest: Digest, chunks: Sequence[int]) -> list[bytes | None]:
        """Return the first of `chunks`, at least one, verified as they were read; None for those that are not here."""


@dataclass(frozen=True, slots=True)
class _Job:
    request: int
    chunks: tuple[int, ...]
    manifest: Digest = b""
    object: GetObject | None = None


class Serving:
    """Answers the requests of one peer.

    Args:
        answer: Sends an answer, unless its request was cancelled; returns whether it was sent.

    Attributes:
        busy: Whether the peer waits for answers.
        sent_bytes: Chunk bytes that were sent.
    """

    def __init__(self, answer: Callable[[Answer], Awaitable[bool]]) -> None:
        self.busy = False
        self.sent_bytes = 0
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
        while True:
            await self._filled.wait()
            self._filled = trio.Event()
            self.busy = True
            while self._jobs:
                job = self._jobs.popleft()
                if job.object is not None:
                    await self._send_object(source, job.object)
                else:
                    await self._send_chunks(source, job)
            self.busy = False

    async def _send_object(self, source: Source, wanted: GetObject) -> None:
        data = await source.find_object(wanted.kind, wanted.name, wanted.limit)
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
