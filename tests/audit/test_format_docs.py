"""The drawing of the audit segment says what the code does."""

import re
from pathlib import Path
from typing import get_args

from keystead.adapters import segment_files, segments
from keystead.audit import segment
from keystead.audit.model import Entry, Outcome

ROOT = Path(__file__).parent.parent.parent
DOC = (ROOT / "docs" / "formats" / "audit-segment.md").read_text()
LINES = (ROOT / "tests" / "vectors" / "audit-segment-v1.seg").read_text().splitlines()


def test_the_worked_example_is_the_golden_vector() -> None:
    header, begin, dots, end = DOC.split("## Worked example")[1].split("```")[1].strip().splitlines()
    assert header == LINES[0]
    assert LINES[1].startswith(begin)
    assert dots == "..."
    assert LINES[1].endswith(end)


def test_every_field_is_described_in_the_order_in_which_it_is_written() -> None:
    drawn = DOC.split("The fields of an entry")[1].split("```")[1]
    assert re.findall(r"^(\w+)", drawn, re.MULTILINE) == sorted(Entry._fields)
    for outcome in get_args(Outcome):
        assert outcome in drawn


def test_the_sizes_are_those_of_the_code() -> None:
    mib = 1024 * 1024
    assert 16 * mib == segments.SEGMENT_BYTES
    assert "Segments are 16 MiB" in DOC
    assert mib == segments.RESERVE_BYTES
    assert "1 MiB kept for acts" in DOC
    assert segment.LINE_LIMIT == 64 * 1024
    assert "a line at most 64 KiB" in DOC
    assert (1024, 4 * mib) == (segment_files._GROUP_ENTRIES, segment.GROUP_LIMIT)
    assert "at most 1024 and 4 MiB at a time" in DOC
    assert 8 * mib == segment_files.LEAVE_BYTES
    assert "8 MiB are left to the state" in DOC
    assert segment._CLIP == 256
    assert "cut to 256 characters" in DOC
    assert segments.PROBE_S == 0.5
