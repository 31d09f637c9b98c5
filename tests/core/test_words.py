"""Ids, pages, secrets, frames and errors: the small words that everything is said with."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.core.errors import Refusal, not_found
from keystead.core.frames import MAX_FRAME, read_frame, write_frame
from keystead.core.ids import TYPES, looks_like_id, new_id, parse_id
from keystead.core.page import MAX_LIMIT, PageRequest, cut
from keystead.core.secret import Secret

# ids


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_an_id_says_what_it_names_and_where(kind: str) -> None:
    made = new_id(kind, "home-1")  # type: ignore[arg-type]
    parsed = parse_id(made, kind)  # type: ignore[arg-type]
    assert (parsed.type, parsed.realm, parsed.region) == (kind, "main", "home-1")
    assert made.count(".") == 4
    assert looks_like_id(made)


def test_ids_differ() -> None:
    assert len({new_id("key", "home") for _ in range(1000)}) == 1000


BAD_IDS = [
    "", "key", "ks1.key.main.home", "ks1.key.main.home." + "a" * 31, "ks1.key.main.home." + "a" * 33,
    "ks1.key.main.home." + "A" * 32, "ks1.key.main.home." + "1" * 32, "ks2.key.main.home." + "a" * 32,
    "ks1.nothing.main.home." + "a" * 32, "ks1.key.main.home." + "a" * 32 + "\n", "ks1.key.main..." + "a" * 32,
    "ks1.user.main.home." + "a" * 32, "ks1.key.main." + "h" * 33 + "." + "a" * 32, "ks1.key.main.hömé." + "a" * 32,
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_IDS)
def test_what_is_no_id_of_a_key_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_id(text, "key")
    assert (caught.value.code, caught.value.kind) == ("InvalidId", "bad_request")
    assert "ks1.key.main" in caught.value.hint


# pages


@given(st.lists(st.text(min_size=1), unique=True, max_size=30), st.integers(1, 10))
def test_pages_joined_are_the_list(names: list[str], limit: int) -> None:
    names, found, cursor = sorted(names), [], None
    while True:
        request = PageRequest.of(limit, cursor)
        rest = [name for name in names if request.after is None or name > request.after]
        page = cut(rest[: limit + 1], limit, lambda name: name)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    assert found == names


@pytest.mark.parametrize(
    ("limit", "cursor"), [(0, None), (-1, None), (MAX_LIMIT + 1, None), (1, "ä"), (1, "a"), (1, "_w")]
)
def test_a_bad_page_is_refused(limit: int, cursor: str | None) -> None:
    with pytest.raises(Refusal) as caught:
        PageRequest.of(limit, cursor)
    assert caught.value.code == "InvalidParameter"


# secrets


def test_a_secret_does_not_get_out_by_accident() -> None:
    secret = Secret(b"hunter2")
    shown = f"{secret!r} {secret} {[secret]}" + repr({"password": secret}) + str(ValueError(secret))
    assert "hunter2" not in shown
    for leak in (pickle.dumps, copy.copy, copy.deepcopy, hash):
        run: Callable[[object], object] = leak
        with pytest.raises(TypeError):
            run(secret)
    assert secret.reveal() == b"hunter2"


def test_secrets_compare_by_content_and_with_nothing_else() -> None:
    assert Secret(b"a") == Secret(bytearray(b"a"))
    assert Secret(b"a") != Secret(b"b")
    assert Secret(b"a") != b"a"
    assert len(Secret(b"abc")) == 3


def test_a_wiped_secret_is_gone() -> None:
    secret = Secret(b"hunter2")
    held = secret._value
    secret.wipe()
    assert (len(secret), secret.reveal(), bytes(held)) == (0, b"", b"")


# frames


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.binary(max_size=100))))
def test_frames_come_as_they_went(frames: list[tuple[bytes, bytes]]) -> None:
    stream = io.BytesIO()
    for kind, body in frames:
        write_frame(stream, kind, body)
    stream.seek(0)
    assert [read_frame(stream) for _ in frames] == frames
    with pytest.raises(ConnectionError):
        read_frame(stream)


@given(st.binary(max_size=50), st.data())
def test_a_frame_cut_short_is_no_frame(body: bytes, data: st.DataObject) -> None:
    stream = io.BytesIO()
    write_frame(stream, b"D", body)
    whole = stream.getvalue()
    with pytest.raises(ConnectionError):
        read_frame(io.BytesIO(whole[: data.draw(st.integers(0, len(whole) - 1))]))


def test_a_frame_has_a_mebibyte_at_most() -> None:
    stream = io.BytesIO()
    write_frame(stream, b"D", bytes(MAX_FRAME))
    with pytest.raises(ValueError, match="too long"):
        write_frame(stream, b"D", bytes(MAX_FRAME + 1))
    with pytest.raises(ConnectionError):
        read_frame(io.BytesIO(b"D" + (MAX_FRAME + 1).to_bytes(4, "big")))


# errors


def test_the_answer_for_what_is_absent_is_one() -> None:
    first, second = not_found("key"), not_found("key")
    assert (first.code, first.message, first.hint, first.kind) == (
        second.code, second.message, second.hint, "not_found",
    )  # fmt: skip
    assert not first.recorded
