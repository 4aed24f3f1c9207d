"""Addresses as people write them: `host:port`, `[ipv6]:port`, `:port` for every interface. The one parser and the one formatter."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from .errors import ConfigError

_MAX_PORT = 65_535
_PORT = re.compile(r"[0-9]{1,5}")
# Names and IPv4 addresses; letters of any script, which the resolver encodes (IDNA). 253: RFC 1035, section 2.3.4, as text.
_HOST = re.compile(r"[\w.-]{0,253}")
_SCOPE = re.compile(r"[A-Za-z0-9._-]{1,16}")  # the name or number of an interface; 16: IFNAMSIZ of linux/if.h
_SHOWN_CHARACTERS = 280  # more than any address has


def split_address(address: str, what: str = "address", *, dialled: bool = False) -> tuple[str, int]:
    """Take `host:port` or `[ipv6]:port` apart.

    Args:
        address: Text from a person or a peer.
        what: What it is the address of, for the message.
        dialled: It is to be reached, not listened at: it must have a host, and a port.

    Returns:
        The host, without brackets, "" for every interface; and the port, 0 for any free one.

    Raises:
        ConfigError: It is something else.
    """
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else ""
    if ":" in host and not bare:
        raise _refused(what, address, "host:port with an IPv6 address in brackets, e.g. [::1]:7651")
    if not colon or not (_is_ipv6(bare) if bare else _HOST.fullmatch(host)):
        raise _refused(what, address, "host:port, e.g. 192.0.2.1:7651 or [::1]:7651")
    if not _PORT.fullmatch(port) or int(port) > _MAX_PORT:
        raise _refused(what, address, f"host:port with a port up to {_MAX_PORT}")
    if dialled and not (host and int(port)):
        raise _refused(what, address, "host:port with a host, and a port above 0, since it is to be reached")
    return bare or host, int(port)


def join_address(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_ipv6(host: str) -> bool:
    plain, percent, scope = host.partition("%")
    try:
        IPv6Address(plain)
    except ValueError:
        return False
    return not percent or _SCOPE.fullmatch(scope) is not None


def _refused(what: str, address: str, wanted: str) -> ConfigError:
    return ConfigError(f"{what}: wanted {wanted}, got {address[:_SHOWN_CHARACTERS]!r}")
