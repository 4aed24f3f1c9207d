"""What peers hear, in an order that keeps them from fetching twice."""

from __future__ import annotations

from random import Random

import pytest
import trio

from edgeswarm.wire.messages import Claim, Have, News, Ping, Pong, Release

from .remote import Remote, remote
from .test_scenarios import BLOB
from .world import MemoryOrigin, World, current, until

CLOCK = trio.testing.MockClock


async def listen(peer: Remote, heard: list[object]) -> None:
    """Keep what is said, and stay alive."""
    while True:
        message = await peer.hear()
        heard.append(message)
        if isinstance(message, Ping):
            await peer.say(Pong(nonce=message.nonce))


@pytest.mark.slow
async def test_an_uplink_is_told_of_before_what_is_claimed_for_it(autojump_clock: CLOCK) -> None:
    """A claim of a node that has no uplink, as far as its peers know, counts for nothing."""
    world = World()
    release = world.publish("1", BLOB)
    origin = MemoryOrigin(world.objects, rate=20_000)
    with trio.fail_after(600):
        async with world.node("gateway", origin=origin) as node, remote(world) as peer, trio.open_nursery() as nursery:
            await current(node)
            heard: list[object] = []
            nursery.start_soon(listen, peer, heard)
            node.fetch(release)
            await until(lambda: any(isinstance(message, Claim) for message in heard))
            origin.down = True
            await until(lambda: isinstance(heard[-1], News) and not heard[-1].uplink, 10)
            heard.clear()
            origin.down = False
            await until(lambda: any(isinstance(message, Claim) for message in heard))
            told = [message for message in heard if isinstance(message, News | Claim)]
            assert isinstance(told[0], News)
            assert told[0].uplink
            nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_what_came_is_announced_before_its_span_is_free(autojump_clock: CLOCK) -> None:
    """Whoever hears of a free span fetches what it does not know to be here."""
    world = World()
    release = world.publish("1", Random(1).randbytes(6 * 2**20))  # two spans: the end of a transfer announces what is left
    manifest = world.built["1"][0].manifest
    with trio.fail_after(600):
        async with world.node("gateway", origin=MemoryOrigin(world.objects)) as node, remote(world) as peer:
            await current(node)
            async with trio.open_nursery() as nursery:
                heard: list[object] = []
                nursery.start_soon(listen, peer, heard)
                await node.fetch(release).wait()
                await trio.sleep(1)
                nursery.cancel_scope.cancel()
    announced: set[int] = set()
    freed = 0
    for message in heard:
        if isinstance(message, Have):
            announced |= {index for index, here in enumerate(message.flags(len(manifest))) if here}
        elif isinstance(message, Release):
            span = range(64 * message.span, min(64 * message.span + 64, len(manifest)))
            assert announced.issuperset(span)
            freed += 1
    assert freed > 1
