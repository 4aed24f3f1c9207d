from __future__ import annotations

import pytest

from edgeswarm.errors import ConfigError, TrustError
from edgeswarm.trust.authority import Authority
from edgeswarm.trust.bundle import FILE_NAMES, MAX_FILE_BYTES, Identity, new_site_key

from .world import NOW, World, draft_root, ring

FLEET = Authority.create("fleet", NOW)
ROOT = World().root1


def files() -> dict[str, bytes]:
    key, certificate = FLEET.issue("ship-1", "gw", NOW)
    return Identity(key, certificate, FLEET.certificate_pem, new_site_key(), ROOT).to_files()


def test_an_identity_survives_its_files() -> None:
    folder = files()
    assert tuple(folder) == FILE_NAMES
    identity = Identity.from_files(folder | {"other": b"ignored"})
    assert (identity.fleet, identity.site, identity.node) == ("fleet", "ship-1", "gw")
    assert len(identity.node_id) == 32
    assert identity.to_files() == folder
    assert folder["site.key"] == identity.site_key.hex().encode() + b"\n"


def test_secrets_are_not_in_the_repr() -> None:
    folder = files()
    shown = repr(Identity.from_files(folder))
    assert "PRIVATE" not in shown
    assert folder["site.key"].strip().decode() not in shown
    assert "site_key" not in shown


def test_site_keys_are_random() -> None:
    assert len({new_site_key() for _ in range(4)}) == 4
    assert len(new_site_key()) == 32


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_missing_or_malformed_file_is_named(name: str) -> None:
    folder = files()
    for junk in (b"", b"junk", folder[name][: len(folder[name]) // 2]):
        with pytest.raises(TrustError):
            Identity.from_files(folder | {name: junk})
    with pytest.raises(ConfigError, match="enrol"):
        Identity.from_files({key: data for key, data in folder.items() if key != name})
    with pytest.raises(ConfigError, match="at most"):
        Identity.from_files(folder | {name: bytes(MAX_FILE_BYTES + 1)})


def test_parts_of_others_do_not_fit() -> None:
    folder, other = files(), files()
    with pytest.raises(TrustError, match="do not belong together"):
        Identity.from_files(folder | {"node.key": other["node.key"]})
    with pytest.raises(TrustError, match="not issued by"):
        Identity.from_files(folder | {"ca.crt": Authority.create("fleet", NOW).certificate_pem})
    with pytest.raises(TrustError, match="no certificate of an edgeswarm node"):
        Identity.from_files(folder | {"node.crt": FLEET.certificate_pem, "node.key": FLEET.key_pem()})


def test_an_unsigned_root_is_refused() -> None:
    draft = draft_root(root=ring("x"), targets=ring("x"), snapshot=ring("x"), timestamp=ring("x"), now=NOW)
    with pytest.raises(TrustError, match=r"root\.json"):
        Identity.from_files(files() | {"root.json": draft})
