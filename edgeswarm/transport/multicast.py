"""Beacon sockets: small datagrams to everybody on the local network, by IPv4 multicast on the interfaces that were named.

Several processes of one host share the port. Datagrams do not leave the local network (TTL 1). A sender hears itself. IPv6 is not
there: a site that has IPv6 only names its nodes in a static list.
"""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import trio

from ..errors import ConfigError, FetchError

# A beacon has at most 150 bytes (docs/reference/wire.md); longer datagrams are cut here and refused by its codec.
_RECEIVE_BYTES = 512

# From linux/in.h and linux/sockios.h; Python has no names for them.
_IP_MULTICAST_ALL = 49
_SIOCGIFADDR = 0x8915
_INTERFACE_NAME_BYTES = 16
_REQUEST_BYTES = 40
_ADDRESS_AT = 20

_log = logging.getLogger(__name__)


class Beacons(Protocol):
    """What sends and hears beacons: a `BeaconSocket`, or its twin in memory."""

    async def send(self, data: bytes) -> None:
        """Send one datagram to whoever listens, this process too. Raises `FetchError` if no interface takes it."""

    async def receive(self) -> tuple[bytes, str]:
        """Return the next datagram, and the address of the host it came from."""


@dataclass(frozen=True, slots=True)
class _Interface:
    """One interface to join, as the kernel wants it.

    Attributes:
        name: As the caller named it.
        address: IPv4 address, packed.
        index: Number of the interface, 0 if the address says it all.
    """

    name: str
    address: bytes
    index: int

    def request(self, group: bytes) -> bytes:
        """Return a `struct ip_mreqn` (ip(7))."""
        return struct.pack("@4s4si", group, self.address, self.index)


class BeaconSocket:
    """Sends and hears datagrams of one group on some interfaces; made by `open_beacon_socket`."""

    def __init__(self, sock: trio.socket.SocketType, group: str, port: int, interfaces: Sequence[_Interface]) -> None:
        self._sock = sock
        self._target = (group, port)
        self._requests = [(interface.name, interface.request(socket.inet_aton(group))) for interface in interfaces]
        self._lock = trio.Lock()

    async def send(self, data: bytes) -> None:
        """Send one datagram on every interface; one that is down is skipped.

        Raises:
            FetchError: No interface took it.
        """
        async with self._lock:  # the interface is a property of the socket until the datagram is out
            failures = [failure for name, request in self._requests if (failure := await self._send_on(name, request, data))]
        if len(failures) == len(self._requests):
            raise FetchError(f"no interface takes beacons: {'; '.join(failures)}")

    async def receive(self) -> tuple[bytes, str]:
        """Return the next datagram, cut at 512 bytes, and the address it came from. Can be cancelled without loss."""
        while True:
            try:
                data, address = await self._sock.recvfrom(_RECEIVE_BYTES)
            except ConnectionError as exc:  # an answer to an earlier datagram; it says nothing about this socket
                _log.debug("beacons: %s", exc)
            else:
                return data, address[0]

    async def _send_on(self, name: str, request: bytes, data: bytes) -> str:
        """Send on one interface; return why it failed, "" if it did not."""
        try:
            self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
            await self._sock.sendto(data, self._target)
        except OSError as exc:
            _log.debug("beacon on %s: %s", name, exc)
            return f"{name}: {exc}"
        return ""


@asynccontextmanager
async def open_beacon_socket(group: str, port: int, interfaces: Sequence[str]) -> AsyncIterator[BeaconSocket]:
    """Join a multicast group on some interfaces.

    Args:
        group: IPv4 multicast address, e.g. "239.255.71.17".
        port: UDP port; other processes of this host may use it at the same time.
        interfaces: Names ("eth0", "lo") or IPv4 addresses of this host ("127.0.0.1"), at least one: nothing is opened unasked.

    Raises:
        ConfigError: The group is no multicast address, or an interface is not there.
    """
    _check_group(group)
    if not interfaces:
        raise ConfigError("name at least one interface to send beacons on")
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        found = [_find_interface(sock, name) for name in interfaces]
        try:
            await _join(sock, group, port, found)
        except OSError as exc:
            raise ConfigError(f"cannot join {group}:{port} on {', '.join(interfaces)}: {exc}") from exc
        yield BeaconSocket(sock, group, port, found)


def _check_group(group: str) -> None:
    try:
        good = ipaddress.IPv4Address(group).is_multicast
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{group!r} is no IPv4 multicast address: wanted one from 239.0.0.0 to 239.255.255.255")


async def _join(sock: trio.socket.SocketType, group: str, port: int, interfaces: Sequence[_Interface]) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    # Without this the socket also hears the group on interfaces that only other processes have joined.
    sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    await sock.bind((group, port))
    for interface in interfaces:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, interface.request(socket.inet_aton(group)))


def _find_interface(sock: trio.socket.SocketType, name: str) -> _Interface:
    """Return the interface that has a name or an IPv4 address.

    Raises:
        ConfigError: There is none, or it has no IPv4 address.
    """
    try:
        if name.replace(".", "").isdigit():
            return _Interface(name, socket.inet_aton(name), 0)
        index = socket.if_nametoindex(name)
        request = struct.pack(f"{_REQUEST_BYTES}s", name.encode()[: _INTERFACE_NAME_BYTES - 1])
        answer = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, request)
    except OSError as exc:
        raise ConfigError(f"interface {name!r}: wanted its name or an IPv4 address of this host: {exc}") from exc
    return _Interface(name, answer[_ADDRESS_AT : _ADDRESS_AT + 4], index)
