"""Sessions as text: tests/transcripts/*.txt, run against a region in memory and compared word for word.

    # a remark                       $ keystead key list -c prod     a command, as typed
    < correct horse                  a line for its standard input    (before the command)
    NAME     STATE                   what it printed                  2> error: ...   on standard error
    [exit 4]                         its exit code, when not 0

The region's address reads REGION. `KEYSTEAD_WRITE_TRANSCRIPTS=1 pytest tests/cli/test_transcripts.py` writes what was
printed into the files; read the difference before committing it.
"""

import json
import os
import shlex
from pathlib import Path

import pytest
from tests.cli.conftest import Keystead
from tests.cli.test_console import entry
from tests.cli.test_databases import REPORT
from tests.fakes.region import MOMENT, Region, Server

DIRECTORY = Path(__file__).parents[1] / "transcripts"
TYPED = ("# ", "< ", "$ ")
TRANSCRIPTS = sorted(DIRECTORY.glob("*.txt"))


def prepare(region: Region) -> None:
    """What the sessions need and cannot make by themselves."""
    region.results["verify"] = {"report": json.dumps(REPORT)}
    region.results["rotate-data-keys"] = {
        "number": "5",
        "still_needed": json.dumps({"3": ["ib_logfile0 (until the next restart)", "binlog.000001 (until it expires)"]}),
    }
    region.scripts["create"] = [(15, "keys"), (55, "data directory"), (90, "accounts")]
    region.scripts["rotate-data-keys"] = [(10, "publish"), (60, "reencrypt")]
    steps = ("committed", "endpoint_closed", "process_gone", "socket_closed", "restart_refused", "wiped")
    region.fences["flights"] = {
        "db_system_id": "ks1.mysqldbsystem.main.home.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
        "reason": "key_disabled",
        "reason_text": "key finance was disabled by olivia",
        "committed_at": MOMENT,
        "steps": [
            {"name": name, "after_ms": at} for name, at in zip(steps, (0, 3.1, 47.3, 48, 91.6, 92.2), strict=True)
        ],
    }
    region.entries = [
        entry(),
        entry(
            principal_name="dave",
            action="KEY_ASSOCIATE",
            outcome="refused",
            reason="no statement grants dave KEY_ASSOCIATE on key finance",
        ),
        entry(principal_name="flights", principal_type="mysqldbsystem", action="KEY_DECRYPT", source="unix"),
    ]


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path, keystead: Keystead, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    prepare(server.region)
    text = path.read_text()
    happened: list[str] = []
    stdin = ""
    for line in text.splitlines():
        if not line.startswith(TYPED):
            continue
        happened.append(line)
        if line.startswith("< "):
            stdin += line.removeprefix("< ") + "\n"
        if line.startswith("$ "):
            happened += [*play(keystead, line, server.url, stdin), ""]
            stdin = ""
    found = "\n".join(happened).replace(server.url, "REGION")
    if os.environ.get("KEYSTEAD_WRITE_TRANSCRIPTS"):
        path.write_text(found)
    assert found == text


def play(keystead: Keystead, line: str, url: str, stdin: str) -> list[str]:
    """Run one command; what it printed."""
    program, *arguments = shlex.split(line.removeprefix("$ ").replace("REGION", url))
    assert program == "keystead"
    ran = keystead(*arguments, stdin=stdin)
    printed = [f"2> {it}" for it in ran.err.splitlines()] + ran.out.splitlines()
    assert not any(it.startswith(TYPED) for it in printed)
    return [*printed, *([f"[exit {ran.code}]"] if ran.code else [])]


def test_there_are_transcripts() -> None:
    assert {it.stem for it in TRANSCRIPTS} >= {"help", "sign-in", "officer", "databases", "refusals"}
