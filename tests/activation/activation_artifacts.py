"""Small artifacts for the tests of this folder, built with the real content layer."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from edgeswarm.content.chunking import chunk_lengths
from edgeswarm.content.digest import digest
from edgeswarm.content.manifest import ArtifactKind, Manifest, build_manifest
from edgeswarm.content.tree import Entry, EntryType, encode_entries, runs
from edgeswarm.errors import ContentError


@dataclass
class Artifact:
    """A manifest with its stream, to be used as the `read` argument of `stage`."""

    manifest: Manifest
    stream: bytes
    reads: list[int] = field(default_factory=list)

    def read(self, offset: int, length: int) -> bytes:
        data = self.stream[offset : offset + length]
        if len(data) != length:
            raise ContentError("short read")
        self.reads.append(offset)
        return data


def noise(seed: int, size: int) -> bytes:
    return Random(seed).randbytes(size)


def _rows(blocks: Sequence[bytes]) -> list[tuple[bytes, int]]:
    rows = []
    for block in blocks:
        at = 0
        for length in chunk_lengths(block):
            rows.append((digest(block[at : at + length]), length))
            at += length
    return rows


def file_artifact(data: bytes, kind: ArtifactKind = ArtifactKind.FILE) -> Artifact:
    return Artifact(build_manifest(kind, _rows([data])).manifest, data)


def tree_artifact(entries: Sequence[Entry], contents: dict[str, bytes]) -> Artifact:
    ordered = sorted(entries, key=lambda entry: entry.path.encode())
    head = encode_entries(ordered)
    blocks = [b"".join(contents[entry.path] for entry in run) for run in runs(ordered)]
    built = build_manifest(ArtifactKind.TREE, _rows([head, *blocks]), len(head))
    return Artifact(built.manifest, head + b"".join(blocks))


def sample_tree(seed: int, *, mode: int = 0o755) -> Artifact:
    """A tree with every type of entry, empty files, small ones that share a chunk, and one of several chunks."""
    contents = {
        "bin/tool": noise(seed, 300_000),
        "bin/zero": b"",
        "etc/a.conf": b"a = %d\n" % seed,
        "etc/b.conf": b"b = 1\n",
        "last": b"",
    }
    modes = {"bin/tool": mode, "etc/a.conf": 0o600, "etc/b.conf": 0o444}
    entries = [Entry(path, EntryType.FILE, modes.get(path, 0o644), len(data)) for path, data in contents.items()]
    entries += [
        Entry("bin", EntryType.DIRECTORY, 0o755),
        Entry("etc", EntryType.DIRECTORY, 0o555),
        Entry("etc/empty", EntryType.DIRECTORY, 0o750),
        Entry("bin/alias", EntryType.SYMLINK, target="tool"),
        Entry("conf", EntryType.SYMLINK, target="etc/a.conf"),
        Entry("bin/zwei", EntryType.HARDLINK, target="bin/tool"),
    ]
    return tree_artifact(entries, contents)


Snapshot = dict[str, tuple[str, int, bytes]]


def snapshot(path: str) -> Snapshot:
    """What a program sees at `path`: type, permission bits and contents of everything in it; a missing path is an empty one."""
    if not os.path.exists(path):
        return {}
    if not os.path.isdir(path):
        return {"": _look(path)}
    found = {}
    for folder, folders, names in os.walk(os.path.realpath(path)):
        for name in folders + names:
            full = f"{folder}/{name}"
            found[os.path.relpath(full, os.path.realpath(path))] = _look(full)
    return found


def _look(path: str) -> tuple[str, int, bytes]:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return "symlink", 0, os.readlink(path).encode()
    bits = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return "directory", bits, b""
    with open(path, "rb") as file:
        return "file", bits, file.read()


def ignore(count: int) -> None:
    """A progress callback that nobody looks at."""
