"""Messages that move objects and chunks: GET_OBJECT, OBJECT, HAVE, DROP, WANT, CHUNK, MISS, CANCEL, PARTIAL."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from ..content.chunking import MAX_CHUNK_BYTES
from ..content.digest import Digest, short
from ..content.index import PIECE_MAX_BYTES
from ..content.manifest import MAX_CHUNKS
from ..errors import LocalProtocolError, RemoteProtocolError
from .checks import Buffer, check_choice, check_data, check_digest, check_digest_name, check_flag, check_name, check_number
from .control import Message
from .indices import MAX_SET_BYTES, Form, count_indices, decode_flags, decode_indices, encode_indices, split_flags

CODINGS = ("plain", "zstd")
"""How a CHUNK holds its chunk; the position is the number on the wire."""
OBJECT_KINDS = ("metadata", "manifest", "page", "index", "map")
"""What GET_OBJECT can ask for."""
CAPABILITIES = ("map",)
"""Kinds of objects that came after protocol 1 began, as HELLO names them: nobody else may be asked for one."""
MAX_WANTED_CHUNKS = 4096
"""Chunks that one WANT may ask for, and that may be outstanding in all: 256 MiB at the average size, more than any window."""
MAX_OBJECT_BYTES = 16 * 1024 * 1024
"""Largest object: ten times the metadata of 10,000 targets [1.4 MB]."""
OBJECT_PART_BYTES = 256 * 1024
"""Most data in one OBJECT frame."""

MAX_PARTIAL_BYTES = 32 * 1024
"""Most data in one PARTIAL: two reads of a slow uplink."""

_MAX_U32 = 2**32 - 1
_MAX_OFFSET = 2**48
# 4096 indices below 2**26: at most 5 bytes a run, however they are scattered.
_MAX_WANT_BYTES = MAX_WANTED_CHUNKS * 5


def can_ask(kind: str, capabilities: Collection[str]) -> bool:
    """Tell if a peer of these capabilities knows a kind of object."""
    return kind not in CAPABILITIES or kind in capabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class GetObject(Message):
    """Please send a small object.

    Attributes:
        request: Number of the request, see `Session.new_request`.
        kind: "metadata" (by its name at the origin without `metadata/`), "manifest" (a root), "page", "index" or "map" (by
            digest in hex).
        name: Which one.
        limit: Most bytes that the asker takes; a larger object counts as not found.
    """

    TYPE: ClassVar[int] = 6
    request: int
    kind: str
    name: str
    limit: int

    def __post_init__(self) -> None:
        check_number(self.request, "GET_OBJECT request", 1, _MAX_U32)
        check_choice(self.kind, "GET_OBJECT kind", OBJECT_KINDS)
        check = check_name if self.kind == "metadata" else check_digest_name
        check(self.name, "GET_OBJECT name")
        check_number(self.limit, "GET_OBJECT limit", 1, MAX_OBJECT_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectData(Message):
    """A part of an object, in order, or the answer that there is none.

    Attributes:
        request: Number of the GET_OBJECT.
        found: False: there is no such object; then `last` is true and `data` empty.
        last: Nothing follows for this request.
        data: At most 256 KiB; empty only in a last part.
    """

    TYPE: ClassVar[int] = 7
    request: int
    found: bool = True
    last: bool
    data: Buffer = b""

    def __post_init__(self) -> None:
        check_number(self.request, "OBJECT request", 1, _MAX_U32)
        check_flag(self.found, "OBJECT found")
        check_flag(self.last, "OBJECT last")
        # An empty part that is not the last would let a peer keep a request alive for ever at no cost.
        check_data(self.data, "OBJECT data", 0 if self.last else 1, OBJECT_PART_BYTES if self.found else 0)
        if not self.found and not self.last:
            raise LocalProtocolError("OBJECT: wanted last with not found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Have(Message):
    """These chunks of a manifest are here, verified. Made by `announce`, read by `flags`.

    Attributes:
        manifest: Digest of the manifest root.
        chunks: Number of chunks of the manifest.
        form: A `Form`.
        data: The encoded set.
        complete: True: the set replaces what was said before; false: it adds to it.
    """

    TYPE: ClassVar[int] = 8
    manifest: Digest
    chunks: int
    form: int
    data: bytes
    complete: bool

    def __post_init__(self) -> None:
        check_digest(self.manifest, "HAVE manifest")
        check_number(self.chunks, "HAVE chunks", 0, MAX_CHUNKS)
        check_number(self.form, "HAVE form", Form.BITMAP, Form.RUNS)
        check_data(self.data, "HAVE set", 0, MAX_SET_BYTES)
        check_flag(self.complete, "HAVE complete")
        count_indices(self.form, self.data, self.chunks)

    @classmethod
    def announce(cls, *, manifest: Digest, flags: bytes | bytearray, complete: bool) -> list[Have]:
        """Return the messages that announce a set: one, but for sets of millions of scattered chunks.

        Args:
            manifest: Digest of the manifest root.
            flags: One byte per chunk, 1 = here; shape (n_chunks,).
            complete: The set replaces what was said before.
        """
        parts = split_flags(flags)
        return [
            cls(manifest=manifest, chunks=len(flags), form=int(form), data=data, complete=complete and number == 0)
            for number, (form, data) in enumerate(parts)
        ]

    def flags(self, chunks: int) -> bytearray:
        """Return the set, one byte per chunk, 1 = the peer has it; shape (chunks,).

        Args:
            chunks: Number of chunks of the manifest as verified here.

        Raises:
            RemoteProtocolError: The peer named another number.
        """
        if self.chunks != chunks:
            raise RemoteProtocolError(
                f"HAVE {short(self.manifest)}: wanted {chunks} chunks, as the manifest says, got {self.chunks}"
            )
        return decode_flags(self.form, self.data, chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop(Message):
    """Chunk `index` of `manifest` is not here after all."""

    TYPE: ClassVar[int] = 9
    manifest: Digest
    index: int

    def __post_init__(self) -> None:
        check_digest(self.manifest, "DROP manifest")
        check_number(self.index, "DROP index", 0, MAX_CHUNKS - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Want(Message):
    """Please send these chunks, lowest index first. Made by `ask`, read by `indices`.

    Attributes:
        request: Number of the request, see `Session.new_request`.
        manifest: Digest of the manifest root.
        form: A `Form`.
        data: The encoded set of 1 to 4096 indices.
    """

    TYPE: ClassVar[int] = 10
    request: int
    manifest: Digest
    form: int
    data: bytes

    def __post_init__(self) -> None:
        check_number(self.request, "WANT request", 1, _MAX_U32)
        check_digest(self.manifest, "WANT manifest")
        check_number(self.form, "WANT form", Form.BITMAP, Form.RUNS)
        check_data(self.data, "WANT set", 1, _MAX_WANT_BYTES)
        check_number(count_indices(self.form, self.data, MAX_CHUNKS), "WANT number of chunks", 1, MAX_WANTED_CHUNKS)

    @classmethod
    def ask(cls, *, request: int, manifest: Digest, indices: list[int]) -> Want:
        """Return the message that asks for these chunks, in any order."""
        form, data = encode_indices(indices)
        return cls(request=request, manifest=manifest, form=int(form), data=data)

    def indices(self) -> list[int]:
        """Return the chunks asked for, ascending; an index may be beyond the manifest: answer MISS."""
        return decode_indices(self.form, self.data, MAX_CHUNKS, most=MAX_WANTED_CHUNKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkData(Message):
    """One chunk.

    Attributes:
        request: Number of the WANT.
        index: Which of the chunks asked for.
        coding: "plain" or "zstd": how `data` holds the chunk.
        data: 1 byte to 256 KiB; not verified, not decoded. When received often a view that keeps up to 512 KiB alive.
    """

    TYPE: ClassVar[int] = 11
    request: int
    index: int
    coding: str = "plain"
    data: Buffer

    def __post_init__(self) -> None:
        check_number(self.request, "CHUNK request", 1, _MAX_U32)
        check_number(self.index, "CHUNK index", 0, MAX_CHUNKS - 1)
        check_choice(self.coding, "CHUNK coding", CODINGS)
        check_data(self.data, "CHUNK data", 1, MAX_CHUNK_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss(Message):
    """Chunk `index` of the WANT `request` is not here, or may not be given now."""

    TYPE: ClassVar[int] = 12
    request: int
    index: int

    def __post_init__(self) -> None:
        check_number(self.request, "MISS request", 1, _MAX_U32)
        check_number(self.index, "MISS index", 0, MAX_CHUNKS - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Message):
    """From the asker: send no more for `request`. From the other side: no more comes for it."""

    TYPE: ClassVar[int] = 13
    request: int

    def __post_init__(self) -> None:
        check_number(self.request, "CANCEL request", 1, _MAX_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial(Message):
    """Bytes of a piece that is arriving over the sender's uplink, in case it does not live to receive the rest.

    Not verified by anybody yet: whoever goes on from there checks the whole.

    Attributes:
        pack: Digest of the pack.
        offset: Where the piece starts in the pack.
        at: Where `data` starts in the piece.
        data: 1 byte to 32 KiB.
    """

    TYPE: ClassVar[int] = 17
    pack: Digest
    offset: int
    at: int
    data: bytes

    def __post_init__(self) -> None:
        check_digest(self.pack, "PARTIAL pack")
        check_number(self.offset, "PARTIAL offset", 0, _MAX_OFFSET)
        check_number(self.at, "PARTIAL start", 0, PIECE_MAX_BYTES)
        check_data(self.data, "PARTIAL data", 1, MAX_PARTIAL_BYTES)
