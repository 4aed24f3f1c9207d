"""`edgeswarm rollback`: back to the previous release, with no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, FetchError
from .node_options import CONFIG_FILE, ConfigFile, read_config
from .options import Json
from .show import show
from .status import ask_node

if TYPE_CHECKING:
    from ..node import NodeConfig


def rollback(
    *, config: ConfigFile = CONFIG_FILE, product: str = "", channel: str = "", as_json: Json = False
) -> None:  # fmt: skip
    """Put the previous release back. Works with no network, and whether the node runs or not.

    The release that is rolled back is not installed again until its channel moves on.

    Args:
        config: Configuration file of the node.
        product: Which subscription, where there are several.
        channel: Which subscription, where there are several.
        as_json: Write one JSON object.
    """
    loaded = read_config(config)
    try:
        answer = ask_node(loaded.node.state, "rollback", product=product, channel=channel)
    except FetchError as error:
        if error.temporary:  # it ran, and ended before it answered: it may have rolled back already
            raise
        answer = _roll_back_here(loaded, product, channel)
    show(answer, as_json=as_json, title=f"{answer['product']} is back at {answer['version']}")


def _roll_back_here(config: NodeConfig, product: str, channel: str) -> dict[str, Any]:
    """Roll back while no node runs: the store's lock keeps one from starting meanwhile."""
    from ..node.config import find_subscription
    from ..node.offline import roll_back_offline
    from ..store import Store

    section = find_subscription(config.subscribe, product, channel)
    if not Path(config.node.state).is_dir():
        raise ConfigError(f"state folder {config.node.state}: there is none; has this node ever run?")
    store = Store.open(str(config.node.state / "store"))
    try:
        installed = roll_back_offline(store, section)
    finally:
        store.close()
    return {"product": section.product, "channel": section.channel, "version": installed.version, "phase": "rolled_back"}
