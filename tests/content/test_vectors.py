"""The formats held to golden bytes: what `tests/vectors/make.py` once wrote, and nothing computed by the code under test."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from edgeswarm.content import chunking, codec, index, manifest, tree, varint
from edgeswarm.content.delta import decode_unit
from edgeswarm.content.digest import digest
from edgeswarm.errors import ContentError

_FOLDER = Path(__file__).parents[1] / "vectors"


def load(name: str) -> Any:
    return json.loads((_FOLDER / f"{name}.json").read_text())


def stream(seed: str, size: int) -> bytes:
    """Return the input that the vectors name, as make.py describes it."""
    return b"".join(sha256(seed.encode() + i.to_bytes(4, "big")).digest() for i in range(size // 32 + 1))[:size]


def rows(count: int) -> list[tuple[bytes, int]]:
    return [(sha256(b"row" + i.to_bytes(4, "big")).digest(), 16384 + i % 1000) for i in range(count)]


@pytest.mark.parametrize("case", load("digest"))
def test_digest(case: dict[str, str]) -> None:
    assert digest(bytes.fromhex(case["data"])).hex() == case["digest"]


def test_gear_table() -> None:
    vectors, table = load("chunking"), chunking.gear()
    assert [f"{value:016x}" for value in table[:4]] == vectors["gear_first"]
    assert sha256(b"".join(value.to_bytes(8, "big") for value in table)).hexdigest() == vectors["gear_sha256"]


@pytest.mark.parametrize("case", load("chunking")["cut"], ids=lambda case: str(case["size"]))
def test_cuts(case: dict[str, Any]) -> None:
    data = stream(case["seed"], case["size"])
    assert chunking.chunk_lengths(data) == case["lengths"]
    if case["size"] <= 300_000:  # the definition does 8 MB/s
        assert chunking.chunk_lengths(data, pure=True) == case["lengths"]


@pytest.mark.slow
@pytest.mark.parametrize("case", load("chunking")["cut"][-3:], ids=lambda case: str(case["size"]))
def test_cuts_by_definition(case: dict[str, Any]) -> None:
    assert chunking.chunk_lengths(stream(case["seed"], case["size"]), pure=True) == case["lengths"]


def test_cuts_of_zeros() -> None:
    zeros = load("chunking")["zeros"]
    assert chunking.chunk_lengths(bytes(zeros["size"])) == zeros["lengths"]


def test_varints() -> None:
    vectors = load("varint")
    for case in vectors["unsigned"]:
        encoded = bytes.fromhex(case["bytes"])
        assert varint.pack_varints([case["value"]]) == encoded
        assert varint.read_varint(encoded, 0) == (case["value"], len(encoded))
    for case in vectors["zigzag"]:
        assert varint.zigzag(case["value"]) == case["mapped"]
        assert varint.unzigzag(case["mapped"]) == case["value"]


@pytest.mark.parametrize("text", load("varint")["refused"])
def test_refused_varints(text: str) -> None:
    with pytest.raises(ContentError):
        varint.read_varint(bytes.fromhex(text), 0)


@pytest.mark.parametrize("case", load("piece"), ids=lambda case: str(case["size"]))
def test_pieces(case: dict[str, Any]) -> None:
    plain = codec.decode_piece(bytes.fromhex(case["piece"]), case["size"])
    assert (len(plain), digest(plain).hex()) == (case["size"], case["digest"])


@pytest.mark.parametrize("case", load("manifest")["built"], ids=lambda case: case["name"])
def test_manifests(case: dict[str, Any]) -> None:
    built = manifest.build_manifest(manifest.ArtifactKind(case["kind"]), rows(case["rows"]), case["entries"])
    assert built.manifest.root_bytes.hex() == case["root"]
    assert built.manifest.digest.hex() == case["digest"]
    assert built.manifest.root.height == case["height"]
    assert len(built.pages) == case["pages"]
    assert digest(b"".join(page for _, page in built.pages)).hex() == case["pages_digest"]
    if case["first_page"]:
        assert built.pages[0][1].hex() == case["first_page"]


def test_root_with_ignorable_fields() -> None:
    data = bytes.fromhex(load("manifest")["with_ignorable"])
    root = manifest.decode_root(data)
    assert root.ignorable == {"x-note": "for later", "x-a": [1, b"\0"]}
    assert root.encode() == data


def test_trees() -> None:
    vectors = load("tree")
    entries = tuple(tree.Entry(path, tree.EntryType(kind), *rest) for path, kind, *rest in vectors["entries"])
    encoded = bytes.fromhex(vectors["encoded"])
    assert tree.encode_entries(entries) == encoded
    assert tree.decode_entries(encoded) == entries
    assert tree.decode_entries(bytes.fromhex(vectors["empty"])) == ()
    assert [[entry.path, offset] for entry, offset in tree.place_files(entries, len(encoded))] == vectors["files"]
    assert [[entry.path for entry in run] for run in tree.runs(entries)] == vectors["runs"]


@pytest.mark.parametrize("which", range(6))
def test_units(which: int) -> None:
    vectors = load("delta")
    case, base = vectors["units"][which], stream(vectors["base"]["seed"], vectors["base"]["size"])
    reads: list[list[int]] = []

    def read(offset: int, length: int) -> bytes:
        reads.append([offset, length])
        return base[offset : offset + length]

    plain = decode_unit(bytes.fromhex(case["unit"]), read, len(base), case["size"])
    assert digest(plain).hex() == case["digest"]
    assert reads == case.get("ranges", sorted([old, length] for old, _, length in case["covers"]) if "covers" in case else reads)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_indexes(which: int) -> None:
    case = load("index")["indexes"][which]
    data = bytes.fromhex(case["bytes"])
    found = index.decode_index(data, bytes.fromhex(case["digest"]))
    assert [found.manifest.hex(), found.base.hex() if found.base else None] == [case["manifest"], case["base"]]
    assert [pack.hex() for pack in found.packs] == case["packs"]
    assert [page.hex() for page in found.page_digests] == case["page_digests"]
    assert [[p.first, p.count, p.pack, p.offset, p.length] for p in found.pages] == case["pages"]
    assert [[p.first, p.count, p.pack, p.offset, p.length, p.digest.hex()] for p in found.pieces] == case["pieces"]
    assert [[p.first, p.count, p.pack, p.offset, p.length, p.digest.hex()] for p in found.maps] == case["maps"]
    assert found.payload_bytes == case["payload_bytes"]


@pytest.mark.parametrize("data", load("index")["refused"])
def test_indexes_of_other_versions_are_refused(data: str) -> None:
    old = bytes.fromhex(data)
    with pytest.raises(ContentError, match="wanted version 2, got 1"):
        index.decode_index(old, digest(old))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_index_bodies_are_encoded_alike(which: int) -> None:
    case = load("index")["indexes"][which]
    again = index.encode_index(index.decode_index(bytes.fromhex(case["bytes"]), bytes.fromhex(case["digest"])))
    assert codec.decode_piece(again[5:], int.from_bytes(again[1:5], "big")).hex() == case["body"]


def test_names_at_the_origin() -> None:
    names = load("index")["names"]
    name = bytes.fromhex(names["digest"])
    assert index.pack_name(name) == names["pack"]
    assert index.index_name(name) == names["index"]
    assert index.manifest_name(name) == names["manifest"]
