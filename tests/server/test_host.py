"""Where `host` puts what belongs to database systems: in directories that are nobody else's."""

import os
from pathlib import Path

import msgspec
import pytest

from keystead.core.errors import Refusal
from keystead.server.host import nodes
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
