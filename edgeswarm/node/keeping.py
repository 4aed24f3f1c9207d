"""Which releases a node holds on to, whoever of its subscriptions needs them, and letting go of the others."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from ..abc import ChunkStore
from ..activation.lifecycle import Phase
from ..content.digest import Digest
from ..errors import TrustError
from .config import SubscribeSection
from .installers import load_state, open_installer
from .node import Node
from .threads import in_thread

# What is fetched or staged in these is on its way into a target.
_ON_ITS_WAY = frozenset({Phase.FETCHING, Phase.STAGED, Phase.ACTIVATING, Phase.CHECKING, Phase.FAILED})


async def let_go(node: Node, product: str) -> None:
    """Forget the releases of a product that no subscription of this node needs.

    What is needed is asked of the targets and of the saved states, not of the tasks that follow them: so it is right from the first
    moment after a restart, also for subscriptions of one product to several channels.

    Raises:
        EdgeswarmError: What is needed cannot be told; then nothing is forgotten.
    """
    sections = [section for section in node.config.subscribe if section.product == product]
    held = [digest for digest, about in await node.held() if about["product"] == product]
    newest = max((section.keep for section in sections if section.install is None), default=0)
    needed = set(held[len(held) - newest :]) if newest else set()
    for section in sections:
        needed |= await _needed(node, section)
    for digest in held:
        if digest not in needed:
            await node.forget(digest)


async def _needed(node: Node, section: SubscribeSection) -> set[Digest]:
    if section.install is not None:
        return await in_thread(partial(_of_target, node.store, section))
    with suppress(TrustError):
        release, _ = await node.find(section.product, channel=section.channel)
        return {release.manifest}
    return set()


def _of_target(store: ChunkStore, section: SubscribeSection) -> set[Digest]:
    """Return what a target holds, what it goes back to, and what is on its way into it."""
    assert section.install is not None  # noqa: S101  # asked for those only
    # The state first: what moves into the target meanwhile is then found in one of both.
    state = load_state(store, section.product, section.channel)
    on_its_way = {state.offer.manifest} if state.offer is not None and state.phase in _ON_ITS_WAY else set()
    installer = open_installer(section.install)
    held = (installer.active(), installer.previous(), installer.staged())
    return on_its_way | {one.manifest for one in held if one is not None}
