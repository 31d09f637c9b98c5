"""How often a key was used, by whom and for what: counted from the audit trail, which every use is written to."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

# What is done with a key, beside what is done to it: these count as use.
USES: frozenset[str] = frozenset(
    {
        *("Encrypt", "Decrypt", "Wrap", "Unwrap", "Rewrap", "GenerateDataKey", "Sign", "Verify"),
        *("EncryptBatch", "DecryptBatch", "WrapBatch", "UnwrapBatch", "RewrapBatch", "SignBatch", "VerifyBatch"),
        *("GenerateMac", "VerifyMac"),
        *("AssociateKey", "UseAssociatedKey", "RewrapAssociatedKey"),
    }
)


@dataclass(frozen=True, slots=True)
class Use:
    """Calls of one principal for one operation with one outcome, between `first_at` and `last_at` (whole days UTC).

    A resource (a database system) is a principal of its own: what it did with the key is told under its own name.
    A batch is one call.
    """

    principal_id: str
    principal_type: str
    principal_name: str
    operation: str
    outcome: str
    calls: int
    first_at: datetime
    last_at: datetime


def used(uses: Iterable[Use]) -> list[Use]:
    """Those that are use of the key, most frequent first."""
    return sorted((use for use in uses if use.operation in USES), key=lambda use: (-use.calls, use.principal_name))
