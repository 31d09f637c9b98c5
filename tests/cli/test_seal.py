"""`seal` and `unseal`: shares one by one, asked for and never shown, and what a sealed region looks like."""

from pathlib import Path

from tests.cli.conftest import Keystead
from tests.fakes.region import Region


def test_shares_from_different_people(signed_in: Keystead, region: Region) -> None:
    sealed = signed_in("seal", "now", "--yes")
    assert sealed.code == 0 and "is sealed" in sealed.out
    status = signed_in("seal", "status")
    assert "by order of olivia" in status.out and "0 of 2 shares given (none)" in status.out
    first = signed_in("unseal", "--stdin", stdin=b"first share\n")
    assert first.code == 0 and "1 of 2 shares given (1)" in first.out
    last = signed_in("unseal", "--stdin", stdin=b"second share\n")
    assert last.code == 0 and "is open" in last.out
    assert signed_in("unseal", "--stdin", stdin=b"third\n").code == 1
    assert [seen.template for seen in region.exchanges].count("/seal/actions/unseal") == 2


def test_several_at_once_and_beginning_anew(signed_in: Keystead, region: Region) -> None:
    region.status, region.shares = "sealed", [1]
    found = signed_in("unseal", "--reset", "--stdin", stdin=b"one\ntwo\n")
    assert found.code == 0 and "is open" in found.out


def test_a_wrong_one(signed_in: Keystead, region: Region) -> None:
    region.status = "sealed"
    found = signed_in("unseal", "--stdin", stdin=b"wrong\n")
    assert (found.code, "WrongShare" in found.err) == (1, True)


def test_a_key_file(signed_in: Keystead, region: Region, tmp_path: Path) -> None:
    region.status = "sealed"
    (tmp_path / "root.key").write_text("keystead-key-file-1 abc\n")
    assert signed_in("unseal", "--with", "key-file", "--file", str(tmp_path / "root.key")).code == 0
    assert region.status == "ok"


def test_wrong_usage(signed_in: Keystead, region: Region) -> None:
    region.status = "sealed"
    for words in (("--with", "magic"), ("--with", "identity"), ()):
        assert signed_in("unseal", *words).code == 2
    assert signed_in("unseal", "--stdin", stdin=b"\n").code == 2
    assert signed_in("seal", "now").code == 2, "nobody can be asked"
