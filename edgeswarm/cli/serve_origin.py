"""`edgeswarm serve-origin`."""

from __future__ import annotations

import os
import signal
from functools import partial

import trio

from ..errors import ConfigError
from .options import Json
from .show import show


def serve(
    directory: str,
    /,
    *,
    listen: str = "127.0.0.1:8080",
    as_json: Json = False,
) -> None:
    """Serve an origin folder over HTTP, until it is interrupted. Any other web server does as well.

    Args:
        directory: The origin folder.
        listen: host:port; port 0 takes a free one.
        as_json: Write one JSON object.
    """
    if not os.path.isdir(directory):
        raise ConfigError(f"{directory}: is no folder")
    if not os.path.isdir(os.path.join(directory, "metadata")) or os.path.exists(os.path.join(directory, "fleet.toml")):
        hint = os.path.join(directory, "origin")
        raise ConfigError(f"{directory}: is no origin, and may hold keys that nobody must see; the origin of a fleet is {hint}")
    try:
        trio.run(_serve, os.path.abspath(directory), listen, as_json)
    except* ConfigError as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[ConfigError]) -> BaseException:
    """Return the first error of a group; a nursery wraps even a single one."""
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


async def _serve(directory: str, listen: str, as_json: bool) -> None:
    from ..origin.server import serve_origin

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            bound = await nursery.start(partial(serve_origin, directory, listen))
            values = {"origin": directory, "url": f"http://{bound}/"}
            show(values, as_json=as_json, title=f"Serving {directory} at http://{bound}/")
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break
