from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.errors import ConfigError, TrustError
from edgeswarm.trust.authority import Authority, identity_of, identity_uri

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FLEET = Authority.create("fleet", NOW)


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def context(folder: Path, authority: Authority, issued: tuple[bytes, bytes], *, server: bool) -> ssl.SSLContext:
    path = folder / f"{server}.pem"
    path.write_bytes(b"\n".join(issued))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT | 0x200000  # NO_CHECK_TIME: edgeswarm judges the dates itself
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_verify_locations(cadata=authority.certificate_pem.decode())
    made.load_cert_chain(path)
    return made


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[bytes | None, bytes | None]:
    """Return the certificates that client and server saw."""
    ends = [ssl.MemoryBIO() for _ in range(2)]
    at_client = client.wrap_bio(ends[0], ends[1])
    at_server = server.wrap_bio(ends[1], ends[0], server_side=True)
    for end in (at_client, at_server, at_client, at_server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return at_client.getpeercert(True), at_server.getpeercert(True)


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
def test_strict_mutual_tls_accepts_what_the_authority_issues(tmp_path: Path, algorithm: str) -> None:
    fleet = Authority.create("fleet", NOW, algorithm=algorithm)
    issued = [fleet.issue("ship-1", name, NOW, algorithm=algorithm) for name in ("gw", "device")]
    seen = shake_hands(
        context(tmp_path, fleet, issued[1], server=False),
        context(tmp_path, fleet, issued[0], server=True),
    )
    assert [identity_of(cert or b"").node for cert in seen] == ["gw", "device"]


def test_strict_mutual_tls_refuses_another_authority_of_the_same_name(tmp_path: Path) -> None:
    other = Authority.create("fleet", NOW)
    client = context(tmp_path, FLEET, other.issue("s", "n", NOW), server=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(client, context(tmp_path, FLEET, FLEET.issue("s", "gw", NOW), server=True))


def test_a_node_cannot_issue_certificates() -> None:
    key, certificate = FLEET.issue("s", "n", NOW)
    with pytest.raises(TrustError, match="may not issue"):
        Authority.load("fleet", key, certificate)


def test_what_a_certificate_says() -> None:
    _, pem = FLEET.issue("ship-1", "device.7", NOW, days=10, role="gateway")
    who = identity_of(der(pem))
    assert (who.fleet, who.site, who.node) == ("fleet", "ship-1", "device.7")
    assert (who.not_before, who.not_after) == (NOW - timedelta(hours=1), NOW + timedelta(days=10))
    assert len(who.spki_sha256) == 32
    assert "OU=gateway" in x509.load_pem_x509_certificate(pem).subject.rfc4514_string()


def test_every_node_has_its_own_key_and_serial() -> None:
    certificates = [x509.load_pem_x509_certificate(FLEET.issue("s", "n", NOW)[1]) for _ in range(2)]
    assert len({certificate.serial_number for certificate in certificates}) == 2
    assert len({identity_of(certificate.public_bytes(Encoding.DER)).spki_sha256 for certificate in certificates}) == 2


def test_a_certificate_ends_no_later_than_the_authority() -> None:
    brief = Authority.create("fleet", NOW, days=30)
    assert identity_of(der(brief.issue("s", "n", NOW, days=400)[1])).not_after == NOW + timedelta(days=30)


def test_an_authority_survives_its_files() -> None:
    again = Authority.load("fleet", FLEET.key_pem(passphrase=b"secret"), FLEET.certificate_pem, passphrase=b"secret")
    certificate = x509.load_pem_x509_certificate(again.issue("s", "n", NOW)[1])
    certificate.verify_directly_issued_by(FLEET.certificate)
    assert repr(again) == "Authority('fleet')"
    for key, cert in (
        (Authority.create("fleet", NOW).key_pem(), FLEET.certificate_pem),
        (FLEET.key_pem(passphrase=b"secret"), FLEET.certificate_pem),
        (b"junk", FLEET.certificate_pem),
        (FLEET.key_pem(), b"junk"),
    ):
        with pytest.raises(TrustError):
            Authority.load("fleet", key, cert)


@pytest.mark.parametrize("names", [("", "n"), ("s", ""), ("a/b", "n"), ("s", ".."), ("s", "n" * 65), ("s", "n\0")])
def test_bad_names_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(TrustError):
        FLEET.issue(*names, NOW)


def test_bad_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="role"):
        FLEET.issue("s", "n", NOW, role="admin")
    with pytest.raises(ConfigError, match="p256"):
        FLEET.issue("s", "n", NOW, algorithm="rsa")
    with pytest.raises(TrustError, match="time zone"):
        FLEET.issue("s", "n", NOW.replace(tzinfo=None))
    with pytest.raises(TrustError):
        Authority.create("a fleet", NOW)


def with_names(*names: x509.GeneralName) -> bytes:
    key = ed25519.Ed25519PrivateKey.generate()
    subject = x509.Name([])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 7, NOW, NOW + timedelta(days=1))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(key, None).public_bytes(Encoding.DER)


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


@pytest.mark.parametrize(
    "names",
    [
        [],
        [x509.DNSName("host")],
        [uri("edgeswarm://f/s/n"), uri("edgeswarm://f/s/m")],
        [uri("edgeswarm://f/s/n"), x509.DNSName("host")],
        [uri("https://f/s/n")],
        [uri("EDGESWARM://f/s/n")],
        [uri("edgeswarm://f/s")],
        [uri("edgeswarm://f/s/n/x")],
        [uri("edgeswarm://f//n")],
        [uri("edgeswarm://f/s/n?x")],
        [uri("edgeswarm://u@f/s/n")],
        [uri("edgeswarm://f/../n")],
        [uri("edgeswarm://f/s/%6e")],
    ],
)
def test_other_names_in_a_certificate_are_refused(names: list[x509.GeneralName]) -> None:
    assert identity_of(with_names(uri(identity_uri("f", "s", "n")))).node == "n"
    with pytest.raises(TrustError):
        identity_of(with_names(*names))


@given(st.binary(max_size=200), st.integers(0, 600), st.integers(0, 255))
def test_a_malformed_certificate_is_a_trust_error(junk: bytes, at: int, value: int) -> None:
    good = bytearray(CERTIFICATE)
    good[at % len(good)] = value
    for data in (junk, bytes(good), CERTIFICATE[:at], bytes(17_000)):
        try:
            identity_of(data)
        except TrustError:
            continue


CERTIFICATE = der(FLEET.issue("s", "n", NOW)[1])
