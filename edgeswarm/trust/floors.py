"""Everything that a node never goes back behind, in one value: versions of metadata, time, sequences of channels.

Floors only rise: two of them, from two places or two moments, are joined by taking the higher of each. So it does no harm when one
of the places is behind or lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import StoreError, TrustError
from .catalogue import Channel, check_sequence
from .clock import TimeFloor
from .floor import VersionFloor

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Floors:
    """What was trusted here once.

    Attributes:
        versions: Of root, timestamp and snapshot.
        time: A moment that has passed.
        channels: Newest sequence of each channel that was followed, and the version that it pointed to, by `product/name`.
    """

    versions: VersionFloor = field(default_factory=VersionFloor)
    time: TimeFloor = field(default_factory=TimeFloor)
    channels: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def joined(self, other: Floors) -> Floors:
        """Return the higher of both, in each respect."""
        channels = dict(self.channels)
        for path, last in other.channels.items():
            if last[0] > channels.get(path, (0, ""))[0]:
                channels[path] = last
        return Floors(_higher(self.versions, other.versions), self.time.raised(other.time.value), channels)

    def followed(self, channel: Channel) -> Floors:
        """Return the floors after a channel was followed.

        Raises:
            TrustError: It goes back behind its floor, or says something else at the same sequence.
        """
        path = f"{channel.product}/{channel.name}"
        sequence, version = self.channels.get(path, (0, ""))
        check_sequence(Channel(channel.product, channel.name, version, sequence) if sequence else None, channel)
        return replace(self, channels={**self.channels, path: (channel.sequence, channel.version)})

    def encode(self) -> bytes:
        """Return one line of JSON: docs/reference/trust.md, "Floors"."""
        fields = {
            "format": _FORMAT,
            "versions": asdict(self.versions),
            "time": self.time.encode().decode(),
            "channels": {path: list(last) for path, last in self.channels.items()},
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Floors:
        """Return the floors that were persisted.

        Raises:
            StoreError: The bytes are damaged, or a newer edgeswarm saved them.
        """
        try:
            return cls._from_fields(json.loads(data))
        except StoreError as error:
            raise StoreError(f"floors: {error}") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, TrustError) as error:
            raise StoreError(f"floors: malformed: {error!r}") from error

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Floors:
        if fields["format"] != _FORMAT:
            raise StoreError(f"wanted format {_FORMAT}, got {fields['format']}; a newer edgeswarm saved them")
        channels = {path: _last_of(path, last) for path, last in fields["channels"].items()}
        return cls(VersionFloor(**fields["versions"]), TimeFloor.decode(fields["time"].encode()), channels)


def _last_of(path: str, last: object) -> tuple[int, str]:
    if not isinstance(last, list) or len(last) != 2:
        raise TypeError(f"channel {path}: wanted a sequence and a version, got {last!r}")
    product, _, name = path.partition("/")
    channel = Channel(product, name, last[1], last[0])  # checks each
    return channel.sequence, channel.version


def _higher(one: VersionFloor, other: VersionFloor) -> VersionFloor:
    """Return the higher versions; after a rotation of the online keys timestamp and snapshot count from the start."""
    first, second = sorted((one, other), key=lambda floor: floor.root)
    if first.keys != second.keys:
        return second
    return VersionFloor(second.root, max(one.timestamp, other.timestamp), max(one.snapshot, other.snapshot), one.keys)
