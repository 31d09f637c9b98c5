"""What bytes on disk say about their encryption: InnoDB pages, redo log, binary logs, Aria pages.

Pure. The layouts are MariaDB 10.11's (big endian unless said):

    InnoDB page, full_crc32      0 key version | 4 page number | 24 type | 34 space id | 38 encrypted ...
    InnoDB page, older format    26 key version (0-3 is a checksum)
    InnoDB page 0                38+ header, flags at 54; crypt data: "s\\x0e\\x0cREt", type, 16, IV[16], min version,
                                 key id, mode. Never encrypted; holds no rows.
    temporary tablespace         no key version: its key is made anew at each start
    redo log                     0 format (f09f979d encrypted, "Phys" not) | 48 key id | 52 key version
    binary and relay log         fe"bin", format event, then event 0xa4: scheme, key version (little endian), nonce
    Aria data page               7 type (1 head, 2 tail, 3 blob) | 12 (8 for blobs) key version (little endian)
    Aria index page              13 key version (little endian) | 19 bytes used

A key version in a header is a claim; that the body cannot be compressed is the evidence. A page counts as encrypted
only with both.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

DEFAULT_PAGE = 16384
ARIA_PAGE = 8192
HEADER = 38
_FSP_HDR, _XDES, _TRX_SYS, _RTREE = 8, 9, 7, 0x45BE
_CRYPT_MAGIC = b"s\x0e\x0cREt"
_COMPRESSED = 0x8000
_FULL_CRC32 = 0x10
_ENCRYPTED_REDO, _PLAIN_REDO = bytes.fromhex("f09f979d"), b"Phys"
_BINLOG_MAGIC, _START_ENCRYPTION = b"\xfebin", 0xA4
_PLAUSIBLE_VERSION = 1 << 24

PageState = Literal["empty", "encrypted", "open", "plain"]
"""`empty`: never written. `open`: by design in clear, holds no rows. `plain`: should be encrypted and is not."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the pages of one tablespace are laid out, from its page 0. `key_id` 0: no crypt data there."""

    page_size: int
    full_crc32: bool
    space_id: int
    key_id: int = 0
    min_version: int = 0
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """Pages of one file by state, and how many pages each key version protects (0: a key with no number).

    `copies` are pages of the doublewrite area by version: old images, written over as the server works, that no clean
    start reads. They are counted in `states` too, not in `versions`.
    """

    states: Mapping[PageState, int]
    versions: Mapping[int, int]
    key_id: int = 0
    copies: Mapping[int, int] = field(default_factory=dict)

    @property
    def pages(self) -> int:
        return sum(self.states.values())

    @property
    def plain(self) -> int:
        return self.states.get("plain", 0)


@dataclass(frozen=True, slots=True)
class LogHeader:
    """The head of a redo, binary or relay log."""

    encrypted: bool
    key_version: int = 0


@dataclass(slots=True)
class _Count:
    states: Counter[PageState] = field(default_factory=Counter)
    versions: Counter[int] = field(default_factory=Counter)
    copies: Counter[int] = field(default_factory=Counter)

    def add(self, state: PageState, version: int, *, copy: bool = False) -> None:
        self.states[state] += 1
        if state == "encrypted":
            (self.copies if copy else self.versions)[version] += 1

    def tally(self, key_id: int = 0) -> Tally:
        return Tally(dict(self.states), dict(self.versions), key_id, dict(self.copies))


def looks_random(data: bytes | memoryview) -> bool:
    """Whether `data` cannot be compressed, as ciphertext cannot. Short pieces (under 64 bytes) prove nothing: True."""
    return len(data) < 64 or len(zlib.compress(data, 1)) >= 0.97 * len(data)


def geometry(page0: bytes, *, temporary: bool = False) -> Geometry | None:
    """The layout that page 0 tells; None when these are not the first bytes of a tablespace."""
    if len(page0) < 1024 or _u2(page0, 24) != _FSP_HDR or _u4(page0, 4) != 0:
        return None
    flags = _u4(page0, 54)
    if flags & _FULL_CRC32:
        size = 512 << (flags & 0xF)
    else:
        zipped, logical = (flags >> 1) & 0xF, (flags >> 6) & 0xF
        size = 512 << zipped if zipped else (512 << logical if logical else DEFAULT_PAGE)
    if size not in (1024, 2048, 4096, 8192, 16384, 32768, 65536):
        return None
    at = page0.find(_CRYPT_MAGIC)
    key_id = min_version = 0
    if at > 0 and len(page0) >= at + 33:
        min_version, key_id = _u4(page0, at + 24), _u4(page0, at + 28)
    return Geometry(size, bool(flags & _FULL_CRC32), _u4(page0, 34), key_id, min_version, temporary)


