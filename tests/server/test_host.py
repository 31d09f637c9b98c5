"""Where `host` puts what belongs to database systems: in directories that are nobody else's."""

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.fakes.calls import make_things
from tests.fakes.domain import make_region

from keystead.adapters.mariadb.node import MariaDbNode
from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.server import host
from keystead.server.host import nodes, stop_databases
from keystead.server.settings import Effective


@pytest.fixture
def placed(region: Effective, tmp_path: Path) -> Effective:
    """A region whose tmpfs anybody may write to, as /dev/shm."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    databases = msgspec.structs.replace(region.settings.databases, tmpfs_dir=str(shared))
    return Effective(msgspec.structs.replace(region.settings, databases=databases), region.file, region.state)


def test_they_are_made_and_made_again(placed: Effective) -> None:
    for _ in range(2):
        nodes(placed)
        assert placed.memory.stat().st_mode & 0o7777 == 0o711
        placed.memory.chmod(0o777)


def test_a_link_in_its_place_is_refused(placed: Effective, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    placed.memory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refusal) as caught:
        nodes(placed)
    assert caught.value.code == "DirectoryTaken"
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_that_somebody_else_made_is_refused(placed: Effective) -> None:
    placed.memory.mkdir()
    os.chown(placed.memory, 61234, 61234)
    with pytest.raises(Refusal) as caught:
        nodes(placed)
    assert caught.value.code == "DirectoryTaken"


def test_stopping_the_databases_leaves_nothing_in_memory(
    placed: Effective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "another").mkdir()
    there = make_region(tmp_path / "another")
    make_things(there, there.admin)
    with there.store.read() as tx:
        systems = [replace(found, uid=0) for found in tx.databases.all_systems()]
    monkeypatch.setattr(host, "_systems_here", lambda _: systems)
    stopped: list[MariaDbNode] = []
    for adopted in (None, b"sha"):  # its server was killed: nobody took away what it had; or it runs
        monkeypatch.setattr(MariaDbNode, "adopt", lambda _, adopted=adopted: adopted)
        monkeypatch.setattr(MariaDbNode, "stop", lambda node: stopped.append(node))
        for system in systems:
            place = placed.memory / system.id.rpartition(".")[2]
            make = nodes(placed)
            place.mkdir()
            make(system).offer_identity("token", Secret(b"key"), "home")
        assert list(placed.memory.rglob("rpst"))
        named = [system.name for system in systems] if adopted else []
        assert stop_databases(placed) == named
        assert len(stopped) == len(named) and not placed.memory.exists()
