"""Lines are canonical, chained, and whatever was done to them shows."""

import json
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.entries import NOON, entry

from keystead.audit.model import Entry, Head
from keystead.audit.segment import (
    GENESIS,
    GROUP_LIMIT,
    LINE_LIMIT,
    Broken,
    Encoder,
    Header,
    encode_header,
    encode_line,
    open_segment,
    parse_line,
    scan,
    start,
)
from keystead.core.canonical import encode as canonical

VECTOR = Path(__file__).parent.parent / "vectors" / "audit-segment-v1.seg"
BEGIN = Head(0, GENESIS)

texts = st.text(st.characters(codec="utf-8"), max_size=30)
entries = st.builds(
    Entry,
    **{name: texts for name in Entry._fields if name not in ("at", "outcome", "detail", "generation")},
    at=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])),
    outcome=st.sampled_from(["allowed", "refused", "intent", "succeeded", "failed"]),
    detail=st.dictionaries(st.text(st.characters(codec="ascii"), max_size=8), texts, max_size=3),
    generation=st.integers(0, 2**53 - 1),
)


def chain(*items: Entry, head: Head = BEGIN) -> tuple[bytes, Head]:
    lines, after = Encoder("serve-1").encode(items, head)
    return b"".join(lines), after


def vector_entries() -> list[Entry]:
    """What the golden segment says."""
    return [
        entry(1),
        entry(2, outcome="refused", code="NotAuthorized", reason='lacks "KEY_DECRYPT"\n', principal_name="Zoë 🗝"),
        entry(3, detail={"to": "v2", "from": "v1"}, generation=42, at=NOON + timedelta(microseconds=7)),
        entry(4, tenancy="", compartment="", principal_id="", principal_type="", principal_name="\x00\x1f\x7f"),
    ]


def vector() -> bytes:
    """The golden segment, made anew."""
    header = Header("home", "serve-1", 3, Head(7, "ab" * 32))
    line = encode_header(header)
    return line + b"\n" + chain(*vector_entries(), head=start(line, header))[0] + bytes(64)


def test_the_golden_segment_is_written_as_ever() -> None:
    assert vector() == VECTOR.read_bytes()


def test_the_golden_segment_reads_as_ever() -> None:
    data = VECTOR.read_bytes()
    header, after, begin = open_segment(data)
    assert header == Header("home", "serve-1", 3, Head(7, "ab" * 32))
    found = scan(data[begin:], "serve-1", after)
    assert found.state == "clean"
    assert found.head == Head(11, "6f69b5fe035f7002a51c87dec0703519b1c08a3072219ee6d16b607bed2371d0")
    assert [parse_line(data[begin + a : begin + b]) for a, b, _hash in found.lines] == vector_entries()


@given(st.lists(entries, min_size=1, max_size=4))
def test_lines_are_canonical_and_say_everything(items: list[Entry]) -> None:
    data, after = chain(*items)
    previous = GENESIS
    for number, (line, item) in enumerate(zip(data.splitlines(), items, strict=True), 1):
        found = json.loads(line)
        assert canonical(found) == line
        assert (found["previous"], found["sequence"], found["writer"]) == (previous, number, "serve-1")
        assert parse_line(line) == item._replace(at=item.at.astimezone(UTC))
        assert found["entry"].keys() == item._asdict().keys()
        previous = sha256(line).hexdigest()
    assert after == Head(len(items), previous)
    assert scan(data + bytes(50), "serve-1", BEGIN).state == "clean"


def test_entries_that_repeat_are_told_apart() -> None:
    encoder = Encoder("serve-1")
    many = [entry(n, resource_name=f"key {n % 3}", source=f"10.0.0.{n % 7}") for n in range(40)]
    lines, _after = encoder.encode(many * 2, BEGIN)
    assert [parse_line(line) for line in lines] == many * 2


