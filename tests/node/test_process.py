"""The control socket, and a node as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from edgeswarm.activation.lifecycle import LifecycleState, Phase
from edgeswarm.errors import ActivationError, ConfigError, FetchError, NodeError, StoreError, TrustError
from edgeswarm.node import (
    InstallSection,
    LanSection,
    NodeConfig,
    NodeParts,
    NodeSection,
    SubscribeSection,
    UplinkSection,
    open_node,
)
from edgeswarm.node.control import ask, control_path, serve_control
from edgeswarm.node.installers import load_state
from edgeswarm.node.process import control_verbs, open_follower, run_process
from edgeswarm.node.threads import IN_PLACE
from edgeswarm.store import MemoryStore, Store
from edgeswarm.trust.bundle import FILE_NAMES

from .world import NOW, MemoryOrigin, World, until

DEEP = b"[" * 200_000


@asynccontextmanager
async def control(state: Path) -> AsyncIterator[None]:
    async def echo(question: dict[str, Any]) -> dict[str, Any]:
        return {"you": question}

    async def refuse(_question: dict[str, Any]) -> dict[str, Any]:
        raise StoreError("no")

    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, state, {"echo": echo, "refuse": refuse})
        yield
        nursery.cancel_scope.cancel()


async def test_questions_and_answers(tmp_path: Path) -> None:
    async with control(tmp_path):
        assert oct(control_path(tmp_path).stat().st_mode)[-3:] == "600"
        assert await ask(tmp_path, "echo", x=1) == {"you": {"verb": "echo", "x": 1}}
        assert await ask(tmp_path, "refuse") == {"error": "no", "exit_code": 1}
        assert (await ask(tmp_path, "dance"))["exit_code"] == 2
    assert not control_path(tmp_path).exists()


@pytest.mark.parametrize("line", [b"", b"\n", b"garbage\n", b"[1]\n", b'{"verb": []}\n', b'{"verb": 7}\n', b"\xff\n", DEEP + b"\n"])
async def test_garbage_is_answered_by_an_error(tmp_path: Path, line: bytes) -> None:
    async with control(tmp_path):
        stream = await trio.open_unix_socket(str(control_path(tmp_path)))
        async with stream:
            await stream.send_all(line)
            await stream.send_eof()
            answer = b""
            async for data in stream:
                answer += data
        assert json.loads(answer)["exit_code"] == 2
        assert "you" in await ask(tmp_path, "echo")


async def test_a_line_that_is_too_long_is_not_read_to_the_end(tmp_path: Path) -> None:
    async with control(tmp_path):
        stream = await trio.open_unix_socket(str(control_path(tmp_path)))
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(bytes(100 * 65536))
        await stream.aclose()
        assert "you" in await ask(tmp_path, "echo")


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="no node runs"):
        await ask(tmp_path, "status")


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    control_path(tmp_path).write_text("left over")
    async with control(tmp_path):
        assert "you" in await ask(tmp_path, "echo")


async def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    with pytest.raises(ExceptionGroup) as caught:
        async with control(deep):
            pass
    assert caught.group_contains(ConfigError, match="control socket")


# Errors of `open_node` and `run_process` are plain.


def parts_of(world: World, **changes: Any) -> NodeParts:
    values = {
        "store": MemoryStore(), "transport": lambda node: world.network.transport(node.own, host="x"),
        "identity": world.identity("x"), "clock": lambda: NOW,
    }  # fmt: skip
    return NodeParts(**{**values, **changes})


def config_at(state: Path, **changes: Any) -> NodeConfig:
    return NodeConfig(node=NodeSection(state=state, identity=state), **changes)


async def test_an_error_in_the_block_leaves_unchanged(tmp_path: Path) -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with open_node(config_at(tmp_path), parts_of(World())):
            raise error
    assert caught.value is error


async def test_a_background_failure_is_a_node_error(tmp_path: Path) -> None:
    async def fail() -> None:
        raise RuntimeError("broke")

    async def run() -> None:
        async with open_node(config_at(tmp_path), parts_of(World())) as node:
            assert node._nursery is not None
            node._nursery.start_soon(fail)
            await trio.sleep_forever()

    with pytest.raises(NodeError, match="broke") as caught:
        await run()
    assert isinstance(caught.value.__cause__, RuntimeError)


async def test_an_address_that_is_taken(tmp_path: Path) -> None:
    world = World()
    config = config_at(tmp_path, lan=LanSection(listen="x:1"))
    async with open_node(config, parts_of(world)):
        with pytest.raises(ConfigError, match="in use"):
            async with open_node(config, parts_of(world)):
                pass


class DamagedStore(MemoryStore):
    def load_object(self, name: str) -> bytes | None:
        raise StoreError(f"{name} is damaged")


async def test_a_damaged_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is damaged"):
        async with open_node(config_at(tmp_path), parts_of(World(), store=DamagedStore())):
            pass


async def test_no_identity(tmp_path: Path) -> None:
    with pytest.raises((ConfigError, TrustError)):
        async with open_node(config_at(tmp_path)):
            pass


async def test_a_process_whose_control_socket_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="control socket"):
        await run_process(config_at(tmp_path / ("y" * 120)), parts_of(World()))


async def test_the_verbs_of_a_process(tmp_path: Path) -> None:
    IN_PLACE.set(True)
    config = config_at(tmp_path, subscribe=(SubscribeSection(product="app", channel="stable"),))
    async with trio.open_nursery() as nursery:
        ready = trio.Event()
        nursery.start_soon(run_process, config, parts_of(World()), lambda _node: ready.set())
        await ready.wait()
        status = await ask(tmp_path, "status")
        assert status["pid"] == os.getpid()
        assert [row["product"] for row in status["subscriptions"]] == ["app"]
        assert (await ask(tmp_path, "check"))["changed"] is False
        assert (await ask(tmp_path, "rollback", product=["x"]))["exit_code"] == 2
        assert "0 subscriptions match" in (await ask(tmp_path, "rollback"))["error"]
        os.kill(os.getpid(), signal.SIGTERM)


async def test_a_node_that_ends_before_it_answers_is_not_one_that_does_not_run(tmp_path: Path) -> None:
    """Else `edgeswarm rollback` would roll back a second time by itself."""
    with pytest.raises(FetchError, match="no node runs") as caught:
        await ask(tmp_path, "rollback")
    assert not caught.value.temporary

    async def end(_question: dict[str, Any]) -> dict[str, Any]:
        nursery.cancel_scope.cancel()
        return await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, tmp_path, {"rollback": end})
        with trio.CancelScope(shield=True), pytest.raises(FetchError, match="ended before it answered") as caught:
            await ask(tmp_path, "rollback")
    assert caught.value.temporary


async def test_a_verb_answers_in_time(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """A subscription that never gets ready, since its target is damaged say, hangs nobody."""
    install = InstallSection(target=tmp_path / "app")
    section = SubscribeSection(product="app", channel="stable", install=install)
    async with open_node(config_at(tmp_path, subscribe=(section,)), parts_of(World())) as node:
        verbs = control_verbs(node, [open_follower(node, section)])
        for verb in ("rollback", "activate"):
            with pytest.raises(ActivationError, match="app/stable: not done within 50 s"):
                await verbs[verb]({})


async def stop_when(begun: trio.Event) -> None:
    await begun.wait()
    os.kill(os.getpid(), signal.SIGTERM)


async def test_a_signal_ends_a_node_that_still_opens(tmp_path: Path) -> None:
    begun = trio.Event()
    ready: list[object] = []

    @asynccontextmanager
    async def never(_node: object) -> AsyncIterator[None]:
        begun.set()
        await trio.sleep_forever()
        yield

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_when, begun)
            await run_process(config_at(tmp_path), parts_of(World(), beacons=never), ready.append)
    assert ready == []


async def test_a_store_that_was_being_opened_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread ends by itself; what it opened must not stay locked."""
    begun, goes_on = trio.Event(), threading.Event()
    world, token = World(), trio.lowlevel.current_trio_token()
    opened: list[Store] = []
    really = Store.open

    def slow(directory: str, **options: Any) -> Store:
        trio.from_thread.run_sync(begun.set, trio_token=token)
        goes_on.wait(10)
        opened.append(really(directory, **options))
        return opened[-1]

    async def stop() -> None:
        await stop_when(begun)
        await trio.sleep(0.05)
        goes_on.set()

    monkeypatch.setattr(Store, "open", slow)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            await run_process(config_at(tmp_path), parts_of(world, store=None), lambda _node: pytest.fail("it opened"))
    with pytest.raises(StoreError, match="after close"):
        opened[0].save_object("x", b"")
    really(str(tmp_path / "store")).close()


