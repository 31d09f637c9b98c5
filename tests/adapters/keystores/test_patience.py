import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from keystead.adapters.keystores.patience import Failing, Full, Limits, Patience
from keystead.core.errors import Refusal, Unavailable

pytestmark = pytest.mark.slow

QUICK = Limits(at_once=2, waiting=1, wait_seconds=20, call_seconds=20, failures=2, pause=1, longest_pause=4)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def failing():
    raise Failing("connection refused", "start it")


def failed(patience, work=failing):
    with pytest.raises(Unavailable) as caught:
        patience.run(work)
    return caught.value


def opened(clock):
    patience = Patience("the token 'prod'", QUICK, clock)
    failed(patience)
    assert patience.state == "closed"
    failed(patience)
    assert patience.state == "open"
    return patience


def test_results_and_refusals_pass_through():
    patience = Patience("it", QUICK)
    assert patience.run(lambda: 7) == 7

    def no():
        raise Refusal("WrongOperation", "no")

    with pytest.raises(Refusal):
        patience.run(no)
    assert patience.state == "closed"


def test_failures_in_a_row_open_it_and_nothing_is_asked_while_it_is_open():
    patience = opened(Clock())
    error = failed(patience, lambda: pytest.fail("asked"))
    assert (error.code, error.message) == (
        "KeystoreDown",
        "the token 'prod' does not answer: connection refused",
    )
    assert error.hint == "start it"


def test_an_answer_between_failures_counts_from_the_start():
    patience = Patience("it", QUICK)
    for _ in range(3):
        failed(patience)
        assert patience.run(lambda: 1) == 1
    assert patience.state == "closed"


def test_one_call_probes_and_its_answer_closes_it():
    clock = Clock()
    patience = opened(clock)
    clock.now = 1.0
    inside, go = threading.Event(), threading.Event()

    def probe():
        inside.set()
        go.wait(5)
        return "back"

    answers = []
    prober = threading.Thread(target=lambda: answers.append(Patience.run(patience, probe)))
    prober.start()
    assert inside.wait(5)
    assert failed(patience, lambda: pytest.fail("asked")).code == "KeystoreDown"
    go.set()
    prober.join(5)
    assert answers == ["back"]
    assert patience.state == "closed"
    assert patience.run(lambda: 1) == 1


def test_a_probe_that_fails_doubles_the_pause_up_to_the_longest():
    clock = Clock()
    patience = opened(clock)
    for pause in (1, 2, 4, 4):
        clock.now += pause - 0.01
        failed(patience, lambda: pytest.fail("asked"))
        clock.now += 0.01
        failed(patience)
    clock.now += 4
    assert patience.run(lambda: 1) == 1
    failed(patience)
    failed(patience)
    clock.now += 1
    assert patience.run(lambda: 2) == 2


def test_a_call_that_hangs_is_given_up_and_counted_as_a_failure():
    patience = Patience("it", replace(QUICK, call_seconds=0.1))
    go = threading.Event()
    error = None
    try:
        with pytest.raises(Unavailable) as caught:
            patience.run(lambda: go.wait(10), go.set)
        error = caught.value
    finally:
        was_told = go.is_set()
        go.set()
    assert error.code == "KeystoreDown" and "no answer within 0.1 s" in error.message
    assert was_told


def test_hanging_threads_are_replaced_but_only_so_many():
    patience = Patience("it", Limits(at_once=2, waiting=1, wait_seconds=20, call_seconds=1.0, failures=99))
    go = threading.Event()
    try:
        failed(patience, lambda: go.wait(10))
        assert patience.run(lambda: 1) == 1
        failed(patience, lambda: go.wait(10))
        assert "no answer" in failed(patience, lambda: pytest.fail("asked")).message
    finally:
        go.set()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(Unavailable):
            assert patience.run(lambda: 2) == 2
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not come back")


def test_what_does_not_fit_is_busy():
    patience = Patience("it", Limits(at_once=1, waiting=1, wait_seconds=0.05, call_seconds=10))
    inside, go = threading.Event(), threading.Event()

    def hold():
        inside.set()
        go.wait(10)

    holder = threading.Thread(target=lambda: patience.run(hold))
    holder.start()
    try:
        assert inside.wait(5)
        error = failed(patience, lambda: pytest.fail("asked"))  # waits for its turn, in vain
        assert error.code == "KeystoreBusy" and error.hint
        late = threading.Thread(target=lambda: failed(patience, lambda: None))
        late.start()
        late.join(5)
    finally:
        go.set()
        holder.join(5)
    assert patience.state == "closed"
    assert patience.run(lambda: 3) == 3


def test_a_full_keystore_is_busy_and_not_down():
    patience = Patience("it", QUICK)

    def full():
        raise Full("its session table is full")

    for _ in range(5):
        error = failed(patience, full)
        assert error.code == "KeystoreBusy" and "session table" in error.message
    assert patience.state == "closed"


def test_a_longer_call_may_take_longer_and_a_late_result_is_undone():
    patience = Patience("it", Limits(at_once=1, wait_seconds=20, call_seconds=0.05))
    go, undone = threading.Event(), threading.Event()
    assert patience.run(lambda: threading.Event().wait(0.1) or 7, longer=1000) == 7
    results = []

    def undo(result):
        results.append(result)
        undone.set()

    assert failed_late(patience, lambda: go.wait(10) and "made", undo).code == "KeystoreDown"
    go.set()
    assert undone.wait(5)
    assert results == ["made"]


def failed_late(patience, work, late):
    with pytest.raises(Unavailable) as caught:
        patience.run(work, late=late)
    return caught.value
