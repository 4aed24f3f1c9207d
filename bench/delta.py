"""How many bytes an update is, and what it takes to make and to apply it, beside the tools that people use today.

    python -m bench.delta OLD NEW [--peers zsync,casync,zchunk,rsync,xdelta3,bsdiff,hdiffpatch,zstd] [--json]
    python -m bench.delta --corpus [--pairs ruff,numpy] [--peers ...] [--json]

edgeswarm's bytes are all that a client with OLD fetches: units, auxiliary objects, index and manifest; signed metadata is told
apart. All tools run in turn on the same machine, each in processes of its own, and all must make NEW again. Two trees are compared
as plain tar files by the other tools. The keys of the JSON: docs/reference/bench.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeswarm.publish import PublishOptions, init_fleet, publish

from .corpus import PAIRS, MissingError, default_folder, fetch_pair
from .measured import CommandFailedError, run_measured
from .peers import PEERS, Cost, Pair, WrongOutputError, version_of
from .update import CHANNEL, PRODUCT

BEST_OF = ("hdiffpatch", "zstd", "bsdiff", "xdelta3")
"""Whole-file patchers, of which the smallest is the one to beat."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What an update costs with one tool; bytes and CPU seconds.

    Attributes:
        bytes: That the client fetches.
        encode_cpu_s: To make it.
        encode_peak_bytes: Memory of the process that makes it.
        decode_cpu_s: To apply it; None where that was not measured.
        decode_peak_bytes: Memory of the process that applies it; of edgeswarm above the idle process, which holds a node.
    """

    bytes: int
    encode_cpu_s: float
    encode_peak_bytes: int
    decode_cpu_s: float | None
    decode_peak_bytes: int | None

    @classmethod
    def of(cls, cost: Cost) -> Figures:
        """Return the figures of a peer."""
        decode = cost.decode
        return cls(
            cost.size, round(cost.encode.cpu_s, 2), cost.encode.peak_bytes,
            round(decode.cpu_s, 2) if decode else None, decode.peak_bytes if decode else None,
        )  # fmt: skip


def edgeswarm_figures(old: Path, new: Path, folder: Path, level: int) -> tuple[Figures, dict[str, Any]]:
    """Return what an update costs with edgeswarm, and what its bytes are made of."""
    now = datetime.now(UTC)
    fleet = init_fleet(str(folder / "fleet"), name="bench", now=now)
    options = PublishOptions(level=level, allow_private_keys=True)
    publish(fleet, str(old), product=PRODUCT, version="1", channel=CHANNEL, now=now, options=options)
    child = [sys.executable, "-m", "bench.update"]
    encode = run_measured([*child, "encode", fleet.directory, str(new), str(level)], folder, root=True)
    report = json.loads(encode.out)
    found: dict[str, Any] = {"cpu_s": None, "above_idle_bytes": None}
    if new.is_file():
        made = folder / "made"
        found = json.loads(run_measured([*child, "decode", fleet.directory, str(old), str(made)], folder, root=True).out)
        if made.read_bytes() != new.read_bytes():
            raise WrongOutputError("edgeswarm did not make the new file")
    cpu = round(found["cpu_s"], 2) if found["cpu_s"] is not None else None
    return Figures(report["bytes"], round(encode.cpu_s, 2), encode.peak_bytes, cpu, found["above_idle_bytes"]), report


def as_file(path: Path, folder: Path, name: str) -> Path:
    """Return a file as it is, and a tree as a plain tar with sorted names and fixed times and owners."""
    if path.is_file():
        return path.resolve()
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


def measure(old: Path, new: Path, peers: Sequence[str], level: int) -> dict[str, Any]:
    """Return all figures of one pair; a tool that fails is told on standard error and left out."""
    with tempfile.TemporaryDirectory(prefix="edgeswarm-bench-") as scratch:
        folder = Path(scratch)
        (folder / "edgeswarm").mkdir()
        ours, parts = edgeswarm_figures(old.resolve(), new.resolve(), folder / "edgeswarm", level)
        old_file, new_file = as_file(old, folder, "old.tar"), as_file(new, folder, "new.tar")
        others: dict[str, dict[str, Any]] = {}
        for name in peers:
            (folder / name).mkdir()
            try:
                cost = PEERS[name](Pair(old_file, new_file, folder / name))
            except (CommandFailedError, WrongOutputError) as error:
                print(f"bench.delta: {name}: {error}", file=sys.stderr)
            else:
                others[name] = asdict(Figures.of(cost)) | {"command": cost.command, "version": version_of(name)}
            shutil.rmtree(folder / name)
    best = min((others[name]["bytes"] for name in BEST_OF if name in others), default=None)
    return {
        "size": new.stat().st_size if new.is_file() else parts["size"], "edgeswarm": asdict(ours) | {"parts": parts},
        "peers": others, "ratio_to_best": round(ours.bytes / best, 4) if best else None,
    }  # fmt: skip


def measure_corpus(names: Sequence[str], folder: Path, peers: Sequence[str], level: int) -> dict[str, Any]:
    """Return the figures of each pair of the corpus; one that is not to be had is told and left out."""
    results = {}
    for pair in PAIRS:
        if names and pair.name not in names:
            continue
        try:
            old, new = fetch_pair(pair, folder)
        except MissingError as error:
            print(f"bench.delta: {error}", file=sys.stderr)
            continue
        results[pair.name] = measure(old, new, peers, level) | {"what": pair.what, "native": pair.native, "held_out": pair.held_out}
        print(_row(pair.name, results[pair.name], peers), file=sys.stderr, flush=True)
    return results


def _row(name: str, result: dict[str, Any], peers: Sequence[str]) -> str:
    cells = [f"{result['edgeswarm']['bytes']:>11}", f"{result['ratio_to_best'] or '-':>8}"]
    cells += [f"{result['peers'][peer]['bytes'] if peer in result['peers'] else '-':>11}" for peer in peers]
    return f"{name:20}" + "".join(cells)


def _table(results: dict[str, Any], peers: Sequence[str]) -> str:
    head = f"{'pair':20}{'edgeswarm':>11}{'ratio':>8}" + "".join(f"{peer:>11}" for peer in peers)
    return "\n".join([head, *(_row(name, result, peers) for name, result in results.items())])


def machine() -> str:
    """Return what this ran on, in a line."""
    model = subprocess.run(["sh", "-c", "grep -m1 'model name' /proc/cpuinfo"], capture_output=True, text=True, check=False).stdout
    return f"{platform.machine()}, {model.partition(':')[2].strip() or 'unknown CPU'}, Python {platform.python_version()}"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.delta", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("old", nargs="?", type=Path, help="old release, a file or directory")
    parser.add_argument("new", nargs="?", type=Path, help="new release")
    parser.add_argument("--corpus", action="store_true", help="the pinned public pairs instead")
    parser.add_argument("--pairs", default="", help="those of the corpus, separated by commas (default: all)")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="where the corpus is kept")
    parser.add_argument("--peers", default=",".join(PEERS), help="tools to compare with (default: all that are installed)")
    parser.add_argument("--level", type=int, default=12, help="zstd level of edgeswarm")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    if chosen.corpus == (chosen.new is not None):
        parser.error("give OLD and NEW, or --corpus")
    chosen.peers = [name for name in chosen.peers.split(",") if name]
    if unknown := [name for name in chosen.peers if name not in PEERS]:
        parser.error(f"no such tool: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    chosen.pairs = [name for name in chosen.pairs.split(",") if name]
    if unknown := [name for name in chosen.pairs if name not in {pair.name for pair in PAIRS}]:
        parser.error(f"no such pair: {', '.join(unknown)}; there are {', '.join(pair.name for pair in PAIRS)}")
    return chosen


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    chosen = parse(arguments)
    versions = {name: version_of(name) for name in chosen.peers}
    for name in [name for name, version in versions.items() if version is None]:
        print(f"bench.delta: {name} is not installed, and left out", file=sys.stderr)
    peers = [name for name, version in versions.items() if version is not None]
    if chosen.corpus:
        results = measure_corpus(chosen.pairs, chosen.folder, peers, chosen.level)
        print(json.dumps({"machine": machine(), "pairs": results}) if chosen.json else _table(results, peers))
        return 0
    result = measure(chosen.old, chosen.new, peers, chosen.level)
    if chosen.json:
        print(json.dumps(result | {"machine": machine()}))
    else:
        print(_table({chosen.new.name: result}, peers))
        print("\n".join(f"{name}: {row['version']}: {row['command']}" for name, row in result["peers"].items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
