"""The tools that people use today, one function each: from an old and a new file to what an update costs.

Each is run as its authors mean it for the smallest update, and each has to make the new file again, which is compared. Bytes are
what a client that has the old file fetches: the patch, or the chunks that it lacks and the index that names them. A tool that is
not installed is left out, and said so.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from .measured import Usage, run_measured

_WINDOW_LOG = 31
"""zstd's window for `--patch-from`: as large as it takes, as its manual says."""


class Pair(NamedTuple):
    """Two files and a folder for everything else.

    Attributes:
        old: What the client has.
        new: What it wants.
        folder: Empty; removed by the caller.
    """

    old: Path
    new: Path
    folder: Path


class Cost(NamedTuple):
    """What an update costs with one tool.

    Attributes:
        size: Bytes that the client fetches.
        encode: Of the publisher.
        decode: Of the client; None where the tool does not do it without a server.
        command: What was run, for people.
    """

    size: int
    encode: Usage
    decode: Usage | None
    command: str


class WrongOutputError(Exception):
    """A tool did not make the new file."""


def zstd(pair: Pair) -> Cost:
    """`zstd --patch-from`: one frame with the old file as its dictionary."""
    flags = ["-19", f"--long={_WINDOW_LOG}"]
    encode = ["zstd", "-q", *flags, f"--patch-from={pair.old}", str(pair.new), "-o", "patch"]
    decode = ["zstd", "-q", "-d", f"--long={_WINDOW_LOG}", f"--patch-from={pair.old}", "patch", "-o", "made"]
    return _patched(pair, encode, decode, "zstd -19 --long=31 --patch-from=OLD NEW")


def zstd_full(pair: Pair) -> Cost:
    """`zstd -19` of the whole new file: what there is without an old one."""
    encode = ["zstd", "-q", "-19", str(pair.new), "-o", "patch"]
    return _patched(pair, encode, ["zstd", "-q", "-d", "patch", "-o", "made"], "zstd -19 NEW")


def xdelta3(pair: Pair) -> Cost:
    """`xdelta3 -9`, with a window over the whole old file."""
    window = str(max(1 << 20, pair.old.stat().st_size))
    encode = ["xdelta3", "-q", "-e", "-9", "-S", "lzma", "-B", window, "-s", str(pair.old), str(pair.new), "patch"]
    decode = ["xdelta3", "-q", "-d", "-B", window, "-s", str(pair.old), "patch", "made"]
    return _patched(pair, encode, decode, "xdelta3 -e -9 -S lzma -B SIZE -s OLD NEW")


def bsdiff(pair: Pair) -> Cost:
    """`bsdiff`, which has no options."""
    encode, decode = ["bsdiff", str(pair.old), str(pair.new), "patch"], ["bspatch", str(pair.old), "made", "patch"]
    return _patched(pair, encode, decode, "bsdiff OLD NEW")


def hdiffpatch(pair: Pair) -> Cost:
    """HDiffPatch with LZMA2 at its best."""
    python = [sys.executable, "-c"]
    encode = [*python, _HDIFF, str(pair.old), str(pair.new), "patch"]
    decode = [*python, _HPATCH, str(pair.old), "patch", "made"]
    return _patched(pair, encode, decode, "hdiffpatch.diff(old, new, Lzma2Config(level=9))")


_HDIFF = """
import sys, hdiffpatch
old, new = (open(path, "rb").read() for path in sys.argv[1:3])
how = hdiffpatch.Lzma2Config.best_compression()
open(sys.argv[3], "wb").write(hdiffpatch.diff(old, new, how, validate=False))
"""
_HPATCH = """
import sys, hdiffpatch
old, patch = (open(path, "rb").read() for path in sys.argv[1:3])
open(sys.argv[3], "wb").write(hdiffpatch.apply(old, patch))
"""


def rsync(pair: Pair) -> Cost:
    """`rsync -z` between two processes of one machine, both directions counted."""
    shutil.copyfile(pair.old, pair.folder / "made")
    flags = ["-z", "--compress-level=9", "--no-whole-file", "--inplace", "--ignore-times", "--stats"]
    usage = run_measured(["rsync", *flags, str(pair.new), "made"], pair.folder)
    _compare(pair)
    counts = re.findall(r"Total bytes (?:sent|received): ([\d,]+)", usage.out)
    return Cost(
        sum(int(text.replace(",", "")) for text in counts), usage, None, "rsync -z --compress-level=9 --no-whole-file NEW OLD"
    )


