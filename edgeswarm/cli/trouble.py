"""Why a node has not got what it wants: what it tried, and the last answer of each."""

from __future__ import annotations

from ..node import Node


def trouble(node: Node) -> str:
    """Return in one line what keeps a node from getting on, as far as it knows; empty if nothing does."""
    return "; ".join(part for part in (_origin(node), _peers(node), _neighbours(node)) if part)


def _origin(node: Node) -> str:
    if node.config.uplink is None or node.uplink is None:
        return "" if node.links.peers else "this node has no origin of its own"
    error = node.uplink.last_error if not node.uplink.usable else _first(node, "origin")
    return f"origin {node.config.uplink.origin}: {error}" if error else ""


def _neighbours(node: Node) -> str:
    """Say what is wrong with what peers say, unless the origin says what there is."""
    error = _first(node, "peers")
    return f"neighbours: {error}" if error and not node.news.is_current else ""


def _peers(node: Node) -> str:
    """Say what became of the peers, if there is none to fetch from and some were wanted."""
    lan = node.config.lan
    if node.links.peers or (node.uplink is not None and not _origin(node)):
        return ""
    refused = f": {node.links.refused[-1]}" if node.links.refused else ""
    if lan.peers or lan.multicast:
        return f"no peer was reached at {', '.join(lan.peers + lan.multicast)}{refused}"
    return "" if node.uplink is not None else f"no peer came{refused}: give --peer, --multicast or --origin"


def _first(node: Node, source: str) -> str:
    """Return the first of the errors of one source of metadata; empty if there is none."""
    return next((row["error"] for row in node.metadata.errors() if row["source"] == source), "")
