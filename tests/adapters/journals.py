"""What tests of the audit journal have in common: reading a trail back, and waiting for its flusher."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from keystead.adapters.segment_files import list_segments
from keystead.audit.model import Entry
from keystead.audit.segment import open_segment, parse_line, scan
from keystead.core.errors import Fault

PATIENCE = 20.0


def read(directory: Path, writer: str = "serve-1") -> list[Entry]:
    """Every entry of a writer, as a reader sees it."""
    found = []
    for _number, path in list_segments(directory)[writer]:
        data = path.read_bytes()
        _header, after, begin = open_segment(data)
        found += [parse_line(data[begin + a : begin + b]) for a, b, _hash in scan(data[begin:], writer, after).lines]
    return found


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does by itself (the probe)."""
    tick = threading.Event()
    for _ in range(2000):
        if condition():
            return
        tick.wait(0.005)
    raise AssertionError("it did not come to be")


def refused(call: Callable[[], object]) -> Fault:
    with pytest.raises(Fault) as caught:
        call()
    assert caught.value.code == "AuditUnavailable"
    return caught.value
