"""A revoked right is refused from the next request on, although freshness is asked once per turn."""

import asyncio
import threading
from typing import Any

import pytest

from keystead.core.errors import Unavailable
from keystead.web.turns import OncePerTurn


class Counter:
    """A freshness whose generation others move."""

    def __init__(self) -> None:
        self.value, self.asked = 1, 0
        self.gone = False

    def generation(self) -> int:
        self.asked += 1
        if self.gone:
            raise Unavailable("StateUnavailable", "it does not answer")
        return self.value

    def changes(self, since: int, *, keys: bool = True) -> Any:
        return ("changes", since)

    def key(self, key_id: str) -> Any:
        return ("key", key_id)


def test_requests_of_one_turn_share_one_question() -> None:
    inner = Counter()
    fresh = OncePerTurn(inner)

    async def scenario() -> list[int]:
        async def request() -> int:
            return fresh.generation() + fresh.generation()

        return await asyncio.gather(*(request() for _ in range(100)))

    assert set(asyncio.run(scenario())) == {2}
    assert inner.asked <= 2


def test_a_request_received_after_a_change_sees_it() -> None:
    """However the change falls between turns: the request is received (queued) after it and must see it."""
    inner = Counter()
    fresh = OncePerTurn(inner)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(500):
            done: asyncio.Future[bool] = loop.create_future()
            fresh.generation()  # other requests of this turn have asked already

            def client(done: asyncio.Future[bool] = done) -> None:
                inner.value += 1  # the change, committed ...
                wanted = inner.value
                # ... and then the next request arrives.
                loop.call_soon_threadsafe(lambda: done.set_result(fresh.generation() >= wanted))

            thread = threading.Thread(target=client)
            thread.start()
            assert await done
            thread.join()

    asyncio.run(scenario())


def test_what_arrived_before_the_question_may_use_its_answer_and_nothing_later() -> None:
    inner = Counter()
    fresh = OncePerTurn(inner)
    seen: list[int] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: seen.append(fresh.generation()))
        fresh.generation()
        inner.value = 2
        loop.call_soon(lambda: seen.append(fresh.generation()))
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert seen == [1, 2]


def test_other_threads_ask_for_themselves() -> None:
    inner = Counter()
    fresh = OncePerTurn(inner)

    async def scenario() -> None:
        fresh.generation()
        inner.value = 2
        assert await asyncio.to_thread(fresh.generation) == 2

    asyncio.run(scenario())
    assert fresh.generation() == 2 and fresh.changes(7) == ("changes", 7)


def test_an_outage_is_not_remembered() -> None:
    inner = Counter()
    fresh = OncePerTurn(inner)

    async def scenario() -> None:
        inner.gone = True
        with pytest.raises(Unavailable):
            fresh.generation()
        inner.gone = False
        assert fresh.generation() == 1

    asyncio.run(scenario())


def test_a_loop_that_ended_leaves_nothing_behind() -> None:
    inner = Counter()
    fresh = OncePerTurn(inner)
    for value in range(2, 50):
        loop = asyncio.new_event_loop()
        loop.call_soon(fresh.generation)
        loop.call_soon(loop.stop)
        loop.run_forever()  # stops before what was queued last has run
        loop.close()
        inner.value = value

        async def ask() -> int:
            return fresh.generation()

        assert asyncio.run(ask()) == value


def test_what_arrives_while_the_question_is_asked_asks_again() -> None:
    """Reading gives up the interpreter's lock: a change and the next request may come before the answer is used."""
    inner = Counter()
    fresh = OncePerTurn(inner)
    seen: list[int] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        read = inner.generation

        def slow() -> int:
            found = read()
            inner.generation = read  # type: ignore[method-assign]
            inner.value += 1  # committed after it was read ...
            loop.call_soon(lambda: seen.append(fresh.generation()))  # ... and a request that comes after that
            return found

        inner.generation = slow  # type: ignore[method-assign]
        assert fresh.generation() == 1
        await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert seen == [2]