def page_state(page: bytes | memoryview, layout: Geometry, *, check_body: bool = True) -> tuple[PageState, int]:
    """The state of one page and the key version it names (0 when none)."""
    kind = _u2(page, 24)
    if kind in (_FSP_HDR, _XDES):
        return "open", 0
    if kind == _TRX_SYS and layout.space_id == 0 and _u4(page, 4) == 5:
        return "open", 0
    version = _version(page, layout)
    if not version and not layout.temporary:
        return "plain", 0
    if check_body and not looks_random(_body(page, kind)):
        return "plain", version
    return "encrypted", version


def _version(page: bytes | memoryview, layout: Geometry) -> int:
    if layout.temporary:
        return 0
    first, older = _u4(page, 0), _u4(page, 26)
    if not layout.full_crc32:
        return older
    if first >= _PLAUSIBLE_VERSION and _u4(page, 34) != layout.space_id and 0 < older < _PLAUSIBLE_VERSION:
        return older  # a copy, in the doublewrite area, of a page in the older format
    return first


def _body(page: bytes | memoryview, kind: int) -> bytes | memoryview:
    """The part that is ciphertext: a page-compressed page ends where its type says."""
    end = len(page) - 8
    if kind & _COMPRESSED:
        end = min(end, (kind & 0xFF) << 8)
    return memoryview(page)[HEADER:end]


def tally_tablespace(chunks: Iterable[bytes], *, temporary: bool = False, every: int = 1) -> Tally | None:
    """Count the pages of a tablespace given as consecutive chunks; bodies are checked on one page in `every`.

    None when it is not a tablespace. `chunks` are multiples of 64 KiB, except the last.
    """
    count, layout, number = _Count(), None, 0
    for chunk in chunks:
        if layout is None:
            layout = geometry(chunk[:65536], temporary=temporary) or _unwritten(chunk, temporary)
            if layout is None:
                return None
        zeros = bytes(layout.page_size)
        for page in _split(chunk, layout.page_size):
            if page == zeros[: len(page)]:
                count.add("empty", 0)
            else:
                state, version = page_state(page, layout, check_body=number % every == 0)
                count.add(state, version, copy=layout.space_id == 0 and _is_copy(page, number))
            number += 1
    return None if layout is None else count.tally(layout.key_id)


def _is_copy(page: bytes | memoryview, number: int) -> bool:
    """Whether a page of the system tablespace is another page's image: it lies in the doublewrite area."""
    return _u4(page, 4) != number or _u4(page, 34) != 0


def _unwritten(chunk: bytes, temporary: bool) -> Geometry | None:
    """A new tablespace, whose page 0 is still in memory only: laid out as all new ones are."""
    if any(chunk[:DEFAULT_PAGE]):
        return None
    return Geometry(DEFAULT_PAGE, True, 0xFFFFFFFF, temporary=temporary)


def _split(chunk: bytes, size: int) -> Iterator[memoryview]:
    view = memoryview(chunk)
    for start in range(0, len(chunk) - HEADER, size):
        yield view[start : start + size]


def redo_header(head: bytes) -> LogHeader | None:
    """From the first 64 bytes of ib_logfile0; None when it is not a redo log."""
    if head[:4] == _ENCRYPTED_REDO and len(head) >= 56:
        return LogHeader(True, _u4(head, 52))
    return LogHeader(False) if head[:4] == _PLAIN_REDO else None


def binlog_header(head: bytes) -> LogHeader | None:
    """From the first KiB of a binary or relay log; None when it is not one."""
    if head[:4] != _BINLOG_MAGIC:
        return None
    at = 4
    while at + 19 <= len(head):
        kind, size = head[at + 4], int.from_bytes(head[at + 9 : at + 13], "little")
        if kind == _START_ENCRYPTION and at + 24 <= len(head):
            return LogHeader(True, int.from_bytes(head[at + 20 : at + 24], "little"))
        if kind != 15 or size < 19:  # the format event comes first; anything else before 0xa4 is in clear
            break
        at += size
    return LogHeader(False)


def tally_aria(chunks: Iterable[bytes], *, index: bool) -> Tally:
    """Count the pages of an Aria data (.MAD) or index (.MAI) file, in chunks that are multiples of 8 KiB.

    Bitmap pages and the index file's header page hold no rows. Only pages of a known type are judged.
    """
    count, number, zeros = _Count(), 0, bytes(ARIA_PAGE)
    for chunk in chunks:
        for page in _split(chunk, ARIA_PAGE):
            if page == zeros[: len(page)]:
                count.add("empty", 0)
            elif (number == 0 and index) or (not index and page[7] not in (1, 2, 3)):
                count.add("open", 0)
            else:
                at = 13 if index else (8 if page[7] == 3 else 12)
                version = int.from_bytes(page[at : at + 4], "little")
                end = min(_u2(page, 19), ARIA_PAGE - 8) if index else ARIA_PAGE - 8  # an index page's used part
                sound = 0 < version < _PLAUSIBLE_VERSION and looks_random(page[32:end])
                count.add("encrypted" if sound else "plain", version)
            number += 1
    return count.tally()


def _u2(data: bytes | memoryview, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _u4(data: bytes | memoryview, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
