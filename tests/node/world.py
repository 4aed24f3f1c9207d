"""A fleet in memory: releases made of real content, an origin that is a dict and can be cut, nodes on a memory network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random

import toy_maps
import trio

from edgeswarm.content.chunking import chunk_lengths
from edgeswarm.content.codec import encode_piece
from edgeswarm.content.delta.zstd_ranges import MAX_DICTIONARY_BYTES, encode_ranges
from edgeswarm.content.digest import digest
from edgeswarm.content.index import PackIndex, Piece, index_name, manifest_name, named_index, pack_name
from edgeswarm.content.manifest import ArtifactKind, BuiltManifest, build_manifest
from edgeswarm.errors import FetchError, ObjectMissingError
from edgeswarm.node import LanSection, Node, NodeConfig, NodeParts, NodeSection, SubscribeSection, UplinkSection, open_node
from edgeswarm.node.threads import IN_PLACE
from edgeswarm.store import MemoryStore
from edgeswarm.transport import MemoryNetwork
from edgeswarm.trust.authority import Authority
from edgeswarm.trust.bundle import Identity
from edgeswarm.trust.catalogue import IndexRef, Release
from edgeswarm.trust.ceremony import draft_root, sign_draft
from edgeswarm.trust.keys import Keyring, SigningKey
from edgeswarm.trust.repository import Repository

NOW = datetime(2027, 1, 1, tzinfo=UTC)
SITE_KEY = bytes(range(32))


class MemoryOrigin:
    """An origin whose link can be cut; counts what was read of each object."""

    def __init__(self, objects: dict[str, bytes], rate: float = 0.0) -> None:
        self.objects = objects
        self.rate = rate
        self.down = False
        self.ranges: list[tuple[str, int, int]] = []
        self.cut_after: int | None = None
        self.block_bytes = 16384

    async def read(self, name: str, *, limit: int) -> bytes:
        async with self.stream(name, offset=0, length=len(self._object(name))) as blocks:
            data = b"".join([block async for block in blocks])
        if len(data) > limit:
            raise FetchError(f"{name} has {len(data)} bytes")
        return data

    def _object(self, name: str) -> bytes:
        if self.down:
            raise FetchError("the uplink is down")
        if name not in self.objects:
            raise ObjectMissingError(name)
        return self.objects[name]

    @asynccontextmanager
    async def stream(self, name: str, *, offset: int, length: int) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self._blocks(name, offset, length)

    async def _blocks(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        data = self._object(name)
        assert offset + length <= len(data)
        for at in range(offset, offset + length, self.block_bytes):
            await trio.sleep(self.block_bytes / self.rate if self.rate else 0)
            if self.cut_after is not None:
                self.cut_after -= 1
                self.down = self.down or self.cut_after < 0
            self._object(name)
            block = data[at : min(at + self.block_bytes, offset + length)]
            self.ranges.append((name, at, at + len(block)))
            yield block

    def bytes_of(self, prefix: str) -> int:
        return sum(end - start for name, start, end in self.ranges if name.startswith(prefix))

    def repeated_bytes(self, prefix: str) -> int:
        seen: set[tuple[str, int]] = set()
        repeated = 0
        for name, start, end in self.ranges:
            if name.startswith(prefix):
                bytes_here = {(name, at) for at in range(start, end)}
                repeated += len(bytes_here & seen)
                seen |= bytes_here
        return repeated

    async def aclose(self) -> None:
        pass


@dataclass
class World:
    """A fleet of one site."""

    network: MemoryNetwork = field(default_factory=MemoryNetwork)
    objects: dict[str, bytes] = field(default_factory=dict)
    built: dict[str, tuple[BuiltManifest, bytes]] = field(default_factory=dict)
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.keys = [SigningKey.generate() for _ in range(3)]
        ring = Keyring((self.keys[0].public,))
        self.root = sign_draft(draft_root(root=ring, targets=ring, snapshot=ring, timestamp=ring, now=NOW), self.keys[:1])
        self.repository = Repository.initialise(self.root)
        self.repository.delegate("app", ring)
        self.authority = Authority.create("fleet", NOW)
        self.sign()

    def sign(self) -> None:
        for name, data in self.repository.sign(self.keys, now=NOW).items():
            self.objects[f"metadata/{name}"] = data

    def publish(
        self,
        version: str,
        data: bytes,
        *,
        base: str | None = None,
        channel: str = "stable",
        compatible: str = "any",
        map_data: bytes = b"",
    ) -> Release:
        """Publish a file, with a full index and, given a base version, units of a chunk each, of method 4 if they have a map."""
        lengths = chunk_lengths(data)
        ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
        chunks = [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]
        built = build_manifest(ArtifactKind.FILE, [(digest(chunk), len(chunk)) for chunk in chunks])
        self.built[version] = (built, data)
        refs = [self._index(built, [(i, 1, encode_piece(chunk, 3)) for i, chunk in enumerate(chunks)], None)]
        if base is not None:
            old, old_data = self.built[base]
            whole = [(0, min(len(old_data), MAX_DICTIONARY_BYTES))]
            units = partial(encode_ranges, ranges=whole, read_base=lambda at, n: old_data[at : at + n], level=3)
            missing = [i for i, chunk in enumerate(chunks) if old.manifest.find(digest(chunk)) is None]
            toys = partial(toy_maps.encode_toy, map_data=map_data)
            made = [(i, 1, toys(chunks[i], ends[i] - lengths[i]) if map_data else units(chunks[i])) for i in missing]
            refs.append(self._index(built, made, old, map_data))
        root = built.manifest.root_bytes
        self.objects[manifest_name(built.manifest.digest)] = root
        release = Release("app", version, compatible, built.manifest.digest, len(data), len(root), tuple(refs))
        self.repository.add_release(release, root)
        self.repository.set_channel("app", channel, version)
        self.sign()
        return release

    def _index(
        self, built: BuiltManifest, units: list[tuple[int, int, bytes]], base: BuiltManifest | None, map_data: bytes = b""
    ) -> IndexRef:
        pack, pages, pieces = bytearray(), [], []
        old = b"".join(page for _, page in base.pages) if base is not None else b""
        for number, (_, page) in enumerate(built.pages):
            over_old = partial(encode_ranges, page, [(0, len(old))], lambda at, n: old[at : at + n], 3)
            piece = over_old() if old else encode_piece(page, 3)
            pages.append(Piece(number, 1, 0, len(pack), len(piece)))
            pack += piece
        for first, count, unit in units:
            pieces.append(Piece(first, count, 0, len(pack), len(unit), digest(unit) if base is not None else b""))
            pack += unit
        name = digest(bytes(pack))
        self.objects[pack_name(name)] = bytes(pack)
        page_names = tuple(name for name, _ in built.pages)
        packs = (name,) if pack else ()
        name_of_base = base.manifest.digest if base is not None else None
        maps: tuple[Piece, ...] = ()
        if map_data:  # of all units, in a pack of its own
            run = range(pieces[0].first, pieces[-1].first + pieces[-1].count)
            maps = (Piece(run.start, len(run), len(packs), 0, len(map_data), digest(map_data)),)
            packs = (*packs, digest(map_data))
            self.objects[pack_name(packs[-1])] = map_data
        index = PackIndex(built.manifest.digest, name_of_base, packs, page_names, tuple(pages), tuple(pieces), maps)
        index_digest, data = named_index(index)
        self.objects[index_name(index_digest)] = data
        return IndexRef(name_of_base, index_digest, len(data), index.payload_bytes)

    def identity(self, node: str, role: str = "device") -> Identity:
        key, certificate = self.authority.issue("site", node, NOW, role=role)
        return Identity(key, certificate, self.authority.certificate_pem, SITE_KEY, self.root)

    @asynccontextmanager
    async def node(
        self,
        name: str,
        *,
        role: str = "device",
        peers: tuple[str, ...] = (),
        origin: MemoryOrigin | None = None,
        store: object = None,
        subscribe: tuple[SubscribeSection, ...] = (),
        identity: Identity | None = None,
        seed: int = 1,
        beacons: bool = False,
        grace_days: int = 0,
        unfollowed_days: int = 7,
    ) -> AsyncIterator[Node]:
        """Run a node that listens at `<name>:7651`."""
        config = NodeConfig(
            node=NodeSection(
                state=Path("/nowhere"),
                identity=Path("/nowhere"),
                role=role,
                expiry_grace_days=grace_days,
                unfollowed_days=unfollowed_days,
            ),
            lan=LanSection(listen=f"{name}:7651", peers=peers),
            uplink=UplinkSection(origin="memory", poll_seconds=1.0, retry_seconds=2.0) if origin else None,
            subscribe=subscribe,
        )
        parts = NodeParts(
            store=store if store is not None else MemoryStore(),
            transport=lambda node: self.network.transport(node.own, host=name),
            origin=origin,
            identity=identity or self.identity(name, role),
            dice=Random(f"{name} {seed}"),
            clock=lambda: self.now,
            beacons=(lambda _node: self.network.open_beacons(name)) if beacons else None,
        )
        IN_PLACE.set(True)
        async with open_node(config, parts) as node:
            yield node


@asynccontextmanager
async def site(world: World, origin: MemoryOrigin, devices: int, **options: object) -> AsyncIterator[list[Node]]:
    """Run a gateway with an uplink, and devices that know only the gateway's address."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(world.node("gateway", role="gateway", origin=origin, **options))]
        for number in range(devices):
            name = f"device{number}"
            nodes.append(await stack.enter_async_context(world.node(name, peers=("gateway:7651",), **options)))
        yield nodes


async def current(node: Node, channel: str = "stable") -> Release:
    """Wait until a node knows what the channel points to."""
    async for _, release in node.subscribe("app", channel):
        return release
    raise AssertionError


async def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until something is so, in virtual time."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110  # any state of a node may be waited for, and looking costs nothing here
            await trio.sleep(0.02)
