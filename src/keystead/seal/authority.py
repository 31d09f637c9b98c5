"""The region's own certificate authority, kept under the root key.

Its certificate is public; its key is stored only in an envelope under the root's subkey "authority", bound to region and
certificate, so that neither can be exchanged alone.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding, Kek
from keystead.crypto.x509 import Authority, fingerprint
from keystead.seal.service import RootKey

_KEY_ID: Final = "root/authority"


@dataclass(frozen=True, slots=True)
class SealedAuthority:
    """What is stored: the certificate (PEM) and its key, an envelope."""

    pem: bytes
    wrapped_key: bytes


def create(root: RootKey, now: datetime) -> tuple[SealedAuthority, Authority]:
    """A new authority for the root's region.

    Raises:
        Unavailable: `Sealed`.
    """
    authority = Authority.create(root.region, now)
    wrapped = _kek(root).seal(authority.reveal_key().reveal(), _binding(root.region, authority.pem))
    return SealedAuthority(authority.pem, wrapped), authority


def open(root: RootKey, sealed: SealedAuthority) -> Authority:
    """The stored authority, ready to issue.

    Raises:
        Unreadable: another root key or region, or certificate or key were exchanged or changed.
        Refusal: `InvalidCertificate` when the certificate is none.
        Unavailable: `Sealed`.
    """
    key = Secret(_kek(root).open(sealed.wrapped_key, _binding(root.region, sealed.pem)))
    return Authority(sealed.pem, key)


def _kek(root: RootKey) -> Kek:
    return Kek(root.subkey("authority").reveal(), _KEY_ID, 1)


def _binding(region: str, pem: bytes) -> Binding:
    return Binding("authority-key", "", region, fingerprint(pem), "")
