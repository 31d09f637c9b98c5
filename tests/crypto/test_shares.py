"""Shares: any k of n combine, k - 1 do not, and nothing wrong says what is wrong with it."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto import shares
from keystead.crypto.shares import Share

SECRET = Secret(bytes(range(32)))
MADE = shares.split(SECRET, 3, 5)

# From the vectors published with SLIP-0039: 2 of 3, 256 bits, passphrase TREZOR elsewhere; here combined without one.
OTHER_PROGRAM = (
    "humidity disease academic always aluminum jewelry energy woman receiver strategy amuse duckling lying evidence "
    "network walnut tactics forget hairy rebound impulse brother survive clothes stadium mailman rival ocean reward "
    "venture always armed unwrap",
    "humidity disease academic agency actress jacket gross physics cylinder solution fake mortgage benefit public "
    "busy prepare sharp friar change work slow purchase ruler again tricycle involve viral wireless mixture anatomy "
    "desert cargo upgrade",
)


def refused(given: list[Share]) -> str:
    with pytest.raises(Refusal) as caught:
        shares.combine(given)
    assert caught.value.code == "WrongShare"
    return caught.value.message


def test_any_three_of_five() -> None:
    assert {share.set for share in MADE} == {MADE[0].set}
    assert [(share.number, share.threshold) for share in MADE] == [(n, 3) for n in range(1, 6)]
    for chosen in itertools.permutations(MADE, 3):
        assert shares.combine(chosen) == SECRET


def test_too_few_too_many_twice_and_mixed_look_alike() -> None:
    others = shares.split(Secret(bytes(32)), 3, 5)
    said = {
        refused([]),
        refused(list(MADE[:1])),
        refused(list(MADE[:2])),
        refused(list(MADE[:4])),
        refused([MADE[0], MADE[0], MADE[1]]),
        refused([*MADE[:2], others[2]]),
    }
    assert said == {shares.wrong().message}


@given(st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_up_to_three_wrong_words_are_noticed(chance: random.Random) -> None:
    words = MADE[0].text.reveal().decode().split()
    spare = MADE[1].text.reveal().decode().split()
    for at in chance.sample(range(len(words)), chance.randint(1, 3)):
        words[at] = next(word for word in spare if word != words[at])
    with pytest.raises(Refusal) as caught:
        shares.read(Secret(" ".join(words).encode()))
    assert caught.value.message == shares.wrong().message


@given(st.binary(max_size=1100))
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        shares.read(Secret(content))
    assert caught.value.message == shares.wrong().message


def test_typed_in_any_case_and_spacing() -> None:
    text = MADE[2].text.reveal().decode()
    again = shares.read(Secret(("\n  " + text.upper().replace(" ", " \t ") + "\n").encode()))
    assert again.text == MADE[2].text


def test_what_another_program_made_combines() -> None:
    found = shares.combine([shares.read(Secret(words.encode())) for words in OTHER_PROGRAM])
    assert len(found) == 32


@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (1, 5), (4, 3), (2, 17), (0, 2)])
def test_counts_that_make_no_sense(threshold: int, count: int) -> None:
    with pytest.raises(Refusal, match="cannot be made"):
        shares.split(SECRET, threshold, count)


def test_nothing_secret_shows() -> None:
    text = MADE[0].text.reveal().decode()
    assert text not in f"{MADE[0]!r} {MADE}"
    held = shares.split(SECRET, 2, 2)
    shares.wipe(held)
    assert all(not len(share.text) for share in held)
