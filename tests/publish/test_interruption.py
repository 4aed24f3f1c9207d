"""A publisher that is killed at any change of the file system: nodes see the old state or the new one, and the next one goes on.

What a dead process cannot do is clean up: from the n-th change on, every change fails, those in `finally` too.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from edgeswarm.publish import Fleet, PruneOptions, prune, refresh
from edgeswarm.publish.pruned import read_record

from .world import NOW, Device, World, edited, program, updated

OLD = program(21, 60_000)
NEW = edited(OLD, 22, edits=3)
OTHER = edited(OLD, 23, edits=3)
_CHANGES = ("link", "rename", "unlink", "fsync", "mkdir", "truncate", "pwrite")


class _KilledError(BaseException):
    """No code of ours catches it."""


@contextmanager
def killed_before(number: int) -> Iterator[None]:
    """Let a number of changes pass; the next one and all after it fail."""
    left = [number]

    def counted(real: Callable[..., object], changes: Callable[..., bool]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            if changes(*arguments, **named):
                left[0] -= 1
                if left[0] < 0:
                    raise _KilledError
            return real(*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in _CHANGES:
            patch.setattr(os, name, counted(getattr(os, name), lambda *_, **__: True))
        creates = lambda _path, flags, *_, **__: bool(flags & os.O_CREAT)  # noqa: E731
        patch.setattr(os, "open", counted(os.open, creates))
        yield


def first_release(world: World) -> None:
    world.publish(OLD, "1")


def update(world: World) -> None:
    world.publish(NEW, "2")


def refresh_all(world: World) -> None:
    world.now += timedelta(hours=1)
    refresh(world.fleet, now=world.now, every=True)


def repair(world: World) -> None:
    world.now += timedelta(hours=1)
    refresh(world.fleet, now=world.now, repair=True, clock_is_right=True)


def prune_old(world: World) -> None:
    world.now += timedelta(hours=1)
    prune(world.fleet, "app", now=world.now, options=PruneOptions(keep=1, grace=timedelta(0)))


def remaining(world: World) -> list[str]:
    """Return the names of objects that only a run that was interrupted would leave: metadata of skipped versions aside."""
    return sorted(name for name in world.snapshot() if not name.startswith(("metadata/", ".tmp/")))


def template(folder: Path, what: Callable[[World], None]) -> World:
    """Return a fleet in the state in which `what` makes sense."""
    world = World.create(folder)
    for old in ("0.1", "0.2") if what is prune_old else ():
        world.publish(old.encode(), old, delta_from=0)
    if what is not first_release:
        world.publish(OLD, "1", delta_from=0)
    if what is repair:
        (world.origin / "metadata" / "timestamp.json").unlink()
    return world


def copied(template: World, folder: Path) -> World:
    shutil.copytree(template.fleet.directory, folder / "fleet")
    return World(folder, Fleet.open(str(folder / "fleet")), template.now)


@pytest.mark.slow
@pytest.mark.parametrize("what", [first_release, update, refresh_all, repair, prune_old], ids=lambda what: what.__name__)
def test_whoever_is_killed_at_any_change_is_run_again(tmp_path: Path, what: Callable[[World], None]) -> None:
    start = template(_new(tmp_path / "template"), what)
    clean = copied(start, _new(tmp_path / "clean"))
    what(clean)
    for number in count():
        world = copied(start, _new(tmp_path / str(number)))
        device = Device(world)
        before = seen(device)
        try:
            with killed_before(number):
                what(world)
        except _KilledError:
            assert seen(device) in {before, seen(Device(clean))}
        else:
            break
        what(world)
        assert seen(device) == seen(Device(clean))
        assert remaining(world) == remaining(clean)
        assert read_record(world.writer).removed == read_record(clean.writer).removed
        whole(world)
        forget_leftovers(world)
    assert number > 10


@pytest.mark.slow
def test_another_publisher_goes_on_where_one_was_killed(tmp_path: Path) -> None:
    start = template(_new(tmp_path / "template"), update)
    for number in count():
        world = copied(start, _new(tmp_path / str(number)))
        device = Device(world)
        try:
            with killed_before(number):
                update(world)
        except _KilledError:
            world.publish(OTHER, "other", "beta")
        else:
            break
        assert device.version("beta") == "other"
        update(world)
        assert (device.version("stable"), device.version("beta")) == ("2", "other")
        assert world.artifact("2").read(0, len(NEW)) == NEW
        assert world.artifact("other").read(0, len(OTHER)) == OTHER
    assert number > 10


def seen(device: Device) -> str:
    """Return what a device with a memory sees; "" for a fleet without releases, or an origin that is still damaged."""
    if not (device.world.origin / "metadata" / "timestamp.json").exists():
        return ""
    return device.version() if "app" in device.world.fleet.repository(device.world.writer, now=NOW).products() else ""


def whole(world: World) -> None:
    """Check that what the channel points to can be read back, and updated to."""
    version = world.catalogue().channel("app", "stable").version
    wanted = {"1": OLD, "2": NEW}[version]
    assert world.artifact(version).read(0, len(wanted)) == wanted
    if version == "2":
        assert updated(world, "2", "1") == NEW


def forget_leftovers(world: World) -> None:
    """What was left unfinished is gone when somebody publishes a day later."""
    for path in (world.origin / ".tmp").iterdir():
        os.utime(path, (time.time() - 90_000,) * 2)
    refresh_all(world)
    assert os.listdir(world.origin / ".tmp") == []


def _new(path: Path) -> Path:
    path.mkdir()
    return path
