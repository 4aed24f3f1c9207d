"""Wrong invocations: one line on standard error, and the right exit code."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeswarm.cli import main

from .processes import Site, noise

WRONG_NODE_FILES = {
    "no.toml": None,
    "binary.toml": b"\xff",
    "half.toml": b"[node",
    "number.toml": b"node = 3\n",
    "text.toml": b'[node]\nstate = "s"\nidentity = "i"\nquota_mib = "x"\n',
    "unknown.toml": b'[node]\nstate = "s"\nidentity = "i"\nstaet = "x"\n',
    "missing.toml": b'[node]\nstate = "s"\n',
    "name.toml": b'[node]\nstate = "s"\nidentity = "i"\n[[subscribe]]\nproduct = "a b"\nchannel = "c"\n',
    "stranger.toml": b'[node]\nstate = "s"\nidentity = "i"\n',
}
PUBLISH = "publish app --product app --channel stable --fleet fleet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet with one release, a device with an uplink, and files that are wrong in one way each."""
    path = tmp_path_factory.mktemp("wrong")
    site = Site.create(path)
    site.publish(noise(100), "1")
    site.node("d", origin=str(site.origin))
    (path / "tree").mkdir()
    for name, data in WRONG_NODE_FILES.items():
        if data is not None:
            (path / name).write_bytes(data)
    return path


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command sets the logging of its process up, which is that of all tests here."""
    logger = logging.getLogger("edgeswarm")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.fixture
def refused(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str]]:
    monkeypatch.chdir(folder)
    for name in ("EDGESWARM_FLEET", "EDGESWARM_CONFIG", "EDGESWARM_PASSPHRASE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(line: str) -> tuple[int, str]:
        code = main([word.replace("_", " ") for word in line.split()])
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), err
        return code, err

    return run


# `_` stands for a space in a word.
@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("--nope", 2, "unknown command '--nope'"),
        ("fetsh", 2, "there are: init, "),
        ("fetch", 2, "PRODUCT"),
        ("fetch --nope", 2, "--nope"),
        ("fetch app extra --config d/edgeswarm.toml", 2, "not understood: 'extra'"),
        ("fetch app --timeout soon", 2, "--timeout"),
        ("fetch app --timeout=-1", 2, "--timeout: wanted 0 or more"),
        ("fetch app --timeout nan", 2, "--timeout: wanted 0 or more"),
        ("fetch app --log-level loud", 2, "--log-level"),
        ("fetch app --channel a --version b", 2, "give one of them"),
        ("fetch a/b --config d/edgeswarm.toml", 2, "product 'a/b' is not a name"),
        ("fetch targets --config d/edgeswarm.toml", 2, "TUF role"),
        ("fetch app --channel a_b --config d/edgeswarm.toml", 2, "channel 'a b' is not a name"),
        ("fetch app --version ../1 --config d/edgeswarm.toml", 2, "version '../1' is not a name"),
        ("fetch app --listen nonsense --config d/edgeswarm.toml", 2, "lan.listen: wanted host:port"),
        ("fetch app --listen 192.0.2.1:1 --config d/edgeswarm.toml", 2, "cannot listen at 192.0.2.1:1"),
        ("fetch app --peer nonsense --config d/edgeswarm.toml", 2, "lan.peers: wanted host:port"),
        ("fetch app --multicast nosuchcard --config d/edgeswarm.toml", 2, "nosuchcard"),
        ("fetch app --origin ftp://x --config d/edgeswarm.toml", 2, "ftp://x"),
        ("fetch app --identity nowhere --config d/edgeswarm.toml", 2, "identity folder"),
        ("fetch app --identity tree --config d/edgeswarm.toml", 2, "tree: the identity folder has no node.key"),
        ("fetch app --state /proc/x --config d/edgeswarm.toml", 2, "state folder /proc/x"),
        ("fetch app --out nowhere/app --config d/edgeswarm.toml", 2, "--out nowhere/app: there is no folder"),
        ("fetch other --config d/edgeswarm.toml", 75, "product 'other' has no channel 'stable'"),
        ("fetch app --channel beta --config d/edgeswarm.toml", 75, "no channel 'beta'; it has ['stable']"),
        ("fetch app --version 2 --config d/edgeswarm.toml", 75, "no release '2'"),
        ("fetch app --config no.toml", 2, "no.toml: cannot be read: No such file"),
        ("fetch app --config tree", 2, "tree: cannot be read: Is a directory"),
        ("agent --config binary.toml", 2, "no UTF-8 text"),
        ("agent --config half.toml", 2, "not TOML"),
        ("agent --config number.toml", 2, "node: wanted a table, got 3"),
        ("agent --config text.toml", 2, "node.quota_mib: wanted a whole number, got 'x'"),
        ("agent --config unknown.toml", 2, "unknown key node.staet"),
        ("agent --config missing.toml", 2, "missing key node.identity"),
        ("agent --config name.toml", 2, "product 'a b' is not a name"),
        ("gateway --config d/edgeswarm.toml", 2, "node.role is 'device', wanted 'gateway'"),
        ("fetch app --config stranger.toml", 2, "identity folder"),
        ("status --config no.toml", 2, "cannot be read"),
        ("status --config d/edgeswarm.toml", 75, "no node runs with state folder"),
        ("status --state nowhere", 75, "no node runs with state folder nowhere"),
        ("rollback --config stranger.toml", 2, "0 subscriptions match"),
        ("rollback --config d/edgeswarm.toml --product other", 2, "0 subscriptions match"),
        ("init", 2, "DIRECTORY"),
        ("init fleet --name x", 2, "exists already"),
        ("init new --name a/b", 2, "fleet 'a/b' is not a name"),
        ("init new --name a --root-keys 0", 2, "root keys: wanted 1 to 16"),
        ("site add a/b --fleet fleet", 2, "site 'a/b' is not a name"),
        ("site add harbour --fleet fleet", 2, "exists already"),
        ("site add x --fleet tree", 2, "is no fleet folder"),
        ("enrol harbour a_b out --fleet fleet", 2, "node 'a b' is not a name"),
        ("enrol nowhere a out --fleet fleet", 2, "site 'nowhere' is not known"),
        ("enrol harbour a out --fleet fleet --compatible a/b", 2, "variant 'a/b' is not a name"),
        ("enrol harbour a out --fleet fleet --subscribe a_b@c", 2, "product 'a b' is not a name"),
        (f"{PUBLISH} --version 1_0", 2, "version '1 0' is not a name"),
        (f"{PUBLISH} --version 2 --compatible a/b", 2, "variant 'a/b' is not a name"),
        (f"{PUBLISH} --version 2 --level x", 2, "--level"),
        (f"{PUBLISH} --version 2 --kind folder", 2, "--kind"),
        ("publish app --product targets --version 1 --channel c --fleet fleet", 2, "TUF role"),
        ("publish nowhere --product app --version 2 --channel c --fleet fleet", 2, "cannot be published"),
        ("refresh --fleet tree", 2, "is no fleet folder"),
        ("serve-origin fleet/origin --listen 127.0.0.1:99999", 2, "wanted host:port"),
        ("demo --devices many", 2, "--devices"),
        ("demo --old app --new tree", 2, "wanted two files or two directories"),
    ],
)
@pytest.mark.slow
def test_a_wrong_invocation(refused: Callable[[str], tuple[int, str]], line: str, code: int, says: str) -> None:
    found, error = refused(line)
    assert re.match("edgeswarm: ", error)
    assert says in error
    assert found == code
