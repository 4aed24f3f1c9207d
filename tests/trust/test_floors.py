"""Floors only rise, whatever they are joined with, and survive encoding."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.errors import StoreError, TrustError
from edgeswarm.trust.catalogue import Channel
from edgeswarm.trust.clock import BUILD_TIME, TimeFloor
from edgeswarm.trust.floor import VersionFloor
from edgeswarm.trust.floors import Floors

KEYS = ["", "a" * 64, "b" * 64]
numbers = st.integers(0, 9)
versions = st.builds(VersionFloor, numbers, numbers, numbers, st.just(KEYS[1]))
times = st.integers(0, 100).map(lambda days: TimeFloor(BUILD_TIME + timedelta(days=days)))
channels = st.dictionaries(st.sampled_from(["app/stable", "app/beta", "tool/x"]), numbers.map(lambda n: (n + 1, f"v{n}")))
floors = st.builds(Floors, versions, times, channels)


@given(floors)
def test_what_is_encoded_comes_back(one: Floors) -> None:
    assert Floors.decode(one.encode()) == one


@given(floors, floors, floors)
def test_joining_takes_the_higher_of_each_in_any_order(one: Floors, two: Floors, three: Floors) -> None:
    both = one.joined(two)
    assert both == two.joined(one)
    assert both.joined(three) == one.joined(two.joined(three))
    assert both.joined(one) == both.joined(both) == both
    assert both.versions.timestamp == max(one.versions.timestamp, two.versions.timestamp)
    assert both.versions.root == max(one.versions.root, two.versions.root)
    assert both.time.value == max(one.time.value, two.time.value)
    for path in one.channels.keys() | two.channels.keys():
        assert both.channels[path][0] == max(side.channels.get(path, (0, ""))[0] for side in (one, two))


def test_after_a_rotation_of_the_online_keys_versions_count_from_the_start() -> None:
    before = Floors(VersionFloor(1, 2**53, 2**53, KEYS[1]))
    after = Floors(VersionFloor(2, 1, 1, KEYS[2]))
    assert before.joined(after).versions == after.joined(before).versions == after.versions


def test_a_channel_never_goes_back() -> None:
    followed = Floors().followed(Channel("app", "stable", "2", 5))
    assert followed.channels == {"app/stable": (5, "2")}
    assert followed.followed(Channel("app", "stable", "2", 5)) == followed
    assert followed.followed(Channel("app", "stable", "1", 6)).channels["app/stable"] == (6, "1")
    assert followed.followed(Channel("app", "beta", "9", 1)).channels.keys() == {"app/stable", "app/beta"}
    for other in (Channel("app", "stable", "3", 4), Channel("app", "stable", "3", 5)):
        with pytest.raises(TrustError, match="channel app"):
            followed.followed(other)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b'{"format":2}', b"\xff", b"[" * 100_000,
        Floors().encode().replace(b'"root":0', b'"root":-1'),
        Floors().encode().replace(b'"root":0', b'"root":"0"'),
        Floors().encode().replace(b'"channels":{}', b'"channels":{"app":[1,"v"]}'),
        Floors().encode().replace(b'"channels":{}', b'"channels":{"app/x":[0,"v"]}'),
        Floors().encode().replace(b'"channels":{}', b'"channels":{"app/x":[1]}'),
        Floors().encode().replace(b'"channels":{}', b'"channels":{"app/x":7}'),
        Floors().encode().replace(b'"channels":{}', b'"channels":{"../x":[1,"v"]}'),
        Floors().encode().replace(b'"channels":{}', b'"channels":7'),
        Floors().encode().replace(b"2026", b"26"),
    ],
)  # fmt: skip
def test_damage_is_said(data: bytes) -> None:
    with pytest.raises(StoreError, match="floor"):
        Floors.decode(data)


def test_golden_bytes() -> None:
    one = Floors(
        VersionFloor(1, 7, 3, KEYS[1]), TimeFloor(datetime(2027, 2, 3, 4, 5, 6, tzinfo=UTC)), {"app/stable": (9, "2.0")}
    )  # fmt: skip
    assert one.encode() == (
        b'{"channels":{"app/stable":[9,"2.0"]},"format":1,"time":"2027-02-03T04:05:06Z",'
        b'"versions":{"keys":"' + b"a" * 64 + b'","root":1,"snapshot":3,"timestamp":7}}'
    )
