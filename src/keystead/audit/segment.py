"""Audit segment v1: lines, their chain, and how a segment is checked. Pure.

    segment := header LF (line LF)* NUL*
    header  := {"format":"keystead-audit-segment","number":n,"previous":h,"region":r,"sequence":s,
                "version":1,"writer":w}
    line    := {"entry":{...},"previous":h,"sequence":n,"writer":w}

Every line is canonical JSON (RFC 8785 as in core.canonical). `previous` is the SHA-256, in lower-case hex, of the line
before without its LF; the first line of a segment names its header, the header of a segment the last line of the
segment before, the first header of a writer 64 zeros. A header's `sequence` is that of the last entry before it;
entries count from 1, without gaps, through all segments of a writer. NULs are space not yet used.

A line that is cut short or holds a NUL was never acknowledged (the writer died, or the power failed, before its group
was synced): the end of the last segment may be torn so, and is cut when the writer opens it again. Everything else that
does not fit was changed by somebody. A chain proves that nothing within it was changed or taken out; that its end was
not cut off, or all of it written anew, is told by the heads kept elsewhere (see rollback).

Drawn in docs/formats/audit-segment.md; golden vector in tests/vectors/.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from json.encoder import encode_basestring as _quoted
from typing import Any, Literal

from keystead.audit.model import Entry, Head
from keystead.core.canonical import encode as canonical
from keystead.core.clock import parse_moment

FORMAT = "keystead-audit-segment"
VERSION = 1
GENESIS = "0" * 64
GROUP_LIMIT = 4 * 1024 * 1024
"""Bytes written in one group at most, and so the most that can be torn."""
LINE_LIMIT = 64 * 1024
"""Bytes of one line; texts of an entry that would make a longer one are clipped."""

_CLIP = 256
_CLIP_DETAILS = 12
_FRAGMENTS_LIMIT = 4096
_NO_DETAIL = '{},"generation":0,"id":'
# What lies between `at` and `request_id`, and between that and `detail`, repeats from entry to entry.
_WHO = slice(Entry._fields.index("tenancy"), Entry._fields.index("request_id"))
_WHAT = slice(Entry._fields.index("action"), Entry._fields.index("detail"))
_TEXTS = tuple(name for name in Entry._fields if name not in ("at", "detail", "generation"))

State = Literal["clean", "torn", "broken"]


class Broken(ValueError):
    """A line or a segment that is not what a writer wrote. The text says where and why."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a segment."""

    region: str
    writer: str
    number: int
    head: Head
    """Where the writer's chain stood before this segment."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in some bytes of a segment.

    `lines` are (start, end, hash) of the complete, chained lines, without LF; `end` is the offset after the last of
    them; `head` the chain after it. `state`: `clean` when only NULs follow, `torn` when an unacknowledged rest does,
    `broken` (then `problem` says why) when something else does: then the line before is not among `lines` either,
    because it may be the one that was changed.
    """

    lines: tuple[tuple[int, int, str], ...]
    end: int
    head: Head
    state: State
    problem: str = ""


def encode_header(header: Header) -> bytes:
    """A header's line, without LF."""
    return canonical(
        {
            "format": FORMAT,
            "version": VERSION,
            "region": header.region,
            "writer": header.writer,
            "number": header.number,
            "sequence": header.head.sequence,
            "previous": header.head.hash,
        }
    )


def parse_header(line: bytes) -> Header:
    """Read a header's line back.

    Raises:
        Broken: not a header of this version.
    """
    try:
        found = json.loads(line)
        header = Header(found["region"], found["writer"], found["number"], Head(found["sequence"], found["previous"]))
        if encode_header(header) == line:
            return header
    except (ValueError, KeyError, TypeError):
        pass
    raise Broken("the first line is no header of an audit segment")


def start(header_line: bytes, header: Header) -> Head:
    """The chain after a header."""
    return Head(header.head.sequence, sha256(header_line).hexdigest())


class Encoder:
    """Makes one writer's lines. Most of a line repeats from entry to entry and is kept."""

    def __init__(self, writer: str) -> None:
        self._suffix = f',"writer":{_quoted(writer)}}}'
        self._known: dict[Any, tuple[str, str, str, str]] = {}

    def encode(self, entries: Iterable[Entry], head: Head) -> tuple[list[bytes], Head]:
        """The lines of `entries` (each with its LF) that continue `head`, and the chain after them.

        Raises:
            ValueError, TypeError: something in `entries` is no entry.
        """
        lines = []
        sequence, previous = head.sequence, head.hash
        for entry in entries:
            sequence += 1
            try:
                line = self._line(entry, previous, sequence)
            except (ValueError, TypeError, AttributeError):
                line = self._line(mended(entry), previous, sequence)
            if len(line) > LINE_LIMIT:
                line = self._line(clipped(mended(entry)), previous, sequence)
            previous = sha256(line).hexdigest()
            lines.append(line + b"\n")
        return lines, Head(sequence, previous)

    def _line(self, entry: Entry, previous: str, sequence: int) -> bytes:
        key = (entry[_WHO], entry[_WHAT])
        parts = self._known.get(key)
        if parts is None:
            if len(self._known) >= _FRAGMENTS_LIMIT:
                self._known.clear()
            parts = self._known[key] = _fragments(entry)
        at = entry.at
        if at.tzinfo is not UTC:
            at = at.astimezone(UTC)
        if entry.detail or entry.generation:
            middle = f'{canonical(dict(entry.detail)).decode()},"generation":{entry.generation:d},"id":'
        else:
            middle = _NO_DETAIL
        return (
            f"{parts[0]}{at.isoformat(timespec='microseconds')[:26]}{parts[1]}{middle}{_quoted(entry.id)}"
            f'{parts[2]}{_quoted(entry.request_id)}{parts[3]}{previous}","sequence":{sequence}{self._suffix}'
        ).encode()


