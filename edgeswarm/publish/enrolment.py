"""Sites, and what a new node is given: its identity folder with a configuration to start from."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..errors import ConfigError
from ..trust.authority import NODE_DAYS
from ..trust.bundle import Identity, new_site_key
from ..trust.catalogue import ANY_VARIANT
from ..trust.names import check_name, check_product
from .fleet import Fleet
from .folders import make_folder, new_folder, read_file, write_files, write_new

CONFIG_FILE = "edgeswarm.toml"
_SITE_KEY = "site.key"
_MOST_DAYS = 36_500  # a century; the authority's own end comes first


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
    """

    role: str = "device"
    compatible: str = ANY_VARIANT
    listen: str = "0.0.0.0:7651"  # the other nodes of the site must reach it; links are mutually authenticated
    peers: Sequence[str] = ()
    multicast: Sequence[str] = ()
    origin: str = ""
    subscriptions: Sequence[Subscription] = ()
    days: int = NODE_DAYS


def add_site(fleet: Fleet, name: str) -> str:
    """Add a site: nodes of it find each other by a beacon key of its own. Return the path of its folder.

    Raises:
        ConfigError: There is such a site already, or the name breaks the rule.
    """
    check_name(name, "site", ConfigError)
    folder = fleet.path("sites", name)
    if os.path.exists(os.path.join(folder, _SITE_KEY)):
        raise ConfigError(f"site {name!r}: exists already; it was left as it is")
    if not os.path.isdir(folder):
        make_folder(folder, "site")
    write_new(os.path.join(folder, _SITE_KEY), new_site_key().hex().encode() + b"\n", "site key")
    return folder


def enrol(fleet: Fleet, site: str, node: str, out: str, *, now: datetime, options: NodeOptions | None = None) -> Identity:
    """Make the identity folder of a node, with a certificate of its own and a configuration to start from.

    The folder appears as a whole. It holds the node's private key: carry it to the node by a way that you trust, and keep no copy.

    Args:
        fleet: With the key of its authority.
        site: Name of a site that was added.
        node: Name of the node within the site.
        out: The folder; nothing may be there but an empty one.
        now: Aware.
        options: What stands in the configuration.

    Raises:
        ConfigError: Something is there already, there is no such site, a name breaks the rule, or an option makes no sense.
    """
    wish = options or NodeOptions()
    if not 1 <= wish.days <= _MOST_DAYS:
        raise ConfigError(f"days: wanted 1 to {_MOST_DAYS}, got {wish.days}")
    check_name(site, "site", ConfigError)
    check_name(node, "node", ConfigError)
    check_name(wish.compatible, "variant", ConfigError)
    key_path = fleet.path("sites", site, _SITE_KEY)
    if not os.path.exists(key_path):
        raise ConfigError(f"site {site!r} is not known: add it with `edgeswarm site add {site}`")
    try:
        site_key = bytes.fromhex(read_file(key_path, "site key").decode("ascii").strip())
    except ValueError as error:
        raise ConfigError(f"site key {key_path}: wanted 64 hex digits: restore the file") from error
    key, certificate = fleet.authority().issue(site, node, now, days=wish.days, role=wish.role)
    identity = Identity(key, certificate, read_file(fleet.path("ca", "ca.crt"), "certificate"), site_key, fleet.root)
    with new_folder(os.path.abspath(out), "identity folder") as temporary:
        write_files(temporary, identity.to_files() | {CONFIG_FILE: starter_config(wish).encode()}, "identity folder")
    return identity


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
