"""The configuration file: every key, and messages that name the one that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeswarm.errors import ConfigError
from edgeswarm.node import (
    InstallSection,
    LanSection,
    NodeConfig,
    NodeSection,
    SubscribeSection,
    UplinkSection,
    config_from,
    load_config,
)

EVERYTHING = """
[node]
state = "state"
identity = "/etc/edgeswarm"
role = "gateway"
compatible = "rk3588"
quota_mib = 100
min_free_mib = 10
expiry_grace_days = 3
[lan]
listen = "0.0.0.0:7651"
advertise = "gateway.example:7651"
peers = ["192.0.2.1:7651", "[2001:db8::1]:7651"]
multicast = ["eth0"]
multicast_group = "239.1.2.3:99"
max_links = 5
window_chunks = 16
[uplink]
origin = "https://example.com/"
poll_seconds = 60
stall_seconds = 1.5
retry_seconds = 2
ca_file = "ca.pem"
headers = {Authorization = "Bearer x"}
[[subscribe]]
product = "app"
channel = "stable"
keep = 3
[subscribe.install]
target = "app"
kind = "directory"
health = ["true"]
health_timeout = 5
health_attempts = 2
automatic = false
keep = 4
retry_seconds = 5
retry_max_seconds = 50
mode = 0o700
"""


def minimal(**sections: Any) -> dict[str, Any]:
    return {"node": {"state": "s", "identity": "i"}, **sections}


def test_every_key(tmp_path: Path) -> None:
    path = tmp_path / "edgeswarm.toml"
    path.write_text(EVERYTHING)
    assert load_config(path) == NodeConfig(
        node=NodeSection(
            state=tmp_path / "state", identity=Path("/etc/edgeswarm"), role="gateway", compatible="rk3588", quota_mib=100,
            min_free_mib=10, expiry_grace_days=3,
        ),
        lan=LanSection(
            listen="0.0.0.0:7651", advertise="gateway.example:7651", peers=("192.0.2.1:7651", "[2001:db8::1]:7651"),
            multicast=("eth0",), multicast_group="239.1.2.3:99", max_links=5, window_chunks=16,
        ),
        uplink=UplinkSection(
            origin="https://example.com/", poll_seconds=60.0, stall_seconds=1.5, retry_seconds=2.0, ca_file="ca.pem",
            headers={"Authorization": "Bearer x"},
        ),
        subscribe=(
            SubscribeSection(
                product="app", channel="stable", keep=3,
                install=InstallSection(
                    target=tmp_path / "app", kind="directory", health=("true",), health_timeout=5.0, health_attempts=2,
                    automatic=False, keep=4, retry_seconds=5.0, retry_max_seconds=50.0, mode=0o700,
                ),
            ),
        ),
    )  # fmt: skip


def test_defaults() -> None:
    config = config_from(minimal(), Path("/x"))
    assert config == NodeConfig(node=NodeSection(state=Path("/x/s"), identity=Path("/x/i")))
    assert config.uplink is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "missing key node"),
        ({"node": {"state": "s"}}, "missing key node.identity"),
        ({"node": 3}, "node: wanted a table, got 3"),
        (minimal(lann={}), "unknown key lann"),
        (minimal(lan={"listn": ""}), "unknown key lan.listn"),
        (minimal(lan={"peers": "a:1"}), "lan.peers: wanted a list"),
        (minimal(lan={"peers": ["a:1", 2]}), r"lan.peers\[1\]: wanted text, got 2"),
        (minimal(lan={"peers": ["a"]}), "lan.peers: wanted host:port, .*got 'a'"),
        (minimal(lan={"peers": ["a:0"]}), "lan.peers: wanted host:port with a host, and a port above 0"),
        (minimal(lan={"multicast_group": ""}), "lan.multicast_group: wanted host:port"),
        (minimal(lan={"listen": "a:70000"}), "lan.listen: wanted host:port"),
        (minimal(lan={"advertise": ":1"}), "lan.advertise: wanted host:port"),
        (minimal(lan={"multicast_group": "239.0.0.1"}), "lan.multicast_group: wanted host:port"),
        (minimal(lan={"max_links": 0}), "lan.max_links"),
        (minimal(lan={"window_chunks": 1025}), "lan.window_chunks"),
        (minimal(lan={"max_links": True}), "lan.max_links: wanted a whole number, got True"),
        (minimal(uplink={}), "missing key uplink.origin"),
        (minimal(uplink={"origin": "x", "poll_seconds": 0}), "uplink.poll_seconds"),
        (minimal(uplink={"origin": "x", "poll_seconds": float("nan")}), "uplink.poll_seconds"),
        (minimal(uplink={"origin": "x", "stall_seconds": "1"}), "uplink.stall_seconds: wanted a number, got '1'"),
        (minimal(uplink={"origin": "x", "headers": {"a": 1}}), "uplink.headers: wanted a table of text"),
        (minimal(subscribe={"product": "a"}), "subscribe: wanted a list"),
        (minimal(subscribe=[{"product": "a"}]), r"missing key subscribe\[0\].channel"),
        (minimal(subscribe=[{"product": "a", "channel": "b", "keep": 0}]), "subscribe.keep"),
        (minimal(subscribe=[{"product": "a", "channel": "b", "install": {}}]), r"subscribe\[0\].install.target"),
        (
            minimal(subscribe=[{"product": "a", "channel": "b", "install": {"target": ""}}]),
            r"subscribe\[0\].install.target: wanted",
        ),
        (minimal(subscribe=[{"product": "a", "channel": "b", "install": {"target": "t", "kind": "disk"}}]), "install.kind"),
        (minimal(subscribe=[{"product": "a", "channel": "b", "install": {"target": "t", "mode": 0o4755}}]), "install.mode"),
        (minimal(subscribe=[{"product": "a", "channel": "b", "install": {"target": "t", "health_timeout": 0}}]), "health_timeout"),
        (minimal(subscribe=[{"product": "a", "channel": "b", "install": {"target": "t", "keep": 0}}]), "install.keep"),
        (minimal(subscribe=[{"product": "a", "channel": "b", "install": {"target": "t", "retry_seconds": 0}}]), "retry_seconds"),
        (minimal(subscribe=[{"product": "a", "channel": "b", "install": {"target": "t", "retry_max_seconds": 1}}]), "second not"),
        (minimal(subscribe=[{"product": "a", "channel": "b"}] * 2), r"subscribe\[1\]: a/b is followed already"),
        (minimal(subscribe=[{"product": "a/b", "channel": "b"}]), "product 'a/b' is not a name"),
        (minimal(subscribe=[{"product": "a", "channel": "b c"}]), "channel 'b c' is not a name"),
        ({"node": {"state": "s", "identity": "i", "compatible": ""}}, "node.compatible"),
        ({"node": {"state": "s", "identity": "i", "role": "king"}}, "node.role"),
        ({"node": {"state": "s", "identity": "i", "quota_mib": -1}}, "node.quota_mib"),
    ],
)
def test_what_is_wrong_is_named(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from(data, Path("/x"))


@pytest.mark.parametrize("text", ["= 3", "[node", "\x00"])
def test_not_toml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "edgeswarm.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"edgeswarm.toml: not TOML"):
        load_config(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin1").write_bytes(b"\xff")
    for name in ("nowhere", "latin1", "."):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(tmp_path / name)


def test_flags_stand_in_for_keys(tmp_path: Path) -> None:
    path = tmp_path / "edgeswarm.toml"
    path.write_text('lan = {listen = "a:1", max_links = 3}\n[node]\nstate = "s"\nidentity = "i"\n')
    config = load_config(path, {"lan": {"listen": "b:2"}, "uplink": {"origin": "o"}, "node": {}})
    assert (config.lan.listen, config.lan.max_links) == ("b:2", 3)
    assert config.uplink is not None


def test_flags_for_a_section_that_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "edgeswarm.toml"
    path.write_text('lan = "x"\n[node]\nstate = "s"\nidentity = "i"\n')
    with pytest.raises(ConfigError, match=r"edgeswarm.toml: lan: wanted a table"):
        load_config(path, {"lan": {"listen": "b:2"}})
