"""Nothing opens a port beyond the configuration: the sockets of real processes, as the kernel lists them."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .processes import Site, noise, served

pytestmark = [pytest.mark.slow, pytest.mark.net, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]
_ACCEPTS = "00010000"  # SO_ACCEPTCON; source: proc(5)
_LISTENS = "0A"  # TCP_LISTEN; source: include/net/tcp_states.h of Linux


def inodes(pid: int) -> set[str]:
    """Return the inodes of the sockets that a process holds."""
    links: list[str] = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(os.readlink(entry))
        except FileNotFoundError:  # closed meanwhile
            continue
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}


def rows(pid: int, table: str) -> Iterator[list[str]]:
    """Yield the columns of a table of sockets, without its head."""
    path = Path(f"/proc/{pid}/net/{table}")
    yield from (line.split() for line in (path.read_text().splitlines()[1:] if path.exists() else []))


def address(text: str) -> str:
    """Return `host:port` of how the kernel writes it: words of four bytes in the machine's order, in hex."""
    host, port = text.split(":")
    words = (bytes.fromhex(host[at : at + 8]) for at in range(0, len(host), 8))
    plain = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return f"{ipaddress.ip_address(plain)}:{int(port, 16)}"


def open_to_others(pid: int) -> set[str]:
    """Return what others can reach of a process: TCP that listens, all of UDP, Unix with a name or that listens."""
    mine = inodes(pid)
    tcp = [row for table in ("tcp", "tcp6") for row in rows(pid, table) if row[9] in mine and row[3] == _LISTENS]
    udp = [row for table in ("udp", "udp6") for row in rows(pid, table) if row[9] in mine]
    unix = [row for row in rows(pid, "unix") if row[6] in mine and (len(row) > 7 or row[3] == _ACCEPTS)]
    found = {f"tcp {address(row[1])}" for row in tcp} | {f"udp {address(row[1])}" for row in udp}
    return found | {f"unix {row[7] if len(row) > 7 else 'without a name'}" for row in unix}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("beacons", [False, True], ids=["quiet", "beacons"])
async def test_a_node_opens_what_its_configuration_names_and_nothing_else(tmp_path: Path, beacons: bool) -> None:
    site = Site.create(tmp_path)
    site.publish(noise(300_000), "1.0")
    ports = [free_port() for _ in range(2)]
    more = {"multicast": ("127.0.0.1",) if beacons else ()}
    async with served(site) as uplink:
        nodes = [
            site.node("gateway", role="gateway", origin=f"http://{uplink.address}", listen=f"127.0.0.1:{ports[0]}", **more),
            site.node("a", target=str(tmp_path / "out"), listen=f"127.0.0.1:{ports[1]}", peers=(f"127.0.0.1:{ports[0]}",), **more),
        ]
        verbs = ("gateway", "agent")
        with ExitStack() as stack:
            running = [
                stack.enter_context(site.run(verb, "--config", str(file))) for verb, file in zip(verbs, nodes, strict=True)
            ]  # fmt: skip
            await running[1].until((tmp_path / "out").exists)  # each has used all its ways by then
            await running[1].until(lambda: "is confirmed" in running[1].err)
            for command, file, port in zip(running, nodes, ports, strict=True):
                wanted = {f"tcp 127.0.0.1:{port}", f"unix {file.parent / 'state' / 'control.sock'}"}
                wanted |= {"udp 239.192.76.51:7652"} if beacons else set()
                assert open_to_others(command.process.pid) == wanted
