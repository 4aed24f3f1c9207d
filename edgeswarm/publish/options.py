"""What can be set of a publication, and how its progress is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..content.codec import DEFAULT_LEVEL
from ..content.delta import MATCH_MEMORY_BYTES
from ..content.manifest import ArtifactKind
from ..errors import ConfigError, PublishError
from ..trust.catalogue import ANY_VARIANT, MAX_INDEXES
from ..trust.names import check_name
from .encode import UNIT_BYTES

Progress = Callable[[str, int, int], None]
"""`progress(stage, done, total)`: bytes of a stage: `read`, `encode`, `delta from <version>`, all plain, or `check`, encoded."""


def silent(_stage: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOptions:
    """What can be set.

    Attributes:
        compatible: Hardware that the release is for; by default any.
        delta_from: How many older releases to make deltas from, at most 15.
        level: zstd level, 1 to 22.
        unit_bytes: Encoded bytes that a delta unit should not exceed: what a broken link can lose.
        memory_bytes: About how much memory the search for what is alike may take.
        predict: Predict references in programs: several times smaller deltas of these, for several times the work.
        kind: What the path is, where it could be something else.
        back: Allow a channel to go back to a release that the present one replaced.
        max_update_bytes: What an update may cost a site that follows the channel, less signed metadata; None: anything.
        allow_private_keys: Publish files that are private keys: they are no secret. Those of a fleet's folder never are.
        clock_is_right: `now` is right, however far it is from the last signature.
        threads: Of the encoder; 0: one per core. The bytes are the same for any number.
        progress: Called as bytes are done.
        cancelled: Asked often; True stops with nothing changed.

    Raises:
        ConfigError: A number is out of range, or the variant is no name.
    """

    compatible: str = ANY_VARIANT
    delta_from: int = 3
    level: int = DEFAULT_LEVEL
    unit_bytes: int = UNIT_BYTES
    memory_bytes: int = MATCH_MEMORY_BYTES
    predict: bool = True
    kind: ArtifactKind | None = None
    back: bool = False
    max_update_bytes: int | None = None
    allow_private_keys: bool = False
    clock_is_right: bool = False
    threads: int = 0
    progress: Progress = field(default=silent, repr=False)
    cancelled: Callable[[], bool] = field(default=_never, repr=False)

    def __post_init__(self) -> None:
        check_name(self.compatible, "variant", ConfigError)
        rows = (
            ("delta_from", 0, MAX_INDEXES - 1),
            ("level", 1, 22),
            ("unit_bytes", 1024, 1 << 20),
            ("memory_bytes", 64 << 20, 1 << 40),
            ("threads", 0, 256),
        )
        if self.max_update_bytes is not None and self.max_update_bytes < 0:
            raise ConfigError(f"max-update-bytes: wanted 0 or more, got {self.max_update_bytes}")
        for name, lowest, highest in rows:
            if not lowest <= getattr(self, name) <= highest:
                raise ConfigError(f"{name.replace('_', '-')}: wanted {lowest} to {highest}, got {getattr(self, name)}")


@dataclass(slots=True)
class Meter:
    """Adds up the bytes of one stage, and stops everything when it was cancelled."""

    options: PublishOptions
    stage: str
    total: int
    done: int = 0

    def __call__(self, count: int) -> None:
        """Count plain bytes as done.

        Raises:
            PublishError: It was cancelled.
        """
        self.done += count
        self.options.progress(self.stage, self.done, self.total)
        if self.options.cancelled():
            raise PublishError("publishing was cancelled; no release changed: run it again at any time")
