"""What the host reports of a scan is what the command line reads."""

import json

import pytest

from keystead.adapters.mariadb.report import report_of
from keystead.adapters.mariadb.scan import FileFinding, Report
from keystead.cli import report
from keystead.cli.console import Console
from keystead.cli.exits import CliError

SOUND = (
    FileFinding("data", "flights/flights.ibd", "tablespace", 65536, True, key_id=1, key_versions={3: 4}),
    FileFinding("data", "flights/flights.frm", "definition", 900, False, readable="names of tables and columns"),
)


def test_a_report_survives_the_row_it_travels_in(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(json.dumps(report_of(Report(SOUND, 66436), 5, 2)))
    report.show(Console(), found)
    report.check(found)
    shown = capsys.readouterr().out
    assert "names of tables and columns" in shown
    assert "canaries: 5 planted and 2 values of your own rows, found 0 times in clear" in shown
    assert "1 files encrypted, 1 readable by design, 0 leak" in shown


def test_a_leak_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    leak = FileFinding("data", "flights/spill.MYD", "unknown", 900, False, canaries=2)
    found = report_of(Report((*SOUND, leak), 67336), 5, 0)
    report.show(Console(), found)
    with pytest.raises(CliError, match=r"flights/spill\.MYD"):
        report.check(found)
    assert "found 2 times in clear" in capsys.readouterr().out
