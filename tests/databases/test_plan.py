"""What to do about a node: every case, against the sentences of the law."""

from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.databases.model import Desired
from keystead.databases.plan import Observed, Standing, decide

LEASE = 10.0
OBSERVED = [Observed(*bits) for bits in product([False, True], repeat=3)]
STANDINGS = st.builds(
    Standing,
    granted=st.booleans(),
    silence=st.floats(0, 5000),
    lease=st.just(LEASE),
    grace=st.sampled_from([None, 0.0, 60.0, 900.0]),
)
GRANTED, REVOKED = Standing(True, 0.0, LEASE, 900.0), Standing(False, 0.0, LEASE, 900.0)


@pytest.mark.parametrize("desired", get_args(Desired))
@given(standing=STANDINGS, observed=st.sampled_from(OBSERVED))
def test_it_does_what_the_law_says(desired: Desired, standing: Standing, observed: Observed) -> None:
    act = decide(desired, observed, standing)
    lost = not standing.granted or (
        standing.grace is not None and standing.silence > LEASE and standing.silence > LEASE + standing.grace
    )
    if desired == "deleted":
        assert act == "nothing", "its job does the rest"
    elif lost:
        assert act == ("nothing" if observed.fenced and not observed.running else "fence")
    elif act == "fence":
        raise AssertionError("fenced although access stands")
    elif act == "start":
        assert desired == "running"
        assert observed.prepared
        assert not observed.running
        assert standing.silence <= LEASE, "nothing starts on an old answer"
    elif act == "stop":
        assert desired == "stopped"
        assert observed.running
    else:
        assert not (desired == "stopped" and observed.running and observed.prepared)


@given(standing=STANDINGS, observed=st.sampled_from(OBSERVED), desired=st.sampled_from(get_args(Desired)))
def test_done_once_it_is_done(standing: Standing, observed: Observed, desired: Desired) -> None:
    """Whatever is decided, when it has been done the next decision is to do nothing."""
    after = {
        "fence": Observed(observed.prepared, False, True),
        "start": Observed(observed.prepared, True, False),
        "stop": Observed(observed.prepared, False, observed.fenced),
        "nothing": observed,
    }[decide(desired, observed, standing)]
    assert decide(desired, after, standing) == "nothing"


@pytest.mark.parametrize(("grace", "silence", "act"), [
    (900.0, 10.0, "nothing"), (900.0, 10.1, "nothing"), (900.0, 910.0, "nothing"), (900.0, 910.1, "fence"),
    (0.0, 10.0, "nothing"), (0.0, 10.1, "fence"), (None, 1e9, "nothing"),
])  # fmt: skip
def test_unreachable_has_a_grace(grace: float | None, silence: float, act: str) -> None:
    assert decide("running", Observed(True, True, False), Standing(True, silence, LEASE, grace)) == act


@pytest.mark.parametrize("grace", [None, 0.0, 900.0])
def test_revoked_has_none(grace: float | None) -> None:
    assert decide("running", Observed(True, True, False), Standing(False, 0.0, LEASE, grace)) == "fence"


def test_what_runs_although_it_was_fenced_is_fenced_again() -> None:
    assert decide("running", Observed(True, True, True), REVOKED) == "fence"


def test_a_system_not_built_yet_is_left_to_its_job() -> None:
    assert decide("running", Observed(False, False, False), GRANTED) == "nothing"
