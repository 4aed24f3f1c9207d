"""`edgeswarm fetch`: bring one release here, and optionally write it to a file."""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import trio
from cyclopts import Parameter

from ..errors import ConfigError, FetchError, NoSpaceError, NotPublishedError, TrustError
from ..node import Node, NodeConfig, Progress, open_node
from ..node.tasks import plain_nursery
from ..trust.catalogue import Release
from ..trust.names import check_name, check_product
from .confirmed import PEER_SECONDS, Doubt, doubt_of, is_confirmed, refusal
from .interrupt import until_stopped
from .node_options import CONFIG_FILE, Changes, ConfigFile, FetchLogging, read_config
from .options import Json, Quiet
from .show import ProgressTeller, human_bytes, progress_teller, show, show_error
from .trouble import trouble

_CHANGES, _LOGGING = Changes(), FetchLogging()
_T = TypeVar("_T")
_Opened = TypeVar("_Opened")
_Brought = tuple[dict[str, Any], Doubt | None]
_LOOK_SECONDS = 0.5  # a guess: soon enough for a person who waits


def fetch(
    product: str,
    /,
    *,
    channel: str = "",
    version: str = "",
    out: Path | None = None,
    within: Annotated[float, Parameter(name="--timeout")] = 0.0,
    config: ConfigFile = CONFIG_FILE,
    changes: Changes = _CHANGES,
    log: FetchLogging = _LOGGING,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Fetch a release into this node's store, from its peers or its uplink; what is here already is not fetched again.

    The node must not be running as an agent: that one fetches by itself.

    Exit code 3: it is here, but nobody could confirm within this run that the channel points to nothing newer. Exit code 77: so,
    and what the origin says does not verify. Exit code 28: so, and there is no room to save what it says.

    Args:
        product: Name of the product.
        channel: Channel that says which release; default: stable, unless a version is given.
        version: Version, instead of a channel.
        out: File or directory to install it at, previous content kept for `rollback`; default: the store only.
        within: Give up after so many seconds; what came is kept. 0: wait as long as it takes.
        config: Configuration file of the node.
        changes: Flags that stand in for values of the file.
        log: What is logged.
        quiet: Show no progress.
        as_json: Write one JSON object.
    """
    if channel and version:
        raise ConfigError("--channel and --version: give one of them")
    channel = channel or ("" if version else "stable")
    check_product(product, ConfigError)
    check_name(channel or version, "channel" if channel else "version", ConfigError)
    if not 0 <= within < math.inf:
        raise ConfigError(f"--timeout: wanted 0 or more seconds, got {within:g}")
    log.start()
    target = out.absolute() if out is not None else None
    if target is not None and not target.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder to write it to")
    loaded = read_config(config, changes)
    with progress_teller(as_json=as_json, quiet=quiet) as tell:
        values, doubt = trio.run(_fetch, loaded, product, channel, version, target, within, tell)
    code = _tell_doubt(doubt)
    rows = [(source, human_bytes(count)) for source, count in values["by_source"].items() if count]
    rows.append(("over the uplink", human_bytes(values["uplink_bytes"])))
    show(values, as_json=as_json, title=f"Fetched {product} {values['version']}, {human_bytes(values['size'])}", rows=rows)
    return code


def _tell_doubt(doubt: Doubt | None) -> int:
    """Say on standard error that a release may not be the newest; return the exit code."""
    if doubt is None:
        return 0
    show_error(f"this release is not confirmed to be the newest: {doubt.why}")
    return doubt.exit_code


async def _fetch(
    config: NodeConfig, product: str, channel: str, version: str, out: Path | None, within: float, tell: ProgressTeller
) -> _Brought:
    async def work(node: Node) -> _Brought:
        async with plain_nursery() as nursery:
            nursery.start_soon(_say_troubles, node, troubles)
            brought = await _bring(node, product, channel, version, out, tell)
            nursery.cancel_scope.cancel()
            return brought

    async def bring() -> _Brought:
        brought = await _in_time(within or math.inf, open_node(config), work)
        if brought is not None:
            return brought
        why = f": {troubles[-1]}" if troubles and troubles[-1] else ""
        raise FetchError(f"{product} was not here within {within:g} s{why}; what came is kept, and the next try goes on from there")

    troubles: list[str] = []
    return await until_stopped(bring)


async def _in_time(
    seconds: float, opened: AbstractAsyncContextManager[_Opened], work: Callable[[_Opened], Awaitable[_T]]
) -> _T | None:
    """Return what comes of work with what is opened; None if time was up first. Closing may take longer than that."""
    result: _T | None = None
    with trio.move_on_after(seconds):
        async with opened as node:
            result = await work(node)
    return result


async def _say_troubles(node: Node, troubles: list[str]) -> None:
    """Say on standard error why nothing comes, each time that the reason changes; the last one is kept for the end."""
    while True:
        now = trouble(node)
        if now != (troubles[-1] if troubles else ""):
            troubles.append(now)
            print(f"waiting: {now}" if now else "going on", file=sys.stderr)
        await trio.sleep(_LOOK_SECONDS)


async def _find(node: Node, product: str, channel: str, version: str) -> tuple[Release, Doubt | None]:
    """Return the release; waits for verified metadata that names it, unless nothing more is to be expected.

    With it comes why it may not be the newest of the channel; of a version there is only one.

    Raises:
        NotPublishedError: There is no such release or channel.
        TrustError: What the origin says does not verify, and what is known does not do.
        NoSpaceError: There is no room for newer metadata, and what is known does not do.
    """
    if await node.metadata.want_product(product):
        node.news.look_for(product)
    doubt = await doubt_of(node, product, PEER_SECONDS if channel or not await _is_here(node, product, version) else 0.0)
    while True:
        changed = node.metadata.changed
        try:
            release, _ = await node.find(product, channel=channel, version=version)
        except (NotPublishedError, TrustError) as error:
            full = [heard.error for heard in (node.metadata.origin, node.metadata.peers) if isinstance(heard.error, NoSpaceError)]
            if full:
                raise full[0] from error
            refused = node.metadata.origin.error is not None and refusal(node, product) is not None
            if node.metadata.version and (refused or node.news.is_sought(product) or is_confirmed(node, product)):
                raise
        else:
            refusal_now = refusal(node, product)
            settled = not channel or (refusal_now is None and is_confirmed(node, product))
            return release, None if settled else refusal_now or doubt
        with trio.move_on_after(_LOOK_SECONDS):
            await changed.wait()


async def _is_here(node: Node, product: str, version: str) -> bool:
    """Tell if a version is named by what is here already; else a neighbour may know it."""
    try:
        await node.find(product, version=version)
    except (NotPublishedError, TrustError):
        return False
    return True


async def _bring(node: Node, product: str, channel: str, version: str, out: Path | None, tell: ProgressTeller) -> _Brought:
    release, doubt = await _find(node, product, channel, version)
    running = node.fetch(release)
    async for moment in running.moments():
        tell(f"{product} {release.version}", moment.done, moment.size)
    progress: Progress = await running.wait()
    if out is not None and running.manifest is not None:
        from ..node.target import write_out

        await write_out(node, running.manifest, release.version, out)
    values = {"product": product, "version": release.version, "manifest": release.manifest.hex(), **progress.as_dict()}
    return values | {"confirmed": doubt is None, "doubt": doubt.why if doubt is not None else ""}, doubt