def zsync(pair: Pair) -> Cost:
    """Zsync against a web server; its control file counts too."""
    from .serving import served

    site = pair.folder / "site"
    site.mkdir()
    shutil.copyfile(pair.new, site / "new")
    encode = run_measured(["zsyncmake", "-u", "new", "-o", "new.zsync", "new"], site)
    with served(site, pair.folder) as url:
        decode = run_measured(["zsync", "-i", str(pair.old), "-o", "made", f"{url}/new.zsync"], pair.folder)
    _compare(pair)
    fetched = re.search(r"fetched (\d+)", decode.out)
    size = int(fetched[1]) if fetched else 0
    return Cost(size + (site / "new.zsync").stat().st_size, encode, decode, "zsyncmake NEW; zsync -i OLD")


def casync(pair: Pair) -> Cost:
    """casync: its index, and those chunks of the new file that the old one lacks."""
    _casync(pair, "old", pair.old)
    before = {path for path in (pair.folder / "store.castr").rglob("*") if path.is_file()}
    encode = _casync(pair, "new", pair.new)
    fresh = [path for path in (pair.folder / "store.castr").rglob("*") if path.is_file() and path not in before]
    decode = run_measured(["casync", "extract", "--store=store.castr", "new.caibx", "made"], pair.folder)
    _compare(pair)
    size = sum(path.stat().st_size for path in [*fresh, pair.folder / "new.caibx"])
    return Cost(size, encode, decode, "casync make --store=STORE")


def _casync(pair: Pair, name: str, path: Path) -> Usage:
    return run_measured(["casync", "make", "--store=store.castr", f"{name}.caibx", str(path)], pair.folder)


def zchunk(pair: Pair) -> Cost:
    """zchunk: what `zck_delta_size` says, header included."""
    run_measured(["zck", "-o", "old.zck", str(pair.old)], pair.folder)
    encode = run_measured(["zck", "-o", "new.zck", str(pair.new)], pair.folder)
    found = run_measured(["zck_delta_size", "old.zck", "new.zck"], pair.folder)
    size = re.search(r"Would download (\d+) of (\d+) bytes", found.out)
    if size is None:
        raise WrongOutputError(f"zck_delta_size said: {found.out[:200]}")
    return Cost(int(size[1]), encode, None, "zck; zck_delta_size OLD.zck NEW.zck")


PEERS: Mapping[str, Callable[[Pair], Cost]] = {
    function.__name__: function for function in (zsync, casync, zchunk, rsync, xdelta3, bsdiff, hdiffpatch, zstd, zstd_full)
}
_PROGRAMS = {"zstd_full": "zstd", "zchunk": "zck"}
_NEEDS = {"zsync": ("zsyncmake", "nginx"), "bsdiff": ("bspatch",), "zchunk": ("zck_delta_size",)}
_MODULES = {"hdiffpatch"}


def version_of(name: str) -> str | None:
    """Return a tool's version in one line; None if it is not installed."""
    if name in _MODULES:
        if importlib.util.find_spec(name) is None:
            return None
        from importlib.metadata import version

        return f"{name} {version(name)} (Python package)"
    program = _PROGRAMS.get(name, name)
    if not all(shutil.which(needed) for needed in (program, *_NEEDS.get(name, ()))):
        return None
    flag = "-V" if program in {"xdelta3", "zsync"} else "--version"
    said = subprocess.run([program, flag], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    lines = (said.stdout + said.stderr).strip().splitlines()
    return _debian_version(program) or (lines[0] if lines else program)


def _debian_version(program: str) -> str | None:
    """Return package and version from dpkg; None where there is none."""
    if shutil.which("dpkg-query") is None:
        return None
    package = {"zck": "zchunk"}.get(program, program)
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", package], capture_output=True, text=True, check=False)
    return said.stdout.strip() or None


def _patched(pair: Pair, encode: list[str], decode: list[str], command: str) -> Cost:
    """Make `patch`, apply it to make `made`, and compare."""
    made = run_measured(encode, pair.folder)
    applied = run_measured(decode, pair.folder)
    _compare(pair)
    return Cost((pair.folder / "patch").stat().st_size, made, applied, command)


def _compare(pair: Pair) -> None:
    digests = [blake3(path.read_bytes()).digest() for path in (pair.folder / "made", pair.new)]
    if digests[0] != digests[1]:
        raise WrongOutputError("the tool did not make the new file")
