"""What must be true for a run to have succeeded. Pure: it judges what the run wrote down."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .result import Check, Kill

LOST_BYTES = 64 * 1024
"""The target: at most this much passes an uplink again for each cut or kill."""
FACTOR = 1.02
"""The target: bytes that cross the uplinks / bytes of one copy."""
READ_BYTES = 64 * 1024
"""A copy takes a request for each so many bytes at most: the average chunk, fetched alone (`content.index.SPAN_CHUNKS`)."""
COPY_REQUESTS = 10
"""And these: timestamp, snapshot, targets and a product's role, a look for the next root, manifest root, pages, two indexes."""
POLL_REQUESTS = 2
"""Each look for news takes so many: the timestamp, and whether there is a next root."""
BREAK_REQUESTS = 4
"""A cut or kill breaks off so many at most, which are sent again: three reads at a time, a look for news. A guess."""
HEADER_BYTES = 450
"""A request with its answer takes so many beside their bodies, in the mean at most. Source: `python -m bench.site --json`: 280 in
the mean, and 437 the largest."""
LARGEST_HEADER_BYTES = 512
"""And no single one more than these: a run is not judged by its own worst. Source: the same, with room for longer names."""
_TOO_FAST = "use a slower uplink or larger releases"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a run wrote down.

    Attributes:
        devices: How many there are.
        right: How many of them have the right bytes.
        reporting: How many report the new release.
        cost: Bytes of one copy.
        passed: What passed the uplinks; names as in `traffic.Counters.as_dict`.
        largest_header_bytes: Of any request with its answer.
        polls: How often the origin may have been asked for news.
        breaks: Cuts and kills.
        empty: Devices that were to begin with nothing.
        not_empty: Those of them that had the old release, or fetched it.
        has_bad_peer: Whether one took part.
        refused: Wrong chunks that were refused.
        wants_cut: Whether the uplink was to be cut.
        pack_bytes_after_cut: Content that passed once the uplink was back; None: it was never back.
        wants_kill: Whether a device was to be killed.
        kill: What became of it; None: it was never killed.
    """

    devices: int
    right: int
    reporting: int
    cost: int
    passed: Mapping[str, int]
    largest_header_bytes: int
    polls: int
    breaks: int
    empty: int
    not_empty: int
    has_bad_peer: bool
    refused: int
    wants_cut: bool
    pack_bytes_after_cut: int | None
    wants_kill: bool
    kill: Kill | None

    @property
    def allowed_requests(self) -> int:
        """Requests that one copy, looking for news and the breaks explain."""
        copy = COPY_REQUESTS + math.ceil(self.cost / READ_BYTES)
        return copy + POLL_REQUESTS * self.polls + BREAK_REQUESTS * self.breaks

    @property
    def allowed_bytes(self) -> int:
        """Bytes that may cross the uplinks: one copy with its margin, and known headers for the explained requests."""
        return int(FACTOR * self.cost) + self.allowed_requests * HEADER_BYTES


def checks_of(facts: Facts) -> list[Check]:
    """Return the checks of a run; those about something that was not asked for are left out."""
    devices = facts.devices
    checks = [
        Check("every device has the right bytes", facts.right == devices, f"{facts.right} of {devices} devices verified"),
        Check("every device reports the new release", facts.reporting == devices, f"{facts.reporting} of {devices}"),
        _one_copy(facts),
        _small_headers(facts.largest_header_bytes),
        _little_twice(facts),
    ]
    if facts.empty:
        detail = f"{facts.empty - facts.not_empty} of {facts.empty}"
        checks.append(Check("empty devices began with nothing", not facts.not_empty, detail))
    if facts.wants_cut:
        checks.append(_went_on_after_cut(facts.pack_bytes_after_cut))
    if facts.wants_kill:
        checks += [_killed_midway(facts.kill), _went_on_where_it_was(facts.kill)]
    if facts.has_bad_peer:
        checks.append(Check("wrong chunks were refused", facts.refused > 0, f"{facts.refused} refused"))
    return checks


def _one_copy(facts: Facts) -> Check:
    total, requests = facts.passed["bytes_total"], facts.passed["requests"]
    allowed = f"{facts.allowed_bytes} allowed: {FACTOR} x one copy and the headers of {facts.allowed_requests} requests"
    return Check("one copy crossed the uplink", total <= facts.allowed_bytes, f"{total} bytes in {requests} requests; {allowed}")


def _small_headers(largest: int) -> Check:
    detail = f"{largest} bytes at most of a request with its answer; {LARGEST_HEADER_BYTES} allowed"
    return Check("headers were small", largest <= LARGEST_HEADER_BYTES, detail)


def _little_twice(facts: Facts) -> Check:
    repeated = facts.passed["repeated_body_bytes"]
    detail = f"{repeated} bytes passed the uplink again after {facts.breaks} breaks"
    return Check("little was sent twice", repeated <= facts.breaks * LOST_BYTES, detail)


def _went_on_after_cut(after: int | None) -> Check:
    text = f"the update was over before the uplink was cut and back: {_TOO_FAST}"
    return Check("the transfer went on after the cut", bool(after), f"{after} bytes of content came after it" if after else text)


def _killed_midway(kill: Kill | None) -> Check:
    text = f"the update was over before it could be killed: {_TOO_FAST}"
    if kill is not None:
        text = f"{kill.name} had {kill.done_bytes} of {kill.size} bytes, {kill.received_bytes} of them received"
        text += "" if kill.is_midway else f": {_TOO_FAST}"
    return Check("the device was killed in mid-transfer", kill is not None and kill.is_midway, text)


def _went_on_where_it_was(kill: Kill | None) -> Check:
    """A status counts a chunk only once it is durable: whatever it had said, the device must have again, to the last byte.

    What had arrived and was not durable yet, a batch of up to 512 KiB, is in neither number.
    """
    name = "the killed device went on where it was"
    if kill is None or kill.again_bytes is None:
        return Check(name, False, "it was not seen to go on")
    return Check(name, kill.lost_bytes == 0, f"it lost {kill.lost_bytes} of the {kill.done_bytes} bytes that it said it had")