def _fragments(entry: Entry) -> tuple[str, str, str, str]:
    """What lies around at, detail, generation, id, request_id and previous: keys in canonical order."""

    def pairs(*names: str) -> str:
        return ",".join(f'"{name}":{_quoted(getattr(entry, name))}' for name in names)

    what = pairs("operation", "outcome", "principal_id", "principal_name", "principal_type", "reason")
    on_what = pairs("requester", "resource_id", "resource_name", "resource_type", "source", "tenancy", "token_id")
    return (
        f'{{"entry":{{{pairs("action")},"at":"',
        f'Z",{pairs("code", "compartment")},"detail":',
        f',{what},"request_id":',
        f',{on_what}}},"previous":"',
    )


def mended(entry: Any) -> Entry:
    """What can be said of an entry that UTF-8 cannot say, or that has fields of foreign types: it is not lost for that.

    Raises:
        TypeError: it is no entry at all.
    """

    def text(value: Any) -> str:
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else "(not text)"

    if not isinstance(entry, Entry):
        raise TypeError("not an audit entry")
    at: Any = entry.at
    detail: Any = entry.detail
    generation: Any = entry.generation
    pairs = detail.items() if isinstance(detail, Mapping) else ()
    known: dict[str, Any] = {
        "at": at if isinstance(at, datetime) else datetime.fromtimestamp(0, UTC),
        "detail": {text(key).encode("ascii", "replace").decode(): text(value) for key, value in pairs},
        "generation": generation if isinstance(generation, int) else 0,
    }
    return entry._replace(**known | {name: text(getattr(entry, name)) for name in _TEXTS})


def clipped(entry: Entry) -> Entry:
    """With long texts cut, and marked so, that its line fits."""

    def cut(text: str) -> str:
        return text if len(text) <= _CLIP else text[:_CLIP] + "… (clipped)"

    known: dict[str, Any] = {name: cut(getattr(entry, name)) for name in _TEXTS}
    known["detail"] = {cut(key): cut(value) for key, value in list(entry.detail.items())[:_CLIP_DETAILS]}
    return entry._replace(**known)


def encode_line(entry: Entry, writer: str, head: Head) -> tuple[bytes, Head]:
    """One line, without LF, and the chain after it."""
    lines, after = Encoder(writer).encode([entry], head)
    return lines[0][:-1], after


def parse_line(line: bytes) -> Entry:
    """The entry of a line.

    Raises:
        Broken: not a line of this version.
    """
    try:
        return entry_of(json.loads(line)["entry"])
    except (ValueError, KeyError, TypeError) as error:
        raise Broken("a line does not hold an entry") from error


def entry_of(found: Mapping[str, Any]) -> Entry:
    """An entry from its JSON object.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    return Entry(**{**found, "at": parse_moment(found["at"])})


def scan(data: bytes, writer: str, head: Head, until: int | None = None) -> Scan:
    """Follow the chain from `head` through `data`, which begins at the start of a line; not beyond sequence `until`."""
    lines: list[tuple[int, int, str]] = []
    at, sequence, previous = 0, head.sequence, head.hash
    suffix = b',"writer":%b}' % _quoted(writer).encode()
    while sequence != until and (end := data.find(b"\n", at)) >= 0:
        line = data[at:end]
        if not line.endswith(b',"previous":"%b","sequence":%d%b' % (previous.encode(), sequence + 1, suffix)):
            if b"\0" in line:
                break
            return _broken(lines, head, f"the chain breaks after entry {max(sequence - 1, head.sequence)}")
        previous = sha256(line).hexdigest()
        sequence += 1
        lines.append((at, end, previous))
        at = end + 1
    unused = data[at:]
    rest = at if unused == bytes(len(unused)) else len(data.rstrip(b"\0"))  # comparing is a hundred times quicker
    if rest - at > GROUP_LIMIT and sequence != until:
        return _broken(lines, head, f"more than one group after entry {sequence} is unreadable")
    state: State = "torn" if rest > at else "clean"
    return Scan(tuple(lines), at, Head(sequence, previous), state)


def _broken(lines: list[tuple[int, int, str]], head: Head, problem: str) -> Scan:
    good = lines[:-1]
    end, previous = (good[-1][1] + 1, good[-1][2]) if good else (0, head.hash)
    return Scan(tuple(good), end, Head(head.sequence + len(good), previous), "broken", problem)


def open_segment(data: bytes) -> tuple[Header, Head, int]:
    """The header of a segment, the chain after it and where its lines begin.

    Raises:
        Broken: it does not begin with a header.
    """
    end = data.find(b"\n", 0, LINE_LIMIT)
    if end < 0:
        raise Broken("a segment without a header")
    header = parse_header(data[:end])
    return header, start(data[:end], header), end + 1
