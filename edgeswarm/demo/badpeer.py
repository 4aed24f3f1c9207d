"""A malicious peer for the demo: a node with a valid certificate that takes part in everything and serves wrong chunks.

python -m edgeswarm.demo.badpeer node.toml
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import trio

from ..content.digest import Digest
from ..node.config import load_config
from ..node.opening import NodeParts
from ..node.process import run_process
from ..store import MemoryStore


class LyingStore(MemoryStore):
    """A store that says it has every chunk, and gives wrong ones.

    So its node offers a release whole as soon as it has been published, when nobody else has any of it: whoever is linked to it
    asks it. It never asks for a chunk itself.
    """

    def have(self, digests: Sequence[Digest]) -> bytes:
        """Say that all are here."""
        return b"\x01" * len(digests)

    def get(self, digest: Digest) -> bytes:
        """Return what is no chunk of that name."""
        return bytes(reversed(digest))

    def require(self, owner: Digest, digests: Iterable[Digest]) -> None:
        """Need nothing."""


def main(arguments: Sequence[str]) -> None:
    """Run until SIGTERM."""
    config = load_config(arguments[0])
    config.node.state.mkdir(parents=True, exist_ok=True)
    trio.run(run_process, config, NodeParts(store=LyingStore()))


if __name__ == "__main__":
    main(sys.argv[1:])
