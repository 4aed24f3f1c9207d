"""A real block device as the source: a loop device over a file, which takes root and a kernel that has them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeswarm.content.manifest import ArtifactKind
from edgeswarm.errors import ConfigError, PublishError

from .world import World, edited, program, updated

SECTORS = 3000
V1 = program(11, 512 * SECTORS)
V2 = edited(V1, 12)[: 512 * SECTORS].ljust(512 * SECTORS, b"x")


@dataclass
class Device:
    """A loop device and the file below it.

    Attributes:
        path: What is published.
        other: Another name of the device: writing there leaves the times of `path` alone, as a mounted file system does.
        file: The file below.
    """

    path: str
    other: Path
    file: Path

    def write(self, data: bytes, offset: int = 0) -> None:
        with self.other.open("r+b", buffering=0) as device:
            os.pwrite(device.fileno(), data, offset)
            os.fsync(device.fileno())

    def resize(self, size: int) -> None:
        os.truncate(self.file, size)
        subprocess.run(["losetup", "--set-capacity", self.path], check=True)


def missing() -> str:
    """Say why there can be no loop device here; "" if there can."""
    if not os.path.exists("/dev/loop-control"):
        return "the kernel has no loop devices"
    if os.geteuid() != 0 or shutil.which("losetup") is None:
        return "needs root and losetup" if os.environ.get("CI") != "true" or os.geteuid() != 0 else ""
    return ""


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    if reason := missing():
        pytest.skip(reason)
    file = tmp_path / "device"
    file.write_bytes(V1)
    made = subprocess.run(["losetup", "--find", "--show", str(file)], capture_output=True, text=True, check=False)
    if made.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"losetup: {made.stderr.strip()}")
    assert made.returncode == 0, made.stderr
    path, other = made.stdout.strip(), tmp_path / "other"
    os.mknod(other, stat.S_IFBLK | 0o600, os.stat(path).st_rdev)
    yield Device(path, other, file)
    subprocess.run(["losetup", "--detach", path], check=True)


def test_a_device_is_published_as_an_image_and_updated(world: World, device: Device) -> None:
    report = world.publish(device.path, "1")
    assert (report.kind, report.size) == ("image", len(V1))
    assert world.artifact("1").read(0, len(V1)) == V1
    device.write(V2)
    report = world.publish(device.path, "2", kind=ArtifactKind.IMAGE)
    assert updated(world, "2", "1") == V2
    assert report.deltas[0].delta_bytes < report.full_bytes / 5
    assert world.publish(world.write(V2), "2", kind=ArtifactKind.IMAGE).manifest == report.manifest


def test_a_device_is_an_image_and_nothing_else(world: World, device: Device) -> None:
    with pytest.raises(ConfigError, match="cannot be published as a tree"):
        world.publish(device.path, "1", kind=ArtifactKind.TREE)


@pytest.mark.parametrize("stage", ["read", "encode"])
@pytest.mark.parametrize("offset", [0, 512 * (SECTORS - 1)])
def test_a_device_that_changes_while_it_is_published_is_refused(world: World, device: Device, stage: str, offset: int) -> None:
    world.publish(V1, "1")  # so that no chunk of it is read twice for its encoding
    device.write(V2[: 512 * 100], 512 * 1000)
    before = world.catalogue_paths()
    done: list[str] = []

    def meddle(at: str, _done: int, _total: int) -> None:
        if at == stage and not done:
            done.append(at)
            device.write(bytes(512), offset)

    with pytest.raises(PublishError, match="changed while it was published"):
        world.publish(device.path, "2", progress=meddle, delta_from=0)
    assert done == [stage]
    assert world.catalogue_paths() == before


@pytest.mark.parametrize("stage", ["read", "encode"])
@pytest.mark.parametrize("sectors", [-8, 8])
def test_a_device_that_gets_another_size_is_refused(world: World, device: Device, stage: str, sectors: int) -> None:
    resized: list[str] = []

    def meddle(at: str, _done: int, _total: int) -> None:
        if at == stage and not resized:
            resized.append(at)
            device.resize(512 * (SECTORS + sectors))

    with pytest.raises(PublishError, match="changed while it was published"):
        world.publish(device.path, "1", progress=meddle)
    assert world.catalogue_paths() == []
