"""What the demo distributes: two real consecutive releases, from the package index or from the user's disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, FetchError

PACKAGE, OLD, NEW = "ruff", "0.17.5", "0.17.6"
LEAST_BYTES = 100_000
"""Bytes of a new release with which a run shows anything: less is there before an uplink can be cut. A guess."""
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


@dataclass(frozen=True, slots=True)
class Inputs:
    """Two releases of one product.

    Attributes:
        product: Name.
        old_version: Version of the old one.
        new_version: Version of the new one.
        old: Its file or tree.
        new: Its file or tree.
        health: Command that must succeed with the release in place, with `{target}` for where that is; empty: none.
    """

    product: str
    old_version: str
    new_version: str
    old: Path
    new: Path
    health: tuple[str, ...] = ()

    @property
    def is_tree(self) -> bool:
        """Whether the releases are directories."""
        return self.new.is_dir()


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a directory."""
    files = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file() and not part.is_symlink()]
    return sum(file.stat().st_size for file in files)


def own_inputs(old: Path, new: Path) -> Inputs:
    """Return two releases from the user's disk.

    Raises:
        ConfigError: One is not there, or one is a file and the other a directory.
    """
    for path in (old, new):
        if not path.exists():
            raise ConfigError(f"{path}: wanted a file or directory, there is nothing")
        if not path.is_file() and not path.is_dir():
            raise ConfigError(f"{path}: wanted a file or directory, it is neither")
    if old.is_dir() != new.is_dir():
        raise ConfigError(f"{old} and {new}: wanted two files or two directories")
    return Inputs("demo", "1", "2", old.resolve(), new.resolve())


def default_inputs(cache: Path | None = None) -> Inputs:
    """Return two consecutive releases of ruff, unpacked; downloaded once (16 MB).

    Args:
        cache: Where they are kept; None: the user's cache folder.

    Raises:
        FetchError: The package index cannot be reached.
    """
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgeswarm" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    trees = [_unpacked(folder, version) for version in (OLD, NEW)]
    health = () if sys.platform != "linux" or os.uname().machine != "x86_64" else (f"{{target}}/{_program()}", "--version")
    return Inputs(PACKAGE, OLD, NEW, trees[0], trees[1], health)


def _program() -> str:
    return f"{PACKAGE}-release/bin/{PACKAGE}"


def _unpacked(folder: Path, version: str) -> Path:
    target = folder / f"{PACKAGE}-{version}"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheel = _download(Path(scratch), version)
        tree = Path(scratch) / "tree"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tree)
        # Versioned folder names of a wheel would make every path of the new release a new one.
        for part in sorted(tree.iterdir()):
            part.rename(tree / part.name.replace(f"-{version}.", "-release.").replace("-release.data", "-release"))
        _flatten_scripts(tree)
        tree.rename(target)
    return target


def _flatten_scripts(tree: Path) -> None:
    """Put the program where `_program` says, executable."""
    program = tree / _program()
    program.parent.mkdir(parents=True, exist_ok=True)
    found = next(path for path in sorted(tree.rglob(PACKAGE)) if path.is_file())
    shutil.move(found, program)
    program.chmod(0o755)
    for folder in sorted((path for path in tree.rglob("*") if path.is_dir() and not any(path.iterdir())), reverse=True):
        folder.rmdir()


def _download(folder: Path, version: str) -> Path:
    platforms = [part for name in _PLATFORMS for part in ("--platform", name)]
    command = [sys.executable, "-m", "pip", "-q", "download", "--no-deps", "--only-binary=:all:", *platforms]
    result = subprocess.run([*command, "-d", str(folder), f"{PACKAGE}=={version}"], capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode or not wheels:
        last = result.stderr.strip().rpartition("\n")[2]
        raise FetchError(
            f"{PACKAGE} {version} cannot be had from the package index: {last}; use --old A --new B with files of your own"
        )
    return wheels[0]
