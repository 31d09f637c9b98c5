"""What every test shares: hypothesis budgets, and a Ctrl-C that arrives."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Deadlines are off: two busy cores would make them flaky. `HYPOTHESIS_PROFILE=thorough` looks longer.
settings.register_profile(
    "quick", deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# Whoever runs the tests in the background ignores SIGINT, and children would inherit that; some tests send it to them.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that take longest, for what they are: `make check` leaves them to `make test`.
LONG = frozenset({
    "tests/cli/test_databases.py", "tests/crypto/test_passwords.py", "tests/databases/test_backups.py",
    "tests/databases/test_flows.py", "tests/dialects/test_vault.py", "tests/iam/test_parse.py",
    "tests/iam/test_agreement.py", "tests/iam/approvals/test_quorum.py", "tests/web/test_approvals.py",
    "tests/iam/test_federation.py", "tests/test_one_door.py",
    "tests/web/test_every_operation.py", "tests/dialects/test_every_operation.py",
    "tests/adapters/sql/test_audit_index.py", "tests/vault/lifecycle/test_upkeep.py",
    "tests/server/state/test_state.py", "tests/server/test_main.py", "tests/server/process/test_supervise.py",
    "tests/vault/transfer/test_backups.py",
    "tests/vault/transfer/test_importing.py", "tests/vault/insight/test_inventory.py", "tests/vault/test_networks.py",
    "tests/vault/lifecycle/test_whole_life.py",
})  # fmt: skip


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What `make check` leaves out is not even read: a third of its time went there."""
    wanted = str(config.getoption("markexpr") or "")
    if "not slow" not in wanted or "not live" not in wanted:
        return None
    place = collection_path.relative_to(config.rootpath).as_posix()
    return True if place in LONG or place in ("tests/live", "tests/faults") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.partition("::")[0] in LONG:
            item.add_marker(pytest.mark.slow)
