"""What a filter matches."""

from datetime import timedelta

import pytest
from tests.fakes.entries import NOON, entry

from keystead.audit.query import EntryFilter, matches

ONE = entry(10)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (EntryFilter(), True),
        (EntryFilter(principal="alice"), True),
        (EntryFilter(principal=ONE.principal_id), True),
        (EntryFilter(principal="bob"), False),
        (EntryFilter(action="KEY_DECRYPT"), True),
        (EntryFilter(action="Decrypt"), True),
        (EntryFilter(action="decrypt"), False),
        (EntryFilter(resource="finance"), True),
        (EntryFilter(resource="keys"), True),
        (EntryFilter(resource=ONE.resource_id), True),
        (EntryFilter(resource="alice"), False),
        (EntryFilter(outcome="allowed"), True),
        (EntryFilter(outcome="refused"), False),
        (EntryFilter(principal="alice", outcome="refused"), False),
        (EntryFilter(since=ONE.at), True),
        (EntryFilter(since=ONE.at + timedelta(microseconds=1)), False),
        (EntryFilter(until=ONE.at), False),
        (EntryFilter(until=ONE.at + timedelta(microseconds=1)), True),
        (EntryFilter(since=NOON, until=NOON + timedelta(hours=1)), True),
    ],
)
def test_matches(wanted: EntryFilter, expected: bool) -> None:
    assert matches(wanted, ONE) is expected