@pytest.mark.slow
async def test_a_signal_ends_a_process_in_the_middle_of_a_health_check_which_is_run_again(tmp_path: Path) -> None:
    world, store = World(), MemoryStore()
    world.publish("1", b"program")
    script = f"if [ -e {tmp_path}/mark ]; then exit 0; fi; echo > {tmp_path}/mark; exec sleep 1000"
    install = InstallSection(target=tmp_path / "app", health=("/bin/sh", "-c", script), health_timeout=1000)
    section = SubscribeSection(product="app", channel="stable", install=install)
    config = config_at(tmp_path, subscribe=(section,), uplink=UplinkSection(origin="memory"))

    async def run(enough: Callable[[], object]) -> LifecycleState:
        parts = parts_of(world, store=store, origin=MemoryOrigin(world.objects))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_process, config, parts)
            await until(enough)
            os.kill(os.getpid(), signal.SIGTERM)
        return load_state(store, "app", "stable")

    with trio.fail_after(30):
        state = await run((tmp_path / "mark").exists)
        assert (state.phase, state.attempts) == (Phase.CHECKING, 1)
        state = await run(lambda: load_state(store, "app", "stable").phase is Phase.CONFIRMED)
        assert state.attempts == 2


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_real_process_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    files = World().identity("x").to_files()
    for name in FILE_NAMES:
        (tmp_path / name).write_bytes(files[name])
        (tmp_path / name).chmod(0o600)
    (tmp_path / "edgeswarm.toml").write_text('[node]\nstate = "state"\nidentity = "."\n[lan]\nlisten = "127.0.0.1:0"\n')
    wish = json.dumps({"config": str(tmp_path / "edgeswarm.toml"), "log_level": "debug"})
    process = subprocess.Popen([sys.executable, "-m", "edgeswarm.node", wish], stderr=subprocess.PIPE, text=True)
    try:

        async def wait() -> dict[str, Any]:
            with trio.fail_after(20):
                while True:
                    try:
                        return await ask(tmp_path / "state", "status")
                    except FetchError:
                        assert process.poll() is None
                        await trio.sleep(0.05)

        assert trio.run(wait)["pid"] == process.pid
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
    finally:
        process.kill()
        process.wait()
