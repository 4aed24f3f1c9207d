"""`edgeswarm enrol`."""

from __future__ import annotations

import os
from typing import Annotated

from cyclopts import Parameter

from ..errors import ConfigError
from ..publish import NodeOptions, Subscription
from ..publish import enrol as enrol_node
from .options import FleetFolder, Json, now, open_fleet
from .show import show

_DEFAULTS = NodeOptions()


def enrol(
    site: str,
    node: str,
    out: str,
    /,
    *,
    fleet: FleetFolder = ".",
    role: str = _DEFAULTS.role,
    compatible: str = _DEFAULTS.compatible,
    listen: str = _DEFAULTS.listen,
    peer: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    multicast: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    origin: str = "",
    subscribe: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    days: int = _DEFAULTS.days,
    again: Annotated[bool, Parameter(negative="")] = False,
    as_json: Json = False,
) -> None:
    """Make the identity folder of a node: key, certificate, trust root and a configuration to start from.

    Args:
        site: Site, added with `edgeswarm site add`.
        node: Name of the node.
        out: The new folder; carry it to the node and keep no copy.
        fleet: The fleet folder, made by `edgeswarm init`.
        role: device, or gateway for a node that seeds the site.
        compatible: Hardware string.
        listen: host:port for links; empty: none.
        peer: host:port of a node that is always tried; may be repeated.
        multicast: Interface for beacons, e.g. eth0; may be repeated.
        origin: Origin, for a node with its own uplink; a relative path is one from here.
        subscribe: PRODUCT@CHANNEL to follow; with =TARGET to install it there, in a directory if TARGET ends in /.
        days: How long the certificate lasts.
        again: The node was enrolled before: give it a new key; the certificate before stays good until it expires.
        as_json: Write one JSON object.
    """
    options = NodeOptions(
        role=role, compatible=compatible, listen=listen, peers=peer, multicast=multicast, origin=_origin(origin), days=days,
        subscriptions=tuple(map(_subscription, subscribe)),
    )  # fmt: skip
    identity = enrol_node(open_fleet(fleet), site, node, out, now=now(), options=options, again=again)
    name = f"{identity.fleet}/{identity.site}/{identity.node}"
    expires = identity.names.not_after.isoformat()
    values = {"node": name, "node_id": identity.node_id.hex(), "directory": out, "expires": expires}
    rows = [("folder", out), ("certificate", f"until {expires[:10]}")]
    hints = [f"Carry {out} to the node, keep no copy, and run: edgeswarm {role if role == 'gateway' else 'agent'}"]
    show(values, as_json=as_json, title=f"Enrolled {name}", rows=rows, hints=hints)


def _origin(text: str) -> str:
    """Return an origin that means on the node what it means here: a relative path would be one of the node's own folder there."""
    if not text or "://" in text or os.path.isabs(text):
        return text
    if not os.path.isdir(text):
        raise ConfigError(f"--origin {text!r}: is no folder here: give an address, or a path from / on for the node's own disk")
    return os.path.abspath(text)


def _subscription(text: str) -> Subscription:
    place, equals, target = text.partition("=")
    product, at, channel = place.partition("@")
    if not at or (equals and not target.strip("/")):
        raise ConfigError(f"--subscribe {text!r}: wanted PRODUCT@CHANNEL or PRODUCT@CHANNEL=TARGET")
    return Subscription(product=product, channel=channel, target=target.rstrip("/"), directory=target.endswith("/"))
