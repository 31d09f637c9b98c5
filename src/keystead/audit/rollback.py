"""Old state cannot come back quietly (law 11).

State and audit each remember the other: audit entries of state changes carry the state's generation, and state keeps
the audit heads. On start both are compared. State older than the audit was brought back from a copy; an audit that does
not contain the heads that state remembers was brought back, cut or written anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from keystead.audit.model import Head
from keystead.core.errors import Refusal

HINT = "if this state is meant, start once with --accept-rollback; that is recorded, and every system stays fenced"


@dataclass(frozen=True, slots=True)
class AuditView:
    """What the audit trail knows of itself.

    `hash_at(writer, sequence)` is the hash of that entry's line, or None when the trail has no such entry.
    """

    highest_generation: int
    hash_at: Callable[[str, int], str | None]


def check_rollback(state_generation: int, heads_in_state: Mapping[str, Head], audit: AuditView) -> Refusal | None:
    """None when state and audit belong together, else what to tell the operator before nothing is opened."""
    if audit.highest_generation > state_generation:
        return Refusal(
            "StateRolledBack",
            f"the state is at generation {state_generation}, but the audit trail records changes up to generation "
            f"{audit.highest_generation}: the state is an older copy",
            hint=HINT,
            kind="conflict",
        )
    for writer, head in sorted(heads_in_state.items()):
        if head.sequence > 0 and audit.hash_at(writer, head.sequence) != head.hash:
            return Refusal(
                "AuditRolledBack",
                f"the audit trail of writer {writer} does not contain its entry {head.sequence} as the state "
                "remembers it: the trail was cut, changed or is an older copy",
                hint=HINT,
                kind="conflict",
            )
    return None
