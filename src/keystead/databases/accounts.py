"""The accounts of a database system: ours, and the customer's administrator (pure).

Ours bears the name of the user that runs `host` and is logged in by unix socket, without a password. The customer's
administrator has a password, shown once; what is stored and sent is only MySQL's double SHA-1 of it, which for a random
password of 116 bits cannot be reversed.
"""

import hashlib
import re

from keystead.core.errors import Refusal
from keystead.core.secret import Secret

RESERVED = frozenset({"root", "mysql", "mariadb.sys", "public", "none"})
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def check_admin_name(name: str) -> None:
    """Raises: Refusal `InvalidName` unless `name` may be the administrator's."""
    if _NAME.fullmatch(name) is None or name in RESERVED or name.startswith("keystead"):
        raise Refusal(
            "InvalidName",
            f"{name[:40]!r} cannot be the administrator's name",
            hint=f"1 to 32 of a-z, 0-9 and _, beginning with a letter; not keystead..., {', '.join(sorted(RESERVED))}",
        )


def native_password_hash(password: Secret) -> str:
    """`*` and 40 hex digits: what mysql_native_password stores (MariaDB documentation, authentication plugins)."""
    sha1 = hashlib.sha1  # MySQL's protocol, not our choice
    return "*" + sha1(sha1(password.reveal()).digest()).hexdigest().upper()
