"""The second place where versions are remembered, so that a lost metadata file does not undo rollback protection."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

from ..errors import StoreError, TrustError

_KEYS = re.compile(r"[0-9a-f]{64}|")
_MAX_ENCODED_BYTES = 512


@dataclass(frozen=True, slots=True)
class VersionFloor:
    """Versions of metadata that were trusted here once: nothing older is ever accepted again.

    Save it after the files of the same refresh, in another place.

    Attributes:
        root: Version of the root; 0 for none yet.
        timestamp: Version of the timestamp.
        snapshot: Version of the snapshot.
        keys: Names the online keys (64 hex digits, or empty) under which timestamp and snapshot counted. When a new root
            rotates them, both count from the start again: that is how a fleet recovers from a thief who signed version 2^53
            (TUF specification 5.3.11).
    """

    root: int = 0
    timestamp: int = 0
    snapshot: int = 0
    keys: str = ""

    def __post_init__(self) -> None:
        numbers = (self.root, self.timestamp, self.snapshot)
        if any(type(number) is not int or number < 0 for number in numbers):
            raise StoreError(f"versions are whole numbers from 0, not {numbers}")
        if not isinstance(self.keys, str) or not _KEYS.fullmatch(self.keys):
            raise StoreError("the keys of a version floor are 64 hex digits or nothing")

    def covers(self, role: str) -> bool:
        """Tell if versions of `timestamp` or `snapshot` were trusted here, so that nothing older passes without the saved file."""
        return (self.timestamp if role == "timestamp" else self.snapshot) > 0

    def check_root(self, version: int) -> None:
        """Refuse an older root.

        Raises:
            TrustError: It is older than one that was trusted here.
        """
        if version < self.root:
            raise TrustError(f"root v{version} is older than v{self.root}, which was trusted here: a rollback, or lost files")

    def check_online(self, keys: str, timestamp: int, snapshot: int) -> None:
        """Refuse an older timestamp or snapshot made with the same online keys.

        Raises:
            TrustError: One of them is older than one that was trusted here.
        """
        if keys == self.keys and (timestamp < self.timestamp or snapshot < self.snapshot):
            raise TrustError(
                f"timestamp v{timestamp} with snapshot v{snapshot} is older than v{self.timestamp} with v{self.snapshot}, "
                "which was trusted here: a rollback; ask another source"
            )

    def encode(self) -> bytes:
        """Return the floor as JSON to persist."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> VersionFloor:
        """Return the floor that was persisted.

        Raises:
            StoreError: The bytes are damaged.
        """
        try:
            return cls(**json.loads(data[:_MAX_ENCODED_BYTES]))
        except (ValueError, TypeError, StoreError, RecursionError) as exc:
            raise StoreError(f"the persisted version floor is damaged: {exc}") from exc
