"""What a run of the demo or of `bench.site` found: the values of its JSON. Keys and units: docs/reference/bench.md."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment of the run.

    Attributes:
        seconds: Since the new release was published.
        uplink_bytes: That had passed the uplinks, both directions, headers too.
        done: Bytes of the new release that each device had, by name.
    """

    seconds: float
    uplink_bytes: int
    done: dict[str, int]


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that was done to the site.

    Attributes:
        seconds: Since the new release was published.
        kind: `published`, `cut`, `healed`, `killed`, `restarted`, `gateway-killed`, `joined`, `refused` or `complete`.
        text: For people.
    """

    seconds: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class DeviceResult:
    """How one device ended.

    Attributes:
        name: Its name.
        held_old: Whether it started with the old release.
        kills: How often it was killed.
        seconds: When it had installed the new release; None: never.
        digests_ok: Whether every installed byte and mode is right.
        by_source: Bytes of the new release by source, of its last life.
        refused_chunks: Wrong chunks that it was sent and refused, in its last life.
    """

    name: str
    held_old: bool
    kills: int
    seconds: float | None
    digests_ok: bool
    by_source: dict[str, int]
    refused_chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """What a device lost when it was killed; sizes in bytes of the new release.

    Attributes:
        name: The device.
        size: All of it.
        done_bytes: What its last status before the kill said that it had: verified and durable, also what it held from the start.
        received_bytes: Those of them that it had received since the release was published.
        again_bytes: What it had when it went on, before it fetched; None: it was not seen to go on.
    """

    name: str
    size: int
    done_bytes: int
    received_bytes: int
    again_bytes: int | None = None

    @property
    def is_midway(self) -> bool:
        """Whether it had received something and lacked something."""
        return self.received_bytes > 0 and self.done_bytes < self.size

    @property
    def lost_bytes(self) -> int:
        """What it had and had not again."""
        return max(0, self.done_bytes - (self.again_bytes or 0))


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be true for the run to have succeeded."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A whole run; sizes in bytes, times in seconds.

    Attributes:
        inputs: `product`, `old_version`, `new_version`, `old`, `new`, `size` (of the new release), `chunks`, `kind`.
        site: `devices`, `empty`, `own_uplinks`, `bad_peer`, `uplink_bits_per_second`, `uplinks`,
            `gateway_killed`, `level`, `cut_seconds`.
        uplink_bytes: All that passed the uplinks for the update, counted by the uplinks: both directions, headers too.
        uplink_repeated_bytes: Body bytes that passed more than once.
        uplink_requests: Requests that passed.
        uplink_allowed_requests: Requests that one copy, looking for news and the breaks explain; see `checks`.
        uplink_header_bytes: Bytes that were no bodies.
        uplink_largest_header_bytes: Of any one request with its answer.
        delta_bytes: Units, maps, pages, index and manifest root of one copy from the old release.
        metadata_bytes: Signed metadata of one copy.
        full_bytes: One copy without any base.
        independent_bytes: What the devices would take if each fetched for itself: what it lacks, once each.
        duplicate_factor: `uplink_bytes` / (`delta_bytes` + `metadata_bytes`).
        time_s: From publication until the last device had installed the release; None: one never had.
        bound_s: No way to be faster: see docs/reference/bench.md.
        bytes_by_source: Sums over the devices.
        refused_chunks: Wrong chunks that were refused, over all devices.
        samples: The course.
        incidents: What happened.
        kill: What the killed device lost; None: none was killed.
        devices: How each device ended.
        nodes: Per process: `name`, `role`, `cpu_s`, `peak_rss_bytes`.
        checks: What had to be true.
        publish_seconds: How long publishing the new release took.
    """

    inputs: dict[str, Any]
    site: dict[str, Any]
    uplink_bytes: int
    uplink_repeated_bytes: int
    uplink_requests: int
    uplink_allowed_requests: int
    uplink_header_bytes: int
    uplink_largest_header_bytes: int
    delta_bytes: int
    metadata_bytes: int
    full_bytes: int
    independent_bytes: int
    duplicate_factor: float
    time_s: float | None
    bound_s: float
    bytes_by_source: dict[str, int]
    refused_chunks: int
    samples: list[Sample] = field(repr=False)
    incidents: list[Incident]
    kill: Kill | None
    devices: list[DeviceResult]
    nodes: list[dict[str, Any]]
    checks: list[Check]
    publish_seconds: float

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"passed": self.passed}
