"""Our own REST under `/keystead/v1`: one file per domain package, each with its messages and handlers."""

from keystead.web.api import (
    audit,
    auth_tokens,
    backups,
    batches,
    break_glass,
    cryptography,
    databases,
    host,
    iam,
    inventory,
    jobs,
    lifecycle,
    logins,
    region,
    seal,
    sessions,
    transfer,
    vault,
)
from keystead.web.operations import Operation

TABLE: tuple[Operation, ...] = (
    *region.OPERATIONS,
    *seal.OPERATIONS,
    *iam.OPERATIONS,
    *auth_tokens.OPERATIONS,
    *sessions.OPERATIONS,
    *break_glass.OPERATIONS,
    *vault.OPERATIONS,
    *lifecycle.OPERATIONS,
    *inventory.OPERATIONS,
    *cryptography.OPERATIONS,
    *batches.OPERATIONS,
    *transfer.OPERATIONS,
    *databases.OPERATIONS,
    *backups.OPERATIONS,
    *jobs.OPERATIONS,
    *audit.OPERATIONS,
    *logins.OPERATIONS,
    *host.OPERATIONS,
)
