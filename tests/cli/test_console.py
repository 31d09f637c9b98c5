"""What is printed, and what is made harmless before."""

import json

import pytest
from tests.cli.conftest import Keystead
from tests.fakes.region import MOMENT, Region

from keystead.cli.console import Console, phrase, visible

EVIL = "x\x1b]0;owned\x07\x9b2J\u202etxt\r"


def entry(**fields: str) -> dict[str, object]:
    base = {
        "id": "ks1.entry.main.home." + "a" * 32,
        "at": MOMENT,
        "principal_id": "p",
        "principal_type": "user",
        "principal_name": "olivia",
        "action": "KEY_DISABLE",
        "resource_type": "key",
        "resource_id": "k",
        "resource_name": "finance",
        "source": "127.0.0.1",
        "outcome": "allowed",
        "code": "",
        "reason": "",
        "compartment_id": "c",
        "requester": "",
        "token_id": "t",
        "request_id": "r",
        "operation": "DisableKey",
        "detail": {},
        "generation": 7,
    }
    return {**base, **fields}


def test_control_characters_of_others_do_nothing(signed_in: Keystead, region: Region) -> None:
    region.entries = [entry(resource_name=EVIL, outcome="refused", reason=EVIL)]
    for ran in (signed_in("audit", "list"), signed_in("audit", "list", "--json")):
        assert not any(char in ran.out for char in "\x1b\x07\x9b\u202e\r")
    assert json.loads(ran.out)[0]["reason"] == EVIL
    region.plan("GET", "/vaults", 403, "No", EVIL, EVIL)
    ran = signed_in("vault", "list")
    assert not any(char in ran.err for char in "\x1b\x07\x9b\u202e\r")


def test_audit_table(signed_in: Keystead, region: Region) -> None:
    region.entries = [
        entry(),
        entry(
            principal_type="mysqldbsystem",
            principal_name="flights",
            outcome="refused",
            reason="key finance is disabled",
        ),
    ]
    lines = signed_in("audit", "list").out.splitlines()
    assert lines[0].split() == ["TIME", "WHO", "OPERATION", "PERMISSION", "RESOURCE", "FROM", "OUTCOME", "WHY"]
    assert lines[1].split() == [
        MOMENT,
        "olivia",
        "DisableKey",
        "KEY_DISABLE",
        "key",
        "finance",
        "127.0.0.1",
        "allowed",
        "-",
    ]
    assert "flights (mysqldbsystem)" in lines[2]
    assert lines[2].endswith("key finance is disabled")


def test_audit_filters(signed_in: Keystead, region: Region) -> None:
    region.entries = [entry(), entry(outcome="refused")]
    assert len(signed_in("audit", "list", "--outcome", "refused", "--since", "2h", "--json").json) == 1
    sent = region.last("GET", "/audit/entries").target
    assert "since=20" in sent
    assert "outcome=refused" in sent
    assert signed_in("audit", "list", "--since", "2026-01-31T13:00:00+01:00").code == 0
    assert "since=2026-01-31T12%3A00%3A00.000Z" in region.last("GET", "/audit/entries").target
    assert signed_in("audit", "list", "--until", "yesterday").code == 2


def test_audit_verify(signed_in: Keystead, region: Region) -> None:
    assert signed_in("audit", "verify").code == 0
    region.plan_raw("GET", "/audit/verification", 200, b'{"intact": false, "problems": ["segment 2: hash differs"]}')
    ran = signed_in("audit", "verify")
    assert (ran.code, "hash differs" in ran.out) == (1, True)


def test_words_for_values() -> None:
    assert [phrase(it) for it in (None, "", True, False, 1.50, [1, 2], {"a": None}, [])] == [
        *("-", "-", "yes", "no", "1.5", "1, 2", "a=-", "-")
    ]
    assert visible("a\x1b[1m\nb\tc") == "a\\x1b[1m\nb\tc"


def test_tables_on_a_terminal_are_drawn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    Console().table([{"name": "[red]x[/red]", "state": "ACTIVE"}], [("name", "name"), ("state", "state")])
    out = capsys.readouterr().out
    assert "─" in out
    assert "[red]x[/red]" in out  # shown, not obeyed


def test_errors_as_json(signed_in: Keystead) -> None:
    ran = signed_in("key", "show", "none", "--json")
    told = json.loads(ran.err)
    assert (ran.code, told["code"], told["exit_code"], ran.out) == (4, "NotFound", 4, "")
