"""The first moments of a link: both sides say who they are and which versions they speak."""

from __future__ import annotations

import trio

from ..abc import Link
from ..errors import FetchError, RemoteProtocolError
from ..wire.messages import Bye, Hello
from ..wire.session import Closed, Incompatible, Session
from .peer import Peer

HELLO_SECONDS = 10.0
"""A link whose other side has not greeted by then is closed: as long as a TLS handshake may take."""


async def greet(link: Link, hello: Hello, *, connected: bool) -> Peer:
    """Exchange greetings on a fresh link and return the peer.

    Raises:
        RemoteProtocolError: The peer broke the protocol or speaks no common version.
        FetchError: The link broke, or the peer said nothing for ten seconds: in TLS 1.3 that may be a refused certificate.
    """
    session = Session(hello, is_client=connected)
    try:
        with trio.fail_after(HELLO_SECONDS):
            await link.send(session.send(hello))
            while True:
                event = session.next_event()
                if isinstance(event, Hello):
                    return Peer(link, session, event, connected=connected)
                if isinstance(event, Incompatible):
                    await link.send(session.send(event.answer))
                    raise RemoteProtocolError(f"{link.peer.node}: {event.answer.reason}")
                if isinstance(event, Bye | Closed):
                    raise FetchError(f"{link.peer.node} closed the link instead of greeting: {event}")
                session.receive_data(await link.receive())
    except trio.TooSlowError as error:
        raise FetchError(f"{link.peer.node} sent no greeting within {HELLO_SECONDS:.0f} s") from error
