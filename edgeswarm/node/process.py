"""A node as a process of its own: subscriptions, control socket, signals. What `edgeswarm agent` and `edgeswarm gateway` run."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import trio

from ..errors import ActivationError
from .config import NodeConfig, SubscribeSection, find_subscription
from .control import Verb, serve_control
from .follower import Follower
from .following import Following
from .node import Node
from .opening import NodeParts, open_node
from .seeder import Seeder
from .tasks import plain_nursery

_log = logging.getLogger("edgeswarm.process")
# Below the minute that a question may take on the control socket, so that there is an answer.
_PATIENCE_SECONDS = 50.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What ends a node, with exit code 0."""


async def run_process(
    config: NodeConfig, parts: NodeParts | None = None, on_ready: Callable[[Node], None] = lambda _node: None
) -> None:
    """Run a node with its subscriptions until SIGTERM or SIGINT.

    Args:
        config: What to run.
        parts: As for `open_node`.
        on_ready: Called once links are accepted and the control socket answers.

    Raises: as `open_node`.
    """
    with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
        async with plain_nursery() as opening:
            opened, stopped = trio.Event(), trio.Event()
            opening.start_soon(_watch, signals, opened, stopped, opening.cancel_scope)
            await _run(config, parts, on_ready, opened, stopped)
            opening.cancel_scope.cancel()


async def _watch(signals: AsyncIterator[int], opened: trio.Event, stopped: trio.Event, scope: trio.CancelScope) -> None:
    """Pass a signal to stop on; a node that still opens, which may take long, has nobody to say goodbye to and is cancelled."""
    async for number in signals:
        _log.info("stopping: %s", signal.Signals(number).name)
        stopped.set()
        if not opened.is_set():
            scope.cancel()


async def _run(
    config: NodeConfig, parts: NodeParts | None, on_ready: Callable[[Node], None], opened: trio.Event, stopped: trio.Event
) -> None:
    async with open_node(config, parts) as node:
        opened.set()
        async with plain_nursery() as nursery:
            followers = [open_follower(node, section) for section in config.subscribe]
            await nursery.start(serve_control, config.node.state, control_verbs(node, followers))
            for follower in followers:
                nursery.start_soon(follower.run)
            _notify_systemd()
            on_ready(node)
            await stopped.wait()
            nursery.cancel_scope.cancel()


def open_follower(node: Node, section: SubscribeSection) -> Following:
    """Return what follows a subscription: it installs if there is a target."""
    return Seeder(node, section) if section.install is None else Follower(node, section)


def control_verbs(node: Node, followers: Sequence[Following]) -> dict[str, Verb]:
    """Return what can be asked over the control socket."""

    async def status(_question: dict[str, Any]) -> dict[str, Any]:
        return {"pid": os.getpid(), **node.status(), "subscriptions": [follower.status() for follower in followers]}

    async def check(_question: dict[str, Any]) -> dict[str, Any]:
        return {"changed": await node.news.check_now(), "version": node.metadata.version}

    async def rollback(question: dict[str, Any]) -> dict[str, Any]:
        follower = find_follower(followers, question)
        return await _patiently(follower, partial(follower.roll_back, "asked for by the operator"))

    async def activate(question: dict[str, Any]) -> dict[str, Any]:
        follower = find_follower(followers, question)
        return await _patiently(follower, follower.activate)

    return {"status": status, "check": check, "rollback": rollback, "activate": activate}


async def _patiently(follower: Follower, ask: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    with trio.move_on_after(_PATIENCE_SECONDS):
        await ask()
        return follower.status()
    raise ActivationError(
        f"{follower.name}: not done within {_PATIENCE_SECONDS:g} s; it goes on, and `edgeswarm status` shows what comes of it"
    )


def find_follower(followers: Sequence[Following], question: dict[str, Any]) -> Follower:
    """Return the one subscription with a target that a question means; without product and channel any.

    Raises:
        ConfigError: None or several match.
    """
    product, channel = (str(question.get(key, "")) for key in ("product", "channel"))
    wanted = find_subscription((follower.subscribe for follower in followers), product, channel)
    return next(follower for follower in followers if isinstance(follower, Follower) and follower.subscribe is wanted)


def _notify_systemd() -> None:
    """Tell systemd (`Type=notify`) that the node is ready, if it asked. Source: sd_notify(3)."""
    import socket

    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        try:
            notify.sendto(b"READY=1", address)
        except OSError as error:
            _log.info("systemd was not told: %s", error)
