"""Commands as real processes, and the fleet, origin and uplink that they work with."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType

import trio

from edgeswarm.demo.uplink import Uplink, open_uplink
from edgeswarm.origin.server import serve_origin
from edgeswarm.publish import Fleet, NodeOptions, PublishOptions, PublishReport, Subscription, add_site, enrol, init_fleet, publish

ROOT = Path(__file__).parents[2]
FAST = PublishOptions(level=1, threads=1)


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment, without what users set for edgeswarm."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGESWARM_") and name != "FORCE_COLOR"}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"} | more


class Command:
    """A running command; killed when the block ends. What it writes goes to files."""

    def __init__(self, folder: Path, *arguments: str, **more: str) -> None:
        self.arguments = arguments
        self._files = [folder / f"{len(list(folder.iterdir()))}.{name}" for name in ("out", "err")]
        for file in self._files:
            file.touch()
        with self._files[0].open("wb") as out, self._files[1].open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgeswarm", *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env=environment(**more),
            )  # fmt: skip

    @property
    def out(self) -> str:
        """What it wrote to standard output so far."""
        return self._files[0].read_text()

    @property
    def err(self) -> str:
        """What it wrote to standard error so far."""
        return self._files[1].read_text()

    def __enter__(self) -> Command:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until something is so; it must become so while the command runs."""
        with trio.fail_after(30):
            while not done():
                assert self.process.poll() is None, self.err
                await trio.sleep(0.01)

    async def code(self) -> int:
        """Wait for its end and return the exit code, below 0 if a signal ended it."""
        with trio.fail_after(40):
            code = await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)
        assert "Traceback" not in self.err
        return code

    async def ends(self, number: int) -> int:
        """Send it a signal; return the exit code."""
        self.process.send_signal(number)
        return await self.code()


@dataclass(frozen=True, slots=True)
class Site:
    """A fleet with one site, and the folder where everything is."""

    folder: Path
    fleet: Fleet

    @classmethod
    def create(cls, folder: Path) -> Site:
        """Make the fleet."""
        fleet = init_fleet(str(folder / "fleet"), name="acme", now=datetime.now(UTC))
        add_site(fleet, "harbour")
        (folder / "logs").mkdir()
        return cls(folder, fleet)

    @property
    def origin(self) -> Path:
        """The origin's folder."""
        return Path(self.fleet.path("origin"))

    def publish(self, data: bytes, version: str) -> PublishReport:
        """Publish a file as a release of `app` in channel `stable`."""
        (self.folder / "app").write_bytes(data)
        return publish(
            self.fleet, str(self.folder / "app"), product="app", version=version, channel="stable", now=datetime.now(UTC),
            options=FAST,
        )  # fmt: skip

    def node(self, name: str, *, origin: str = "", target: str = "", role: str = "device", **more: object) -> Path:
        """Enrol a node that follows `app`; return its configuration file."""
        follow = (Subscription(product="app", channel="stable", target=target),)
        values = {"listen": "127.0.0.1:0"} | more
        options = NodeOptions(role=role, origin=origin, subscriptions=follow, **values)  # type: ignore[arg-type]  # by name
        enrol(self.fleet, "harbour", name, str(self.folder / name), now=datetime.now(UTC), options=options)
        file = self.folder / name / "edgeswarm.toml"
        file.write_text(file.read_text().replace("\n[lan]", "min_free_mib = 0\n[lan]", 1))
        if origin:
            # Soon again after a break, and after news; the least that a node takes is a twentieth of a second.
            hurry = f"origin = {_quoted(origin)}\npoll_seconds = 0.5\nretry_seconds = 0.5"
            file.write_text(file.read_text().replace(f"origin = {_quoted(origin)}", hurry))
        return file

    def run(self, *arguments: str, **more: str) -> Command:
        """Start a command."""
        return Command(self.folder / "logs", *arguments, **more)


def _quoted(text: str) -> str:
    return f'"{text}"'


def noise(size: int, seed: int = 1) -> bytes:
    """Return bytes that nothing compresses, the same for a seed."""
    return random.Random(seed).randbytes(size)


@asynccontextmanager
async def served(site: Site, rate: float | None = None) -> AsyncIterator[Uplink]:
    """Serve a site's origin through an uplink that counts."""
    async with trio.open_nursery() as nursery:
        address = await nursery.start(partial(serve_origin, str(site.origin), "127.0.0.1:0"))
        async with open_uplink(address, rate=rate) as uplink:
            yield uplink
        nursery.cancel_scope.cancel()
