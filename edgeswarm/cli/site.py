"""`edgeswarm site add`, `site list` and `site show`."""

from __future__ import annotations

from datetime import datetime

from ..publish import add_site, nodes_of, sites_of
from ..trust.clock import format_time
from .options import FleetFolder, Json, open_fleet
from .show import show


def add(name: str, /, *, fleet: FleetFolder = ".", as_json: Json = False) -> None:
    """Add a site: a place whose nodes share a LAN and one copy of each release.

    Args:
        name: Name of the site.
        fleet: The fleet folder, made by `edgeswarm init`.
        as_json: Write one JSON object.
    """
    folder = add_site(open_fleet(fleet), name)
    show({"site": name, "directory": folder}, as_json=as_json, title=f"Added site {name}", rows=[("folder", folder)])


def list_sites(*, fleet: FleetFolder = ".", as_json: Json = False) -> None:
    """List the sites, with the number of nodes that were enrolled and the day on which the first certificate expires.

    Args:
        fleet: The fleet folder, made by `edgeswarm init`.
        as_json: Write one JSON object.
    """
    opened = open_fleet(fleet)
    found = {site: nodes_of(opened, site) for site in sites_of(opened)}
    first = {site: min((record.certificate.expires for record in records), default=None) for site, records in found.items()}
    values = [{"site": site, "nodes": len(records), "expires": _iso(first[site])} for site, records in found.items()]
    rows = [(str(one["site"]), f"{_count(one['nodes'], 'node')}{_until(first[str(one['site'])])}") for one in values]
    show({"sites": values}, as_json=as_json, title=f"{opened.name}: {_count(len(values), 'site')}", rows=rows)


def show_site(name: str, /, *, fleet: FleetFolder = ".", as_json: Json = False) -> None:
    """Show the nodes that were enrolled for a site: role, node id, end of the certificate.

    Args:
        name: Name of the site.
        fleet: The fleet folder, made by `edgeswarm init`.
        as_json: Write one JSON object.
    """
    records = nodes_of(open_fleet(fleet), name)
    values = {"site": name, "nodes": [record.as_dict() for record in records]}
    rows = [
        (record.node, f"{record.role:<7}  {record.certificate.node_id[:16]}  until {record.certificate.expires:%Y-%m-%d}")
        for record in records
    ]
    show(values, as_json=as_json, title=f"Site {name}: {_count(len(records), 'node')}", rows=rows)


def _count(number: object, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def _until(moment: datetime | None) -> str:
    return "" if moment is None else f", the first certificate ends on {moment:%Y-%m-%d}"
