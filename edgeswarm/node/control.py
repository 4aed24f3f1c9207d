"""The control socket: how `edgeswarm status`, `activate` and `rollback` talk to a running node. JSON lines, for its owner only."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from ..errors import ConfigError, EdgeswarmError, FetchError, RemoteProtocolError

_log = logging.getLogger("edgeswarm.control")
_LINE_BYTES = 1024 * 1024
_QUESTION_SECONDS = 60.0
_PAUSE_SECONDS = 0.2
Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def control_path(state: Path) -> Path:
    """Return where the control socket of a node with this state folder is."""
    return state / "control.sock"


async def serve_control(
    state: Path, verbs: dict[str, Verb], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer questions until cancelled: one JSON object a line, `{"verb": ..., ...}`, answered by one.

    Raises:
        ConfigError: The socket cannot be made there, e.g. since the path is longer than 107 bytes.
    """
    path = control_path(state)
    listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with suppress(FileNotFoundError):
        os.unlink(path)
    old = os.umask(0o177)
    try:
        await listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigError(f"control socket {path}: {error}") from error
    finally:
        os.umask(old)
    listener.listen(8)
    try:
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                try:
                    connection, _ = await listener.accept()
                except OSError as error:  # too many open files, for example
                    _log.warning("control socket: %s", error)
                    await trio.sleep(_PAUSE_SECONDS)
                    continue
                nursery.start_soon(_answer, trio.SocketStream(connection), verbs)
    finally:
        listener.close()
        with suppress(FileNotFoundError):
            os.unlink(path)


async def _answer(stream: trio.SocketStream, verbs: dict[str, Verb]) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async with stream:
            with trio.move_on_after(_QUESTION_SECONDS):
                answer = await _reply(await _read_line(stream), verbs)
                await stream.send_all(json.dumps(answer).encode() + b"\n")


async def _reply(line: bytes, verbs: dict[str, Verb]) -> dict[str, Any]:
    try:
        question = json.loads(line)
        verb = verbs[question["verb"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {"error": f"wanted a JSON object with a verb of {', '.join(verbs)}", "exit_code": 2}
    try:
        return await verb(question)
    except EdgeswarmError as error:
        return {"error": str(error), "exit_code": error.exit_code}
    except Exception as error:  # a bug: it must not end the node
        _log.exception("control: %s", question["verb"])
        return {"error": repr(error), "exit_code": 1}


async def _read_line(stream: trio.SocketStream) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n") and len(data) < _LINE_BYTES:
        more = await stream.receive_some(65536)
        if not more:
            break
        data += more
    return bytes(data)


async def ask(state: Path, verb: str, **arguments: Any) -> dict[str, Any]:
    """Ask a running node.

    Raises:
        FetchError: No node runs with this state folder, or it ended before it answered.
        RemoteProtocolError: Its answer is not understood.
    """
    path = control_path(state)
    try:
        stream = await trio.open_unix_socket(str(path))
    except OSError as error:
        raise FetchError(f"no node runs with state folder {state}: {error}", temporary=False) from error
    try:
        async with stream:
            await stream.send_all(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            line = await _read_line(stream)
    except trio.BrokenResourceError as error:
        raise FetchError(f"the node with state folder {state} ended before it answered") from error
    if not line:
        raise FetchError(f"the node with state folder {state} ended before it answered")
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise RemoteProtocolError(f"the node's answer is no JSON: {line[:80]!r}") from error
    if not isinstance(answer, dict):
        raise RemoteProtocolError("the node's answer is no JSON object")
    return answer
