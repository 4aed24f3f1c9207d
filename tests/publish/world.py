"""A fleet on disk and artifacts that look like software: some of it compresses, most of it stays the same between versions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from edgeswarm.abc import OriginWriter
from edgeswarm.content import delta
from edgeswarm.content.digest import check_digest
from edgeswarm.content.index import PackIndex, Piece, check_index, pack_name
from edgeswarm.publish import Fleet, PublishOptions, PublishReport, init_fleet, publish
from edgeswarm.publish.reassemble import PublishedArtifact, load_index, open_published
from edgeswarm.trust.catalogue import Catalogue, Release
from edgeswarm.trust.client import TrustClient, drive
from edgeswarm.trust.floor import VersionFloor

NOW = datetime(2026, 12, 1, tzinfo=UTC)
FAST = PublishOptions(level=1, threads=2)


def program(seed: int, size: int) -> bytes:
    """Bytes that zstd halves."""
    dice = Random(seed)
    words = [dice.randbytes(12) for _ in range(3000)]
    return b"".join(dice.choice(words) for _ in range(size // 12 + 1))[:size]


def edited(data: bytes, seed: int, edits: int = 20) -> bytes:
    """The same with some short insertions and replacements."""
    dice, new = Random(seed), bytearray(data)
    for _ in range(edits):
        at = dice.randrange(len(new))
        new[at : at + 3] = dice.randbytes(4)
    return bytes(new)


@dataclass
class World:
    """A fleet with a product that is published again and again."""

    folder: Path
    fleet: Fleet
    now: datetime = NOW
    options: PublishOptions = field(default_factory=lambda: FAST)

    @classmethod
    def create(cls, folder: Path) -> World:
        return cls(folder, init_fleet(str(folder / "fleet"), name="acme", now=NOW))

    @property
    def origin(self) -> Path:
        return Path(self.fleet.origin)

    @property
    def writer(self) -> OriginWriter:
        return self.fleet.writer()

    def write(self, data: bytes, name: str = "artifact") -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def publish(self, what: bytes | str, version: str, channel: str = "stable", **changes: object) -> PublishReport:
        """Publish bytes, or what lies at a path, an hour later than before."""
        self.now += timedelta(hours=1)
        path = self.write(what) if isinstance(what, bytes) else what
        options = replace(self.options, **changes)  # type: ignore[arg-type]  # fields by name
        return publish(self.fleet, path, product="app", version=version, channel=channel, now=self.now, options=options)

    def client(self) -> TrustClient:
        """A device's own client, from the root that it was given."""
        client = TrustClient({}, now=self.now, bootstrap=self.fleet.root)
        answer = lambda want: self.writer.get(f"metadata/{want.name}", limit=want.max_bytes)  # noqa: E731
        drive(client.refresh(), answer)
        drive(client.product("app"), answer)
        return client

    def catalogue(self) -> Catalogue:
        """What a device sees."""
        return Catalogue(self.client())

    def catalogue_paths(self) -> list[str]:
        return self.client().target_paths()

    def release_of(self, version: str) -> Release:
        return self.catalogue().release("app", version)

    def artifact(self, version: str, compatible: str = "any") -> PublishedArtifact:
        return open_published(self.writer, self.catalogue().release("app", version, compatible))

    def snapshot(self) -> dict[str, bytes]:
        """All objects at the origin."""
        files = [path for path in self.origin.rglob("*") if path.is_file() and ".lock" not in path.name]
        return {str(path.relative_to(self.origin)): path.read_bytes() for path in files}


@dataclass
class Device:
    """A node's trust state, as it is kept between refreshes."""

    world: World
    files: dict[str, bytes] = field(default_factory=dict)
    floor: VersionFloor = field(default_factory=VersionFloor)

    def version(self, channel: str = "stable") -> str:
        """Refresh, and return what a channel points to."""
        client = TrustClient(self.files, now=self.world.now, bootstrap=self.world.fleet.root, floor=self.floor)
        answer = lambda want: self.world.writer.get(f"metadata/{want.name}", limit=want.max_bytes)  # noqa: E731
        drive(client.refresh(), answer)
        outcome = drive(client.product("app"), answer)
        self.files.update(outcome.changed)
        self.floor = outcome.floor
        return Catalogue(client).channel("app", channel).version


def updated(world: World, new: str, base: str) -> bytes:
    """Make a release as a site does that holds `base`: base chunks, and units and maps of the delta index; nothing else."""
    old, release = world.artifact(base), world.catalogue().release("app", new)
    manifest, chunks = world.artifact(new).manifest, dict[int, bytes]()
    ref = release.index_for(old.manifest.digest)
    assert ref is not None
    index = load_index(world.writer, ref)
    check_index(index, manifest)
    for piece in index.pieces:
        unit, its_map = read_piece(world, index, piece), index.map_for(piece)
        which = range(piece.first, piece.first + piece.count)
        start = manifest.chunk(which[0]).offset
        base_size = old.manifest.root.size
        opened = delta.open_map(read_piece(world, index, its_map), base_size) if its_map is not None else None
        place = delta.Place(start, opened)
        size = sum(manifest.sizes[piece.first : piece.first + piece.count])
        plain = delta.decode_unit(unit, old.read, old.manifest.root.size, size, place)
        chunks |= {i: plain[manifest.chunk(i).offset - start :][: manifest.chunk(i).size] for i in which}
    return b"".join(_chunk(manifest, old, chunks, i) for i in range(len(manifest)))


def read_piece(world: World, index: PackIndex, piece: Piece) -> bytes:
    """Return a unit or a map as it lies at the origin, its digest checked."""
    data = world.writer.read(pack_name(index.packs[piece.pack]), offset=piece.offset, length=piece.length)
    check_digest(data, piece.digest, "unit or map")
    return data


def _chunk(manifest, old, chunks, index):  # type: ignore[no-untyped-def]  # a helper of the helper
    wanted = manifest.chunk(index).digest
    data = chunks[index] if index in chunks else old.chunk(old.manifest.find(wanted))
    check_digest(data, wanted, "chunk")
    return data
