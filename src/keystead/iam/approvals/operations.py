"""What a rule may ask approval for: operations of the table, and words for several of them at once.

Taking a key away from its users (disabling it, blocking a user, taking somebody out of a group) is none of them: nobody
is to wait for a second person before closing a door.
"""

from collections.abc import Iterable, Mapping

from keystead.core.errors import Refusal

SETS: Mapping[str, tuple[str, ...]] = {
    "destruction": (
        "ScheduleKeyDeletion", "DeleteKey", "PurgeKey", "ScheduleKeyVersionDeletion", "ScheduleVaultDeletion",
        "DeleteVault", "PurgeVault", "DeleteDbSystem", "DeleteBackup",
    ),
    "restore": ("RestoreKey", "RestoreVault", "RestoreBackup"),
    "export": ("BackUpKey", "BackUpVault", "BackUpState"),
    "policy": ("CreatePolicy", "UpdatePolicy", "DeletePolicy", "TagCompartment", "TagGroup", "TagDbSystem"),
    "people": ("CreateUser", "ResetPassword", "CreateAuthToken", "AddGroupMember", "DeleteGroup", "BeginBreakGlass"),
    "settings": ("UpdateKey", "UpdateVault", "UnlockKey", "UnlockVault", "MoveKey", "MoveVault", "CreateApprovalRule"),
}  # fmt: skip
"""What one word stands for; operations that are in no set are asked for by their own names."""

APPROVABLE: frozenset[str] = frozenset(name for names in SETS.values() for name in names)

# Asked for whatever a rule names, because each would undo it: see `rules.covers`.
ABOUT_A_RULE = frozenset({"UpdateApprovalRule", "DeleteApprovalRule"})
MOVES = frozenset({"MoveKey", "MoveVault"})
TAKING_OUT = frozenset({"RemoveGroupMember", "EndBreakGlass", "BreakGlassEnded"})
OF_GROUPS = frozenset({"GROUP_UPDATE", "GROUP_DELETE"})
TAKING_OVER = frozenset({"USER_UIPASS_SET", "USER_UIPASS_RESET", "USER_AUTHTOKEN_SET", "USER_APIKEY_ADD"})
LINKING = "LinkFederatedUser"
"""Whoever the provider says is that subject is the user from then on: a credential, asked for by USER_UPDATE."""
NEVER_ALONE = OF_GROUPS | TAKING_OVER

# What an act does to each of the things it reaches: destroying a vault to the keys in it, other tags to the policies
# whose statements read them, which open something else from then on.
OF_THE_REACHED: Mapping[str, str] = {
    "ScheduleVaultDeletion": "ScheduleKeyDeletion",
    "DeleteVault": "DeleteKey",
    "PurgeVault": "PurgeKey",
    "BackUpVault": "BackUpKey",
    "TagCompartment": "UpdatePolicy",
    "TagGroup": "UpdatePolicy",
    "TagDbSystem": "UpdatePolicy",
}


def operations_of(words: Iterable[str]) -> tuple[str, ...]:
    """The operations that `words` (operations, or names of sets) stand for.

    Raises:
        Refusal: `InvalidParameter`; none, or one that is not known.
    """
    found: set[str] = set()
    for word in words:
        if word not in SETS and word not in APPROVABLE:
            raise Refusal(
                "InvalidParameter",
                f"{word[:60]!r} is not what approval can be asked for",
                hint=f"sets: {', '.join(SETS)}; operations: {', '.join(sorted(APPROVABLE))}",
            )
        found |= set(SETS.get(word, (word,)))
    if not found:
        raise Refusal("InvalidParameter", "a rule names at least one operation", hint=f"sets: {', '.join(SETS)}")
    return tuple(sorted(found))
