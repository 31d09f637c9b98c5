"""What a command writes is there whole or not at all, and for nobody else to read."""

from pathlib import Path

import pytest

from keystead.cli.exits import CliError
from keystead.cli.files import read_text, write, write_new


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CliError):
        write_new(tmp_path / "no" / "file", b"x")
    (tmp_path / "taken").mkdir()
    with pytest.raises(CliError):
        write_new(tmp_path / "taken", b"x")
    assert [found.name for found in tmp_path.iterdir()] == ["taken"]


def test_an_old_file_is_closed_to_others_before_it_is_written(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.touch(0o644)
    write(old, b"x")
    assert (old.read_bytes(), old.stat().st_mode & 0o777) == (b"x", 0o600)


def test_what_is_not_text_or_not_there_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")
    for name in ("bytes", "missing"):
        with pytest.raises(CliError, match="cannot read"):
            read_text(tmp_path / name)
