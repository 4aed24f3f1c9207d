from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from trio.testing import MockClock

from edgeswarm.abc import Link, PeerIdentity
from edgeswarm.errors import ConfigError, FetchError, TrustError
from edgeswarm.testing.transport import TRANSPORT_CHECKS, MakeTransport, check_transport
from edgeswarm.transport import MemoryNetwork, MemoryTransport


def identity(fleet: str, site: str, node: str) -> PeerIdentity:
    return PeerIdentity(fleet, site, node, hashlib.sha256(f"{fleet}/{site}/{node}".encode()).digest(), "")


def maker(network: MemoryNetwork) -> MakeTransport:
    def make(fleet: str, site: str, node: str, *, allow_sites: Sequence[str] = ()) -> MemoryTransport:
        return network.transport(identity(fleet, site, node), allow_sites=allow_sites)

    return make


@asynccontextmanager
async def open_links(network: MemoryNetwork) -> AsyncIterator[tuple[Link, Link]]:
    """Yield the ends of a link between hosts "a" and "b"; b listens at b:1."""
    put, take = trio.open_memory_channel[Link](10)

    async def keep(link: Link) -> None:
        await put.send(link)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await nursery.start(network.transport(identity("f", "s", "b")).serve, "b:1", keep)
        link = await network.transport(identity("f", "s", "a")).connect("b:1")
        yield link, await take.receive()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("check", TRANSPORT_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("network", ["plain", "slow", "ragged"])
async def test_conformance(check: Callable[[MakeTransport, str], Awaitable[None]], network: str, autojump_clock: MockClock) -> None:
    networks = {
        "plain": MemoryNetwork(),
        "slow": MemoryNetwork(latency_seconds=0.3),
        "ragged": MemoryNetwork(latency_seconds=0.01, dice=Random(1)),
    }
    with trio.fail_after(60):
        await check(maker(networks[network]), "site:0")


async def test_whole_suite_in_one_call(autojump_clock: MockClock) -> None:
    await check_transport(maker(MemoryNetwork()), address="site:0")


async def test_latency_is_paid_once_each_way(autojump_clock: MockClock) -> None:
    async with open_links(MemoryNetwork(latency_seconds=2.0)) as (a, b):
        connected = trio.current_time()
        await a.send(b"x" * 100_000)
        assert trio.current_time() == connected
        assert len(await b.receive()) == 100_000
        assert trio.current_time() == connected + 2
        await b.aclose()
        assert await a.receive() == b""
        assert trio.current_time() == connected + 4


async def test_window_makes_the_sender_wait_for_the_reader(autojump_clock: MockClock) -> None:
    async with open_links(MemoryNetwork(window_bytes=1000)) as (a, b):
        with trio.move_on_after(5) as scope:
            await a.send(bytes(1001))
        assert scope.cancelled_caught
        assert len(await b.receive()) == 1000


async def test_drop_loses_what_is_in_flight_and_nothing_that_arrived(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency_seconds=1.0)
    async with open_links(network) as (a, b):
        await a.send(b"early")
        await trio.sleep(1)
        await a.send(b"late")
        network.drop("b", "a")
        assert await b.receive() == b"early"
        with pytest.raises(FetchError, match="dropped"):
            await b.receive()
        with pytest.raises(FetchError, match="dropped"):
            await a.send(b"more")
        again = await network.transport(identity("f", "s", "a")).connect("b:1")
        await again.aclose()


async def test_drop_leaves_other_hosts_alone(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_links(network) as (a, b):
        network.drop("a", "c")
        await a.send(b"x")
        assert await b.receive() == b"x"


async def test_cut_refuses_until_healed(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_links(network) as (a, b):
        network.cut("a", "b")
        for link in (a, b):
            with pytest.raises(FetchError):
                await link.receive()
        transport = network.transport(identity("f", "s", "a"))
        with pytest.raises(FetchError, match="nobody answers"):
            await transport.connect("b:1")
        network.heal("a", "b")
        await (await transport.connect("b:1")).aclose()


async def test_stall_says_nothing_and_loses_nothing(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency_seconds=0.1)
    async with open_links(network) as (a, b):
        await a.send(b"under way")
        network.stall("a", "b")
        with trio.move_on_after(100) as scope:
            await b.receive()
        assert scope.cancelled_caught
        network.heal("a", "b")
        assert await b.receive() == b"under way"


async def test_connecting_over_a_stalled_way_gives_up(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_links(network):
        network.stall("a", "b")
        with pytest.raises(FetchError, match="within 10"):
            await network.transport(identity("f", "s", "a")).connect("b:1")
        assert trio.current_time() >= 10


async def test_admit_refuses_on_either_side(autojump_clock: MockClock) -> None:
    def refuse(peer: PeerIdentity) -> None:
        raise TrustError(f"{peer.node} is revoked")

    network = MemoryNetwork()
    async with open_links(network):
        with pytest.raises(TrustError, match="b is revoked"):
            await network.transport(identity("f", "s", "a"), admit=refuse).connect("b:1")


async def test_beacons_reach_everybody_who_is_not_cut_off(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency_seconds=0.5)
    async with network.open_beacons("a") as a, network.open_beacons("b") as b, network.open_beacons("c") as c:
        network.cut("a", "c")
        await a.send(b"hello")
        assert await a.receive() == await b.receive() == (b"hello", "a")
        assert trio.current_time() == pytest.approx(0.5)
        with trio.move_on_after(10) as scope:
            await c.receive()
        assert scope.cancelled_caught


async def test_a_cancelled_beacon_receive_loses_nothing(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency_seconds=0.5)
    async with network.open_beacons("a") as a:
        await a.send(b"hello")
        with trio.move_on_after(0.1):
            await a.receive()
        assert await a.receive() == (b"hello", "a")


async def test_beacons_get_lost_by_the_dice_and_by_a_full_queue(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(dice=Random(7), beacon_loss=0.5)
    async with network.open_beacons("a") as a:
        for _ in range(100):
            await a.send(b"x")
        network.conditions.beacon_loss = 0
        await a.send(b"last")
        heard = 0
        while (await a.receive())[0] == b"x":
            heard += 1
        assert 30 < heard < 70
        for index in range(1000):
            await a.send(str(index).encode())
        got = [(await a.receive())[0] for _ in range(256)]
        assert got == [str(index).encode() for index in range(256)]


def test_loss_without_dice_is_refused() -> None:
    with pytest.raises(ConfigError):
        MemoryNetwork(beacon_loss=0.1)
