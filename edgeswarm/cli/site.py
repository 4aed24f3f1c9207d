"""`edgeswarm site add`."""

from __future__ import annotations

from ..publish import add_site
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
