"""A malicious peer for the demo: a node with a valid certificate that takes part in everything and serves wrong chunks.

python -m edgeswarm.demo.badpeer node.toml
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import trio

from ..content.digest import Digest
from ..node.config import load_config
from ..node.opening import NodeParts
from ..node.process import run_process
from ..store import MemoryStore


class LyingStore(MemoryStore):
    """A store that takes what is right and gives what is wrong: the first byte of every chunk is flipped."""

    def get(self, digest: Digest) -> bytes:
        """Return the chunk with its first byte flipped."""
        data = super().get(digest)
        return bytes([data[0] ^ 0xFF]) + data[1:]


def main(arguments: Sequence[str]) -> None:
    """Run until SIGTERM."""
    config = load_config(arguments[0])
    config.node.state.mkdir(parents=True, exist_ok=True)
    trio.run(run_process, config, NodeParts(store=LyingStore()))


if __name__ == "__main__":
    main(sys.argv[1:])
