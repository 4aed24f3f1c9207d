"""Addresses as people write them: `host:port`, `[ipv6]:port`, `:port` for every interface."""

from __future__ import annotations

from ..errors import ConfigError

_MAX_PORT = 65_535


def split_address(address: str) -> tuple[str, int]:
    """Return (host, port) of `host:port` or `[ipv6]:port`; the host is "" for every interface, the port 0 for any free one.

    Raises:
        ConfigError: There is no port, it is out of range, or an IPv6 address stands without brackets.
    """
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"address {address!r}: write an IPv6 address in brackets, e.g. [::1]:7117")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > _MAX_PORT:
        raise ConfigError(f"address {address!r}: wanted host:port with a port from 0 to {_MAX_PORT}")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
