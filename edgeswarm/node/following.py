"""What all subscriptions of a node have in common: they go on, whatever goes wrong with one of them."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Any

import trio

from ..errors import EdgeswarmError
from .config import SubscribeSection
from .node import Node

_log = logging.getLogger("edgeswarm.follower")
AGAIN_SECONDS = 30.0
"""Pause before what failed is tried again: a guess; a full disk or a damaged target is nothing that passes in a second."""


class Following(ABC):
    """One subscription of a node.

    Args:
        node: The node.
        subscribe: What to follow.

    Attributes:
        subscribe: As given.
        version: Version that is installed, or was fetched last; empty: none yet.
        last_error: What went wrong last, for people; empty: nothing since it last went well.
    """

    def __init__(self, node: Node, subscribe: SubscribeSection) -> None:
        self.subscribe = subscribe
        self.version = ""
        self.last_error = ""
        self._node = node
        self._channel = node.subscribe(subscribe.product, subscribe.channel)

    @property
    def name(self) -> str:
        """Product and channel, for people."""
        return f"{self.subscribe.product}/{self.subscribe.channel}"

    async def run(self) -> None:
        """Follow until cancelled. What goes wrong with one subscription, its target say, does not end the node."""
        while True:
            try:
                self._channel = self._node.subscribe(self.subscribe.product, self.subscribe.channel)
                await self._run()
            except (EdgeswarmError, OSError) as error:
                self.last_error = str(error)
                _log.exception("%s starts again in %g s", self.name, AGAIN_SECONDS)
            await trio.sleep(AGAIN_SECONDS)

    @abstractmethod
    async def _run(self) -> None:
        """Follow until cancelled, or until something goes wrong."""

    def status(self) -> dict[str, Any]:
        """Return what a person wants to know, as JSON has it."""
        return {
            "product": self.subscribe.product, "channel": self.subscribe.channel, "phase": "idle", "version": self.version,
            "wanted": "", "reason": "", "error": self.last_error, "channel_error": self._channel.trouble, "target": "",
            "job": None, "retry_seconds": None,
        }  # fmt: skip
