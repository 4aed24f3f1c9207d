from __future__ import annotations

import socket

import pytest
import trio

from edgeswarm.errors import ConfigError, FetchError
from edgeswarm.transport import open_beacon_socket

pytestmark = pytest.mark.net

GROUP = "239.255.71.17"


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("interface", ["lo", "127.0.0.1"])
async def test_all_sockets_of_a_host_hear_a_beacon_once(interface: str) -> None:
    port = free_port()
    async with open_beacon_socket(GROUP, port, [interface]) as a, open_beacon_socket(GROUP, port, [interface]) as b:
        with trio.fail_after(5):
            for text in (b"one", b"two"):
                await a.send(text)
                assert await a.receive() == await b.receive() == (text, "127.0.0.1")


async def test_other_groups_and_ports_are_not_heard() -> None:
    port = free_port()
    async with (
        open_beacon_socket(GROUP, port, ["lo"]) as a,
        open_beacon_socket("239.255.71.18", port, ["lo"]) as b,
        open_beacon_socket(GROUP, free_port(), ["lo"]) as c,
    ):
        with trio.fail_after(5):
            await b.send(b"other group")
            await c.send(b"other port")
            await a.send(b"mine")
            assert (await a.receive())[0] == b"mine"


async def test_what_is_sent_to_this_host_alone_is_not_heard() -> None:
    port = free_port()
    async with open_beacon_socket(GROUP, port, ["lo"]) as beacons:
        with trio.fail_after(5), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"to this host alone", ("127.0.0.1", port))
            await beacons.send(b"mine")
            assert (await beacons.receive())[0] == b"mine"


async def test_long_datagrams_are_cut() -> None:
    async with open_beacon_socket(GROUP, free_port(), ["lo"]) as beacons:
        with trio.fail_after(5):
            await beacons.send(bytes(1400))
            assert len((await beacons.receive())[0]) == 512


@pytest.mark.parametrize(
    ("group", "interfaces", "match"),
    [
        ("10.0.0.1", ["lo"], "multicast"),
        ("ff02::4771", ["lo"], "multicast"),
        ("beacons", ["lo"], "multicast"),
        (GROUP, [], "at least one"),
        (GROUP, ["no-such-interface"], "no-such-interface"),
        (GROUP, ["192.0.2.77"], "192.0.2.77"),
        (GROUP, ["999.1.1.1"], "999"),
    ],
)
async def test_wrong_arguments(group: str, interfaces: list[str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        async with open_beacon_socket(group, free_port(), interfaces):
            pass


async def test_no_interface_takes_a_beacon() -> None:
    async with open_beacon_socket(GROUP, free_port(), ["lo"]) as beacons:
        with pytest.raises(FetchError, match="lo: "):
            await beacons.send(bytes(70_000))  # longer than any datagram
