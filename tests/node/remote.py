"""The other end of a link, by hand: a node of the fleet that says what a test wants it to say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from edgeswarm.abc import Link, PeerIdentity
from edgeswarm.errors import FetchError
from edgeswarm.wire.messages import Hello, Message
from edgeswarm.wire.session import NEED_DATA, Closed, Session

from .world import World

_M = TypeVar("_M")


class Remote:
    """A hand-made peer that connected to a node."""

    def __init__(self, link: Link, session: Session, key: bytes) -> None:
        self.link = link
        self.session = session
        self.key = key

    async def say(self, *messages: Message) -> None:
        for message in messages:
            await self.link.send(self.session.send(message))

    async def hear(self) -> Message | Closed:
        """Return the next message, or `Closed` when the link is gone."""
        while True:
            event = self.session.next_event()
            if event is not NEED_DATA:
                return event
            try:
                self.session.receive_data(await self.link.receive())
            except FetchError:
                return Closed()

    async def hear_a(self, kind: type[_M], seconds: float = 60.0) -> _M:
        """Return the next message of a kind."""
        with trio.fail_after(seconds):
            while True:
                event = await self.hear()
                if isinstance(event, kind):
                    return event
                assert not isinstance(event, Closed), f"the link ended before a {kind} came"

    async def until_closed(self, seconds: float = 60.0) -> list[Message]:
        """Return what is said until the node closes the link."""
        heard: list[Message] = []
        with trio.fail_after(seconds):
            while not isinstance(event := await self.hear(), Closed):
                heard.append(event)
        return heard


def identity_of(world: World, name: str) -> PeerIdentity:
    identity = world.identity(name)
    return PeerIdentity(identity.fleet, identity.site, identity.node, identity.node_id, "here")


@asynccontextmanager
async def remote(
    world: World, name: str = "remote", *, to: str = "gateway:7651", identity: PeerIdentity | None = None, **hello: object
) -> AsyncIterator[Remote]:
    """Connect to a node and greet it."""
    identity = identity or identity_of(world, name)
    link = await world.network.transport(identity, host=name).connect(to)
    values = {"node": name, "role": "device", "uplink": False, "timestamp_version": 0, **hello}
    session = Session(Hello(**values), is_client=True)
    try:
        await link.send(session.start())
        made = Remote(link, session, identity.key)
        await made.hear_a(Hello)
        yield made
    finally:
        with trio.CancelScope(shield=True):
            await link.aclose()
