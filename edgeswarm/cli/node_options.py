"""Options of the commands that run or ask a node, and its logging."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from ..node import NodeConfig

CONFIG_FILE = Path("/etc/edgeswarm/edgeswarm.toml")
ConfigFile = Annotated[Path, Parameter(name="--config", env_var="EDGESWARM_CONFIG")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Flags that stand in for values of the configuration file.

    Attributes:
        state: Folder for store, trust state and control socket.
        identity: Folder that `edgeswarm enrol` made.
        listen: host:port to accept links at.
        peer: host:port of a node that is always tried; may be repeated.
        multicast: Interface for beacons; may be repeated.
        origin: Address of the origin: this node's own uplink.
    """

    state: Path | None = None
    identity: Path | None = None
    listen: str | None = None
    peer: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    multicast: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    origin: str | None = None

    def as_sections(self) -> dict[str, dict[str, Any]]:
        """Return what was given, by section and key of the file."""
        folders = {"state": self.state, "identity": self.identity}
        lan = {"listen": self.listen, "peers": list(self.peer) or None, "multicast": list(self.multicast) or None}
        return {
            "node": {key: str(path.absolute()) for key, path in folders.items() if path is not None},
            "lan": {key: value for key, value in lan.items() if value is not None},
            "uplink": {"origin": _absolute(self.origin)} if self.origin is not None else {},
        }


def _absolute(origin: str) -> str:
    return origin if "://" in origin else str(Path(origin).absolute())


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """What is logged, on standard error.

    Attributes:
        log_level: Least severe messages that are shown.
        log_json: One JSON object a line instead of text.
    """

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: Annotated[bool, Parameter(negative="")] = False

    def start(self) -> None:
        """Set the process up to log so."""
        from ..node.__main__ import start_logging

        start_logging(self.log_level, as_json=self.log_json)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLogging(Logging):
    """What is logged of one fetch: what keeps it waiting it says by itself.

    Attributes:
        log_level: Least severe messages that are shown.
        log_json: One JSON object a line instead of text.
    """

    log_level: Literal["debug", "info", "warning", "error"] = "error"


def read_config(path: Path, changes: Changes | None = None) -> NodeConfig:
    """Return the configuration of a file, with the flags that were given; `ConfigError` names what is wrong."""
    from ..node import load_config

    return load_config(path, changes.as_sections() if changes is not None else None)
