"""The region's certificate authorities: their certificates are public, their keys lie wrapped under the root key.

There are two, because both kinds of servers are reached by the same addresses: with one, whoever took the TLS key of a
database server could pass for the API. `API` is what clients of the API verify against, `DATABASES` those of database
systems.

Server certificates are issued anew at each start and live in memory alone, so there is no TLS key at rest.
"""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keystead.core.clock import Clock
from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding, Kek
from keystead.crypto.x509 import Authority, Certificate
from keystead.seal.service import RootKey


@dataclass(frozen=True, slots=True)
class Kind:
    """One authority: the names of its files in the state directory, and what its wrapped key is bound to."""

    certificate: str
    key: str
    key_id: str


API: Final = Kind("ca.pem", "authority.key", "authority")
DATABASES: Final = Kind("databases-ca.pem", "databases-authority.key", "databases-authority")
KINDS: Final = (API, DATABASES)
CERTIFICATES: Final = frozenset(kind.certificate for kind in KINDS)
FILES: Final = tuple(name for kind in KINDS for name in (kind.certificate, kind.key))

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*")


def wrap(ca: Authority, root: RootKey, kind: Kind) -> bytes:
    """The authority's key as it is stored."""
    return _kek(root, kind).seal(ca.reveal_key().reveal(), _binding(root, kind))


def load(state: Path, root: RootKey, kind: Kind) -> Authority:
    """An authority of the region in `state`. Raises: Refusal `InvalidAuthority`."""
    try:
        wrapped, pem = (state / kind.key).read_bytes(), (state / kind.certificate).read_bytes()
        return Authority(pem, Secret(_kek(root, kind).open(wrapped, _binding(root, kind))))
    except (OSError, Unreadable) as error:
        raise Refusal(
            "InvalidAuthority",
            f"the certificate authority {kind.certificate} in {state} cannot be opened",
            hint=f"restore {kind.certificate} and {kind.key} from a state backup",
        ) from error


class RegionCertificates:
    """Issues server certificates of one authority for this machine."""

    def __init__(self, ca: Authority, clock: Clock, names: Sequence[str] = ()) -> None:
        self._ca = ca
        self._clock = clock
        self._names = machine_names(names)

    @property
    def authority(self) -> bytes:
        """The CA's certificate, PEM."""
        return self._ca.pem

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """A private key (PKCS#8 PEM) and a server certificate (PEM) for a node of that name on this machine."""
        made = self.server(name)
        return made.key.reveal(), made.pem

    def server(self, name: str) -> Certificate:
        """A server certificate under this machine's names."""
        return self._ca.issue(name, self._names, self._clock.now())


def machine_names(more: Sequence[str] = ()) -> list[str]:
    """How this machine is reached: loopback, its host name, and what the settings add."""
    own = [name for name in (socket.gethostname(), socket.getfqdn()) if _HOST_NAME.fullmatch(name)]
    return list(dict.fromkeys(["localhost", "127.0.0.1", "::1", *own, *more]))


def _kek(root: RootKey, kind: Kind) -> Kek:
    return Kek(root.subkey("authority").reveal(), kind.key_id, 1)


def _binding(root: RootKey, kind: Kind) -> Binding:
    return Binding("authority-key", "", root.region, kind.key_id, kind.key_id)
