"""The region's certificate authority: its certificate is public, its key lies wrapped under the root key.

Server certificates are issued anew at each start and live in memory alone, so there is no TLS key at rest.
"""

import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from keystead.core.clock import Clock
from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding, Kek
from keystead.crypto.x509 import Authority, Certificate
from keystead.seal.service import RootKey

CERTIFICATE_NAME: Final = "ca.pem"
KEY_NAME: Final = "authority.key"
_KEY_ID: Final = "authority"
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*")


def wrap(ca: Authority, root: RootKey) -> bytes:
    """The authority's key as it is stored."""
    return _kek(root).seal(ca.reveal_key().reveal(), _binding(root))


def load(state: Path, root: RootKey) -> Authority:
    """The authority of the region in `state`. Raises: Refusal `InvalidAuthority`."""
    try:
        wrapped, pem = (state / KEY_NAME).read_bytes(), (state / CERTIFICATE_NAME).read_bytes()
        return Authority(pem, Secret(_kek(root).open(wrapped, _binding(root))))
    except (OSError, Unreadable) as error:
        raise Refusal(
            "InvalidAuthority",
            f"the region's certificate authority in {state} cannot be opened",
            hint=f"restore {CERTIFICATE_NAME} and {KEY_NAME} from a state backup",
        ) from error


class RegionCertificates:
    """Issues server certificates for this machine: the API's own and those of database systems."""

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


def _kek(root: RootKey) -> Kek:
    return Kek(root.subkey("authority").reveal(), _KEY_ID, 1)


def _binding(root: RootKey) -> Binding:
    return Binding("authority-key", "", root.region, _KEY_ID, _KEY_ID)
