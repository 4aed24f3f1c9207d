"""The configuration of a node: frozen values, read from TOML, checked at the edge.

Every key of the file is a field here, with its unit and default; an unknown key is an error that names its path.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..address import split_address
from ..errors import ConfigError
from ..trust.catalogue import ANY_VARIANT
from ..trust.names import check_name, check_product

_T = TypeVar("_T")
_KINDS = {str: "text", Path: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSection:
    """Who this node is and where it keeps its things.

    Attributes:
        state: Folder for store, trust state and control socket.
        identity: Folder that `edgeswarm enrol` made: node.key, node.crt, ca.crt, site.key, root.json.
        role: `device`, or `gateway` for a node that seeds a site.
        compatible: Hardware string; this node takes the release of this variant, else the one for any hardware.
        quota_mib: Most MiB of chunks in the store; 0: no quota.
        min_free_mib: MiB of disk that the store leaves free.
        expiry_grace_days: Days for which expired metadata still verifies, marked stale; 0: strict.
        unfollowed_days: Days for which releases of a product stay that is not subscribed to any more; 0: they go at the next start.
    """

    state: Path
    identity: Path
    role: str = "device"
    compatible: str = ANY_VARIANT
    quota_mib: int = 0
    min_free_mib: int = 32
    expiry_grace_days: int = 0
    unfollowed_days: int = 7

    def __post_init__(self) -> None:
        if self.role not in {"device", "gateway"}:
            raise ConfigError(f"node.role: wanted 'device' or 'gateway', got {self.role!r}")
        check_name(self.compatible, "node.compatible", ConfigError)
        for name in ("quota_mib", "min_free_mib", "expiry_grace_days", "unfollowed_days"):
            if getattr(self, name) < 0:
                raise ConfigError(f"node.{name}: must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class LanSection:
    """How this node meets the others of its site. Nothing is opened that is not named here.

    Attributes:
        listen: `host:port` to accept links at; empty: none are accepted.
        advertise: `host:port` at which others reach this node, where it differs from `listen`.
        peers: `host:port` of nodes that are always tried.
        multicast: Interfaces (names or addresses) on which beacons are sent and heard; empty: none.
        multicast_group: `address:port` of the beacons.
        max_links: Most links at a time.
        window_chunks: Chunks asked of one peer and not yet come.
        open_chunks: Chunks asked of all peers together and not yet come, for one artifact: 64 KiB of memory each.
    """

    listen: str = ""
    advertise: str = ""
    peers: tuple[str, ...] = ()
    multicast: tuple[str, ...] = ()
    multicast_group: str = "239.192.76.51:7652"
    max_links: int = 64
    window_chunks: int = 32
    open_chunks: int = 64

    def __post_init__(self) -> None:
        if self.listen:
            split_address(self.listen, "lan.listen")
        if self.advertise:
            split_address(self.advertise, "lan.advertise", dialled=True)
        for address in self.peers:
            split_address(address, "lan.peers", dialled=True)
        split_address(self.multicast_group, "lan.multicast_group", dialled=True)
        for name in ("max_links", "window_chunks", "open_chunks"):
            if not 1 <= getattr(self, name) <= 1024:
                raise ConfigError(f"lan.{name}: wanted 1 to 1024, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkSection:
    """The path to an origin, for a node that has one of its own.

    Attributes:
        origin: `http://`, `https://` or `file://` address, or a folder; a relative one is relative to the file.
        poll_seconds: How often the origin is asked for news, by one node of the site.
        stall_seconds: A read that brings nothing for this long counts as a dead link; so does a small object that takes longer than
            this and its size at 4 kB/s.
        retry_seconds: Longest wait between tries of a dead link.
        ca_file: Certificates to trust for https instead of the system's.
        headers: Extra request headers, e.g. `Authorization`.
    """

    origin: str
    poll_seconds: float = 300.0
    stall_seconds: float = 30.0
    retry_seconds: float = 60.0
    ca_file: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("poll_seconds", "stall_seconds", "retry_seconds"):
            if not 0.05 <= getattr(self, name) <= 30 * 86400:
                raise ConfigError(f"uplink.{name}: wanted 0.05 to 2592000 seconds, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallSection:
    """Where a subscription's releases are installed.

    Attributes:
        target: File or directory that always holds one whole release.
        kind: `file` or `directory`.
        health: Command that must succeed after activation; empty: a release counts as good once it is active.
        health_timeout: Seconds that the command may take.
        health_attempts: How often the check is begun when the node restarts in the middle of it, before the release is rolled back.
        automatic: Activate a release as soon as it is staged; no: wait for `edgeswarm activate`.
        keep: Previous releases that stay on disk, to go back to.
        retry_seconds: Pause before what failed (staging, switching, rolling back) is tried again; doubles with each failure.
        retry_max_seconds: Longest such pause.
        mode: Permission bits of the file, or of the root of the directory; 0: 0o644 for a file, 0o755 for a directory.
    """

    target: Path
    kind: str = "file"
    health: tuple[str, ...] = ()
    health_timeout: float = 60.0
    health_attempts: int = 3
    automatic: bool = True
    keep: int = 1
    retry_seconds: float = 60.0
    retry_max_seconds: float = 3600.0
    mode: int = 0

    def __post_init__(self) -> None:
        if self.kind not in {"file", "directory"}:
            raise ConfigError(f"install.kind: wanted 'file' or 'directory', got {self.kind!r}")
        if not 0 < self.health_timeout <= 86400 or not 1 <= self.health_attempts <= 100:
            raise ConfigError("install.health_timeout: wanted up to 86400 seconds; install.health_attempts: 1 to 100")
        if not 1 <= self.keep <= 100:
            raise ConfigError(f"install.keep: wanted 1 to 100 previous releases, got {self.keep}")
        if not 0.05 <= self.retry_seconds <= self.retry_max_seconds <= 30 * 86400:
            raise ConfigError(
                "install.retry_seconds, install.retry_max_seconds: wanted 0.05 to 2592000, the second not below the first, "
                f"got {self.retry_seconds:g} and {self.retry_max_seconds:g}"
            )
        if not 0 <= self.mode <= 0o777:
            raise ConfigError(f"install.mode: wanted 0 to 0o777, got {self.mode:#o}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeSection:
    """One channel to follow.

    Attributes:
        product: Name of the product.
        channel: Name of the channel.
        install: Where its releases go; None: they are fetched and seeded only.
        keep: Newest releases whose chunks are kept for others when nothing is installed here.
    """

    product: str
    channel: str
    install: InstallSection | None = None
    keep: int = 2

    def __post_init__(self) -> None:
        check_product(self.product, ConfigError)
        check_name(self.channel, "channel", ConfigError)
        if not 1 <= self.keep <= 1000:
            raise ConfigError(f"subscribe.keep: wanted 1 to 1000, got {self.keep}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """All that a node is told.

    Attributes:
        node: Who it is.
        lan: How it meets others.
        uplink: Its own path to an origin, or None.
        subscribe: The channels that it follows by itself.
    """

    node: NodeSection
    lan: LanSection = LanSection()
    uplink: UplinkSection | None = None
    subscribe: tuple[SubscribeSection, ...] = ()

    def __post_init__(self) -> None:
        names = [(section.product, section.channel) for section in self.subscribe]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise ConfigError(f"subscribe[{number}]: {name[0]}/{name[1]} is followed already by subscribe[{names.index(name)}]")


def load_config(path: str | Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> NodeConfig:
    """Read a TOML file; relative paths in it are relative to the file's folder.

    Args:
        path: The file.
        changes: Values that stand in for those of the file, by section and key, e.g. from flags; relative paths among them are
            relative to the current folder.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or has a wrong or unknown key; the message names it.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read: it is no UTF-8 text: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        for section, values in (changes or {}).items():
            if values:
                data[section] = {**_table(data.get(section, {}), section), **values}
        return config_from(data, Path(path).resolve().parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def config_from(data: dict[str, Any], folder: Path) -> NodeConfig:
    """Build a configuration from plain values, as TOML or JSON gives them; `ConfigError` names the key that is wrong."""
    config = _build(NodeConfig, data, "", folder)
    if config.uplink is None or "://" in config.uplink.origin:
        return config
    uplink = dataclasses.replace(config.uplink, origin=str(folder / config.uplink.origin))
    return dataclasses.replace(config, uplink=uplink)


def _build(kind: type[_T], data: Any, path: str, folder: Path) -> _T:
    _table(data, path or "configuration")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # every caller passes a dataclass
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ConfigError(f"unknown key {_join(path, unknown[0])}; known here: {', '.join(known)}")
    for name, entry in known.items():
        required = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise ConfigError(f"missing key {_join(path, name)}")
    return kind(**{name: _value(hints[name], value, _join(path, name), folder) for name, value in data.items()})


def _table(data: Any, path: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: wanted a table, got {data!r}")
    return data


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _value(hint: Any, value: Any, path: str, folder: Path) -> Any:
    """Convert one TOML value to the type of its field."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return _value(arguments[0], value, path, folder)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{path}: wanted a list, got {value!r}")
        return tuple(_value(arguments[0], item, f"{path}[{i}]", folder) for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise ConfigError(f"{path}: wanted a table of text, got {value!r}")
        return dict(value)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type[Any]", hint), value, path, folder)
    return _scalar(hint, value, path, folder)


def _scalar(hint: Any, value: Any, path: str, folder: Path) -> Any:
    if hint is Path and isinstance(value, str) and value:
        return folder / value
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{path}: wanted {_KINDS[hint]}, got {value!r}")
    return value


def find_subscription(sections: Iterable[SubscribeSection], product: str, channel: str) -> SubscribeSection:
    """Return the one subscription with a target that is meant; empty names mean any.

    Raises:
        ConfigError: None or several match.
    """
    known = list(sections)
    found = [s for s in known if s.install is not None and product in {"", s.product} and channel in {"", s.channel}]
    if len(found) != 1:
        names = ", ".join(f"{s.product}/{s.channel}" for s in known) or "none"
        raise ConfigError(f"{len(found)} subscriptions match product {product!r}, channel {channel!r}; this node follows: {names}")
    return found[0]
