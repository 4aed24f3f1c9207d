"""How many bytes an update is, beside the tools that people use today.

    python -m bench.delta --old A --new B [--level 12] [--json]

Publishes both releases into a temporary origin and prints what one site fetches, beside the whole new release with zstd -19, `zstd
--patch-from` (one piece, at the same level), and casync where it is installed (chunks that the old release lacks, and its
index). Two trees are compared as plain tar files by the other tools.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zstandard

from edgeswarm.demo.inputs import default_inputs
from edgeswarm.publish import PublishOptions, init_fleet, publish, site_cost

_WINDOW_LOG = 27


def edgeswarm_bytes(folder: Path, old: Path, new: Path, level: int) -> dict[str, Any]:
    """Return what publishing costs and what a site fetches."""
    now = datetime.now(UTC)
    fleet = init_fleet(str(folder / "fleet"), name="bench", now=now)
    options = PublishOptions(level=level, allow_private_keys=True)
    publish(fleet, str(old), product="bench", version="1", channel="stable", now=now, options=options)
    started, cpu = time.perf_counter(), time.process_time()
    report = publish(fleet, str(new), product="bench", version="2", channel="stable", now=now, options=options)
    delta = report.deltas[0]
    return {
        "delta_bytes": delta.delta_bytes, "index_bytes": delta.index_bytes, "root_bytes": report.root_bytes,
        "metadata_bytes": report.metadata_bytes, "site_bytes": site_cost(report, "1"), "full_bytes": report.full_bytes,
        "publish_s": round(time.perf_counter() - started, 2), "publish_cpu_s": round(time.process_time() - cpu, 2),
        "size": report.size, "chunks": report.chunks, "level": level,
    }  # fmt: skip


def as_file(path: Path, folder: Path, name: str) -> Path:
    """Return a file as it is, and a tree as a plain tar with sorted names and fixed times and owners."""
    if path.is_file():
        return path
    target = folder / name
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for member in sorted(path.rglob("*")):
            info = archive.gettarinfo(member, str(member.relative_to(path)))
            info.mtime, info.uid, info.gid, info.uname, info.gname = 1_700_000_000, 0, 0, "", ""
            if member.is_file() and not member.is_symlink():
                with member.open("rb") as content:
                    archive.addfile(info, content)
            else:
                archive.addfile(info)
    return target


def zstd_bytes(new: bytes, level: int, old: bytes | None = None) -> int:
    """Return the size of one zstd frame, with the old release as raw dictionary if it is given."""
    parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=_WINDOW_LOG, enable_ldm=old is not None)
    raw = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if old is not None else None
    return len(zstandard.ZstdCompressor(compression_params=parameters, dict_data=raw).compress(new))


def casync_bytes(folder: Path, old: Path, new: Path) -> int | None:
    """Return the bytes of casync's chunks that are new, and its index; None if casync is not installed."""
    if shutil.which("casync") is None:
        return None
    store = folder / "store.castr"
    for name, path in (("old", old), ("new", new)):
        command = ["casync", "make", f"--store={store}", str(folder / f"{name}.caibx"), str(path)]
        subprocess.run(command, check=True, capture_output=True)
        if name == "old":
            before = {chunk for chunk in store.rglob("*") if chunk.is_file()}
    fresh = [chunk for chunk in store.rglob("*") if chunk.is_file() and chunk not in before]
    return sum(chunk.stat().st_size for chunk in fresh) + (folder / "new.caibx").stat().st_size


def measure(old: Path, new: Path, level: int) -> dict[str, Any]:
    """Return all figures of one pair."""
    with tempfile.TemporaryDirectory(prefix="edgeswarm-bench-") as scratch:
        folder = Path(scratch)
        found = edgeswarm_bytes(folder, old, new, level)
        old_file, new_file = as_file(old, folder, "old.tar"), as_file(new, folder, "new.tar")
        old_bytes, new_bytes = old_file.read_bytes(), new_file.read_bytes()
        others: dict[str, Callable[[], int | None]] = {
            "zstd_19_full": lambda: zstd_bytes(new_bytes, 19),
            "zstd_patch_from": lambda: zstd_bytes(new_bytes, level, old_bytes),
            "casync": lambda: casync_bytes(folder, old_file, new_file),
        }
        return found | {name: work() for name, work in others.items()}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.delta", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--old", type=Path, help="old release, a file or directory (default: ruff)")
    parser.add_argument("--new", type=Path, help="new release")
    parser.add_argument("--level", type=int, default=12)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    inputs = default_inputs() if chosen.old is None else None
    old, new = (inputs.old, inputs.new) if inputs is not None else (chosen.old, chosen.new)
    found = measure(old, new, chosen.level)
    print(json.dumps(found) if chosen.json else "\n".join(f"{name:18}{value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
