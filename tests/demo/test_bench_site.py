"""`bench.site`: every figure of its JSON is there and follows from the others, or from the inputs that it names."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.site import main
from edgeswarm.publish import PublishOptions, init_fleet, publish, site_cost

ROOT = Path(__file__).parents[2]
RATE = 512_000


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bench")
    old = random.Random(1).randbytes(600_000)
    (folder / "old").write_bytes(old)
    (folder / "new").write_bytes(old[:300_000] + random.Random(2).randbytes(300_000) + old[300_000:])
    command = [sys.executable, "-m", "bench.site", "--old", str(folder / "old"), "--new", str(folder / "new"), "--json"]
    flags = ["--devices", "3", "--empty", "1", "--uplink", "512kbit", "--breaks"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["passed"] else 1)
    assert [check for check in found["checks"] if not check["passed"]] == []
    return found


@pytest.mark.slow
@pytest.mark.net
def test_what_one_copy_costs_follows_from_the_inputs(result: dict[str, Any], tmp_path: Path) -> None:
    fleet, inputs = init_fleet(str(tmp_path / "f"), name="demo", now=datetime.now(UTC)), result["inputs"]
    options = PublishOptions(level=result["site"]["level"])
    for name in ("old", "new"):
        report = publish(
            fleet, inputs[name], product=inputs["product"], version=inputs[f"{name}_version"], channel="stable",
            now=datetime.now(UTC), options=options,
        )  # fmt: skip
    assert (inputs["size"], inputs["chunks"], inputs["kind"]) == (report.size, report.chunks, report.kind)
    assert result["delta_bytes"] == site_cost(report, inputs["old_version"]) - report.metadata_bytes
    assert result["full_bytes"] - result["metadata_bytes"] == site_cost(report) - report.metadata_bytes
    assert result["metadata_bytes"] == pytest.approx(report.metadata_bytes, abs=32)  # times and versions have some digits more


@pytest.mark.slow
@pytest.mark.net
def test_the_sums_are_right(result: dict[str, Any]) -> None:
    one, devices = result["delta_bytes"] + result["metadata_bytes"], result["devices"]
    assert result["independent_bytes"] == 2 * one + result["full_bytes"]
    assert result["duplicate_factor"] == round(result["uplink_bytes"] / one, 4)
    assert result["bound_s"] == round(one * 8 / RATE + 65536 * 8 / RATE, 2)
    assert result["time_s"] == max(device["seconds"] for device in devices)
    assert result["time_s"] >= result["bound_s"]
    for source in ("local", "peer", "gateway", "origin"):
        assert result["bytes_by_source"][source] == sum(device["by_source"][source] for device in devices)
    assert all(sum(device["by_source"].values()) == result["inputs"]["size"] for device in devices)
    assert result["bytes_by_source"]["origin"] == 0  # only the gateway has an uplink
    assert result["refused_chunks"] == sum(device["refused_chunks"] for device in devices)
    assert result["uplink_bytes"] >= result["uplink_header_bytes"] + result["delta_bytes"]
    assert result["samples"][-1]["uplink_bytes"] <= result["uplink_bytes"]


@pytest.mark.slow
@pytest.mark.net
def test_who_took_part_is_told(result: dict[str, Any]) -> None:
    assert [device["held_old"] for device in result["devices"]] == [True, True, False]
    assert [node["role"] for node in result["nodes"]] == ["gateway", "device", "device", "device", "bad peer"]
    for node in result["nodes"]:
        assert node["cpu_s"] > 0
        assert 10e6 < node["peak_rss_bytes"] < 500e6
    kinds = {incident["kind"] for incident in result["incidents"]}
    assert {"published", "cut", "healed", "killed", "restarted", "complete"} <= kinds
    assert {"refused", "joined"} <= kinds
    assert result["refused_chunks"] > 0
    assert result["kill"]["again_bytes"] >= result["kill"]["done_bytes"] > 0
    assert result["passed"] is all(check["passed"] for check in result["checks"])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--devices 0", "devices: wanted 1 to 200"),
        ("--empty 9", "empty: wanted 0 to 8"),
        ("--kill-gateway", "own-uplinks: wanted at least one"),
        ("--uplink fast", "rate 'fast'"),
        ("--level 99", "level: wanted 1 to 22"),
        ("--old a", "give both or none"),
        ("--old /nowhere --new /nowhere", "there is nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(flags: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err
