from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.errors import ConfigError, NotPublishedError, TrustError
from edgeswarm.trust.catalogue import (
    MAX_HISTORY,
    MAX_INDEXES,
    MAX_NUMBER,
    Catalogue,
    Channel,
    IndexRef,
    Release,
    check_sequence,
    decode_channel,
    decode_release,
    encode_channel,
    encode_release,
)
from edgeswarm.trust.names import NAME_RULE
from edgeswarm.trust.steps import Target

D = bytes(range(32))
names = st.from_regex(NAME_RULE, fullmatch=True)
products = names.filter(lambda name: name not in {"root", "targets", "snapshot", "timestamp"})
digests = st.binary(min_size=32, max_size=32)
numbers = st.integers(0, MAX_NUMBER)
indexes = st.builds(IndexRef, st.none() | digests, digests, st.integers(1, MAX_NUMBER), numbers)
index_lists = st.lists(indexes, max_size=5, unique_by=lambda index: index.base).map(tuple)
releases = st.builds(Release, products, names, names, digests, numbers, st.integers(1, 4096), index_lists)
policies = st.dictionaries(names, numbers | st.text(max_size=40), max_size=4)
channels = st.builds(Channel, products, names, names, st.integers(1, MAX_NUMBER), policies, st.lists(names, max_size=4).map(tuple))
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("msivnp_x"), inner, max_size=4),
    max_leaves=12,
)


def fake(targets: Mapping[str, object]) -> Catalogue:
    class Source:
        def target(self, path: str) -> Target | None:
            return Target(path, 10, "", targets[path]) if path in targets else None

        def target_paths(self) -> list[str]:
            return sorted(targets)

    return Catalogue(Source())


@pytest.mark.slow
@given(releases)
def test_releases_survive_encoding(release: Release) -> None:
    custom = json.loads(json.dumps(encode_release(release)))
    assert decode_release(release.product, release.version, release.variant, release.root_bytes, custom) == release


@pytest.mark.slow
@given(channels)
def test_channels_survive_encoding(channel: Channel) -> None:
    assert decode_channel(channel.product, channel.name, json.loads(json.dumps(encode_channel(channel)))) == channel


@given(junk)
def test_junk_is_refused_or_valid(custom: object) -> None:
    for decode in (lambda: decode_release("p", "1", "any", 10, custom), lambda: decode_channel("p", "c", custom)):
        try:
            decode()
        except TrustError:
            continue


def test_golden_custom_objects() -> None:
    text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    release = Release("p", "1", "any", D, 7, 9, (IndexRef(None, D, 5, 6), IndexRef(D, D, 8, 9)))
    assert encode_release(release) == {"m": text, "s": 7, "i": [["", text, 5, 6], [text, text, 8, 9]]}
    assert encode_release(Release("p", "1", "any", D, 7, 9)) == {"m": text, "s": 7}
    assert encode_channel(Channel("p", "c", "1", 3, {"wave": 5})) == {"v": "1", "n": 3, "p": {"wave": 5}}
    assert encode_channel(Channel("p", "c", "3", 3, {}, ("2", "1"))) == {"v": "3", "n": 3, "_h": ["2", "1"]}
    assert encode_channel(Channel("p", "c", "1", 3)) == {"v": "1", "n": 3}


GOOD = {"m": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "s": 7}


@pytest.mark.parametrize(
    "change",
    [
        {"s": -1},
        {"s": True},
        {"s": 1.0},
        {"s": MAX_NUMBER + 1},
        {"m": GOOD["m"] + "="},
        {"m": GOOD["m"][:-1] + "9"},  # bits beyond the digest: two texts for one digest
        {"m": GOOD["m"][:-1]},
        {"m": "+" + str(GOOD["m"])[1:]},
        {"m": "ä" * 43},
        {"m": None},
        {"i": {}},
        {"i": [[]]},
        {"i": [["", GOOD["m"], 1]]},
        {"i": [["", GOOD["m"], 0, 1]]},
        {"i": [["x", GOOD["m"], 1, 1]]},
        {"i": [[None, GOOD["m"], 1, 1]]},
        {"i": [["", GOOD["m"], 1, 1]] * 2},
        {"i": [["", GOOD["m"], 1, 1]] * (MAX_INDEXES + 1)},
        {"z": 1},
    ],
)
def test_the_schema_of_releases_is_strict(change: dict[str, object]) -> None:
    decode_release("p", "1", "any", 10, GOOD)
    with pytest.raises(TrustError):
        decode_release("p", "1", "any", 10, GOOD | change)


