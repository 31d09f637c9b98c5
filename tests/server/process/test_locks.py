"""Locks: one holder, named to the second, gone with its process."""

import os
from pathlib import Path

import pytest

from keystead.core.errors import Refusal
from keystead.server.process.locks import Holder, Lock, holder


def test_the_second_is_told_who_is_first(tmp_path: Path) -> None:
    path = tmp_path / "run" / "up.lock"
    with Lock(path, "up"):
        assert holder(path) == Holder(os.getpid(), "up")
        with pytest.raises(Refusal) as caught:
            Lock(path, "migrate")
    assert caught.value.code == "AlreadyRunning"
    assert f"up (process {os.getpid()})" in caught.value.message
    assert holder(path) is None
    Lock(path, "up").release()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "run" / "up.lock"
    child = os.fork()
    if not child:
        Lock(path, "up")
        os._exit(0)
    os.waitpid(child, 0)
    assert holder(path) is None
    with Lock(path, "up"):
        assert holder(path) == Holder(os.getpid(), "up")


def test_nobody_holds_what_is_not_there(tmp_path: Path) -> None:
    assert holder(tmp_path / "x.lock") is None
