"""The saved state of a lifecycle as JSON: docs/reference/activation.md, "Lifecycle state"."""

from __future__ import annotations

import json
from typing import Any

from ...content.digest import DIGEST_BYTES, Digest
from ...errors import ContentError
from .messages import BadRelease, LifecycleState, Offer, Phase

_FORMAT = 1


def encode_state(state: LifecycleState) -> bytes:
    """Return canonical JSON; whoever stores it adds the checksum (`ChunkStore.save_object` does)."""
    fields = {
        "format": _FORMAT,
        "phase": str(state.phase),
        "offer": _offer_fields(state.offer),
        "waiting": _offer_fields(state.waiting),
        "active": state.active.hex(),
        "attempts": state.attempts,
        "failures": state.failures,
        "retry": state.retry,
        "reason": state.reason,
        "bad": [{"manifest": bad.manifest.hex(), "sequence": bad.sequence, "reason": bad.reason} for bad in state.bad],
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def decode_state(data: bytes) -> LifecycleState:
    """Decode what `encode_state` made.

    Raises:
        ContentError: Malformed, or of a newer format.
    """
    try:
        fields = json.loads(data)
        if fields["format"] != _FORMAT:
            raise ContentError(f"lifecycle state: wanted format {_FORMAT}, got {fields['format']}; a newer edgeswarm saved it")
        return _state_of(fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ContentError(f"lifecycle state: malformed: {error!r}") from error


def _state_of(fields: dict[str, Any]) -> LifecycleState:
    state = LifecycleState(
        phase=Phase(fields["phase"]),
        offer=_offer_of(fields["offer"]),
        waiting=_offer_of(fields["waiting"]),
        active=_digest_of(fields["active"], empty=True),
        attempts=_number(fields["attempts"]),
        failures=_number(fields["failures"]),
        retry=bool(fields["retry"]),
        reason=str(fields["reason"]),
        bad=tuple(BadRelease(_digest_of(b["manifest"]), _number(b["sequence"]), str(b["reason"])) for b in fields["bad"]),
    )
    if state.phase is not Phase.IDLE and state.offer is None:
        raise ContentError(f"lifecycle state: {state.phase} without a release")
    return state


def _offer_fields(offer: Offer | None) -> dict[str, Any] | None:
    if offer is None:
        return None
    return {
        "product": offer.product,
        "version": offer.version,
        "manifest": offer.manifest.hex(),
        "sequence": offer.sequence,
    }


def _offer_of(fields: dict[str, Any] | None) -> Offer | None:
    if fields is None:
        return None
    return Offer(str(fields["product"]), str(fields["version"]), _digest_of(fields["manifest"]), _number(fields["sequence"]))


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ContentError(f"lifecycle state: wanted a number from 0, got {value!r}")
    return value


def _digest_of(text: Any, *, empty: bool = False) -> Digest:
    data = bytes.fromhex(text)
    if len(data) != DIGEST_BYTES and not (empty and not data):
        raise ContentError(f"lifecycle state: wanted a digest of {DIGEST_BYTES} bytes, got {len(data)}")
    return data
