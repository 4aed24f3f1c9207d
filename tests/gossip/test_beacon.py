from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

from edgeswarm.errors import LocalProtocolError, RemoteProtocolError, TrustError
from edgeswarm.gossip import AGE_UNKNOWN, BEACON_MAX_BYTES, Beacon, open_beacon, seal_beacon, site_tag

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/beacon.json").read_text())
KEY, OTHER, NONCE = bytes(range(32)), bytes(32), bytes(range(100, 124))
SITE = site_tag("acme", "rig-4")
BEACON = Beacon(site=SITE, node=b"\x01" * 8, epoch=7, sequence=3, timestamp_version=12, age=60, port=4440, address="192.0.2.7")


def sealed_by_hand(plain: bytes) -> bytes:
    return b"esb\x01" + NONCE + crypto_aead_xchacha20poly1305_ietf_encrypt(plain, b"esb\x01", NONCE, KEY)


@pytest.mark.parametrize("vector", VECTORS["beacons"], ids=lambda v: v["address"] or "no address")
def test_golden_bytes(vector: dict[str, Any]) -> None:
    assert SITE.hex() == VECTORS["site_tag"]
    beacon = replace(BEACON, address=vector["address"])
    datagram = bytes.fromhex(vector["datagram"])
    assert seal_beacon(beacon, key=KEY, nonce=NONCE) == datagram
    assert open_beacon(datagram, keys=[KEY], site=SITE) == beacon
    assert sealed_by_hand(bytes.fromhex(vector["plain"])) == datagram


@given(
    st.builds(
        Beacon,
        site=st.just(SITE),
        node=st.binary(min_size=8, max_size=8),
        epoch=st.integers(0, 2**63 - 1),
        sequence=st.integers(0, 2**32 - 1),
        timestamp_version=st.integers(0, 2**63 - 1),
        age=st.integers(0, AGE_UNKNOWN),
        port=st.integers(0, 65535),
        address=st.just("") | st.ip_addresses().filter(lambda a: not getattr(a, "scope_id", None)).map(str),
    ),
    st.binary(min_size=24, max_size=24),
)
def test_what_is_sealed_opens(beacon: Beacon, nonce: bytes) -> None:
    datagram = seal_beacon(beacon, key=KEY, nonce=nonce)
    assert len(datagram) <= BEACON_MAX_BYTES
    assert open_beacon(datagram, keys=[OTHER, KEY], site=SITE) == beacon


@given(st.integers(0, 90), st.integers(1, 255))
def test_any_changed_byte_is_noticed(at: int, change: int) -> None:
    datagram = bytearray(seal_beacon(BEACON, key=KEY, nonce=NONCE))
    datagram[at] ^= change
    with pytest.raises((RemoteProtocolError, TrustError)):
        open_beacon(bytes(datagram), keys=[KEY], site=SITE)


@given(st.binary(max_size=200))
def test_junk_from_strangers(data: bytes) -> None:
    for datagram in (data, b"esb\x01" + data):
        with pytest.raises((RemoteProtocolError, TrustError)):
            open_beacon(datagram, keys=[KEY], site=SITE)


@given(st.binary(max_size=80))
def test_junk_from_those_who_have_the_key(plain: bytes) -> None:
    try:
        beacon = open_beacon(sealed_by_hand(plain), keys=[KEY], site=plain[:8])
    except (RemoteProtocolError, TrustError):
        return
    assert seal_beacon(beacon, key=KEY, nonce=NONCE) == sealed_by_hand(plain)


@pytest.mark.parametrize("change", [(42, 0), (42, 5), (16, 0x80), (28, 0x80)])
def test_impossible_values_of_those_who_have_the_key(change: tuple[int, int]) -> None:
    plain = bytearray(bytes.fromhex(VECTORS["beacons"][0]["plain"]))
    plain[change[0]] = change[1]
    with pytest.raises(RemoteProtocolError):
        open_beacon(sealed_by_hand(bytes(plain)), keys=[KEY], site=SITE)


def test_who_may_be_heard() -> None:
    datagram = seal_beacon(BEACON, key=KEY, nonce=NONCE)
    with pytest.raises(TrustError, match="none of our 1"):
        open_beacon(datagram, keys=[OTHER], site=SITE)
    with pytest.raises(TrustError, match="share a key"):
        open_beacon(datagram, keys=[KEY], site=site_tag("acme", "rig-5"))


def test_tags_tell_fleets_and_sites_apart() -> None:
    assert len({site_tag("a", "b"), site_tag("b", "a"), site_tag("a", "c"), site_tag("ab", "")}) == 4


@pytest.mark.parametrize(
    "values",
    [
        {"site": b""}, {"node": bytes(9)}, {"epoch": -1}, {"epoch": 2**63}, {"sequence": 2**32}, {"timestamp_version": 2**63},
        {"age": 2**32}, {"port": 65536}, {"address": "rig.example"}, {"address": "fe80::1%eth0"},
    ],
)  # fmt: skip
def test_wrong_values_cannot_be_made(values: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match="beacon"):
        replace(BEACON, **values)


def test_keys_and_nonces_have_their_length() -> None:
    with pytest.raises(LocalProtocolError):
        seal_beacon(BEACON, key=KEY[1:], nonce=NONCE)
    with pytest.raises(LocalProtocolError):
        seal_beacon(BEACON, key=KEY, nonce=NONCE[1:])
