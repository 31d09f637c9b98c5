"""A journal to write audit entries to, closed when the test ends."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.disk import FailingDisk

from keystead.adapters.segments import SegmentJournal, open_journal


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., SegmentJournal]]:
    """Journals in `tmp_path`, small, closed at the end."""
    journals: list[SegmentJournal] = []

    def open_one(**options: Any) -> SegmentJournal:
        settings = {"segment_bytes": 64 * 1024, "reserve_bytes": 32 * 1024, "probe_s": 0.01} | options
        journals.append(open_journal(settings.pop("directory", tmp_path / "audit"), "serve", "home", **settings))
        return journals[-1]

    yield open_one
    for journal in journals:
        if isinstance(disk := journal._files._disk, FailingDisk):
            disk.go_on.set()
        journal.close()
