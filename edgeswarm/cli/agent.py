"""`edgeswarm agent` and `edgeswarm gateway`."""

from __future__ import annotations

import json
import os
import signal
import sys

from ..errors import ConfigError
from .node_options import CONFIG_FILE, Changes, ConfigFile, Logging, read_config

_CHANGES, _LOGGING = Changes(), Logging()
# glibc gives each thread an arena of its own by default: the same bytes, kept several times. Source: mallopt(3).
_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "1000000"}


def agent(*, config: ConfigFile = CONFIG_FILE, changes: Changes = _CHANGES, log: Logging = _LOGGING) -> None:
    """Run a node: follow the configured channels, install their releases, share them on the LAN. Ends on SIGTERM.

    Args:
        config: Configuration file.
        changes: Flags that stand in for values of the file.
        log: What is logged.
    """
    _run(config, changes, log, role="")


def gateway(*, config: ConfigFile = CONFIG_FILE, changes: Changes = _CHANGES, log: Logging = _LOGGING) -> None:
    """Run the seeding node of a site: fetch over the uplink once, and give to all devices. Ends on SIGTERM.

    Args:
        config: Configuration file; its role must be "gateway".
        changes: Flags that stand in for values of the file.
        log: What is logged.
    """
    _run(config, changes, log, role="gateway")


def _run(path: ConfigFile, changes: Changes, log: Logging, *, role: str) -> None:
    """Check everything, then become the lean process of `edgeswarm.node`: same process id, 6 MB less memory."""
    config = read_config(path, changes)
    if role and config.node.role != role:
        raise ConfigError(f"{path}: node.role is {config.node.role!r}, wanted {role!r}: enrol the node with --role {role}")
    if role == "gateway" and config.uplink is None:
        raise ConfigError(f"{path}: a gateway needs [uplink] origin, or --origin")
    from ..node.process import STOP_SIGNALS

    wish = {"config": str(path), "changes": changes.as_sections(), "log_level": log.log_level, "log_json": log.log_json}
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # one that comes meanwhile waits until the new program can take it
    os.execve(sys.executable, [sys.executable, "-m", "edgeswarm.node", json.dumps(wish)], _MALLOC | os.environ)  # noqa: S606
