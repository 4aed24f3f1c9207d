"""Write the golden vectors of the formats in `docs/reference/formats.md`.

    python tests/vectors/make.py

The files it writes are part of the formats: the tests read them and never run this. It is here to say what the inputs were, and to
add vectors when a format gets a new version; a run that changes an existing line changes the format.

Inputs, so that any language can make them:

- `stream(seed, n)`: the first n bytes of SHA-256(seed || 0) || SHA-256(seed || 1) || ..., the seed in ASCII, the counter as u32
  big-endian.
- row i of a manifest: digest SHA-256("row" || i), i as u32 big-endian, size 16384 + i % 1000; no content belongs to it.

Encoded pieces and units are decoded by the tests, never compared: another version of libzstd may compress otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import zstandard

from edgeswarm.content import chunking, codec, index, manifest, tree, varint
from edgeswarm.content.delta.covers.encoder import encode_covers
from edgeswarm.content.delta.zstd_ranges import encode_ranges
from edgeswarm.content.digest import digest

_FOLDER = Path(__file__).parent
_K = 1024
# A delta index of version 1, which had no maps.
_OLD_INDEX = (
    "01000000d20096c4202d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213c4200c389a743e34fda435fbd575"
    "bb889dbc0d3e66b9f9d81e00be33b7188509e7ebc42084cb40e74f0e856bb4bb91233e3cb74113533dca78a74f36f59edaa41895c946c4"
    "009700c400c400c400c400c400c4009702c402013cc402030cc4020000c4020000c4058407808004c4401c310b6bdadd69991cd4e5dbef"
    "96c2638536c32b534e3ed64785846bfcebd206448bd8dd9624154a690f8e84dc52d6f633ba7cd545c4d3c9b4e0f6a2f6fa71f4"
)
_SIZES = (0, 1, 16 * _K - 1, 16 * _K, 16 * _K + 1, 64 * _K, 64 * _K + 1, 256 * _K - 1, 256 * _K, 256 * _K + 1, 1_000_003)


def stream(seed: str, size: int) -> bytes:
    """Return `size` bytes that look random."""
    return b"".join(sha256(seed.encode() + i.to_bytes(4, "big")).digest() for i in range(size // 32 + 1))[:size]


def rows(start: int, stop: int) -> Iterator[tuple[bytes, int]]:
    """Yield rows of a manifest that stands for nothing."""
    return ((sha256(b"row" + i.to_bytes(4, "big")).digest(), 16384 + i % 1000) for i in range(start, stop))


def _digests() -> list[dict[str, str]]:
    return [{"data": data.hex(), "digest": digest(data).hex()} for data in (b"", b"\0", b"edgeswarm", bytes(range(251)) * 5)]


def _chunking() -> dict[str, Any]:
    cut = [{"seed": f"cut{size}", "size": size} for size in _SIZES]
    # Data that end one byte behind a cut: in data of odd length the last byte is not looked at.
    cut += [{"seed": f"edge{i}", "size": chunking.first_cut(memoryview(stream(f"edge{i}", 256 * _K))) + 1} for i in range(8)]
    cut += [{"seed": f"long{i}", "size": 3_000_000 + i} for i in range(2)]
    for case in cut:
        case["lengths"] = chunking.chunk_lengths(stream(case["seed"], case["size"]), pure=True)
    zeros = chunking.chunk_lengths(bytes(600_000), pure=True)
    gear = b"".join(value.to_bytes(8, "big") for value in chunking.gear())
    return {
        "gear_first": [f"{value:016x}" for value in chunking.gear()[:4]],
        "gear_sha256": sha256(gear).hexdigest(),
        "cut": cut,
        "zeros": {"size": 600_000, "lengths": zeros},
    }


def _varints() -> dict[str, Any]:
    numbers = [0, 1, 127, 128, 300, 16383, 16384, 2**32 - 1, 2**63, 2**64 - 1]
    signed = [0, -1, 1, -2, 2, 2**31, -(2**31), 2**63 - 1, -(2**63)]
    return {
        "unsigned": [{"value": n, "bytes": varint.pack_varints([n]).hex()} for n in numbers],
        "zigzag": [{"value": n, "mapped": varint.zigzag(n)} for n in signed],
        "refused": ["", "80", "8000", "ff00", "80" * 9 + "02", "80" * 10 + "01"],
    }


def _pieces() -> list[dict[str, Any]]:
    text = b"one copy, as small as it can be; " * 40
    return [
        {"piece": codec.encode_piece(plain).hex(), "size": len(plain), "digest": digest(plain).hex()}
        for plain in (b"", stream("piece", 100), text, bytes(262_144))
    ]


def _manifest_case(name: str, kind: manifest.ArtifactKind, count: int, entries: int) -> dict[str, Any]:
    built = manifest.build_manifest(kind, rows(0, count), entries)
    return {
        "name": name,
        "kind": str(kind),
        "rows": count,
        "entries": entries,
        "height": built.manifest.root.height,
        "root": built.manifest.root_bytes.hex(),
        "digest": built.manifest.digest.hex(),
        "pages": len(built.pages),
        "pages_digest": digest(b"".join(page for _, page in built.pages)).hex(),
        "first_page": built.pages[0][1].hex() if built.pages and len(built.pages[0][1]) < 12_000 else "",
    }


def _manifests() -> dict[str, Any]:
    kind = manifest.ArtifactKind
    plain = manifest.build_manifest(kind.FILE, rows(0, 1)).manifest.root
    later = manifest.Root(plain.kind, plain.size, plain.chunks, 0, 0, plain.body, {"x-note": "for later", "x-a": [1, b"\0"]})
    return {
        "built": [
            _manifest_case("empty file", kind.FILE, 0, 0),
            _manifest_case("one chunk", kind.FILE, 1, 0),
            _manifest_case("tree of three chunks", kind.TREE, 3, 700),
            _manifest_case("image with leaf pages", kind.IMAGE, 2000, 0),
            _manifest_case("image with node pages", kind.IMAGE, 30_000, 0),
        ],
        "with_ignorable": later.encode().hex(),
    }


_TREE = [
    ["bin", 1, 0o755, 0, ""],
    ["bin/run", 0, 0o755, 20_000, ""],
    ["bin/run-too", 3, 0, 0, "bin/run"],
    ["data", 1, 0o750, 0, ""],
    ["data/a.txt", 0, 0o644, 3, ""],
    ["data/b.txt", 0, 0o4711, 0, ""],
    ["data/c.txt", 0, 0o600, 16_383, ""],
    ["data/z.bin", 0, 0o644, 16_384, ""],
    ["data/\u00fcber", 2, 0, 0, "../bin/../bin/run"],
    ["end", 0, 0o644, 7, ""],
]


def _trees() -> dict[str, Any]:
    entries = [tree.Entry(path, tree.EntryType(kind), mode, size, target) for path, kind, mode, size, target in _TREE]
    encoded = tree.encode_entries(entries)
    return {
        "entries": _TREE,
        "encoded": encoded.hex(),
        "empty": tree.encode_entries([]).hex(),
        "files": [[entry.path, offset] for entry, offset in tree.place_files(entries, len(encoded))],
        "runs": [[entry.path for entry in run] for run in tree.runs(entries)],
    }


def _deltas() -> dict[str, Any]:
    """One unit by the encoder, one by hand: ranges that go back and forth, and a frame over them."""
    base = stream("base", 300_000)
    new = base[150_000:200_000] + b"new here" + base[:30_000]
    made = encode_ranges(new, [(0, 65_536), (131_072, 131_072)], lambda offset, length: base[offset : offset + length], 12)
    head = bytearray([codec.ZSTD_RANGES])
    for value in (2, varint.zigzag(200_000), 1000, varint.zigzag(10 - 201_000), 90):
        varint.write_varint(value, head)
    plain = base[200_500:201_000] + base[10:90]
    dictionary = base[200_000:201_000] + base[10:100]
    raw = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    options = zstandard.ZstdCompressionParameters.from_level(3, write_content_size=False, write_dict_id=False)
    by_hand = bytes(head) + zstandard.ZstdCompressor(compression_params=options, dict_data=raw).compress(plain)
    return {
        "base": {"seed": "base", "size": len(base)},
        "units": [
            {"unit": made.hex(), "size": len(new), "digest": digest(new).hex()},
            {"unit": by_hand.hex(), "size": len(plain), "digest": digest(plain).hex(), "ranges": [[200_000, 1000], [10, 90]]},
            *_covers(base),
        ],
    }


def _covers(base: bytes) -> list[dict[str, Any]]:
    """Units over covers: corrections as two streams and as records, each coding, literals alone, and nothing."""
    import numpy as np

    few = bytearray(b"new" + base[1000:1200] + base[500:600] + b"end")
    few[10], few[205] = few[10] ^ 0xFF, (few[205] + 1) & 0xFF
    many = bytearray(base[40_000:80_000])
    for at in range(0, len(many) - 4, 53):
        field = int.from_bytes(many[at : at + 4], "little") + 0x1234 & 0xFFFFFFFF
        many[at : at + 4] = field.to_bytes(4, "little")
    cases = [
        (bytes(few), [(1000, 3, 200), (500, 203, 100)]), (bytes(many), [(40_000, 0, 40_000)]),
        (b"line of text\n" * 500, []), (b"", []),
    ]  # fmt: skip
    units = []
    for new, rows in cases:
        covers = np.array(rows, np.int64).reshape(-1, 3)
        unit = encode_covers(covers, [base[old : old + length] for old, _, length in rows], new, 0)
        units.append({"unit": unit.hex(), "size": len(new), "digest": digest(new).hex(), "covers": rows})
    return units


def _index_case(found: index.PackIndex) -> dict[str, Any]:
    """Give the bytes, the msgpack body inside, which is the same everywhere, and what they mean."""
    data = index.encode_index(found)
    body = codec.decode_piece(data[5:], int.from_bytes(data[1:5], "big"))
    return {
        "bytes": data.hex(),
        "digest": digest(data).hex(),
        "body": body.hex(),
        "manifest": found.manifest.hex(),
        "base": found.base.hex() if found.base else None,
        "packs": [pack.hex() for pack in found.packs],
        "page_digests": [page.hex() for page in found.page_digests],
        "pages": [[p.first, p.count, p.pack, p.offset, p.length] for p in found.pages],
        "pieces": [[p.first, p.count, p.pack, p.offset, p.length, p.digest.hex()] for p in found.pieces],
        "maps": [[p.first, p.count, p.pack, p.offset, p.length, p.digest.hex()] for p in found.maps],
        "payload_bytes": found.payload_bytes,
    }


def _indexes() -> dict[str, Any]:
    piece, name = index.Piece, [digest(bytes([i])) for i in range(8)]
    full = index.PackIndex(
        name[0], None, (name[1], name[2]), (name[3],), (piece(0, 1, 0, 0, 77),),
        (piece(0, 1, 0, 77, 100), piece(1, 1, 1, 5000, 40_000), piece(2, 1, 1, 1000, 4000), piece(3, 1, 0, 177, 1)),
    )  # fmt: skip
    delta = index.PackIndex(
        name[0], name[4], (name[5],), (), (), (piece(1, 3, 0, 0, 900, name[6]), piece(64, 12, 0, 900, 65_536, name[7]))
    )
    mapped = replace(delta, maps=(piece(0, 5, 0, 66_432, 321, name[2]), piece(60, 1000, 0, 66_753, 400_000, name[3])))
    return {
        "indexes": [_index_case(full), _index_case(delta), _index_case(mapped)],
        "refused": [_OLD_INDEX],
        "names": {
            "digest": name[1].hex(),
            "pack": index.pack_name(name[1]),
            "index": index.index_name(name[1]),
            "manifest": index.manifest_name(name[1]),
        },
    }


def main() -> None:
    """Write all files."""
    made = {
        "digest": _digests(), "chunking": _chunking(), "varint": _varints(), "piece": _pieces(), "manifest": _manifests(),
        "tree": _trees(), "delta": _deltas(), "index": _indexes(),
    }  # fmt: skip
    for name, value in made.items():
        (_FOLDER / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
