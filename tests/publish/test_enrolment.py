"""Sites and nodes: what a node is given, what is refused, what is recorded."""

from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edgeswarm.errors import ConfigError, EdgeswarmError
from edgeswarm.node.config import load_config
from edgeswarm.origin import open_origin
from edgeswarm.publish import NodeOptions, Subscription, add_site, enrol, nodes_of, sites_of
from edgeswarm.publish.sites import node_record
from edgeswarm.trust.authority import load_certificate
from edgeswarm.trust.bundle import FILE_NAMES, Identity

from .test_fleet import secret_modes
from .world import NOW, World


def test_a_node_is_enrolled(world: World, tmp_path: Path) -> None:
    add_site(world.fleet, "harbour")
    out = tmp_path / "node"
    options = NodeOptions(
        role="gateway", compatible="arm64", peers=["192.0.2.1:7651"], multicast=["eth0"], origin="https://example.com/",
        subscriptions=[
            Subscription(product="app", channel="stable", target="/opt/app"),
            Subscription(product="model", channel="beta", target="/opt/m", directory=True),
            Subscription(product="os", channel="stable"),
        ],
    )  # fmt: skip
    identity = enrol(world.fleet, "harbour", "press-7", str(out), now=NOW, options=options)
    assert sorted(os.listdir(out)) == sorted([*FILE_NAMES, "edgeswarm.toml"])
    assert secret_modes(out) == {0o600}
    assert out.stat().st_mode & 0o777 == 0o700
    assert Identity.from_files({name: (out / name).read_bytes() for name in FILE_NAMES}) == identity
    assert (identity.fleet, identity.site, identity.node) == ("acme", "harbour", "press-7")
    config = load_config(out / "edgeswarm.toml")
    assert (config.node.role, config.node.compatible, config.node.identity) == ("gateway", "arm64", out)
    assert (config.lan.peers, config.lan.multicast) == (("192.0.2.1:7651",), ("eth0",))
    assert config.uplink is not None
    assert config.uplink.origin == "https://example.com/"
    kinds = [(entry.product, entry.install and entry.install.kind) for entry in config.subscribe]
    assert kinds == [("app", "file"), ("model", "directory"), ("os", None)]


def test_the_default_configuration_loads(world: World, tmp_path: Path) -> None:
    add_site(world.fleet, "harbour")
    enrol(world.fleet, "harbour", "a", str(tmp_path / "a"), now=NOW)
    config = load_config(tmp_path / "a" / "edgeswarm.toml")
    assert config.uplink is None
    assert config.lan.listen == NodeOptions().listen


def test_nodes_of_a_site_share_its_key_and_nothing_else(world: World, tmp_path: Path) -> None:
    add_site(world.fleet, "harbour")
    add_site(world.fleet, "mine")
    names = (("harbour", "a"), ("harbour", "b"), ("mine", "a"))
    a, b, c = (enrol(world.fleet, site, node, str(tmp_path / (site + node)), now=NOW) for site, node in names)
    assert a.site_key == b.site_key != c.site_key
    assert len({a.node_id, b.node_id, c.node_id}) == 3


def test_enrolment_overwrites_nothing(world: World, tmp_path: Path) -> None:
    add_site(world.fleet, "harbour")
    with pytest.raises(ConfigError, match="exists already"):
        add_site(world.fleet, "harbour")
    enrol(world.fleet, "harbour", "a", str(tmp_path / "a"), now=NOW)
    before = (tmp_path / "a" / "node.key").read_bytes()
    for again in (False, True):
        with pytest.raises(ConfigError, match="not empty" if again else "enrolled on 2026-12-01 already"):
            enrol(world.fleet, "harbour", "a", str(tmp_path / "a"), now=NOW, again=again)
    assert (tmp_path / "a" / "node.key").read_bytes() == before


@pytest.mark.parametrize(("site", "node"), [("nowhere", "a"), ("../keys", "a"), ("harbour", "a b")])
def test_bad_sites_and_nodes_are_refused(world: World, tmp_path: Path, site: str, node: str) -> None:
    add_site(world.fleet, "harbour")
    with pytest.raises(ConfigError):
        enrol(world.fleet, site, node, str(tmp_path / "a"), now=NOW)
    assert not (tmp_path / "a").exists()


# ---------------------------------------------------------------------- what the node would refuse

BAD: list[dict[str, Any]] = [
    {"listen": "nonsense"}, {"listen": "::1:80"}, {"listen": "a:65536"}, {"peers": ["a"]}, {"peers": [":7651"]}, {"peers": ["a:0"]},
    {"peers": ["a:1", "[::1]"]}, {"multicast": [""]}, {"multicast": ["eth0 eth1"]}, {"multicast": ["a/b"]}, {"multicast": [".."]},
    {"multicast": ["a-name-of-16-chr"]}, {"origin": "ftp://x/"}, {"origin": "http://"}, {"origin": "http://a:b/"},
    {"origin": "http://a/?q"}, {"origin": "https://[::1/"}, {"origin": "http://a b/"}, {"origin": "a\0b"}, {"role": "king"},
    {"compatible": "a b"}, {"days": 0}, {"days": 40_000},
    {"subscriptions": [Subscription(product="a", channel="c"), Subscription(product="a", channel="c", target="/x")]},
]  # fmt: skip


@pytest.mark.parametrize("wish", BAD, ids=str)
def test_what_the_node_would_refuse_is_refused_at_once(wish: dict[str, Any]) -> None:
    with pytest.raises(EdgeswarmError):
        NodeOptions(**wish)


