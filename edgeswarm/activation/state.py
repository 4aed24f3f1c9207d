"""What an installer remembers of its target: a small file that is replaced atomically and carries its own checksum."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

from ..abc import FileOps
from ..content.sealed import seal, unseal
from ..errors import ActivationError
from ..files.whole import save_file

STATE_NAME = "state.json"
ORIGINAL = "original"
"""What the slot of a file or directory is called that was in the target before edgeswarm."""

_FORMAT = 1
# A few slots of a hundred bytes each, twice.
_STATE_MAX_BYTES = 64 * 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SlotRef:
    """A slot and what is known of the release in it.

    Attributes:
        slot: Manifest digest in hex, or a name that starts with `original`.
        version: For people.
        confirmed: It was declared good.
        text: What the target's symlink says while this slot is active; empty where the target is a file.
    """

    slot: str
    version: str
    confirmed: bool = False
    text: str = ""

    @property
    def is_original(self) -> bool:
        """Whether it holds what was there before edgeswarm."""
        return self.slot.startswith(ORIGINAL)


@dataclass(frozen=True, slots=True)
class TargetState:
    """The slots of a target.

    Attributes:
        staged: Whole and durable, not active.
        active: What the target holds.
        history: What `rollback` goes back to, newest first.
        intent: The state after a switch that was begun; what the target holds decides whether it counts.
    """

    staged: SlotRef | None = None
    active: SlotRef | None = None
    history: tuple[SlotRef, ...] = ()
    intent: TargetState | None = None

    def slots(self) -> set[str]:
        """Return the names of all slots that are needed."""
        mine = {ref.slot for ref in (self.staged, self.active, *self.history) if ref is not None}
        return mine | (self.intent.slots() if self.intent else set())


def encode_target_state(state: TargetState) -> bytes:
    """Return one line of JSON and one with its BLAKE3 in hex."""
    line = json.dumps({"format": _FORMAT} | _fields_of(state), sort_keys=True, separators=(",", ":")).encode()
    return seal(line)


def decode_target_state(data: bytes) -> TargetState | None:
    """Decode a state; None if it is damaged.

    Raises:
        ActivationError: It is whole and of a newer format.
    """
    line = unseal(data)
    if line is None:
        return None
    fields = json.loads(line)
    if fields["format"] != _FORMAT:
        raise ActivationError(f"state of the target: wanted format {_FORMAT}, got {fields['format']}; a newer edgeswarm saved it")
    return _state_of(fields)


def _fields_of(state: TargetState) -> dict[str, Any]:
    return {
        "staged": _ref_fields(state.staged),
        "active": _ref_fields(state.active),
        "history": [_ref_fields(ref) for ref in state.history],
        "intent": _fields_of(state.intent) if state.intent else None,
    }


def _ref_fields(ref: SlotRef | None) -> dict[str, Any] | None:
    if ref is None:
        return None
    return {"slot": ref.slot, "version": ref.version, "confirmed": ref.confirmed, "text": ref.text}


def _state_of(fields: dict[str, Any]) -> TargetState:
    history = tuple(SlotRef(**ref) for ref in fields["history"])
    intent = _state_of(fields["intent"]) if fields["intent"] else None
    return TargetState(_ref_of(fields["staged"]), _ref_of(fields["active"]), history, intent)


def _ref_of(fields: dict[str, Any] | None) -> SlotRef | None:
    return SlotRef(**fields) if fields else None


def load_target_state(files: FileOps, folder: str) -> TargetState | None:
    """Return the saved state of a slot folder; None if there is none, or a damaged one, which is logged.

    The file is only ever replaced whole, so damage means a failing disk. It is not a reason to stop: an installer goes on from what
    the target itself tells, and keeps what is in it as the previous release.
    """
    path = f"{folder}/{STATE_NAME}"
    try:
        data = files.read(path, _STATE_MAX_BYTES)
    except FileNotFoundError:
        return None
    state = decode_target_state(data)
    if state is None:
        logger.warning("%s is damaged: going on from what the target itself tells", path)
    return state


def save_target_state(files: FileOps, folder: str, state: TargetState) -> None:
    """Replace the saved state of a slot folder, durably."""
    save_file(files, folder, STATE_NAME, encode_target_state(state))