@given(st.data())
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    good, _after = chain(*(entry(n) for n in range(3)))
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    found = scan(bytes(bad) + good[-1:], "serve-1", BEGIN)
    # Within the last line nothing follows that would tell: the heads do.
    last = good.count(b"\n", 0, place) == 2
    assert found.head != scan(good, "serve-1", BEGIN).head
    assert last or found.state != "clean"
    assert [good[a:b] for a, b, _hash in found.lines[:2]] == good.splitlines()[: min(len(found.lines), 2)]


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
        lambda lines: lines[1:],
        lambda lines: [lines[0].replace(b"allowed", b"refused"), *lines[1:]],
        lambda lines: [lines[0], lines[1].replace(b"finance", b"payroll"), lines[2]],
        lambda lines: [*lines[:2], b"{}\n", lines[2]],
        lambda lines: [*lines[:2], b"\n", lines[2]],
        lambda lines: [lines[0], encode_line(entry(1, reason="new"), "serve-1", Head(1, GENESIS))[0] + b"\n", lines[2]],
    ],
)
def test_lines_taken_out_swapped_doubled_or_changed_are_found(change: Any) -> None:
    good, _after = chain(entry(0), entry(1), entry(2))
    found = scan(b"".join(change(good.splitlines(keepends=True))), "serve-1", BEGIN)
    assert found.state == "broken"
    assert "the chain breaks" in found.problem


def test_a_line_of_another_writer_is_found() -> None:
    lines, _after = Encoder("serve-2").encode([entry(0)], BEGIN)
    assert scan(lines[0], "serve-1", BEGIN).state == "broken"


def test_an_end_cut_short_is_torn_wherever_the_cut() -> None:
    good, _after = chain(entry(0), entry(1))
    first = good.index(b"\n") + 1
    for length in range(first + 1, len(good)):
        for rest in (b"", bytes(300)):
            found = scan(good[:length] + rest, "serve-1", BEGIN)
            assert (found.state, found.end, found.head.sequence) == ("torn", first, 1)


def test_a_page_that_never_reached_the_disk_is_torn() -> None:
    good, _after = chain(*(entry(n) for n in range(20)))
    holed = good[:4096] + bytes(4096) + good[8192:]
    found = scan(holed, "serve-1", BEGIN)
    assert found.state == "torn"
    assert found.end <= 4096


def test_more_than_one_group_of_rubbish_is_not_taken_for_a_torn_end() -> None:
    good, _after = chain(entry(0))
    found = scan(good + b"x" * (GROUP_LIMIT + 1), "serve-1", BEGIN)
    assert found.state == "broken"


def test_scan_stops_where_it_is_told() -> None:
    good, _after = chain(entry(0), entry(1), entry(2))
    assert scan(good, "serve-1", BEGIN, until=2).head == chain(entry(0), entry(1))[1]


def test_a_header_that_was_changed_is_none() -> None:
    line = encode_header(Header("home", "serve-1", 1, BEGIN))
    for bad in (line.replace(b":1,", b":2,", 1).replace(b'"version":1', b'"version":2'), b"{}", b"x", line + b" "):
        with pytest.raises(Broken):
            open_segment(bad + b"\n")
    with pytest.raises(Broken):
        open_segment(bytes(100))


@pytest.mark.parametrize("bad", [b"", b"[]", b"{}", b'{"entry":{}}', b'{"entry":{"at":7}}', b"\xff"])
def test_what_is_no_entry_is_not_read_as_one(bad: bytes) -> None:
    with pytest.raises(Broken):
        parse_line(bad)


def test_an_entry_that_cannot_be_said_is_mended_not_lost() -> None:
    strange: Any = entry(
        1, resource_name="half \ud800", reason=7, detail={"né": "\udfff", "list": ["a"]}, at="now", generation="x"
    )
    line, _after = encode_line(strange, "serve-1", BEGIN)
    found = parse_line(line)
    assert found.resource_name == "half ?"
    assert found.reason == "(not text)"
    assert found.detail == {"n?": "?", "list": "(not text)"}
    assert (found.at, found.generation) == (datetime(1970, 1, 1, tzinfo=UTC), 0)
    assert found.principal_id == entry(1).principal_id


def test_an_entry_too_long_for_a_line_is_clipped() -> None:
    vast = entry(1, resource_name="\x01" * 10**6, reason="é" * 10**5, detail={f"k{n}": "🗝" * 9000 for n in range(99)})
    line, _after = encode_line(vast, "serve-1", BEGIN)
    assert len(line) <= LINE_LIMIT
    assert parse_line(line).resource_name.endswith("(clipped)")
    assert parse_line(line).id == vast.id


def test_what_is_no_entry_is_refused() -> None:
    nothing: Any = object()
    with pytest.raises(TypeError):
        encode_line(nothing, "serve-1", BEGIN)