@pytest.mark.parametrize(
    "change",
    [
        {"n": 0},
        {"n": "1"},
        {"v": "../x"},
        {"v": 7},
        {"p": []},
        {"p": {"a/b": 1}},
        {"p": {"a": []}},
        {"p": {"a": -1}},
        {"p": {"a": "x" * 257}},
        {"p": {f"a{i}": i for i in range(17)}},
        {"extra": 1},
    ],
)
def test_the_schema_of_channels_is_strict(change: dict[str, object]) -> None:
    good: dict[str, object] = {"v": "1", "n": 1}
    decode_channel("p", "c", good)
    with pytest.raises(TrustError):
        decode_channel("p", "c", good | change)


def test_annotations_are_ignored_and_missing_fields_refused() -> None:
    assert decode_release("p", "1", "any", 10, GOOD | {"_note": [1]}).size == 7
    for custom in ({"s": 7}, {}, None, [], "x"):
        with pytest.raises(TrustError):
            decode_release("p", "1", "any", 10, custom)
    with pytest.raises(TrustError, match="too long"):
        decode_release("p", "1", "any", 4097, GOOD)


@pytest.mark.parametrize("note", [None, [], "1", {"1": 2}, ["1", 2], ["../1"], [["1"]]])
def test_a_history_that_is_none_is_an_annotation_like_any_other(note: object) -> None:
    assert decode_channel("p", "c", {"v": "1", "n": 2, "_h": note}) == Channel("p", "c", "1", 2)


def test_a_history_is_bounded() -> None:
    rows = [str(number) for number in range(MAX_HISTORY + 1)]
    assert decode_channel("p", "c", {"v": "x", "n": 2, "_h": rows}).history == tuple(rows[:-1])
    with pytest.raises(TrustError, match="remembers at most"):
        Channel("p", "c", "x", 2, {}, tuple(rows))


def test_a_device_gets_its_own_variant_or_the_common_one() -> None:
    catalogue = fake({"p/releases/1/any": GOOD, "p/releases/1/board": GOOD | {"s": 8}, "p/releases/2/board": GOOD})
    assert catalogue.release("p", "1", "board").size == 8
    assert catalogue.release("p", "1", "other").size == 7
    assert catalogue.release("p", "1").size == 7
    with pytest.raises(NotPublishedError, match="no release '2' for 'other'"):
        catalogue.release("p", "2", "other")
    assert [found.path for found in catalogue.releases("p")] == ["p/releases/1/any", "p/releases/1/board", "p/releases/2/board"]
    assert catalogue.releases("q") == []


def test_channels_are_listed_and_found() -> None:
    catalogue = fake({"p/channels/stable": {"v": "1", "n": 2}, "p/channels/beta": {"v": "2", "n": 1}, "pp/channels/x": {}})
    assert catalogue.channels("p") == ["beta", "stable"]
    assert catalogue.channel("p", "stable") == Channel("p", "stable", "1", 2)
    with pytest.raises(NotPublishedError, match="no channel 'gone'"):
        catalogue.channel("p", "gone")


@pytest.mark.parametrize("asked", [("../p", "c"), ("p", "../c"), ("targets", "c"), ("p*", "c")])
def test_names_asked_for_are_checked(asked: tuple[str, str]) -> None:
    with pytest.raises(ConfigError):
        fake({}).channel(*asked)
    with pytest.raises(ConfigError):
        fake({}).release(asked[0], asked[1])


def test_the_index_against_a_base_is_found() -> None:
    release = Release("p", "1", "any", D, 7, 9, (IndexRef(None, D, 5, 6), IndexRef(D, D, 8, 9)))
    assert release.index_for(None) == release.indexes[0]
    assert release.index_for(D) == release.indexes[1]
    assert release.index_for(bytes(32)) is None


def test_sequences_never_go_back_but_versions_may() -> None:
    old = Channel("p", "c", "2", 5)
    check_sequence(None, old)
    check_sequence(old, old)
    check_sequence(old, Channel("p", "c", "1", 6))
    with pytest.raises(TrustError, match="went back"):
        check_sequence(old, Channel("p", "c", "3", 4))
    with pytest.raises(TrustError, match="both at sequence 5"):
        check_sequence(old, Channel("p", "c", "3", 5))
