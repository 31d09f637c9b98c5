"""The files of a system's own identity: who may read them, replaced whole, taken away."""

import os
from pathlib import Path

import pytest

from keystead.adapters.mariadb.node_identity import NodeIdentity
from keystead.adapters.mariadb.process import Owner
from keystead.core.secret import Secret

UID = 64321


class Node(NodeIdentity):
    def __init__(self, memory: Path, owner: Owner) -> None:
        self._memory, self._owner = memory, owner


def offered(node: Node, token: str = "one") -> None:
    node.offer_identity(token, Secret(b"key"), "home")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_workload_finds_everything_by_the_names_that_oci_gave_it(tmp_path: Path) -> None:
    offered(Node(tmp_path, Owner.ours()))
    lines = (tmp_path / "identity/environment").read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines)
    assert told.pop("OCI_RESOURCE_PRINCIPAL_VERSION") == "2.2"
    assert told.pop("OCI_RESOURCE_PRINCIPAL_REGION") == "home"
    assert Path(told.pop("OCI_RESOURCE_PRINCIPAL_RPST")).read_text() == "one"
    assert Path(told.pop("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM")).read_bytes() == b"key"
    assert told == {}


def test_without_uids_everything_is_ours_alone(tmp_path: Path) -> None:
    offered(Node(tmp_path, Owner.ours()))
    place = tmp_path / "identity"
    assert mode(place) == 0o700
    assert {mode(each) for each in place.iterdir()} == {0o400}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives out uids")
def test_the_systems_uid_reads_and_cannot_write(tmp_path: Path) -> None:
    offered(Node(tmp_path, Owner(UID, UID)))
    place = tmp_path / "identity"
    for path, wanted in ((place, 0o750), *((each, 0o440) for each in place.iterdir())):
        assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (os.geteuid(), UID, wanted)


def test_files_are_replaced_and_not_rewritten(tmp_path: Path) -> None:
    node = Node(tmp_path, Owner.ours())
    offered(node)
    with (tmp_path / "identity/rpst").open() as reading:
        offered(node, "another")
        assert reading.read() == "one", "whoever reads meanwhile has the whole of the old one"
    assert (tmp_path / "identity/rpst").read_text() == "another"
    assert sorted(each.name for each in (tmp_path / "identity").iterdir()) == ["environment", "private.pem", "rpst"]


def test_what_a_killed_write_left_behind_is_no_hindrance(tmp_path: Path) -> None:
    node = Node(tmp_path, Owner.ours())
    offered(node)
    (tmp_path / "identity/rpst.new").write_text("half")
    offered(node, "another")
    assert (tmp_path / "identity/rpst").read_text() == "another"


def test_the_key_is_found_again_and_all_is_taken_away(tmp_path: Path) -> None:
    node = Node(tmp_path, Owner.ours())
    assert node.offered_key() is None
    node.withdraw_identity()
    offered(node)
    assert node.offered_key() == Secret(b"key")
    node.withdraw_identity()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_made_for_a_node_whose_memory_was_wiped(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        offered(Node(tmp_path / "gone", Owner.ours()))
