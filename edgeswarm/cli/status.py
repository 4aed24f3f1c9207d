"""`edgeswarm status`: what a running node says of itself."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import trio

from ..errors import EdgeswarmError, RemoteProtocolError
from .interrupt import until_stopped
from .node_options import CONFIG_FILE, ConfigFile, read_config
from .options import Json
from .show import human_bytes, show

FAILED_EXIT, STALE_EXIT, ROLLED_BACK_EXIT, FULL_EXIT, UNTRUSTED_EXIT = 1, 3, 18, 28, 77


class AnsweredError(EdgeswarmError):
    """The node answered with an error; its exit code is the node's."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(str(answer["error"]))
        code = answer["exit_code"]
        self.exit_code = code if type(code) is int and 0 < code < 128 else 1  # type: ignore[misc]  # of this one answer


def ask_node(state: Path, verb: str, **arguments: Any) -> dict[str, Any]:
    """Return a running node's answer; `FetchError` if none runs, `AnsweredError` if it refuses."""
    from ..node.control import ask

    answer: dict[str, Any] = trio.run(until_stopped, partial(ask, state, verb, **arguments))
    if "error" in answer and "exit_code" in answer:
        raise AnsweredError(answer)
    return answer


def status(*, config: ConfigFile = CONFIG_FILE, state: Path | None = None, as_json: Json = False) -> int:
    """Show what a running node holds, fetches and follows.

    Exit code 1: a release could not be installed, or not be rolled back. Exit code 18: one was rolled back. Exit code 77: what the
    origin answered does not verify. Exit code 28: there was no room to save what is newer. Exit code 3: metadata has expired, the
    newest could not be had, or the node is offline. The first that applies.

    Args:
        config: Configuration file of the node.
        state: State folder of the node, instead of the file's.
        as_json: Write one JSON object.
    """
    found = ask_node(state or read_config(config).node.state, "status")
    try:
        title = f"{found['fleet']}/{found['site']}/{found['node']} ({found['role']}), pid {found['pid']}"
        rows, code = _rows(found), _exit_code(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RemoteProtocolError(f"the node's answer is not understood: is it of another version? ({error!r})") from error
    show(found, as_json=as_json, title=title, rows=rows)
    return code


def _exit_code(found: dict[str, Any]) -> int:
    rows = found["subscriptions"]
    if any(one["phase"] == "failed" or (one["phase"] == "rolling_back" and one["retry_seconds"] is not None) for one in rows):
        return FAILED_EXIT
    if any(one["phase"] == "rolled_back" for one in rows):
        return ROLLED_BACK_EXIT
    return _metadata_code(found)


def _metadata_code(found: dict[str, Any]) -> int:
    """Judge the metadata and who brings it.

    Only the origin's answers raise the alarm: any node of the site can say what does not verify. Once what is here has expired,
    that is said instead: an origin that nobody signs for any more has an expired answer too.
    """
    uplink, is_stale = found["uplink"], found["metadata"]["stale"]
    errors = _errors(found)
    if not is_stale and any(row["source"] == "origin" and row["exit_code"] == UNTRUSTED_EXIT for row in errors):
        return UNTRUSTED_EXIT
    if any(row["exit_code"] == FULL_EXIT for row in errors):
        return FULL_EXIT
    offline = not found["peers"] and (uplink is None or not uplink["usable"])
    return STALE_EXIT if is_stale or errors or offline else 0


def _errors(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what counts of what the metadata failed with: what peers say does not where the origin says what there is."""
    uplink = found["uplink"]
    is_well = uplink is not None and uplink["current"]
    rows: list[dict[str, Any]] = found["metadata"]["errors"]
    return [row for row in rows if row["source"] != "peers" or not is_well or row["exit_code"] == FULL_EXIT]


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    metadata, store = found["metadata"], found["store"]
    rows = [("metadata", _metadata_text(metadata))]
    rows += [("not taken", _error_text(row)) for row in metadata["errors"]]
    rows += [("warning", text) for text in (*metadata["troubles"], store["recovery"]) if text]
    if found["uplink"] is not None:
        uplink = found["uplink"]
        state = "usable" if uplink["usable"] else f"down: {uplink['error']}"
        rows.append(("uplink", f"{state}; {human_bytes(uplink['bytes_read'])} read"))
    held = human_bytes(store["chunk_bytes"] + store["linked_bytes"])
    rows.append(("store", f"{held} held, {human_bytes(store['segment_bytes'])} of it on disk beside what is installed"))
    rows += [(f"{one['product']}@{one['channel']}", _subscription_text(one)) for one in found["subscriptions"]]
    rows += [(f"fetching {one['product']}", _fetch_text(one)) for one in found["fetches"]]
    rows += [(f"peer {one['node']}", _peer_text(one)) for one in found["peers"]]
    rows += [("shut out", reason) for reason in found["banned"]]
    rows += [("refused", reason) for reason in found["refused"]]
    return rows


def _subscription_text(one: dict[str, Any]) -> str:
    wanted = f", wants {one['wanted']}" if one["wanted"] not in {"", one["version"]} else ""
    job = one["job"]
    doing = f", {job['doing']}: {human_bytes(job['done'])} of {human_bytes(job['size'])}" if job is not None else ""
    trouble = f": {one['reason'] or one['error']}" if one["reason"] or one["error"] else ""
    again = f"; tried again in {one['retry_seconds']:.0f} s" if one["retry_seconds"] is not None else ""
    channel = f"; nothing newer for this node: {one['channel_error']}" if one["channel_error"] else ""
    return f"{one['version'] or 'nothing yet'}, {one['phase']}{wanted}{doing}{trouble}{again}{channel}"


def _metadata_text(metadata: dict[str, Any]) -> str:
    if not metadata["version"]:
        return "none yet"
    stale = "EXPIRED, " if metadata["stale"] else ""
    return f"{stale}version {metadata['version']}, {metadata['expires_first']} expires {metadata['expires'][:16]}"


def _error_text(row: dict[str, Any]) -> str:
    source = {"origin": "the origin's", "peers": "the neighbours'", "saved": "what was saved of the"}[row["source"]]
    return f"{source} {row['product'] or 'metadata'}: {row['error']}"


def _fetch_text(one: dict[str, Any]) -> str:
    share = 100 * one["done"] / one["size"] if one["size"] else 100
    sources = ", ".join(f"{source} {human_bytes(count)}" for source, count in one["by_source"].items() if count)
    return f"{one['version']}: {share:.0f} % of {human_bytes(one['size'])} ({sources or 'nothing yet'})"


def _peer_text(one: dict[str, Any]) -> str:
    uplink = ", has an uplink" if one["uplink"] else ""
    return (
        f"{one['role']} at {one['address']}{uplink}; {human_bytes(one['received_bytes'])} in, {human_bytes(one['sent_bytes'])} out"
    )
