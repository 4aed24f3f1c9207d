"""The fleet's certificate authority, and what a node's certificate says.

A node's certificate names it in a URI: `edgeswarm://<fleet>/<site>/<node>`. Links are checked by that name and by the authority
alone; host names play no part. P-256 by default, because that is what hardware keys speak; Ed25519 by option. Certificates are
strict (`VERIFY_X509_STRICT`): key identifiers, critical basic constraints, key usage, both extended key usages.

`cryptography.x509` is imported where it is needed: it takes 8 MB of memory.

Source: RFC 5280 for the profile; RFC 3986 for the URI.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ..errors import ConfigError, TrustError
from .clock import check_aware
from .names import check_name

if TYPE_CHECKING:
    from cryptography import x509

_PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

SCHEME = "edgeswarm"
ROLES = ("device", "gateway")
"""What a node may be enrolled as; stands in the certificate as organisational unit."""

AUTHORITY_DAYS = 7300
"""How long an authority lasts: 20 years. Source: a guess; longer than the devices."""
NODE_DAYS = 1825
"""How long a node's certificate lasts: 5 years. Source: a guess; a site may be out of reach for long."""

# The clock of the machine that issues may be ahead of others. Source: a guess.
_BACKDATED = timedelta(hours=1)
MAX_CERTIFICATE_BYTES = 16_384
"""Bytes of a certificate that is looked at. Source: a guess; ours take about 700."""


class CertificateIdentity(NamedTuple):
    """Who a certificate is for.

    Attributes:
        fleet: Name of the fleet.
        site: Name of the site.
        node: Name of the node.
        spki_sha256: SHA-256 of the SubjectPublicKeyInfo, 32 bytes: the node id.
        not_before: Start of validity, aware.
        not_after: End of validity, aware.
    """

    fleet: str
    site: str
    node: str
    spki_sha256: bytes
    not_before: datetime
    not_after: datetime


