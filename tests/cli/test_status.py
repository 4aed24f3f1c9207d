"""What `status` says of a node, and its exit code; the node is a control socket that answers as told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from edgeswarm.cli.status import _subscription_text
from edgeswarm.node.control import control_path, serve_control

from .processes import Command

ROW = {
    "product": "app", "channel": "stable", "phase": "confirmed", "version": "1.0", "wanted": "1.0", "reason": "", "error": "",
    "channel_error": "", "target": "/opt/app", "job": None, "retry_seconds": None,
}  # fmt: skip
HEALTHY = {
    "fleet": "acme", "site": "harbour", "node": "a", "role": "device", "pid": 7, "uplink": None, "banned": [], "refused": [],
    "metadata": {"version": 3, "stale": False, "expires": "2027-01-01T00:00:00", "expires_first": "timestamp", "errors": [],
                 "troubles": []},
    "store": {"chunk_bytes": 0, "linked_bytes": 1024, "segment_bytes": 0, "recovery": ""}, "fetches": [],
    "peers": [{"node": "g", "role": "gateway", "address": "x:1", "uplink": True, "received_bytes": 1, "sent_bytes": 2}],
}  # fmt: skip
RECOVERED = {"store": HEALTHY["store"] | {"recovery": "the index was gone"}}  # type: ignore[operator]  # a dict
DOUBTFUL = {"metadata": HEALTHY["metadata"] | {"troubles": ["floors.json: damaged on disk"]}}  # type: ignore[operator]  # a dict
STALE = {"metadata": HEALTHY["metadata"] | {"stale": True}}  # type: ignore[operator]  # a dict
WELL = {"usable": True, "bytes_read": 9, "error": "", "checked_at": 1.0, "current": True}
DOUBTED = {"uplink": WELL | {"current": False}}
DOWN = {"uplink": WELL | {"usable": False, "error": "no route", "current": False}}


def failing(source: str, error: str, exit_code: int, product: str = "", **metadata: Any) -> dict[str, Any]:
    row = {"source": source, "product": product, "error": error, "exit_code": exit_code}
    return {"metadata": HEALTHY["metadata"] | {"errors": [row]} | metadata}  # type: ignore[operator]  # a dict


def following(phase: str, reason: str = "", retry_seconds: float | None = None) -> dict[str, Any]:
    changes = {"version": "1", "wanted": "2", "phase": phase, "reason": reason, "retry_seconds": retry_seconds}
    return {"subscriptions": [ROW | changes]}


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (following("confirmed"), 0, "app@stable  1, confirmed"),
        (following("failed", "the tree is malformed") | STALE, 1, "1, failed, wants 2: the tree is malformed"),
        (following("rolling_back", "exit code 9", 60.0), 1, "rolling_back, wants 2: exit code 9; tried again in 60 s"),
        (following("rolling_back", "exit code 9"), 0, "rolling_back, wants 2: exit code 9"),
        (following("confirmed") | RECOVERED, 0, "warning     the index was gone"),
        (following("confirmed") | DOUBTFUL, 0, "warning     floors.json: damaged on disk"),
        (following("rolled_back", "exit code 9") | STALE, 18, "1, rolled_back, wants 2: exit code 9"),
        (following("confirmed") | STALE, 3, "EXPIRED, version 3"),
        (following("idle") | {"peers": []}, 3, "1, idle"),
        (following("idle") | {"uplink": WELL}, 0, "usable; 9 B read"),
        (following("idle") | failing("origin", "forged", 77) | DOUBTED, 77, "not taken   the origin's metadata: forged"),
        (following("idle") | failing("origin", "forged", 77, "app") | {"uplink": WELL}, 77, "not taken   the origin's app: forged"),
        (following("idle") | failing("origin", "forged", 77, stale=True) | DOUBTED, 3, "EXPIRED, version 3"),
        (following("idle") | failing("origin", "no route", 3) | DOWN, 3, "down: no route"),
        (following("idle") | failing("origin", "status 403", 3) | DOUBTED, 3, "not taken   the origin's metadata: status 403"),
        (following("idle") | failing("origin", "app expired", 3, "app") | {"uplink": WELL}, 3, "the origin's app: app expired"),
        (following("idle") | failing("peers", "forged", 77) | {"uplink": WELL}, 0, "not taken   the neighbours' metadata: forged"),
        (following("idle") | failing("peers", "forged", 77) | DOUBTED, 3, "not taken   the neighbours' metadata: forged"),
        (following("idle") | failing("peers", "forged", 77), 3, "not taken   the neighbours' metadata: forged"),
        (following("idle") | failing("peers", "quota", 28) | {"uplink": WELL}, 28, "not taken   the neighbours' metadata: quota"),
        (following("idle") | failing("saved", "not here", 3, "app"), 3, "not taken   what was saved of the app: not here"),
    ],
)
@pytest.mark.slow
@pytest.mark.net
async def test_the_exit_code_says_what_is_wrong(tmp_path: Path, answer: dict[str, Any], code: int, says: str) -> None:
    async def status(_question: dict[str, Any]) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return HEALTHY | answer

    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, tmp_path, {"status": status})
        with Command(tmp_path, "status", "--state", str(tmp_path)) as command:
            assert await command.code() == code, command.err
            assert says in command.out
            # A reason is never cut: a line that ends with one may be longer.
            assert max(len(line) for line in command.out.splitlines() if "not taken" not in line) <= 80
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (b"nonsense\n", 1, "no JSON: b'nonsense"),
        (b"[1]\n", 1, "no JSON object"),
        (b"", 1, "no JSON"),
        (b'{"error": "no such verb", "exit_code": 2}\n', 2, "no such verb"),
        (b'{"error": 7, "exit_code": "x"}\n', 1, "7"),
        (b"{}\n", 1, "not understood"),
        (b'{"fleet": 1, "subscriptions": 2}\n', 1, "not understood"),
    ],
)
@pytest.mark.slow
@pytest.mark.net
async def test_an_answer_that_is_not_understood_is_one_line(tmp_path: Path, line: bytes, code: int, says: str) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            await stream.send_all(line or b"\n")

    listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await listener.bind(str(control_path(tmp_path)))
    listener.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(listener)])
        with Command(tmp_path, "status", "--state", str(tmp_path)) as command:
            assert await command.code() == code, command.err
        assert (command.out, command.err.count("\n")) == ("", 1)
        assert command.err.startswith("edgeswarm: ")
        assert says in command.err
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "1.0, confirmed"),
        ({"version": "", "phase": "idle", "wanted": ""}, "nothing yet, idle"),
        (
            {"phase": "fetching", "wanted": "1.1", "job": {"doing": "staging", "done": 2048, "size": 4096}},
            "1.0, fetching, wants 1.1, staging: 2 KiB of 4 KiB",
        ),
        (
            {"phase": "rolling_back", "version": "1.1", "wanted": "1.1", "reason": "sick", "error": "x", "retry_seconds": 59.8},
            "1.1, rolling_back: sick; tried again in 60 s",
        ),
        ({"channel_error": "none for press-mk2"}, "1.0, confirmed; nothing newer for this node: none for press-mk2"),
    ],
)
def test_a_subscription_in_one_line(changes: dict[str, Any], text: str) -> None:
    assert _subscription_text(ROW | changes) == text
