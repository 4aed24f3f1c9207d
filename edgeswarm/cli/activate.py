"""`edgeswarm activate`: switch to the release that is staged, where that does not happen by itself."""

from __future__ import annotations

from .node_options import CONFIG_FILE, ConfigFile, read_config
from .options import Json
from .show import show
from .status import ask_node


def activate(*, config: ConfigFile = CONFIG_FILE, product: str = "", channel: str = "", as_json: Json = False) -> None:
    """Switch to the release that is staged: for subscriptions with `automatic = false`. The node must run, since it checks it then.

    Args:
        config: Configuration file of the node.
        product: Which subscription, where there are several.
        channel: Which subscription, where there are several.
        as_json: Write one JSON object.
    """
    answer = ask_node(read_config(config).node.state, "activate", product=product, channel=channel)
    show(answer, as_json=as_json, title=f"{answer['product']} is at {answer['version']}, {answer['phase']}")
