"""Opening a node: the real parts from a configuration, and `async with`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random, SystemRandom

import trio

from ..abc import ChunkStore, OriginReader, Transport
from ..address import split_address
from ..errors import ConfigError, EdgeswarmError, NodeError
from ..origin import open_origin
from ..store import Store
from ..transport import TlsTransport, open_beacon_socket
from ..transport.multicast import Beacons
from ..trust.bundle import FILE_NAMES, Identity
from ..trust.clock import judge_certificate
from .beacons import BeaconLoop
from .config import NodeConfig
from .decoding import decode_fast
from .metadata import wall_clock
from .node import Node
from .tasks import first_error
from .threads import in_thread

_log = logging.getLogger("edgeswarm.opening")
_EPOCH = "node/epoch"
_OpenBeacons = Callable[[Node], AbstractAsyncContextManager[Beacons | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """What a node is made of, where it is not made from the configuration: for tests and simulations.

    Attributes:
        store: Chunks; None: opened in the state folder.
        transport: Makes the transport for a node; None: TLS.
        origin: What the uplink reads from; None: the configured one.
        identity: Who the node is; None: read from the identity folder.
        dice: For jitter and ties; None: from the operating system.
        clock: The time, aware.
        beacons: Opens the beacon socket of a node; None: multicast on the configured interfaces, if there are any.
    """

    store: ChunkStore | None = None
    transport: Callable[[Node], Transport] | None = None
    origin: OriginReader | None = None
    identity: Identity | None = None
    dice: Random | None = None
    clock: Callable[[], datetime] = wall_clock
    beacons: _OpenBeacons | None = None


def read_identity(folder: Path) -> Identity:
    """Read an identity folder.

    Raises:
        ConfigError: It is not there or a file is missing.
        TrustError: Its files don't belong together.
    """
    if not folder.is_dir():
        raise ConfigError(f"identity folder {folder}: there is none; make it with `edgeswarm enrol`")
    files = {}
    for name in FILE_NAMES:
        path = folder / name
        try:
            files[name] = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        return Identity.from_files(files)
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from error


@asynccontextmanager
async def open_node(config: NodeConfig, parts: NodeParts | None = None) -> AsyncIterator[Node]:  # frozen
    """Run a node while the block runs.

    An error in the block leaves it as it is. When the block ends the node says goodbye to its peers; what was verified is durable.

    Raises:
        ConfigError: The configuration names something that is not there.
        TrustError: The identity is not valid.
        StoreError: The store is damaged, in use by another process, or of a newer version.
        NodeError: A background task failed; the cause is attached.
    """
    async with AsyncExitStack() as stack:
        parts = parts or NodeParts()
        node = await _make(config, parts, stack)
        raised: list[Exception] = []
        started = False
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(node.run)
                await _start_beacons(node, parts.beacons or _multicast, stack, nursery)
                started = True
                try:
                    yield node
                except Exception as error:  # raised again below, outside the nursery, as it was
                    raised.append(error)
                with trio.CancelScope(shield=True):
                    await node.links.say_goodbye()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            cause = first_error(group)
            if cause is None or not isinstance(cause, Exception):
                raise
            if not started and isinstance(cause, EdgeswarmError):
                raise cause from group
            raise NodeError(f"a background task failed: {cause}") from cause
        if raised:
            raise raised[0]


async def _make(config: NodeConfig, parts: NodeParts, stack: AsyncExitStack) -> Node:
    if config.node.role == "gateway":
        await in_thread(decode_fast)
    identity = parts.identity
    if identity is None:
        identity = await in_thread(partial(read_identity, config.node.identity))
    store = parts.store
    if store is None:
        store = await in_thread(partial(_open_store, config))
        stack.callback(store.close)
    origin = parts.origin
    if origin is None and config.uplink is not None:
        uplink = config.uplink
        options = {"ca_file": uplink.ca_file, "stall_seconds": uplink.stall_seconds, "headers": uplink.headers}
        origin = open_origin(uplink.origin, **options)
        stack.push_async_callback(origin.aclose)
    own_folder = parts.store is None
    return Node(
        config, store, identity, origin, parts.transport or _tls, parts.dice or SystemRandom(), parts.clock,
        config.node.state / "partial" if own_folder else None, str(config.node.state) if own_folder else "",
    )  # fmt: skip


def _open_store(config: NodeConfig) -> ChunkStore:
    try:
        config.node.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"state folder {config.node.state}: {error}") from error
    store = Store.open(
        str(config.node.state / "store"),
        quota_bytes=config.node.quota_mib * 2**20 or None,
        min_free_bytes=config.node.min_free_mib * 2**20,
    )
    if store.recovery:
        _log.error("store: %s", store.recovery)
    return store


def _tls(node: Node) -> Transport:
    return TlsTransport(
        node.identity, judge=lambda start, end: judge_certificate(start, end, node.clock(), node.metadata.time_floor)
    )  # fmt: skip


@asynccontextmanager
async def _multicast(node: Node) -> AsyncIterator[Beacons | None]:
    lan = node.config.lan
    if not lan.multicast:
        yield None
        return
    group, port = split_address(lan.multicast_group, "lan.multicast_group")
    async with open_beacon_socket(group, port, lan.multicast) as socket:
        yield socket


async def _start_beacons(node: Node, open_beacons: _OpenBeacons, stack: AsyncExitStack, nursery: trio.Nursery) -> None:
    lan = node.config.lan
    socket = await stack.enter_async_context(open_beacons(node))
    if socket is None:
        return
    advertised = lan.advertise or node.bound
    loop = BeaconLoop(
        socket,
        node.identity.site_key,
        node.own.fleet,
        node.own.site,
        node.own.key,
        await in_thread(partial(_next_epoch, node.store)),
        split_address(advertised, "listen")[1] if advertised else 0,
        node.dice,
        node.links.hear,
        node.metadata.version,
    )
    node.on_metadata.append(loop.holds)
    node.news.on_disproved = loop.disproved
    nursery.start_soon(loop.run)


def _next_epoch(store: ChunkStore) -> int:
    """Return a number that grows with every start, whatever the clock says."""
    data = store.load_object(_EPOCH)
    epoch = int(data) + 1 if data else 1
    store.save_object(_EPOCH, str(epoch).encode())
    return epoch
