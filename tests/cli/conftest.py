from __future__ import annotations

from pathlib import Path

import pytest

from edgeswarm.cli import main


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow terminal without colours, and nothing of the caller's environment."""
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("EDGESWARM_FLEET", "EDGESWARM_PASSPHRASE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["init", str(tmp_path / "f"), "--name", "acme"]) == 0
    capsys.readouterr()
    return str(tmp_path / "f")
