"""`edgeswarm fetch`: bring one release here, and optionally write it to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import trio
from cyclopts import Parameter

from ..errors import ConfigError, FetchError, TrustError
from ..node import Node, NodeConfig, Progress, open_node
from .node_options import CONFIG_FILE, Changes, ConfigFile, Logging, read_config
from .options import Json
from .show import ProgressTeller, human_bytes, progress_teller, show

_CHANGES, _LOGGING = Changes(), Logging(log_level="warning")


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
    log: Logging = _LOGGING,
    as_json: Json = False,
) -> None:
    """Fetch a release into this node's store, from its peers or its uplink; what is here already is not fetched again.

    The node must not be running as an agent: that one fetches by itself.

    Args:
        product: Name of the product.
        channel: Channel that says which release; default: stable, unless a version is given.
        version: Version, instead of a channel.
        out: File or directory to install it at, previous content kept for `rollback`; default: the store only.
        within: Give up after so many seconds; what came is kept. 0: wait as long as it takes.
        config: Configuration file of the node.
        changes: Flags that stand in for values of the file.
        log: What is logged.
        as_json: Write one JSON object.
    """
    if channel and version:
        raise ConfigError("--channel and --version: give one of them")
    if within < 0:
        raise ConfigError(f"--timeout: wanted 0 or more seconds, got {within:g}")
    log.start()
    target = out.absolute() if out is not None else None
    loaded = read_config(config, changes)
    with progress_teller(as_json=as_json) as tell:
        values = trio.run(_fetch, loaded, product, channel or ("" if version else "stable"), version, target, within, tell)
    rows = [(source, human_bytes(count)) for source, count in values["by_source"].items() if count]
    rows.append(("over the uplink", human_bytes(values["uplink_bytes"])))
    show(values, as_json=as_json, title=f"Fetched {product} {values['version']}, {human_bytes(values['size'])}", rows=rows)


async def _fetch(
    config: NodeConfig, product: str, channel: str, version: str, out: Path | None, within: float, tell: ProgressTeller
) -> dict[str, Any]:
    with trio.move_on_after(within or float("inf")):
        async with open_node(config) as node:
            return await _bring(node, product, channel, version, out, tell)
    raise FetchError(f"{product} was not here within {within:g} s; what came is kept, and the next try goes on from there")


async def _bring(node: Node, product: str, channel: str, version: str, out: Path | None, tell: ProgressTeller) -> dict[str, Any]:
    await node.metadata.want_product(product)
    await node.news.check_now()
    while True:
        changed = node.metadata.changed
        try:
            release, _ = await node.find(product, channel=channel, version=version)
            break
        except TrustError:
            if node.metadata.version and node.uplink is not None and node.uplink.usable:
                raise  # the origin was asked, and there is no such thing
            await changed.wait()
    running = node.fetch(release)
    async for moment in running.moments():
        tell(f"{product} {release.version}", moment.done, moment.size)
    progress: Progress = await running.wait()
    if out is not None and running.manifest is not None:
        from ..node.target import write_out

        await write_out(node, running.manifest, release.version, out)
    return {"product": product, "version": release.version, "manifest": release.manifest.hex(), **progress.as_dict()}
