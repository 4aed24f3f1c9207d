"""The process of a node, lean: what `edgeswarm agent` and `edgeswarm gateway` become once their flags are checked.

    python -m edgeswarm.node '{"config": "/etc/edgeswarm/edgeswarm.toml"}'

The one argument is JSON: `config` (path), `changes` (values by section and key), `log_level`, `log_json`. The command line's own
libraries (6 MB) are not loaded here.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
from types import FrameType

import trio

from ..errors import EdgeswarmError
from .config import load_config
from .process import STOP_SIGNALS, run_process


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        values = {"time": record.created, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        return json.dumps(values)


def start_logging(level: str, *, as_json: bool) -> None:
    """Log to standard error.

    Args:
        level: Least severe messages that are shown, e.g. `info`.
        as_json: One JSON object a line instead of text.
    """
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if as_json else text)
    logger = logging.getLogger("edgeswarm")
    logger.addHandler(handler)
    logger.setLevel(level.upper())


def take_signals() -> None:
    """Let a signal to stop end this process until the node itself takes them: nothing is open yet.

    Whoever started this process may have blocked them, so that none came while nobody could take it.
    """

    def leave(_number: int, _frame: FrameType | None) -> None:
        os._exit(0)

    for number in STOP_SIGNALS:
        signal.signal(number, leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def main(arguments: list[str]) -> int:
    """Run until SIGTERM; return the exit code."""
    take_signals()
    wish = json.loads(arguments[0])
    start_logging(wish.get("log_level", "info"), as_json=wish.get("log_json", False))
    try:
        config = load_config(wish["config"], wish.get("changes"))
        gc.freeze()  # what the imports made stays: the collector need not look at it again
        trio.run(run_process, config)
    except EdgeswarmError as error:
        print(f"edgeswarm: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