GOOD: list[dict[str, Any]] = [
    {"listen": ""}, {"listen": ":0"}, {"listen": "[::]:7651"}, {"peers": ["[fe80::1%eth0]:1", "gateway.example:7651"]},
    {"multicast": ["eth0", "192.0.2.1", "wlp0s20f3"]}, {"origin": "../origin"}, {"origin": "file:///srv/x"},
    {"origin": "https://user:secret@a.example:8443/releases/"}, {"role": "gateway", "days": 1, "compatible": "board-7"},
]  # fmt: skip


@pytest.mark.parametrize("wish", GOOD, ids=str)
def test_what_is_accepted_the_node_accepts(world: World, tmp_path: Path, wish: dict[str, Any]) -> None:
    add_site(world.fleet, "harbour")
    enrol(world.fleet, "harbour", "a", str(tmp_path / "a"), now=NOW, options=NodeOptions(**wish))
    config = load_config(tmp_path / "a" / "edgeswarm.toml")
    assert config.lan.peers == tuple(wish.get("peers", ()))
    assert config.lan.multicast == tuple(wish.get("multicast", ()))
    if config.uplink is not None:
        open_origin(config.uplink.origin)


# ---------------------------------------------------------------------- records


def test_who_was_enrolled_is_recorded_without_secrets(world: World, tmp_path: Path) -> None:
    add_site(world.fleet, "harbour")
    add_site(world.fleet, "empty")
    a = enrol(world.fleet, "harbour", "a", str(tmp_path / "a"), now=NOW, options=NodeOptions(role="gateway"))
    enrol(world.fleet, "harbour", "b", str(tmp_path / "b"), now=NOW)
    assert sites_of(world.fleet) == ["empty", "harbour"]
    assert nodes_of(world.fleet, "empty") == []
    records = nodes_of(world.fleet, "harbour")
    assert [(record.node, record.role) for record in records] == [("a", "gateway"), ("b", "device")]
    given = records[0].certificate
    assert (given.node_id, given.expires) == (a.node_id.hex(), a.names.not_after)
    assert int(given.serial, 16) == load_certificate(a.certificate, "a").serial_number
    path = Path(world.fleet.path("sites", "harbour", "nodes", "a.json"))
    assert set(json.loads(path.read_text())) == {"role", "enrolled", "node_id", "serial", "expires", "replaced"}
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="not known"):
        nodes_of(world.fleet, "nowhere")


def test_a_name_is_given_twice_only_when_told_so(world: World, tmp_path: Path) -> None:
    add_site(world.fleet, "harbour")
    add_site(world.fleet, "mine")
    ids = [enrol(world.fleet, "harbour", "a", str(tmp_path / "0"), now=NOW).node_id.hex()]
    with pytest.raises(ConfigError, match=r"2026-12-01 already.*--again"):
        enrol(world.fleet, "harbour", "a", str(tmp_path / "1"), now=NOW)
    assert not (tmp_path / "1").exists()
    enrol(world.fleet, "mine", "a", str(tmp_path / "mine"), now=NOW)
    for day in (1, 2):
        again = enrol(world.fleet, "harbour", "a", str(tmp_path / str(day)), now=NOW + timedelta(days=day), again=True)
        ids.insert(0, again.node_id.hex())
    (record,) = nodes_of(world.fleet, "harbour")
    assert [record.certificate.node_id, *(one.node_id for one in record.replaced)] == ids
    assert record.enrolled == NOW + timedelta(days=2)


def test_nothing_is_given_that_cannot_be_recorded(world: World, tmp_path: Path) -> None:
    add_site(world.fleet, "harbour")
    Path(world.fleet.path("sites", "harbour", "nodes")).touch()
    with pytest.raises(ConfigError, match="records"):
        enrol(world.fleet, "harbour", "a", str(tmp_path / "a"), now=NOW)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"role": 1}', "null"])
def test_a_damaged_record_is_named(world: World, tmp_path: Path, text: str) -> None:
    add_site(world.fleet, "harbour")
    enrol(world.fleet, "harbour", "a", str(tmp_path / "a"), now=NOW)
    Path(world.fleet.path("sites", "harbour", "nodes", "a.json")).write_text(text)
    for call in (
        lambda: nodes_of(world.fleet, "harbour"),
        lambda: enrol(world.fleet, "harbour", "a", str(tmp_path / "b"), now=NOW, again=True),
    ):
        with pytest.raises(ConfigError, match=r"a\.json: is damaged"):
            call()


def test_a_stray_copy_is_left_out_and_told(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add_site(world.fleet, "harbour")
    enrol(world.fleet, "harbour", "a", str(tmp_path / "a"), now=NOW)
    nodes = Path(world.fleet.path("sites", "harbour", "nodes"))
    for stray in ("a (copy).json", ".a.json", "a.json~"):
        shutil.copy(nodes / "a.json", nodes / stray)
    assert [record.node for record in nodes_of(world.fleet, "harbour")] == ["a"]
    shutil.copytree(nodes.parent, nodes.parent.with_name("harbour (copy)"))
    assert sites_of(world.fleet) == ["harbour"]
    assert [name for name in ("a (copy)", ".a", "harbour (copy)") if f"{name!r} has a name" in caplog.text] == [
        "a (copy)", ".a", "harbour (copy)",
    ]  # fmt: skip
    assert "~" not in caplog.text  # what ends otherwise never was a record


@pytest.mark.parametrize(("site", "node"), [("harbour", "a b"), ("har bour", "a")])
def test_who_asks_for_what_is_no_name_is_told(world: World, site: str, node: str) -> None:
    add_site(world.fleet, "harbour")
    with pytest.raises(ConfigError, match="is not a name"):
        node_record(world.fleet, site, node)
