"""Page layouts, on bytes made here; tests/live/test_mariadb_scan.py reads what a real server wrote."""

import random

from hypothesis import given
from hypothesis import strategies as st

from keystead.databases import pages
from keystead.databases.pages import Geometry

SIZE = 16384
FULL_CRC32 = Geometry(SIZE, True, 7)
OLDER = Geometry(8192, False, 7)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def page(number: int, *, version: int = 0, kind: int = 0x45BF, body: bytes | None = None, space: int = 7) -> bytes:
    head = (
        version.to_bytes(4, "big")
        + number.to_bytes(4, "big")
        + bytes(16)
        + kind.to_bytes(2, "big")
        + bytes(8)
        + space.to_bytes(4, "big")
    )
    filled = noise(SIZE - 46, number) if body is None else body.ljust(SIZE - 46, b"\0")
    return head + filled + noise(8)


def page0(*, flags: int = 0x15, crypt: bool = True, space: int = 7) -> bytes:
    found = bytearray(page(0, kind=8, body=b"", space=space))
    found[54:58] = flags.to_bytes(4, "big")
    if crypt:
        data = b"s\x0e\x0cREt\x01\x10" + noise(16) + (3).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"\0"
        found[200 : 200 + len(data)] = data
    return bytes(found)


def test_geometry_of_both_formats() -> None:
    assert pages.geometry(page0()) == Geometry(SIZE, True, 7, key_id=1, min_version=3)
    assert pages.geometry(page0(flags=0x29, crypt=False)) == Geometry(8192, False, 7)  # ROW_FORMAT=COMPRESSED
    assert pages.geometry(page0(flags=0x21, crypt=False)) == Geometry(SIZE, False, 7)
    assert pages.geometry(page(3)) is None
    assert pages.geometry(b"") is None


def test_an_encrypted_page_names_its_version() -> None:
    assert pages.page_state(page(4, version=9), FULL_CRC32) == ("encrypted", 9)
    older = bytearray(page(4, version=0xDEADBEEF)[:8192])
    older[26:30] = (9).to_bytes(4, "big")
    assert pages.page_state(bytes(older), OLDER) == ("encrypted", 9)


def test_a_version_without_ciphertext_is_a_lie() -> None:
    liar = page(4, version=9, body=b"the quick brown fox " * 700)
    assert pages.page_state(liar, FULL_CRC32) == ("plain", 9)
    assert pages.page_state(liar, FULL_CRC32, check_body=False) == ("encrypted", 9)


def test_ciphertext_without_a_version_is_plain_but_in_the_temporary_tablespace() -> None:
    assert pages.page_state(page(4), FULL_CRC32) == ("plain", 0)
    temporary = Geometry(SIZE, True, 7, temporary=True)
    assert pages.page_state(page(4), temporary) == ("encrypted", 0)
    assert pages.page_state(page(4, body=b"plain text"), temporary) == ("plain", 0)


def test_what_is_open_by_design() -> None:
    assert pages.page_state(page(0, kind=8, body=b""), FULL_CRC32) == ("open", 0)
    assert pages.page_state(page(16384, kind=9, body=b""), FULL_CRC32) == ("open", 0)
    system = Geometry(SIZE, True, 0)
    assert pages.page_state(page(5, kind=7, body=b"", space=0), system) == ("open", 0)
    assert pages.page_state(page(5, kind=7, body=b""), FULL_CRC32) == ("plain", 0)  # only in the system tablespace


def test_a_spatial_index_in_the_older_format_is_found_in_clear() -> None:
    rtree = bytearray(page(4, version=0xDEADBEEF, kind=0x45BE)[:8192])
    rtree[26:30] = bytes(4)
    assert pages.page_state(bytes(rtree), OLDER) == ("plain", 0)


def test_a_compressed_page_is_judged_up_to_its_end() -> None:
    assert pages.page_state(page(4, version=2, kind=0x8003, body=noise(0x300 - 38)), FULL_CRC32) == ("encrypted", 2)


def test_a_tablespace_is_counted_page_by_page() -> None:
    content = page0() + page(1, version=3) + page(2, version=5) + page(3, version=5) + bytes(SIZE) + page(5)
    for chunk in (1 << 16, 1 << 20):
        tally = pages.tally_tablespace(content[i : i + chunk] for i in range(0, len(content), chunk))
        assert tally is not None
        assert tally.versions == {3: 1, 5: 2}
        assert tally.states == {"open": 1, "encrypted": 3, "empty": 1, "plain": 1}
        assert (tally.pages, tally.plain, tally.key_id) == (6, 1, 1)
    unwritten = pages.tally_tablespace([bytes(1 << 16)])
    assert unwritten is not None and unwritten.states == {"empty": 4}
    assert pages.tally_tablespace([b"not a tablespace" * 5000]) is None


def test_old_images_in_the_doublewrite_area_are_counted_apart() -> None:
    content = page0(space=0) + page(1, version=5, space=0) + page(9, version=3, space=8) + page(1, version=4, space=0)
    tally = pages.tally_tablespace([content])
    assert tally is not None and tally.versions == {5: 1} and tally.copies == {3: 1, 4: 1}


def test_redo_header() -> None:
    head = bytes.fromhex("f09f979d") + bytes(44) + (1).to_bytes(4, "big") + (12).to_bytes(4, "big")
    assert pages.redo_header(head) == pages.LogHeader(True, 12)
    assert pages.redo_header(b"Phys" + bytes(60)) == pages.LogHeader(False)
    assert pages.redo_header(b"what") is None


def event(kind: int, body: bytes) -> bytes:
    size = (19 + len(body)).to_bytes(4, "little")
    return bytes(4) + bytes([kind]) + bytes(4) + size + bytes(6) + body


def test_binlog_header() -> None:
    head = b"\xfebin" + event(15, bytes(233))
    assert pages.binlog_header(head + event(0xA4, b"\x01" + (3).to_bytes(4, "little") + bytes(16))) == (
        pages.LogHeader(True, 3)
    )
    assert pages.binlog_header(head + event(2, b"BEGIN")) == pages.LogHeader(False)
    assert pages.binlog_header(head) == pages.LogHeader(False)
    assert pages.binlog_header(b"some text") is None


def test_aria_pages() -> None:
    def aria(kind: int, at: int, version: int, body: bytes) -> bytes:
        made = bytearray(bytes(7) + bytes([kind]) + body[: 8192 - 8].ljust(8192 - 8, b"\0"))
        made[at : at + 4] = version.to_bytes(4, "little")
        return bytes(made)

    bitmap = b"\xff" * 8192
    content = bitmap + aria(1, 12, 4, noise(8184)) + aria(3, 8, 4, noise(8184, 2)) + aria(2, 12, 0, b"plain")
    tally = pages.tally_aria([content], index=False)
    assert tally.states == {"open": 1, "encrypted": 2, "plain": 1} and tally.versions == {4: 2}


@given(st.binary(max_size=3000))
def test_whatever_the_bytes_nothing_is_raised(data: bytes) -> None:
    pages.redo_header(data)
    pages.binlog_header(b"\xfebin" + data)
    pages.tally_aria([data], index=True)
    pages.tally_aria([data], index=False)
    pages.tally_tablespace([data])
    pages.tally_tablespace([page0(), data])
    pages.looks_random(data)
