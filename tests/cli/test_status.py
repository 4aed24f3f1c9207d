from __future__ import annotations

from typing import Any

import pytest

from edgeswarm.cli.status import _subscription_text

ROW = {
    "product": "app", "channel": "stable", "phase": "confirmed", "version": "1.0", "wanted": "1.0", "reason": "", "error": "",
    "channel_error": "", "target": "/opt/app", "job": None, "retry_seconds": None,
}  # fmt: skip


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
