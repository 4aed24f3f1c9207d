"""What a new node is given: its identity folder, with a configuration to start from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..address import split_address
from ..errors import ConfigError
from ..origin import check_origin
from ..trust.authority import NODE_DAYS, ROLES, load_certificate
from ..trust.bundle import Identity
from ..trust.catalogue import ANY_VARIANT
from ..trust.names import check_name, check_product
from .clock import check_clock
from .fleet import Fleet
from .folders import new_folder, read_file, write_files
from .sites import Certificate, NodeRecord, node_record, site_key, write_record

CONFIG_FILE = "edgeswarm.toml"
_MOST_DAYS = 36_500  # a century; the authority's own end comes first
# What the kernel takes as the name of an interface (dev_valid_name in net/core/dev.c); an IPv4 address fits too.
_INTERFACE = re.compile(r"[^\s/:]{1,15}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A channel that a new node follows.

    Attributes:
        product: Name of the product.
        channel: Name of the channel.
        target: Where its releases are installed; empty: they are fetched and seeded only.
        directory: The target is a directory, not a file.

    Raises:
        ConfigError: A name breaks the rule.
    """

    product: str
    channel: str
    target: str = ""
    directory: bool = False

    def __post_init__(self) -> None:
        check_product(self.product, ConfigError)
        check_name(self.channel, "channel", ConfigError)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """What stands in the configuration of a new node. All of it can be edited later.

    Attributes:
        role: `device`, or `gateway` for a node that seeds a site.
        compatible: Hardware string.
        listen: `host:port` to accept links at; empty: none.
        peers: `host:port` of nodes that are always tried.
        multicast: Interfaces for beacons; empty: none.
        origin: Address of the origin, for a node with an uplink of its own; empty: none.
        subscriptions: The channels that it follows.
        days: How long its certificate lasts.

    Raises:
        ConfigError: The node would refuse one of them.
    """

    role: str = "device"
    compatible: str = ANY_VARIANT
    listen: str = "0.0.0.0:7651"  # the other nodes of the site must reach it; links are mutually authenticated
    peers: Sequence[str] = ()
    multicast: Sequence[str] = ()
    origin: str = ""
    subscriptions: Sequence[Subscription] = ()
    days: int = NODE_DAYS

    def __post_init__(self) -> None:
        check_name(self.compatible, "variant", ConfigError)
        if self.role not in ROLES:
            raise ConfigError(f"role: wanted one of {', '.join(ROLES)}, got {self.role!r}")
        if not 1 <= self.days <= _MOST_DAYS:
            raise ConfigError(f"days: wanted 1 to {_MOST_DAYS}, got {self.days}")
        if self.listen:
            split_address(self.listen, "listen")
        for peer in self.peers:
            split_address(peer, "peer", dialled=True)
        for name in self.multicast:
            if not _INTERFACE.fullmatch(name) or name in {".", ".."}:
                raise ConfigError(f"multicast: wanted the name or the IPv4 address of an interface, got {name!r}")
        if self.origin:
            check_origin(self.origin)
        names = [(one.product, one.channel) for one in self.subscriptions]
        if twice := [f"{product}@{channel}" for product, channel in names if names.count((product, channel)) > 1]:
            raise ConfigError(f"subscribe: {twice[0]} is named twice")


def enrol(
    fleet: Fleet, site: str, node: str, out: str, *, now: datetime, options: NodeOptions | None = None, again: bool = False
) -> Identity:
    """Make the identity folder of a node, with a certificate of its own and a configuration to start from.

    The folder appears as a whole. It holds the node's private key: carry it to the node by a way that you trust, and keep no copy.
    What was given to whom is recorded (`sites`) before the folder appears.

    Args:
        fleet: With the key of its authority.
        site: Name of a site that was added.
        node: Name of the node within the site.
        out: The folder; nothing may be there but an empty one.
        now: Aware.
        options: What stands in the configuration.
        again: The node was enrolled before and gets a new key and certificate; those before stay good until they expire.

    Raises:
        ConfigError: Something is there already, there is no such site, or a node of that name was enrolled before.
        PublishError: The clock is before the build time of this software: nodes would take the certificate for expired.
    """
    wish = options or NodeOptions()
    check_clock(now)
    check_name(node, "node", ConfigError)
    beacon_key = site_key(fleet, site)
    before = node_record(fleet, site, node)
    if before is not None and not again:
        raise ConfigError(
            f"node {node!r} of site {site!r} was enrolled on {before.enrolled:%Y-%m-%d} already: give each node a name of its own, "
            "or say --again if the one before is replaced"
        )
    key, certificate = fleet.authority().issue(site, node, now, days=wish.days, role=wish.role)
    identity = Identity(key, certificate, read_file(fleet.path("ca", "ca.crt"), "certificate"), beacon_key, fleet.root)
    with new_folder(os.path.abspath(out), "identity folder") as temporary:
        write_files(temporary, identity.to_files() | {CONFIG_FILE: starter_config(wish).encode()}, "identity folder")
        write_record(fleet, site, _record(identity, wish, now, before), again=before is not None)
    return identity


def _record(identity: Identity, wish: NodeOptions, now: datetime, before: NodeRecord | None) -> NodeRecord:
    serial = load_certificate(identity.certificate, "node.crt").serial_number
    given = Certificate(node_id=identity.node_id.hex(), serial=f"{serial:x}", expires=identity.names.not_after)
    replaced = (before.certificate, *before.replaced) if before else ()
    return NodeRecord(node=identity.node, role=wish.role, enrolled=now, certificate=given, replaced=replaced)


def starter_config(wish: NodeOptions) -> str:
    """Return the text of a node's first `edgeswarm.toml`."""
    lines = [
        "# Configuration of an edgeswarm node; see docs/reference/config.md. Relative paths are relative to this file.",
        "[node]",
        'state = "state"  # chunks and trust state; /var/lib/edgeswarm in production',
        'identity = "."',
        f"role = {_text(wish.role)}",
        f"compatible = {_text(wish.compatible)}",
        "",
        "[lan]",
        f"listen = {_text(wish.listen)}" if wish.listen else '# listen = "0.0.0.0:7651"',
        f"peers = {_texts(wish.peers)}",
        f"multicast = {_texts(wish.multicast)}  # interfaces on which nodes find each other, e.g. eth0; empty: none",
        "",
    ]
    lines += ["[uplink]", f"origin = {_text(wish.origin)}"] if wish.origin else _NO_UPLINK
    for subscription in wish.subscriptions:
        lines += ["", *_subscription_lines(subscription)]
    return "\n".join(lines) + "\n"


_NO_UPLINK = ["# [uplink]  # for a node with its own way to the origin", '# origin = "https://releases.example.com/"']


def _subscription_lines(subscription: Subscription) -> list[str]:
    lines = ["[[subscribe]]", f"product = {_text(subscription.product)}", f"channel = {_text(subscription.channel)}"]
    if subscription.target:
        kind = "directory" if subscription.directory else "file"
        lines += ["[subscribe.install]", f"target = {_text(subscription.target)}", f'kind = "{kind}"']
        lines += ['# health = ["/path/to/program", "--version"]  # must succeed, or the node rolls back']
    return lines


def _text(value: str) -> str:
    """Return a TOML string: JSON's are the same but for DEL, which TOML wants escaped."""
    return json.dumps(value).replace("\x7f", "\\u007f")


def _texts(values: Sequence[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"
