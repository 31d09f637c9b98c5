"""A fence ends whatever works for a system, and nobody else."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.calls import make_things
from tests.fakes.domain import make_region

from keystead.adapters.mariadb.node import MariaDbNode
from keystead.adapters.mariadb.process import Owner, Process, spawn
from keystead.adapters.mariadb.strangers import end_strangers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives each system a uid of its own")


@pytest.fixture
def node(tmp_path: Path) -> MariaDbNode:
    region = make_region(tmp_path)
    things = make_things(region, region.admin)
    with region.store.read() as tx:
        system = next(found for found in tx.databases.all_systems() if found.id == things.system)
    # A uid far from those of real servers.
    system = replace(system, uid=65000 - secrets.randbelow(1000))
    return MariaDbNode(system, tmp_path / "data", tmp_path / "memory", 1, tmp_path / "backups")


@pytest.fixture
def sleepers(node: MariaDbNode, tmp_path: Path) -> Iterator[list[Process]]:
    """One of the system's uid under a name that says nothing, and two that have but one of uid and place in common."""
    with ExitStack() as stack:
        made = []
        node._home.mkdir(parents=True)
        uid = node._owner.uid
        for its, place in ((uid, node._home), (uid + 1000, node._home), (uid, Path("/"))):
            process = spawn(("/bin/sleep", "60"), owner=Owner(its, its), directory=place, log=tmp_path / "log")
            made.append(stack.enter_context(process))
            stack.callback(process.kill)
        yield made


def test_it_ends_what_works_for_the_system_under_any_name(node: MariaDbNode, sleepers: list[Process]) -> None:
    node.kill()
    ours, another_uid, another_region = sleepers
    assert ours.wait(5) and another_uid.is_alive() and another_region.is_alive()


def test_somebody_who_reads_the_log_is_left_alone(node: MariaDbNode, tmp_path: Path) -> None:
    node._home.mkdir(parents=True)
    (node._home / "error.log").touch()
    with subprocess.Popen(("/usr/bin/tail", "-f", str(node._home / "error.log"))) as reader:
        try:
            node.kill()
            assert reader.poll() is None
        finally:
            reader.kill()


def test_servers_that_nobody_knows_are_ended(node: MariaDbNode, tmp_path: Path) -> None:
    """By their recorded identity; known ones, and processes that only have the number of one, go on."""
    with ExitStack() as stack:
        made = {}
        for name in ("known", "forgotten", "reused"):
            process = spawn(("/bin/sleep", "60"), owner=Owner.ours(), directory=Path("/"), log=tmp_path / "log")
            made[name] = stack.enter_context(process)
            stack.callback(process.kill)
            identity = process.identity
            if name == "reused":
                identity = replace(identity, started=identity.started - 1)
            (tmp_path / "data" / name).mkdir(parents=True)
            (tmp_path / "data" / name / "node.json").write_text(f'{{"identity": "{identity}"}}')
        (tmp_path / "data" / "broken").mkdir()
        (tmp_path / "data" / "broken" / "node.json").write_text("{")
        assert end_strangers(tmp_path / "data", ["ks1.mysqldbsystem.main.home.known"]) == ["forgotten"]
        assert made["forgotten"].wait(5) and made["known"].is_alive() and made["reused"].is_alive()