def identity_of(cert_der: bytes) -> CertificateIdentity:
    """Return who a certificate is for. Its signature and dates are judged elsewhere.

    Args:
        cert_der: The certificate, DER.

    Raises:
        TrustError: It is malformed, or does not carry exactly one name of ours.
    """
    from cryptography import x509

    if len(cert_der) > MAX_CERTIFICATE_BYTES:
        raise TrustError(f"a certificate of {len(cert_der)} bytes is too long: at most {MAX_CERTIFICATE_BYTES}")
    try:
        certificate = x509.load_der_x509_certificate(cert_der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        key = certificate.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        dates = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except Exception as exc:
        # The parser of cryptography documents no complete list; whatever it says, this is no certificate of ours.
        raise TrustError(f"this is no certificate of an edgeswarm node: {str(exc)[:200]}") from exc
    if len(uris) != 1 or len(list(names)) != 1:
        raise TrustError(f"a node's certificate has one name, a URI {SCHEME}://fleet/site/node; this one has {len(list(names))}")
    return CertificateIdentity(*_split_uri(uris[0]), sha256(key).digest(), *dates)


def identity_uri(fleet: str, site: str, node: str) -> str:
    """Return the name of a node: `edgeswarm://<fleet>/<site>/<node>`.

    Raises:
        TrustError: A part breaks the name rule.
    """
    return f"{SCHEME}://{check_name(fleet, 'fleet')}/{check_name(site, 'site')}/{check_name(node, 'node')}"


def _split_uri(uri: str) -> tuple[str, str, str]:
    """Return (fleet, site, node); only the exact form is accepted, so that there is one spelling per node."""
    prefix = f"{SCHEME}://"
    parts = uri[len(prefix) :].split("/")
    if not uri.startswith(prefix) or len(parts) != 3:
        raise TrustError(f"the name {uri[:200]!r} in a certificate is not {SCHEME}://fleet/site/node")
    fleet, site, node = parts
    return check_name(fleet, "fleet"), check_name(site, "site"), check_name(node, "node")


def load_certificate(data: bytes, what: str) -> x509.Certificate:
    """Return the one certificate in `data`, PEM.

    Raises:
        TrustError: There is none, or it is malformed.
    """
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError as exc:
        raise TrustError(f"{what} is no certificate in PEM form") from exc


def load_private_key(data: bytes, what: str, *, passphrase: bytes | None = None) -> _PrivateKey:
    """Return the private key in `data`, PEM.

    Raises:
        TrustError: It is malformed, of another kind than P-256 or Ed25519, or its passphrase is missing or wrong.
    """
    try:
        key = serialization.load_pem_private_key(data, passphrase if b"ENCRYPTED" in data else None)
    except (ValueError, TypeError) as exc:
        raise TrustError(f"{what} is no private key in PEM form, or its passphrase is missing or wrong") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise TrustError(f"{what} is a {type(key).__name__}: wanted P-256 or Ed25519")
    return key


def _new_key(algorithm: str) -> _PrivateKey:
    if algorithm == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    raise ConfigError(f"key algorithm {algorithm!r} is not known: use p256 or ed25519")


def _key_to_pem(key: _PrivateKey, passphrase: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _sign_with(key: _PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _usage(*, authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(*, fleet: str, common: str, unit: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = [(NameOID.ORGANIZATION_NAME, fleet), (NameOID.ORGANIZATIONAL_UNIT_NAME, unit), (NameOID.COMMON_NAME, common)]
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])


@dataclass(frozen=True, slots=True, repr=False)
class Authority:
    """A fleet's certificate authority.

    Attributes:
        fleet: Name of the fleet.
        key: Its private key.
        certificate: Its certificate.
    """

    fleet: str
    key: _PrivateKey
    certificate: x509.Certificate

    def __repr__(self) -> str:
        return f"Authority({self.fleet!r})"

    @classmethod
    def create(cls, fleet: str, now: datetime, *, days: int = AUTHORITY_DAYS, algorithm: str = "p256") -> Authority:
        """Return a new authority.

        Args:
            fleet: Name of the fleet.
            now: Aware.
            days: How long it lasts.
            algorithm: `p256` or `ed25519`.

        Raises:
            TrustError: The name breaks the rule, or `now` has no time zone.
            ConfigError: The algorithm is not known.
        """
        from cryptography import x509

        check_name(fleet, "fleet")
        key = _new_key(algorithm)
        name = _name(fleet=fleet, common=fleet, unit="authority")
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = _builder(name, name, key, now, days)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(authority=True), critical=True)
        builder = builder.add_extension(identifier, critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        return cls(fleet, key, builder.sign(key, _sign_with(key)))

    @classmethod
    def load(cls, fleet: str, key_pem: bytes, certificate_pem: bytes, *, passphrase: bytes | None = None) -> Authority:
        """Return an authority that was created before, or brought along.

        Raises:
            TrustError: Key or certificate are malformed, do not belong together, or the certificate may not issue others.
        """
        from cryptography import x509

        key = load_private_key(key_pem, "the authority's key", passphrase=passphrase)
        certificate = load_certificate(certificate_pem, "the authority's certificate")
        if certificate.public_key() != key.public_key():
            raise TrustError("the authority's key and certificate do not belong together")
        try:
            issues = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
            certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        except x509.ExtensionNotFound as exc:
            raise TrustError(f"the authority's certificate lacks an extension: {exc}") from exc
        if not issues:
            raise TrustError("the authority's certificate may not issue others")
        return cls(check_name(fleet, "fleet"), key, certificate)

    def key_pem(self, *, passphrase: bytes | None = None) -> bytes:
        """Return the private key as PKCS#8 in PEM, encrypted if there is a passphrase."""
        return _key_to_pem(self.key, passphrase)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate in PEM: every node's `ca.crt`."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        site: str,
        node: str,
        now: datetime,
        *,
        days: int = NODE_DAYS,
        role: str = "device",
        algorithm: str = "p256",
    ) -> tuple[bytes, bytes]:
        """Make a key and a certificate for a node.

        Args:
            site: Name of the site.
            node: Name of the node.
            now: Aware.
            days: How long the certificate lasts; never longer than the authority.
            role: `device` or `gateway`, for people.
            algorithm: `p256` or `ed25519`.

        Returns:
            (private key, certificate), both PEM.

        Raises:
            TrustError: A name breaks the rule, or `now` has no time zone.
            ConfigError: The role or the algorithm is not known.
        """
        from cryptography import x509
        from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

        if role not in ROLES:
            raise ConfigError(f"role {role!r} is not known: use one of {ROLES}")
        uri = x509.UniformResourceIdentifier(identity_uri(self.fleet, site, node))
        key = _new_key(algorithm)
        name = _name(fleet=self.fleet, common=node, unit=role)
        issuer = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(authority=False), True),
            (x509.ExtendedKeyUsage([Usage.SERVER_AUTH, Usage.CLIENT_AUTH]), False),
            (x509.SubjectAlternativeName([uri]), False),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), False),
        ]
        builder = _builder(name, self.certificate.subject, key, now, days, latest=self.certificate.not_valid_after_utc)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        certificate = builder.sign(self.key, _sign_with(self.key))
        return _key_to_pem(key), certificate.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: _PrivateKey,
    now: datetime,
    days: int,
    *,
    latest: datetime | None = None,
) -> x509.CertificateBuilder:
    from cryptography import x509

    start = check_aware(now).replace(microsecond=0)
    end = start + timedelta(days=days)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=start - _BACKDATED,
        not_valid_after=min(end, latest) if latest else end,
    )
