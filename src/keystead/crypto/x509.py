"""A region's own certificate authority, and the server certificates it issues (RFC 5280).

ECDSA P-256 with SHA-256 throughout: what every TLS client of the last ten years verifies, browsers and MariaDB's
included. The authority signs leaves only (path length 0); a leaf names its DNS names and IP addresses, which is all
that clients look at. Time is given by the caller; certificates start an hour earlier, for clocks that are behind.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keystead.core.errors import Refusal
from keystead.core.secret import Secret

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
MAX_NAMES = 100
_BACKDATE = timedelta(hours=1)
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DNS = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key. pem: the leaf. key: PEM PKCS#8, unencrypted. not_after: aware, UTC."""

    pem: bytes
    key: Secret
    not_after: datetime


class Authority:
    """A certificate authority, ready to issue. Neither pickled nor copied."""

    __slots__ = ("_certificate", "_key", "not_after", "pem")

    def __init__(self, pem: bytes, key: Secret) -> None:
        """From its certificate (PEM) and key (PEM PKCS#8, unencrypted).

        Raises:
            Refusal: `InvalidAuthority`: unreadable, not an authority, or the two do not belong together.
        """
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            private = serialization.load_pem_private_key(key.reveal(), password=None)
            is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (ValueError, TypeError, x509.ExtensionNotFound):
            raise _invalid("the authority's certificate or key cannot be read") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not is_authority:
            raise _invalid("this is not the certificate and key of an authority")
        if private.public_key() != certificate.public_key():
            raise _invalid("the authority's certificate and key do not belong together")
        self._certificate = certificate
        self._key = private
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.not_after = certificate.not_valid_after_utc

    @classmethod
    def create(cls, region: str, now: datetime, days: int = AUTHORITY_DAYS) -> "Authority":
        """A new one for `region`, with a random key, valid for `days`."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"Keystead region {region}")
        usage = _key_usage(signs_certificates=True)
        certificate = (
            _builder(name, name, key.public_key(), now, now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))

    def reveal_key(self) -> Secret:
        """The authority's key itself: PEM PKCS#8, unencrypted. For wrapping it, nothing else."""
        return _key_pem(self._key)

    def issue(
        self, name: str, names: Sequence[str], now: datetime, days: int = CERTIFICATE_DAYS, *, client: bool = False
    ) -> Certificate:
        """A server certificate with a new key for DNS names and IP addresses (`names`); `name` is its common name.

        It never outlives the authority. With `client` it also identifies a TLS client.

        Raises:
            Refusal: `InvalidName` for a name that is neither, no name or more than 100; `AuthorityExpired`.
        """
        alternatives = _alternatives(names)
        until = min(now + timedelta(days=days), self.not_after)
        if until <= now:
            raise Refusal("AuthorityExpired", "the region's certificate authority has expired", hint="make a new one")
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.SERVER_AUTH] + ([ExtendedKeyUsageOID.CLIENT_AUTH] if client else [])
        issuer = self._certificate
        above = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        leaf = (
            _builder(_name(name), issuer.subject, key.public_key(), now, until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Certificate(leaf.public_bytes(serialization.Encoding.PEM), _key_pem(key), leaf.not_valid_after_utc)

    def __repr__(self) -> str:
        return f"Authority({self._certificate.subject.rfc4514_string()!r})"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("an authority is neither pickled nor copied")

    __reduce__ = __reduce_ex__ = __copy__ = __deepcopy__ = __getstate__ = _refuse


def fingerprint(pem: bytes) -> str:
    """The SHA-256 fingerprint of a PEM certificate, as people compare it: `AB:CD:...`.

    Raises:
        Refusal: `InvalidCertificate`.
    """
    try:
        digest = x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256())
    except ValueError as error:
        raise Refusal("InvalidCertificate", "not a certificate in PEM") from error
    return digest.hex(":").upper()


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    if not 1 <= len(names) <= MAX_NAMES:
        raise Refusal("InvalidName", f"a certificate needs 1 to {MAX_NAMES} DNS names or IP addresses")
    return [_alternative(name) for name in dict.fromkeys(names)]


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if len(name) > 253 or _DNS.fullmatch(name) is None or name.rsplit(".", 1)[-1].isdigit():
            raise Refusal("InvalidName", f"{name[:80]!r} is neither a DNS name nor an IP address") from None
    return x509.DNSName(name)


def _name(common: str) -> x509.Name:
    # X.520 ends a common name at 64 characters; clients match the alternative names, so a cut one does no harm.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> Secret:
    return Secret(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _invalid(why: str) -> Refusal:
    return Refusal("InvalidAuthority", why, hint="restore the region's state, or make a new authority")
