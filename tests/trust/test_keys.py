from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeswarm.errors import TrustError
from edgeswarm.trust.keys import MAX_KEYS, Keyring, PublicKey, SigningKey

from .world import key, ring


def test_a_key_survives_its_pem() -> None:
    one = SigningKey.generate()
    again = SigningKey.from_pem(one.to_pem())
    assert again.public == one.public
    assert PublicKey.from_pem(one.public.to_pem()) == one.public
    assert SigningKey.generate().public != one.public


def test_a_passphrase_protects_a_key() -> None:
    pem = key("a").to_pem(passphrase=b"secret")
    assert b"ENCRYPTED" in pem
    assert SigningKey.from_pem(pem, passphrase=b"secret").public == key("a").public
    for wrong in (None, b"wrong", b""):
        with pytest.raises(TrustError, match="passphrase"):
            SigningKey.from_pem(pem, passphrase=wrong)
    with pytest.raises(TrustError, match="empty"):
        key("a").to_pem(passphrase=b"")


def test_a_passphrase_that_is_not_needed_does_no_harm() -> None:
    assert SigningKey.from_pem(key("a").to_pem(), passphrase=b"unused").public == key("a").public


def test_the_secret_is_not_in_the_repr() -> None:
    assert repr(key("a")) == f"SigningKey({key('a').public.keyid})"


def test_golden_key_identifier() -> None:
    assert key("a").public.keyid == "63935504fb801d17a20f6dfab9cc6d49c4a882ff40538db2f78ae75fa1306227"


@pytest.mark.parametrize("data", [b"", b"junk", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"])
def test_junk_is_refused(data: bytes) -> None:
    with pytest.raises(TrustError):
        SigningKey.from_pem(data)
    with pytest.raises(TrustError):
        PublicKey.from_pem(data)


def test_other_kinds_of_key_are_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = other.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(TrustError, match="Ed25519"):
        SigningKey.from_pem(pem)
    with pytest.raises(TrustError, match="Ed25519"):
        PublicKey.from_pem(public)


def test_thresholds_can_be_met() -> None:
    assert ring("a", "b", "c", threshold=2).threshold == 2
    for names, threshold in ((["a"], 2), (["a"], 0), ([], 1), (["a", "a"], 1)):
        with pytest.raises(TrustError):
            ring(*names, threshold=threshold)
    with pytest.raises(TrustError):
        Keyring(tuple(key(str(i)).public for i in range(MAX_KEYS + 1)))
