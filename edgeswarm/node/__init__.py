"""A running node under trio: configuration, links, metadata, transfers, subscriptions. Open one with `open_node`."""

from .config import InstallSection, LanSection, NodeConfig, NodeSection, SubscribeSection, UplinkSection, config_from, load_config
from .handle import Fetch
from .node import Node
from .opening import NodeParts, open_node
from .progress import Progress

__all__ = [
    "Fetch",
    "InstallSection",
    "LanSection",
    "Node",
    "NodeConfig",
    "NodeParts",
    "NodeSection",
    "Progress",
    "SubscribeSection",
    "UplinkSection",
    "config_from",
    "load_config",
    "open_node",
]
