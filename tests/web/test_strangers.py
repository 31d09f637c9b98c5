"""Whoever is refused again and again without being known: told to wait, and written down as a number."""

import asyncio
from typing import Any

import pytest
from tests.fakes.domain import ListJournal
from tests.web.asgi import Client

from keystead.audit.strangers import OPERATION, SINGLY, WINDOW_S, GuardedLog
from keystead.core.clock import ManualClock
from keystead.iam.factors.network import network_of
from keystead.web.durable import Durable

WAYS: tuple[dict[str, str], ...] = (
    {"path": "/things", "token": ""},
    {"path": "/nowhere", "token": ""},
)


@pytest.fixture
def journal() -> ListJournal:
    return ListJournal()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def log(journal: ListJournal, clock: ManualClock) -> GuardedLog:
    return GuardedLog(journal, clock, "home", network_of)


def test_refusals_of_strangers_are_counted_and_nobody_else_is_held_up(
    open_client: Any, journal: ListJournal, clock: ManualClock, log: GuardedLog
) -> None:
    client: Client = open_client(log=log, clock=clock)
    sealed: list[bool] = []
    closed: Client = open_client(log=log, clock=clock, sealed=lambda: bool(sealed))
    replies = [client.call("POST", **WAYS[number % 2]) for number in range(SINGLY + 30)]
    assert {reply.status for reply in replies[:SINGLY]} == {401, 404}
    assert {(reply.status, reply.json["code"]) for reply in replies[SINGLY:]} == {(429, "TooManyRefusals")}
    assert {reply.headers["retry-after"] for reply in replies[SINGLY:]} == {"60"}
    assert len(journal.entries) == SINGLY + 1
    assert client.post("/things", {"name": "a"}).status == 201, "from the same network, with a token"
    sealed.append(True)
    assert closed.post("/things", {"name": "a"}).json["code"] == "Sealed", "what is closed to everybody says so"


def test_the_numbers_are_written_when_the_window_is_over(
    journal: ListJournal, clock: ManualClock, log: GuardedLog, open_client: Any
) -> None:
    client: Client = open_client(log=log, clock=clock)
    for _ in range(SINGLY + 3):
        client.post("/things", token="")

    async def scenario() -> None:
        durable = Durable(log)
        durable.settle_in(0.0)
        await asyncio.sleep(0.3)
        assert journal.entries[-1].operation != OPERATION, "not yet"
        clock.advance(WINDOW_S)
        durable.settle_in(0.0)
        while journal.entries[-1].operation != OPERATION:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(scenario(), 20))
    assert journal.entries[-1].detail["count"] == "2"
