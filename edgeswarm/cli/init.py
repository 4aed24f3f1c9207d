"""`edgeswarm init`."""

from __future__ import annotations

from ..publish import init_fleet
from .options import Json, now, passphrase
from .show import show


def init(
    directory: str,
    /,
    *,
    name: str,
    origin: str | None = None,
    root_keys: int = 1,
    root_threshold: int = 1,
    as_json: Json = False,
) -> None:
    """Make a fleet: keys, certificate authority and a signed, empty origin.

    The keys are encrypted if EDGESWARM_PASSPHRASE is set.

    Args:
        directory: The new fleet folder.
        name: Name of the fleet; it stands in every certificate.
        origin: Folder of the origin; by default `origin` in the fleet folder.
        root_keys: How many root keys to make.
        root_threshold: How many of them must sign a new root.
        as_json: Write one JSON object.
    """
    fleet = init_fleet(
        directory, name=name, now=now(), root_keys=root_keys, root_threshold=root_threshold, origin=origin, passphrase=passphrase()
    )
    values = {"fleet": fleet.name, "directory": fleet.directory, "origin": fleet.origin, "root_keys": root_keys}
    rows = [("folder", fleet.directory), ("origin", fleet.origin), ("root keys", f"{root_keys}, {root_threshold} must sign")]
    hints = [f"Move {fleet.path('keys')}/root-*.pem offline: they are needed only to replace other keys."]
    show(values, as_json=as_json, title=f"Made fleet {fleet.name}", rows=rows, hints=hints)
