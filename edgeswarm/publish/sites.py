"""Sites, and the record of the nodes that were enrolled for them.

Files:
    sites/<site>/site.key: key of the site's beacons.
    sites/<site>/nodes/<node>.json: what the node was given, less its secrets; and the certificates that it had before.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ..errors import ConfigError, TrustError
from ..trust.bundle import new_site_key
from ..trust.clock import format_time, parse_time
from ..trust.names import check_name, is_name
from .fleet import Fleet
from .folders import list_folder, make_folder, read_file, write_new, write_over

_SITE_KEY = "site.key"
_NODES = "nodes"
_SUFFIX = ".json"
_log = logging.getLogger("edgeswarm.publish")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate that a node was given.

    Attributes:
        node_id: SHA-256 of its public key, hex.
        serial: Its serial number, hex.
        expires: When it ends, aware.
    """

    node_id: str
    serial: str
    expires: datetime

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"expires": format_time(self.expires)}

    @classmethod
    def _of(cls, values: dict[str, Any]) -> Certificate:
        return cls(node_id=str(values["node_id"]), serial=str(values["serial"]), expires=parse_time(values["expires"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """A node that was enrolled.

    Attributes:
        node: Its name.
        role: `device` or `gateway`.
        enrolled: When it was, aware; the last time if there were several.
        certificate: What it has now.
        replaced: What it had before, newest first. They stay good until they expire.
    """

    node: str
    role: str
    enrolled: datetime
    certificate: Certificate
    replaced: tuple[Certificate, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        replaced = [one.as_dict() for one in self.replaced]
        fixed = {"node": self.node, "role": self.role, "enrolled": format_time(self.enrolled)}
        return fixed | self.certificate.as_dict() | {"replaced": replaced}

    @classmethod
    def _of(cls, node: str, values: dict[str, Any]) -> NodeRecord:
        replaced = tuple(map(Certificate._of, values["replaced"]))  # the same module
        return cls(
            node=node, role=str(values["role"]), enrolled=parse_time(values["enrolled"]), certificate=Certificate._of(values),
            replaced=replaced,
        )  # fmt: skip


def add_site(fleet: Fleet, name: str) -> str:
    """Add a site: nodes of it find each other by a beacon key of its own. Return the path of its folder.

    Raises:
        ConfigError: There is such a site already, or the name breaks the rule.
    """
    folder = fleet.path("sites", check_name(name, "site", ConfigError))
    if os.path.exists(os.path.join(folder, _SITE_KEY)):
        raise ConfigError(f"site {name!r}: exists already; it was left as it is")
    if not os.path.isdir(folder):
        make_folder(folder, "site")
    write_new(os.path.join(folder, _SITE_KEY), new_site_key().hex().encode() + b"\n", "site key")
    return folder


def sites_of(fleet: Fleet) -> list[str]:
    """Return the sorted names of the sites; `ConfigError` if they cannot be listed. What has no name of a site is logged."""
    names = [name for name in list_folder(fleet.path("sites"), "sites") if os.path.exists(fleet.path("sites", name, _SITE_KEY))]
    return _names_among(names, fleet.path("sites"))


def site_key(fleet: Fleet, site: str) -> bytes:
    """Return the key of a site's beacons.

    Raises:
        ConfigError: There is no such site, its key is damaged, or the name breaks the rule.
    """
    path = fleet.path("sites", check_name(site, "site", ConfigError), _SITE_KEY)
    if not os.path.exists(path):
        raise ConfigError(f"site {site!r} is not known: add it with `edgeswarm site add {site}`")
    try:
        return bytes.fromhex(read_file(path, "site key").decode("ascii").strip())
    except ValueError as error:
        raise ConfigError(f"site key {path}: wanted 64 hex digits: restore the file") from error


def nodes_of(fleet: Fleet, site: str) -> list[NodeRecord]:
    """Return the nodes that were enrolled for a site, sorted by name. A record that has no name of a node is logged and left out.

    Raises:
        ConfigError: There is no such site, or a record is damaged.
    """
    site_key(fleet, site)
    folder = fleet.path("sites", site, _NODES)
    names = [name.removesuffix(_SUFFIX) for name in list_folder(folder, "records") if name.endswith(_SUFFIX)]
    return [record for name in _names_among(names, folder) if (record := node_record(fleet, site, name))]


def _names_among(found: list[str], folder: str) -> list[str]:
    """Leave out what is no name: a stray copy, made by an editor or a file manager."""
    for stray in found:
        if not is_name(stray):
            _log.warning("%s: %r has a name that edgeswarm gives to nothing; it was left out: move it away", folder, stray)
    return [name for name in found if is_name(name)]


def node_record(fleet: Fleet, site: str, node: str) -> NodeRecord | None:
    """Return the record of a node, or None if no node of that name was enrolled for the site.

    Raises:
        ConfigError: It is damaged, or a name breaks the rule.
    """
    path = _record_path(fleet, site, node)
    if not os.path.exists(path):
        return None
    try:
        return NodeRecord._of(node, json.loads(read_file(path, "record")))
    except (ValueError, KeyError, TypeError, TrustError) as error:
        raise ConfigError(f"record {path}: is damaged ({error}): restore it, or delete it and enrol the node again") from error


def write_record(fleet: Fleet, site: str, record: NodeRecord, *, again: bool) -> None:
    """Write the record of a node durably; with `again` in place of an older one.

    Raises:
        ConfigError: There is one already and it may not be replaced, or it cannot be written.
    """
    folder = fleet.path("sites", site, _NODES)
    if not os.path.isdir(folder):
        make_folder(folder, "records")
    values = record.as_dict()
    del values["node"]  # it is the name of the file
    data = json.dumps(values, indent=1).encode() + b"\n"
    write = write_over if again else write_new
    write(_record_path(fleet, site, record.node), data, f"record of node {record.node!r}")


def _record_path(fleet: Fleet, site: str, node: str) -> str:
    return fleet.path("sites", check_name(site, "site", ConfigError), _NODES, check_name(node, "node", ConfigError) + _SUFFIX)
