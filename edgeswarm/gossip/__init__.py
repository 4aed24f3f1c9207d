"""How nodes of a site notice each other and each other's news: beacons, their timing, and what to make of one. Pure."""

from .announce import Announce, Announcer, Approach, Disproved, Heard, Holds
from .beacon import AGE_UNKNOWN, BEACON_MAX_BYTES, NONCE_BYTES, SITE_KEY_BYTES, Beacon, open_beacon, seal_beacon, site_tag
from .trickle import Consistent, Dice, Inconsistent, SetTimer, Start, Tick, Transmit, Trickle

__all__ = [
    "AGE_UNKNOWN", "BEACON_MAX_BYTES", "NONCE_BYTES", "SITE_KEY_BYTES", "Announce", "Announcer", "Approach", "Beacon", "Consistent",
    "Dice", "Disproved", "Heard", "Holds", "Inconsistent", "SetTimer", "Start", "Tick", "Transmit", "Trickle", "open_beacon",
    "seal_beacon", "site_tag",
]  # fmt: skip
