from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.net
def test_bench_prints_figures_for_both() -> None:
    command = [sys.executable, "-m", "bench.tls", "--json", "--megabytes", "4", "--rounds", "1"]
    output = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2], timeout=60).stdout
    figures = json.loads(output)
    for kind in ("pump", "ssl_stream"):
        assert set(figures[kind]) == {"mb_per_s", "sender_cpu_s_per_gb", "receiver_cpu_s_per_gb"}
        assert all(value > 0 for value in figures[kind].values())
