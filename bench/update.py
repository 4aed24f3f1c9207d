"""What a publisher and a client do for one update, each as a process of its own, so that its CPU and memory can be told.

python -m bench.update encode FLEET NEW LEVEL       publishes NEW as release 2 and prints its report
python -m bench.update decode FLEET OLD MADE        makes release 2 out of OLD and what the origin has
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeswarm.abc import OriginWriter
from edgeswarm.content.delta import open_map
from edgeswarm.content.digest import Digest, digest
from edgeswarm.content.index import PackIndex, Piece, pack_name
from edgeswarm.content.manifest import Manifest
from edgeswarm.errors import ChunkMissingError
from edgeswarm.publish import Fleet, PublishOptions, publish, site_cost

PRODUCT, CHANNEL = "bench", "stable"


def encode(fleet: Fleet, new: str, level: int) -> dict[str, Any]:
    """Publish the new release; return the bytes that a client with the old one fetches, by what they are; maps count with units."""
    options = PublishOptions(level=level, allow_private_keys=True)
    report = publish(fleet, new, product=PRODUCT, version="2", channel=CHANNEL, now=datetime.now(UTC), options=options)
    delta = report.deltas[0]
    return {
        "units_bytes": delta.delta_bytes, "index_bytes": delta.index_bytes, "root_bytes": report.root_bytes,
        "metadata_bytes": report.metadata_bytes, "bytes": site_cost(report, "1") - report.metadata_bytes, "size": report.size,
        "chunks": report.chunks,
    }  # fmt: skip


class _OldFile:
    """The chunks of a file, verified as a store verifies them."""

    def __init__(self, path: str, manifest: Manifest) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._manifest = manifest

    def get(self, name: Digest) -> bytes:
        """Return a chunk."""
        index = self._manifest.find(name)
        if index is None:
            raise ChunkMissingError("no such chunk")
        chunk = self._manifest.chunk(index)
        data = os.pread(self._file, chunk.size, chunk.offset)
        if digest(data) != name:
            raise ChunkMissingError("the file changed")
        return data


def decode(fleet: Fleet, old: str, made: str) -> dict[str, Any]:
    """Make the new file, every chunk of it verified; return the CPU seconds and the memory above the idle process."""
    from edgeswarm.node.artifacts import StoredStream
    from edgeswarm.node.decoding import decode_chunks
    from edgeswarm.publish.reassemble import load_index, open_published

    writer = fleet.writer()
    catalogue = fleet.repository(writer, now=datetime.now(UTC)).catalogue
    releases = {version: catalogue.release(PRODUCT, version) for version in ("1", "2")}
    base, manifest = (open_published(writer, releases[version]).manifest for version in ("1", "2"))
    ref = releases["2"].index_for(base.digest)
    index = load_index(writer, ref) if ref is not None else None
    if index is None:
        raise SystemExit("release 2 has no delta against release 1")
    stream = StoredStream(_OldFile(old, base), base)  # type: ignore[arg-type]  # it needs `get` alone
    idle, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with open(made, "wb") as out:
        done = _unchanged(manifest, base, index, stream, out.fileno())
        needed, opened = None, None
        for piece in index.pieces:
            if index.map_for(piece) != needed:
                needed = index.map_for(piece)
                opened = open_map(_read(writer, index, needed), base.root.size) if needed is not None else None
            at = manifest.chunk(piece.first).offset
            for part in decode_chunks(manifest, index, stream, piece, _read(writer, index, piece), opened):
                done += os.pwrite(out.fileno(), part, at)
                at += len(part)
    if done != manifest.root.size:
        raise SystemExit(f"made {done} of {manifest.root.size} bytes")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"cpu_s": time.process_time() - cpu, "above_idle_bytes": (peak - idle) * 1024, "size": done}


def _read(writer: OriginWriter, index: PackIndex, piece: Piece) -> bytes:
    return writer.read(pack_name(index.packs[piece.pack]), offset=piece.offset, length=piece.length)


def _unchanged(manifest: Manifest, base: Manifest, index: PackIndex, stream: Any, out: int) -> int:
    """Write the chunks that the base has too; return their bytes."""
    units = {chunk for piece in index.pieces for chunk in range(piece.first, piece.first + piece.count)}
    done = 0
    for number in range(len(manifest)):
        if number not in units:
            chunk = manifest.chunk(number)
            held = base.chunk(base.find(chunk.digest) or 0)
            done += os.pwrite(out, stream.read(held.offset, held.size), chunk.offset)
    return done


def main() -> None:
    """Run one of the two and print what it found as JSON."""
    verb, folder, path, last = sys.argv[1:]
    fleet = Fleet.open(folder)
    print(json.dumps(encode(fleet, path, int(last)) if verb == "encode" else decode(fleet, str(Path(path)), last)))


if __name__ == "__main__":
    main()
