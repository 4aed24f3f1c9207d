"""A device agent of your own: follow a channel, show where each byte comes from, use the bytes.

python examples/embed_node.py press-8/edgeswarm.toml app stable
"""

from __future__ import annotations

import sys
from functools import partial

import trio

import edgeswarm


async def fetch_newest(config: edgeswarm.NodeConfig, product: str, channel_name: str) -> None:
    async with edgeswarm.open_node(config) as node:
        async for channel, release in node.subscribe(product, channel_name):
            print(f"{product} {channel.version}: {release.size} bytes, sequence {channel.sequence} of {channel_name}")
            fetch = node.fetch(release)
            async for moment in fetch.moments():
                sources = ", ".join(f"{count} from {source}" for source, count in moment.by_source.items() if count)
                print(f"  {moment.done} of {moment.size} bytes ({sources or 'nothing yet'})")
            await fetch.wait()  # raises if it did not work out
            await use(node, fetch)
            break  # leave this out to follow the channel for ever


async def use(node: edgeswarm.Node, fetch: edgeswarm.Fetch) -> None:
    """Read the verified stream of the release, in a thread: it comes from the store, and is checked again as it is read."""
    if fetch.manifest is None:
        raise edgeswarm.FetchError("the fetch ended without a manifest")
    read = node.open_stream(fetch.manifest)
    first = await trio.to_thread.run_sync(read, 0, min(16, fetch.release.size))
    print(f"  starts with {first.hex()}")


def main(arguments: list[str]) -> int:
    path, product, channel = arguments
    try:
        trio.run(partial(fetch_newest, edgeswarm.load_config(path), product, channel))
    except edgeswarm.NoSpaceError as error:
        print(f"no space, nothing was harmed: {error}", file=sys.stderr)
        return error.exit_code
    except edgeswarm.EdgeswarmError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
