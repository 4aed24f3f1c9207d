"""Jobs on a target, in real threads: one at a time, stopped soon, continued later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from edgeswarm.activation.lifecycle import Check, Offer
from edgeswarm.content.chunking import chunk_lengths
from edgeswarm.content.digest import Digest, digest
from edgeswarm.content.manifest import ArtifactKind, BuiltManifest, build_manifest
from edgeswarm.node import InstallSection, Node
from edgeswarm.node.artifacts import page_object, root_object
from edgeswarm.node.target import Target
from edgeswarm.node.threads import in_thread
from edgeswarm.store import MemoryStore

DATA = Random(1).randbytes(600_000)
WAIT_SECONDS = 20.0


@dataclass
class GatedStore(MemoryStore):
    """Waits before it gives the n-th chunk, until it is let go on."""

    stop_at: int = -1
    reads: list[Digest] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()

    def get(self, digest: Digest) -> bytes:
        self.reads.append(digest)
        if len(self.reads) == self.stop_at:
            self.reached.set()
            assert self.go_on.wait(WAIT_SECONDS)
        return super().get(digest)


def built(store: MemoryStore, data: bytes) -> BuiltManifest:
    rows, chunks, at = [], [], 0
    for length in chunk_lengths(data):
        chunks.append((digest(data[at : at + length]), data[at : at + length]))
        rows.append((chunks[-1][0], length))
        at += length
    made = build_manifest(ArtifactKind.FILE, rows)
    store.put(chunks, owner=made.manifest.digest)
    store.save_object(root_object(made.manifest.digest), made.manifest.root_bytes)
    for name, page in made.pages:
        store.save_object(page_object(name), page)
    return made


def target_at(path: Path, store: MemoryStore, **install: Any) -> Target:
    async def held() -> list[Any]:
        return []

    node = SimpleNamespace(store=store, held=held, config=SimpleNamespace(subscribe=()))
    return Target(cast(Node, node), "app", "stable", InstallSection(target=path, **install))


@contextmanager
def gate(store: GatedStore, number: int) -> Iterator[None]:
    """Stop at a chunk, and go on at the end."""
    store.reads.clear()
    store.stop_at = number
    try:
        yield
    finally:
        store.stop_at = -1
        store.go_on.set()


async def reached(event: threading.Event) -> None:
    assert await trio.to_thread.run_sync(event.wait, WAIT_SECONDS)


async def test_staging_ends_at_a_chunk_when_it_is_cancelled_and_goes_on_later(tmp_path: Path) -> None:
    store = GatedStore()
    manifest = built(store, DATA).manifest
    target = target_at(tmp_path / "app", store)
    with trio.fail_after(WAIT_SECONDS):
        with gate(store, 3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(target.stage, manifest, "1")
                await reached(store.reached)
                assert target.job == {"doing": "staging", "done": sum(manifest.sizes[:2]), "size": len(DATA)}
                nursery.cancel_scope.cancel()
                store.go_on.set()
        assert len(store.reads) == 3
        assert target.job is None
        store.reads.clear()
        await target.stage(manifest, "1")
        assert len(store.reads) == len(manifest) - 3
        await target.activate()
    assert (tmp_path / "app").read_bytes() == DATA


async def test_a_job_waits_for_the_one_before(tmp_path: Path) -> None:
    """As after a newer release superseded one whose stage still ran in its thread."""
    store = GatedStore()
    first, second = built(store, DATA).manifest, built(store, DATA[::-1]).manifest
    target = target_at(tmp_path / "app", store)
    with trio.fail_after(WAIT_SECONDS), gate(store, 2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(target.stage, first, "1")
            await reached(store.reached)
            nursery.start_soon(target.stage, second, "2")
            await trio.testing.wait_all_tasks_blocked()
            assert len(store.reads) == 2
            assert not list((tmp_path / ".app.edgeswarm").glob(f"{second.digest.hex()}*"))
            store.go_on.set()
        installed = await target.activate()
    assert installed.manifest == second.digest


async def test_an_activation_that_is_cancelled_while_it_verifies_switches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    manifest = built(store, DATA).manifest
    target = target_at(tmp_path / "app", store)
    await target.stage(manifest, "1")
    begun, go_on = threading.Event(), threading.Event()
    activate = target._installer.activate

    def slowly(progress: Any) -> Any:
        begun.set()
        assert go_on.wait(WAIT_SECONDS)
        return activate(progress)

    monkeypatch.setattr(target._installer, "activate", slowly)
    with trio.fail_after(WAIT_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(target.activate)
            await reached(begun)
            assert target.job == {"doing": "verifying", "done": 0, "size": len(DATA)}
            nursery.cancel_scope.cancel()
            go_on.set()
    assert await target.active() is None
    assert not (tmp_path / "app").exists()
    await target.activate()
    assert (tmp_path / "app").read_bytes() == DATA


def checking(path: Path, **install: Any) -> tuple[Target, Check]:
    target = target_at(path / "app", MemoryStore(), **install)
    return target, Check(Offer("app", "1", bytes(32), 1), 1, 1000.0)


async def test_a_check_is_killed_when_it_is_cancelled(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    script = f"mkfifo {fifo}; exec sleep 1000 > {fifo}"
    target, check = checking(tmp_path, health=("/bin/sh", "-c", script), health_timeout=1000)
    with trio.fail_after(WAIT_SECONDS):
        async with trio.open_nursery() as nursery:
            begun = trio.Event()
            nursery.start_soon(target.check, check, begun.set)
            await begun.wait()
            while not fifo.exists():
                await trio.lowlevel.checkpoint()
            with await trio.to_thread.run_sync(fifo.open, "rb") as pipe:  # whoever wrote holds it open until it dies
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    assert await trio.to_thread.run_sync(pipe.read) == b""


async def test_checks_that_hang_take_no_thread_from_the_node(tmp_path: Path) -> None:
    pairs = [checking(tmp_path / str(n), health=("/bin/sleep", "1000"), health_timeout=1000) for n in range(6)]
    for n in range(6):
        (tmp_path / str(n)).mkdir()
    with trio.fail_after(WAIT_SECONDS):
        async with trio.open_nursery() as nursery:
            begun = [trio.Event() for _ in pairs]
            for (target, check), event in zip(pairs, begun, strict=True):
                nursery.start_soon(target.check, check, event.set)
            for event in begun:
                await event.wait()
            assert await in_thread(lambda: "free") == "free"
            nursery.cancel_scope.cancel()


async def test_a_roll_back_goes_back_once(tmp_path: Path) -> None:
    store = MemoryStore()
    target = target_at(tmp_path / "app", store, keep=3)
    versions = [built(store, DATA[n:]).manifest for n in range(3)]
    for number, manifest in enumerate(versions):
        await target.stage(manifest, str(number))
        await target.activate()
    for _ in range(2):
        assert (await target.roll_back(versions[2].digest)).version == "1"
    assert (await target.roll_back(versions[1].digest)).version == "0"
