"""edgeswarm: one copy of a release per site, as nothing but the difference, and never unsigned.

The public names. Each is loaded when it is first used, so that `import edgeswarm` takes no time and a device agent never loads what
only a publisher needs. `publish_release` is `edgeswarm.publish.publish`: a package cannot have a function and a folder of one name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .errors import (
        ActivationError,
        ConfigError,
        ContentError,
        EdgeswarmError,
        ExpiredError,
        FetchError,
        NodeError,
        NoSpaceError,
        NotPublishedError,
        PublishError,
        PublishSpaceError,
        RolledBackError,
        StoreError,
        TrustError,
    )
    from .node import (
        Fetch,
        InstallSection,
        LanSection,
        Node,
        NodeConfig,
        NodeSection,
        Progress,
        SubscribeSection,
        UplinkSection,
        load_config,
        open_node,
    )
    from .node.process import run_process
    from .publish import (
        Fleet,
        NodeOptions,
        PublishOptions,
        PublishReport,
        Subscription,
        add_site,
        enrol,
        init_fleet,
        refresh,
        site_cost,
    )
    from .publish import publish as publish_release
    from .trust.catalogue import Channel, Release

__all__ = [
    "ActivationError",
    "Channel",
    "ConfigError",
    "ContentError",
    "EdgeswarmError",
    "ExpiredError",
    "Fetch",
    "FetchError",
    "Fleet",
    "InstallSection",
    "LanSection",
    "NoSpaceError",
    "Node",
    "NodeConfig",
    "NodeError",
    "NodeOptions",
    "NodeSection",
    "NotPublishedError",
    "Progress",
    "PublishError",
    "PublishOptions",
    "PublishReport",
    "PublishSpaceError",
    "Release",
    "RolledBackError",
    "StoreError",
    "SubscribeSection",
    "Subscription",
    "TrustError",
    "UplinkSection",
    "__version__",
    "add_site",
    "enrol",
    "init_fleet",
    "load_config",
    "open_node",
    "publish_release",
    "refresh",
    "run_process",
    "site_cost",
]

_HOMES = {
    "node": (
        "Fetch", "InstallSection", "LanSection", "Node", "NodeConfig", "NodeSection", "Progress", "SubscribeSection",
        "UplinkSection", "load_config", "open_node",
    ),
    "node.process": ("run_process",),
    "publish": (
        "Fleet", "NodeOptions", "PublishOptions", "PublishReport", "Subscription", "add_site", "enrol", "init_fleet", "refresh",
        "site_cost",
    ),
    "trust.catalogue": ("Channel", "Release"),
}  # fmt: skip
_MODULES = {name: module for module, names in _HOMES.items() for name in names}
_RENAMED = {"publish_release": ("publish", "publish")}


def _home(name: str) -> tuple[str, str]:
    """Return the module below this package that has a public name, and what it is called there."""
    return _RENAMED.get(name) or (_MODULES.get(name, "errors"), name)


def __getattr__(name: str) -> object:
    """Load a public name at its first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, inner = _home(name)
    value: object = getattr(import_module(f"{__name__}.{module}"), inner)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names: those not loaded yet too."""
    return sorted(__all__)
