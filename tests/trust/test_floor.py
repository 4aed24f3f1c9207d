from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.errors import StoreError, TrustError
from edgeswarm.trust.floor import VersionFloor

KEYS = "ab" * 32
versions = st.integers(0, 2**60)


@given(versions, versions, versions, st.sampled_from(["", KEYS]))
def test_it_survives_encoding(root: int, timestamp: int, snapshot: int, keys: str) -> None:
    floor = VersionFloor(root, timestamp, snapshot, keys)
    assert VersionFloor.decode(floor.encode()) == floor


def test_golden_bytes() -> None:
    assert VersionFloor(1, 2, 3, KEYS).encode() == b'{"keys":"' + KEYS.encode() + b'","root":1,"snapshot":3,"timestamp":2}'


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"root":-1}', b'{"root":1.5}', b'{"root":true}', b'{"x":1}', b'{"keys":"zz"}', b'{"keys":7}', b"[" * 600],
)
def test_damage_is_loud(data: bytes) -> None:
    with pytest.raises(StoreError, match="damaged"):
        VersionFloor.decode(data)


def test_older_versions_are_refused_under_the_same_keys_only() -> None:
    floor = VersionFloor(2, 5, 4, KEYS)
    floor.check_root(2)
    floor.check_online(KEYS, 5, 4)
    floor.check_online("cd" * 32, 1, 1)
    for refused in ((KEYS, 4, 4), (KEYS, 5, 3)):
        with pytest.raises(TrustError, match="older than"):
            floor.check_online(*refused)
    with pytest.raises(TrustError, match="root v1"):
        floor.check_root(1)
