from __future__ import annotations

import json
from array import array
from pathlib import Path

import pytest
from activation_artifacts import file_artifact, noise, sample_tree, tree_artifact
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.activation.layout import Layout, SlotRecord, decode_record, file_layout, layout_of, record_of
from edgeswarm.activation.lifecycle import BadRelease, LifecycleState, Offer, Phase, encode_state
from edgeswarm.activation.state import SlotRef, TargetState, decode_target_state, encode_target_state
from edgeswarm.content.manifest import Chunk
from edgeswarm.content.tree import Entry, EntryType, encode_entries
from edgeswarm.errors import ContentError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/activation.json").read_text())


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 20), st.booleans())
def test_spans_put_every_byte_where_it_belongs(sizes: list[int], step: int, tree: bool) -> None:
    entries = tuple(Entry(f"{number:02}", EntryType.FILE, 0o644, size) for number, size in enumerate(sizes))
    head = encode_entries(entries) if tree else b""
    layout = Layout(entries, head)
    contents = [noise(number, size) for number, size in enumerate(sizes)]
    stream = head + b"".join(contents)
    assert layout.size == len(stream)
    built = [bytearray(size) for size in sizes]
    for index, at in enumerate(range(0, len(stream), step)):
        data = stream[at : at + step]
        for span in layout.spans(Chunk(index, at, len(data), b"")):
            assert span.length > 0
            built[span.file][span.offset : span.offset + span.length] = data[span.start : span.start + span.length]
    assert [bytes(data) for data in built] == contents


def test_records_come_back() -> None:
    for artifact in (sample_tree(1), tree_artifact([], {}), file_artifact(noise(1, 300_000)), file_artifact(b"")):
        record = record_of(artifact.manifest, layout_of(artifact.manifest, artifact.read, "tool", 0o755))
        again = decode_record(record.encode())
        assert again.layout == record.layout
        assert list(again.chunks()) == [artifact.manifest.chunk(index) for index in range(len(artifact.manifest))]


@given(st.data())
def test_a_damaged_record_is_a_content_error(data: st.DataObject) -> None:
    encoded = bytearray(example_record().encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ContentError):
        decode_record(bytes(encoded))


@pytest.mark.parametrize("length", [0, 7, 8, 63, 64, 100])
def test_a_short_record_is_a_content_error(length: int) -> None:
    with pytest.raises(ContentError, match="slot record"):
        decode_record(example_record().encode()[:length])


@pytest.mark.parametrize(
    "entries",
    [
        [Entry("a/b", EntryType.FILE, 0o644)],
        [Entry("a", EntryType.SYMLINK, target="."), Entry("a/b", EntryType.FILE, 0o644)],
        [Entry("a", EntryType.FILE, 0o644), Entry("a", EntryType.FILE, 0o644)],
        [Entry("a", EntryType.HARDLINK, target="b"), Entry("b", EntryType.FILE, 0o644)],
    ],
    ids=["no parent", "through a symlink", "twice", "later target"],
)
def test_entries_that_lead_elsewhere_are_refused_here_too(entries: list[Entry]) -> None:
    with pytest.raises(ContentError):
        Layout(tuple(entries), b"")


def test_a_path_that_slipped_through_is_refused_here_too() -> None:
    entry = Entry("a", EntryType.FILE, 0o644)
    object.__setattr__(entry, "path", "../a")
    with pytest.raises(ContentError, match=r"\.\."):
        Layout((entry,), b"")


def example_record() -> SlotRecord:
    return SlotRecord(file_layout("tool", 300, 0o755), array("I", [200, 100]), bytes(range(64)))


def example_target_state() -> TargetState:
    staged = SlotRef("ab" * 32, "2.0", text=".app.edgeswarm/" + "ab" * 32)
    active = SlotRef("cd" * 32, "1.0", confirmed=True, text=".app.edgeswarm/" + "cd" * 32)
    original = SlotRef("original", "original", confirmed=True, text="app-0")
    return TargetState(staged, active, (original,), TargetState(None, staged, (active,)))


def example_lifecycle_state() -> LifecycleState:
    offer, waiting = Offer("app", "2.0", b"\x01" * 32, 7), Offer("app", "3.0", b"\x02" * 32, 8)
    bad = (BadRelease(b"\x03" * 32, 5, "sick"),)
    return LifecycleState(Phase.CHECKING, offer, waiting, b"\x01" * 32, 2, 1, False, "why", bad)


def test_golden_bytes() -> None:
    assert example_record().encode().hex() == VECTORS["slot record"]
    assert encode_target_state(example_target_state()).decode() == VECTORS["target state"]
    assert encode_state(example_lifecycle_state()).decode() == VECTORS["lifecycle state"]


def test_target_states_come_back() -> None:
    for state in (TargetState(), example_target_state()):
        assert decode_target_state(encode_target_state(state)) == state


@given(st.data())
def test_damage_to_a_target_state_is_noticed(data: st.DataObject) -> None:
    encoded = bytearray(encode_target_state(example_target_state()))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    assert decode_target_state(bytes(encoded)) is None


def test_example_layout_is_what_the_manifest_says() -> None:
    artifact = file_artifact(noise(1, 1000))
    assert layout_of(artifact.manifest, artifact.read, "tool", 0o755) == file_layout("tool", 1000, 0o755)
