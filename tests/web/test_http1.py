"""Heads and bodies: what is read, and everything that two readers could take differently is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.web.http1 import BadMessage, BodyReader, Fields, Heads, check, read_fields, read_line, write_chunk


@pytest.mark.parametrize(
    ("raw", "method", "path", "query"),
    [
        (b"GET / HTTP/1.1", "GET", b"/", b""),
        (b"LIST /v1/secret//a%2Fb?list=true&x=? HTTP/1.1", "LIST", b"/v1/secret//a%2Fb", b"list=true&x=?"),
        (b"GET http://host:1/a?b HTTP/1.0", "GET", b"/a", b"b"),
        (b"GET HTTPS://host HTTP/1.1", "GET", b"/", b""),
        (b"OPTIONS * HTTP/1.1", "OPTIONS", b"*", b""),
    ],
)
def test_request_lines(raw: bytes, method: str, path: bytes, query: bytes) -> None:
    line = read_line(raw)
    assert (line.method, line.path, line.query) == (method, path, query)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"GET / x HTTP/1.1",
        b"G(T / HTTP/1.1", b"GET /\x00 HTTP/1.1", b"GET /\xc3\xa9 HTTP/1.1", b"GET /#x HTTP/1.1", b"GET / HTTP/1.12",
        b"GET / http/1.1", b"GET /\n HTTP/1.1", b"GET / HTTP/1.2", b"X" * 33 + b" / HTTP/1.1",
    ],
)  # fmt: skip
def test_what_is_no_request_line(raw: bytes) -> None:
    with pytest.raises(BadMessage) as caught:
        read_line(raw)
    assert caught.value.status == 400


def test_other_versions_are_told_from_nonsense() -> None:
    with pytest.raises(BadMessage) as caught:
        read_line(b"PRI * HTTP/2.0")
    assert caught.value.status == 505


def test_fields() -> None:
    fields = read_fields(b"Host: x\r\nX-A:\t b c \r\nEmpty:\r\ncontent-length: 12\r\nConnection: x, Close")
    assert fields.headers[:3] == ((b"host", b"x"), (b"x-a", b"b c"), (b"empty", b""))
    assert (fields.length, fields.close, fields.hosts, fields.chunked) == (12, True, 1, False)
    assert read_fields(b"").headers == ()
    assert read_fields(b"X: \xe9").headers == ((b"x", b"\xe9"),)


@pytest.mark.parametrize(
    "block",
    [
        b"Host : x", b"Host: x\r\n folded", b" Host: x", b"Host", b": x", b"A: b\rc", b"A: b\nContent-Length: 3",
        b"A: b\x00", b"A\x00: b", b"A(: b", b"A: b\x7f", b"Content-Length: 1\r\nContent-Length: 1",
        b"Content-Length: +1", b"Content-Length: 1, 1", b"Content-Length: ", b"Content-Length: 0x1",
        b"Content-Length: \xb2", b"Content-Length: " + b"1" * 19,
        b"Content-Length: 1\r\nTransfer-Encoding: chunked",
        b"A: b\r\n\r\nB: c",
    ],
)  # fmt: skip
def test_fields_that_could_be_read_in_two_ways(block: bytes) -> None:
    with pytest.raises(BadMessage) as caught:
        read_fields(block)
    assert caught.value.status == 400


@pytest.mark.parametrize("value", [b"gzip", b"chunked, chunked", b"gzip, chunked", b"xchunked", b"identity"])
def test_other_transfer_codings(value: bytes) -> None:
    with pytest.raises(BadMessage) as caught:
        read_fields(b"Transfer-Encoding: " + value)
    assert caught.value.status == 501
    with pytest.raises(BadMessage):
        read_fields(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")


def test_a_great_many_fields_are_too_many() -> None:
    with pytest.raises(BadMessage) as caught:
        read_fields(b"\r\n".join(b"A: %d" % n for n in range(101)))
    assert caught.value.status == 431


@pytest.mark.parametrize(
    ("line", "block"),
    [
        (b"GET / HTTP/1.1", b"A: b"),
        (b"GET / HTTP/1.1", b"Host: a\r\nHost: a"),
        (b"GET / HTTP/1.0", b"Host: a\r\nHost: b"),
        (b"POST / HTTP/1.0", b"Transfer-Encoding: chunked"),
    ],
)
def test_one_host_and_no_chunks_before_1_1(line: bytes, block: bytes) -> None:
    with pytest.raises(BadMessage):
        check(read_line(line), read_fields(block))


def test_1_0_needs_no_host() -> None:
    check(read_line(b"GET / HTTP/1.0"), read_fields(b""))


def test_heads_are_read_once_and_never_grow_without_end() -> None:
    heads = Heads()
    first = heads.line(b"GET / HTTP/1.1")
    assert heads.line(b"GET / HTTP/1.1") is first
    for number in range(20_000):
        heads.line(b"GET /%d HTTP/1.1" % number)
        heads.fields(b"Host: %d" % number)
    assert len(heads._lines) <= 8192 and len(heads._blocks) <= 1024


CHUNKED = Fields(((b"transfer-encoding", b"chunked"),))


def fed(reader: BodyReader, data: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """Feed `data` in pieces; the body, and what follows it."""
    body, rest, at = b"", b"", 0
    for cut in [*sorted(cuts), len(data)]:
        piece, over = reader.feed(data[at:cut]) if not reader.whole else (b"", data[at:cut])
        body, rest, at = body + piece, rest + over, cut
    return body, rest


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cuts=st.lists(st.integers(0, 300), max_size=8),
    trailers=st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]),
)
def test_chunks_cut_anywhere(pieces: list[bytes], cuts: list[int], trailers: bytes) -> None:
    sent = b"".join(write_chunk(piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"
    data = sent + b"GET / HTTP/1.1\r\n"
    reader = BodyReader(CHUNKED)
    assert fed(reader, data, [min(cut, len(data)) for cut in cuts]) == (b"".join(pieces), b"GET / HTTP/1.1\r\n")
    assert reader.whole


def test_a_chunk_may_have_extensions() -> None:
    assert BodyReader(CHUNKED).feed(b'3 ;a=b;c="d"\r\nabc\r\n0\r\n\r\n') == (b"abc", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"zz\r\n", b"\r\n", b"-1\r\n", b"0x3\r\nabc\r\n", b"3\r\nabcd", b"3\r\nabc\n0\r\n\r\n", b"3\nabc\r\n",
        b" 3\r\nabc",
        b"123456789\r\n", b"3;\x00\r\nabc", b"1" * 300, b"0\r\nbad trailer\r\n", b"0\r\n" + b"A: b\r\n" * 2000,
    ],
)  # fmt: skip
def test_what_are_no_chunks(data: bytes) -> None:
    with pytest.raises(BadMessage):
        fed(BodyReader(CHUNKED), data + b"\r\n" * 200, [])


@given(length=st.integers(0, 50), data=st.binary(max_size=80), cuts=st.lists(st.integers(0, 80), max_size=4))
def test_a_length(length: int, data: bytes, cuts: list[int]) -> None:
    reader = BodyReader(Fields(((b"content-length", b"%d" % length),)))
    body, rest = fed(reader, data, [min(cut, len(data)) for cut in cuts])
    assert (body, rest, reader.whole) == (data[:length], data[length:], len(data) >= length)
