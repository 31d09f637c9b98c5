"""Every public method of every service, as a call that can be made with anybody's ids: for walks over all of them.

The `Things` of a tenancy are one of each kind; a call names those it uses, so that a walk can put others in their
place.
"""

from collections.abc import Iterator, Mapping

from tests.fakes.calls.call import Call
from tests.fakes.calls.databases import DATABASES, DESK, JOBS, LOGINS
from tests.fakes.calls.federation import FEDERATION
from tests.fakes.calls.iam import IAM, INSIGHT
from tests.fakes.calls.provisioning import PROVISIONING
from tests.fakes.calls.things import Things, active, make_things
from tests.fakes.calls.vaults import VAULTS

__all__ = ["DESK", "INNER", "SERVICES", "Call", "Things", "active", "make_things", "of_people"]

SERVICES: Mapping[str, Mapping[str, Call]] = {
    "iam": IAM,
    "federation": FEDERATION,
    "provisioning": PROVISIONING,
    "vaults": VAULTS,
    "databases": DATABASES,
    "jobs": JOBS,
    "insight": INSIGHT,
    "desk": DESK,
    "logins": LOGINS,
}

# Public, but not for callers: what the services offer one another, and what comes before there is a caller.
INNER: Mapping[str, frozenset[str]] = {
    "iam": frozenset(
        {
            "sign_in",
            "sign_in_with_auth_token",
            "admit_provided",
            "authenticate_auth_token",
            "authenticate",
            "authenticate_for_databases",
            "sign_out",
            "place",
            "authenticate_by_key",
            "list_sessions",
            "end_session",
            "refresh_token",
            "begin_device_login",
            "login_signed_in",
            "decide_login",
            "redeem_login",
            "exchange_token",
            "issue_for_resource",
            "public_keys",
            "begin_factor",
            "prove_factor",
            "enrol_totp",
            "enrol_webauthn",
            "confirm_factor",
            "create_recovery_codes",
            "list_sign_ins",
            "answer_sign_in",
        }
    ),
    "desk": frozenset({"stands", "store_key_waits"}),
    "logins": frozenset({"knows"}),
    "federation": frozenset({"start", "come_back", "finish", "redirect_uri"}),
    "vaults": frozenset({"new_key", "entry_of", "waits", "protection_of", "vault_at", "key_at", "versions_of"}),
}


def of_people() -> Iterator[tuple[str, Call]]:
    """Every call that a person may make, by name."""
    for service, calls in SERVICES.items():
        if service not in ("desk", "logins"):
            for name, call in calls.items():
                yield f"{service}.{name}", call
