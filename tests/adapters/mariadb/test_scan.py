"""A scan reads as whoever runs `host`, perhaps root, in directories of another uid: it is led nowhere by links."""

import os
from pathlib import Path

import pytest

from keystead.adapters.mariadb.scan import binlog_versions, redo_version, scan, total_size

CANARY = b"a value that is looked for"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory, and one beside it that is none of its owner's business."""
    for place in (tmp_path / "data" / "shop", tmp_path / "elsewhere"):
        place.mkdir(parents=True)
        for name in ("a.frm", "z.frm"):
            (place / name).write_bytes(b"names of columns")
    (tmp_path / "elsewhere" / "z.frm").write_bytes(CANARY)
    return tmp_path / "data"


def test_a_directory_that_becomes_a_link_while_it_is_read_leads_nowhere(data: Path) -> None:
    def swap(_read: int) -> None:
        if not (data / "shop").is_symlink():
            (data / "shop").rename(data / "away")
            (data / "shop").symlink_to(data.parent / "elsewhere")

    found = scan(data, canaries=[CANARY], progress=swap)
    assert {finding.path: finding.canaries for finding in found.files} == {"shop/a.frm": 0, "shop/z.frm": 0}


def test_links_are_reported_and_not_followed(data: Path) -> None:
    (data / "linked").symlink_to(data.parent / "elsewhere")
    (data / "shop" / "b.frm").symlink_to(data.parent / "elsewhere" / "z.frm")
    found = {finding.path: finding for finding in scan(data, canaries=[CANARY]).files}
    assert sorted(found) == ["linked", "shop/a.frm", "shop/b.frm", "shop/z.frm"]
    for name in ("linked", "shop/b.frm"):
        assert (found[name].kind, found[name].leaks, found[name].canaries) == ("link", True, 0)
    assert total_size([data]) < 1000


def test_pipes_and_links_in_the_place_of_logs_are_not_opened(data: Path) -> None:
    os.mkfifo(data / "ib_logfile0")  # opening it would wait for ever
    os.mkfifo(data / "binlog.000001")
    (data.parent / "elsewhere" / "log").write_bytes(b"\xfebin" + bytes(60))
    (data / "binlog.000002").symlink_to(data.parent / "elsewhere" / "log")
    assert redo_version(data) == 0
    assert binlog_versions(data) == {}
