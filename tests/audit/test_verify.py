"""Verification of a writer's segments tells what is missing, and where."""

from tests.fakes.entries import entry

from keystead.audit.model import Head
from keystead.audit.segment import GENESIS, Encoder, Header, encode_header, encode_line, start
from keystead.audit.verify import check_writer, summarize


def segments(*counts: int) -> list[tuple[int, bytes]]:
    """Segments of writer `work-1` with so many entries each."""
    head, made, total = Head(0, GENESIS), [], 0
    for number, count in enumerate(counts, 1):
        header = Header("home", "work-1", number, head)
        line = encode_header(header)
        items = [entry(total + n, generation=total + n) for n in range(1, count + 1)]
        lines, head = Encoder("work-1").encode(items, start(line, header))
        made.append((number, line + b"\n" + b"".join(lines)))
        total += count
    return made


def test_an_intact_chain() -> None:
    report = check_writer("work-1", segments(3, 0, 2))
    assert (report.segments, report.entries, report.head.sequence, report.highest_generation) == (3, 5, 5, 5)
    assert report.problems == ()
    assert summarize([report]).intact


def test_the_head_is_that_of_an_entry_not_of_a_header() -> None:
    assert check_writer("work-1", segments(3, 0)).head == check_writer("work-1", segments(3)).head


def test_a_torn_end_is_no_problem_but_only_at_the_end() -> None:
    good = segments(2, 2)
    torn = check_writer("work-1", [good[0], (2, good[1][1] + b'{"entry":{"act')])
    assert (torn.problems, torn.unfinished_bytes) == ((), 14)
    inside = check_writer("work-1", [(1, good[0][1] + b'{"entry":{"act'), good[1]])
    assert inside.problems == ("segment 1: 14 bytes after its last line",)


def test_missing_segments_and_entries_are_named() -> None:
    good = segments(2, 3, 4, 1)
    assert check_writer("work-1", good[1:]).problems == (
        "segment 1 missing",
        "segment 2: entries 1 to 2 are missing before it",
    )
    assert check_writer("work-1", [good[0], good[3]]).problems == (
        "segments 2 to 3 missing",
        "segment 4: entries 3 to 9 are missing before it",
    )


def test_a_changed_line_is_named() -> None:
    good = segments(3, 1)
    bad = good[0][1].replace(b"Decrypt", b"Encrypt", 1)
    problems = check_writer("work-1", [(1, bad), good[1]]).problems
    assert problems[0] == "segment 1: the chain breaks after entry 0"
    assert len(problems) == 2, "the segment after it does not join either"


def test_another_writers_segment_and_rubbish_are_named() -> None:
    good = segments(1, 1)
    assert check_writer("serve-1", good[:1]).problems[0] == "segment 1: its header belongs to another segment"
    assert "no header" in check_writer("work-1", [(1, b"rubbish\n")]).problems[0]
    assert "without a header" in check_writer("work-1", [(1, b"")]).problems[0]


def test_segments_of_two_regions_do_not_mix() -> None:
    good = segments(1, 1)
    foreign = (2, good[1][1].replace(b'"region":"home"', b'"region":"away"'))
    assert "segment 2: its header belongs to another segment" in check_writer("work-1", [good[0], foreign]).problems


def test_a_chained_line_that_holds_no_entry_is_named() -> None:
    header = Header("home", "work-1", 1, Head(0, GENESIS))
    line = encode_header(header)
    previous = start(line, header).hash
    odd = f'{{"entry":{{}},"previous":"{previous}","sequence":1,"writer":"work-1"}}'.encode()
    assert "does not hold an entry" in check_writer("work-1", [(1, line + b"\n" + odd + b"\n")]).problems[0]


def test_an_end_cut_off_is_told_by_what_was_known_of_it() -> None:
    whole = segments(2, 3)
    known = check_writer("work-1", whole).head
    assert check_writer("work-1", whole, known).problems == ()
    assert check_writer("work-1", segments(2, 3, 4), known).problems == ()
    assert check_writer("work-1", segments(2, 1), known).problems == ("entries 4 to 5 are missing from the end",)
    assert check_writer("work-1", [], known).problems == ("entries 1 to 5 are missing from the end",)
    rewritten = segments(2)
    header = Header("home", "work-1", 2, check_writer("work-1", rewritten).head)
    head = start(encode_header(header), header)
    data = encode_header(header) + b"\n"
    for number in (3, 4, 5):
        line, head = encode_line(entry(number, reason="forged"), "work-1", head)
        data += line + b"\n"
    assert check_writer("work-1", [*rewritten, (2, data)], known).problems == (
        "entry 5 is not the one that was indexed",
    )
