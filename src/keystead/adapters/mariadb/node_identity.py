"""A node's half of a system's own identity: files as OCI's clients read them (resource principals, version 2.2).

    <memory root>/<unique>/identity/               root (us), group of the system's uid, 0750, on tmpfs
        rpst  private.pem  environment             the same owners, 0440

The directory is ours, so the system's uid reads what is in it and can neither change nor replace it; nobody else gets
in. Without uids of their own everything is ours alone (0700, 0400). Each file is replaced whole.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from keystead.adapters.mariadb.process import Owner
from keystead.core.secret import Secret

TOKEN, KEY, ENVIRONMENT = "rpst", "private.pem", "environment"


class NodeIdentity:
    """What `MariaDbNode` has of the port `IdentityNode`."""

    _memory: Path
    _owner: Owner

    @property
    def _identity(self) -> Path:
        return self._memory / "identity"

    def offer_identity(self, token: str, key: Secret, region: str) -> None:
        place = self._identity
        shared = self._owner != Owner.ours()
        if not place.is_dir():
            place.mkdir(mode=0o700)
            os.chown(place, -1, self._owner.gid)
            place.chmod(0o750 if shared else 0o700)
        mode = 0o440 if shared else 0o400
        named = {
            "VERSION": "2.2", "RPST": str(place / TOKEN), "PRIVATE_PEM": str(place / KEY), "REGION": region,
        }  # fmt: skip
        lines = "".join(f"OCI_RESOURCE_PRINCIPAL_{name}={value}\n" for name, value in named.items())
        for name, content in ((KEY, key.reveal()), (TOKEN, token.encode()), (ENVIRONMENT, lines.encode())):
            self._replace(place / name, content, mode)

    def offered_key(self) -> Secret | None:
        with suppress(OSError):
            return Secret((self._identity / KEY).read_bytes())
        return None

    def withdraw_identity(self) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self._identity)

    def _replace(self, path: Path, content: bytes, mode: int) -> None:
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(fresh, flags, 0o400), "wb") as file:
            file.write(content)
            os.fchown(file.fileno(), -1, self._owner.gid)
            os.fchmod(file.fileno(), mode)
        fresh.replace(path)
