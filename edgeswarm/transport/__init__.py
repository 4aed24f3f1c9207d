"""How nodes reach each other: links over TLS, links in memory for tests, and beacons by multicast."""

from .memory import MemoryNetwork, MemoryTransport
from .multicast import Beacons, BeaconSocket, open_beacon_socket
from .tls import ALPN, TlsLimits, TlsTransport

__all__ = [
    "ALPN",
    "BeaconSocket",
    "Beacons",
    "MemoryNetwork",
    "MemoryTransport",
    "TlsLimits",
    "TlsTransport",
    "open_beacon_socket",
]
