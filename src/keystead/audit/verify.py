"""Checks a whole trail, writer by writer: chains intact, nothing missing in between. Pure: segments come as bytes."""

from collections.abc import Iterable
from dataclasses import dataclass

from keystead.audit.model import Head
from keystead.audit.segment import GENESIS, Broken, open_segment, parse_line, scan


@dataclass(frozen=True, slots=True)
class WriterReport:
    """One writer's chain: how many segments and entries hold together, its head, and what does not fit.

    `unfinished_bytes` at the end of the last segment were never acknowledged: a group being written, or torn off.
    """

    writer: str
    segments: int
    entries: int
    head: Head
    highest_generation: int
    unfinished_bytes: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrailReport:
    """Every writer's chain. `intact` means that nothing was changed, taken out or lost in any of them."""

    intact: bool
    entries: int
    writers: tuple[WriterReport, ...]


def check_writer(writer: str, segments: Iterable[tuple[int, bytes]], known: Head | None = None) -> WriterReport:
    """Follow one writer through its segments (number and content), oldest first.

    `known`: an entry of this writer that somebody remembers, by sequence and hash of its line; it must be there.
    """
    head = last = Head(0, GENESIS)
    count = entries = generation = rest = 0
    problems: list[str] = []
    region = None
    expected = 1
    for number, data in segments:
        if number != expected:
            missing = f"segment {expected}" if number == expected + 1 else f"segments {expected} to {number - 1}"
            problems.append(f"{missing} missing")
        if rest:
            problems.append(f"segment {expected - 1}: {rest} bytes after its last line")
        count, expected, rest = count + 1, number + 1, 0
        try:
            header, after, begin = open_segment(data)
        except Broken as error:
            problems.append(f"segment {number}: {error}")
            continue
        region = header.region if region is None else region
        if (header.writer, header.number, header.region) != (writer, number, region):
            problems.append(f"segment {number}: its header belongs to another segment")
        if header.head != head:
            problems.append(_gap(number, head, header.head))
        found = scan(data[begin:], writer, after)
        head = found.head
        if (
            known is not None
            and header.head.sequence < known.sequence <= head.sequence
            and scan(data[begin:], writer, after, until=known.sequence).head.hash != known.hash
        ):
            problems.append(f"entry {known.sequence} is not the one that was indexed")
        entries += len(found.lines)
        last = head if found.lines else last
        for first, end, _hash in found.lines:
            try:
                generation = max(generation, parse_line(data[begin + first : begin + end]).generation)
            except Broken:
                problems.append(f"segment {number}: the line at byte {begin + first} does not hold an entry")
        if found.state == "broken":
            problems.append(f"segment {number}: {found.problem}")
        rest = len(data.rstrip(b"\0")) - begin - found.end if found.state == "torn" else 0
    if known is not None and head.sequence < known.sequence:
        problems.append(f"entries {head.sequence + 1} to {known.sequence} are missing from the end")
    return WriterReport(writer, count, entries, last, generation, rest, tuple(problems))


def _gap(number: int, before: Head, after: Head) -> str:
    if after.sequence > before.sequence:
        return f"segment {number}: entries {before.sequence + 1} to {after.sequence} are missing before it"
    return f"segment {number} does not continue the one before it"


def summarize(writers: Iterable[WriterReport]) -> TrailReport:
    """All writers together."""
    reports = tuple(writers)
    return TrailReport(not any(r.problems for r in reports), sum(r.entries for r in reports), reports)
