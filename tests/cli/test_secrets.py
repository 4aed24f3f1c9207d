"""What is set wrong must not pass for what was meant."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from edgeswarm.cli import main


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("EDGESWARM_FLEET", "EDGESWARM_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)


def test_an_empty_passphrase_is_none_that_was_meant(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EDGESWARM_PASSPHRASE", "")
    assert main(["init", "fleet", "--name", "acme"]) == 2
    assert "EDGESWARM_PASSPHRASE is set, but empty" in capsys.readouterr().err
    assert not Path("fleet").exists()


def test_a_relative_origin_means_the_same_on_the_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "fleet", "--name", "acme"]) == 0
    assert main(["site", "add", "harbour", "--fleet", "fleet"]) == 0
    for node, origin, wanted in (
        ("a", "fleet/origin", str(Path("fleet/origin").absolute())),
        ("b", "/srv/not-here-yet", "/srv/not-here-yet"),
        ("c", "https://releases.example.com/", "https://releases.example.com/"),
    ):
        assert main(["enrol", "harbour", node, node, "--fleet", "fleet", "--origin", origin]) == 0
        assert tomllib.loads(Path(node, "edgeswarm.toml").read_text())["uplink"]["origin"] == wanted
    assert main(["enrol", "harbour", "d", "d", "--fleet", "fleet", "--origin", "fleet/gone"]) == 2
    assert "is no folder here" in capsys.readouterr().err
    assert not Path("d").exists()
