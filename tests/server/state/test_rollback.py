"""Old state does not come back quietly (law 11)."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from tests.server.conftest import administrator
from tests.server.state.test_state import add_system

from keystead.adapters.sql import schema
from keystead.adapters.sql.heads import SqlHeads
from keystead.adapters.sql.store import SqlStore
from keystead.audit.query import EntryFilter
from keystead.core.errors import Refusal
from keystead.core.page import PageRequest
from keystead.server import wiring
from keystead.server.init import Made
from keystead.server.sealing.unseal import open_root
from keystead.server.settings import Effective
from keystead.server.state.rollback import check
from keystead.server.wiring import Region
from keystead.server.work import Clerk


def run(region: Effective, act: Callable[[Region], None]) -> None:
    """Do something in the region, as `serve` and `work` would, and stop it."""
    opened = wiring.open_region(region, open_root(region), "test")
    try:
        act(opened)
        Clerk(opened).copy_outbox()
        opened.index.integrate()
        SqlHeads(opened.engine).note(opened.index.heads())
    finally:
        opened.close()


def snapshot(region: Effective, to: Path) -> None:
    shutil.copytree(region.state, to)


def bring_back(region: Effective, names: tuple[str, ...], source: Path) -> None:
    """Put yesterday's directories and databases (with what SQLite keeps beside them) in the place of today's."""
    for name in names:
        for here in region.state.glob(f"{name}*"):
            if here.is_dir():
                shutil.rmtree(here)
            elif here.name == name or here.name.startswith(f"{name}-"):
                here.unlink()
        for there in source.glob(f"{name}*"):
            here = region.state / there.name
            if there.is_dir():
                shutil.copytree(there, here)
            elif there.name == name or there.name.startswith(f"{name}-"):
                shutil.copy2(there, here)


def test_state_and_trail_that_belong_together(region: Effective, template: Made) -> None:
    check(region, accept=False)
    run(region, lambda opened: _create_vault(opened, template))
    check(region, accept=False)


def test_yesterdays_state_is_refused_until_accepted(region: Effective, template: Made, tmp_path: Path) -> None:
    run(region, lambda opened: add_system(opened, template))
    snapshot(region, tmp_path / "yesterday")
    run(region, lambda opened: _create_vault(opened, template))
    newest = _generation(region)
    bring_back(region, ("state.db",), tmp_path / "yesterday")

    with pytest.raises(Refusal) as caught:
        check(region, accept=False)
    assert caught.value.code == "StateRolledBack"
    assert "--accept-rollback" in caught.value.hint
    with pytest.raises(Refusal):
        check(region, accept=False)  # refusing has changed nothing

    check(region, accept=True)
    assert _generation(region) > newest
    check(region, accept=False)

    def look(opened: Region) -> None:
        with opened.store.read() as tx:
            assert [row.confirmed for row in tx.connection.execute(schema.db_systems.select())] == [False]
        Clerk(opened).copy_outbox()
        opened.index.integrate()
        found = opened.index.query(template.tenancy_id, EntryFilter(action="AcceptRollback"), PageRequest()).items
        assert [entry.principal_type for entry in found] == ["operator"]

    run(region, look)


def test_an_acceptance_that_is_cut_off_is_none(
    region: Effective, template: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised above the trail but neither fenced nor recorded, old state would open quietly at the next start."""
    run(region, lambda opened: add_system(opened, template))
    snapshot(region, tmp_path / "yesterday")
    run(region, lambda opened: _create_vault(opened, template))
    bring_back(region, ("state.db",), tmp_path / "yesterday")

    def die(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SqlStore, "write", die)
        with pytest.raises(KeyboardInterrupt):
            check(region, accept=True)
    with pytest.raises(Refusal) as caught:
        check(region, accept=False)
    assert caught.value.code == "StateRolledBack"


def test_a_trail_that_was_cut_is_refused(region: Effective, template: Made, tmp_path: Path) -> None:
    run(region, lambda opened: _create_vault(opened, template))
    snapshot(region, tmp_path / "yesterday")
    run(region, lambda opened: _create_vault(opened, template, "second"))
    bring_back(region, ("audit", "audit.db"), tmp_path / "yesterday")
    with pytest.raises(Refusal) as caught:
        check(region, accept=False)
    assert caught.value.code == "AuditRolledBack"


def test_a_trail_that_is_gone_is_refused(region: Effective, template: Made) -> None:
    run(region, lambda opened: _create_vault(opened, template))
    shutil.rmtree(region.state / "audit")
    for path in region.state.glob("audit.db*"):
        path.unlink()
    with pytest.raises(Refusal) as caught:
        check(region, accept=False)
    assert caught.value.code == "AuditRolledBack"


def test_all_of_yesterday_together_is_not_seen_here(region: Effective, template: Made, tmp_path: Path) -> None:
    """Honest limit: who brings back state and trail alike is found only by heads kept elsewhere."""
    snapshot(region, tmp_path / "yesterday")
    run(region, lambda opened: _create_vault(opened, template))
    bring_back(region, ("audit", "state.db"), tmp_path / "yesterday")
    for path in region.state.glob("audit.db*"):
        path.unlink()
    check(region, accept=False)


def _create_vault(opened: Region, template: Made, name: str = "prod") -> None:
    opened.vaults.create_vault(administrator(opened, template), template.tenancy_id, name)


def _generation(region: Effective) -> int:
    found: list[int] = []
    run(region, lambda opened: found.append(opened.freshness.generation()))
    return found[0]
