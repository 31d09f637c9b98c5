"""Audit entries for tests."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from keystead.audit.model import Entry

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def entry(number: int = 0, **changes: Any) -> Entry:
    """The `number`th entry: alice decrypts with `finance`, one second after the one before."""
    known: Mapping[str, Any] = {
        "id": f"ks1.entry.main.home.{number:032d}",
        "at": NOON + timedelta(seconds=number),
        "tenancy": "ks1.tenancy.main.home.one",
        "compartment": "ks1.compartment.main.home.prod",
        "principal_id": "ks1.user.main.home.alice",
        "principal_type": "user",
        "principal_name": "alice",
        "requester": "",
        "token_id": "ks1.token.main.home.token",
        "source": "192.0.2.7",
        "request_id": f"ks1.request.main.home.{number}",
        "action": "KEY_DECRYPT",
        "operation": "Decrypt",
        "resource_type": "keys",
        "resource_id": "ks1.key.main.home.finance",
        "resource_name": "finance",
        "outcome": "allowed",
    }
    return Entry(**{**known, **changes})
