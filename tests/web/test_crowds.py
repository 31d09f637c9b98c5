"""Too much at once, clients that go away, streams and long polls."""

import asyncio
import threading
from typing import Any

import pytest
from tests.web.asgi import Client
from tests.web.fakes import FakeLog
from tests.web.world import World

from keystead.core.errors import Fault
from keystead.web.pipeline import Limits
from keystead.web.pools import Pool, busy
from keystead.web.refusals import HttpRefusal, retry_after


def crowd(client: Client, world: World, path: str, number: int, token: str | None = None) -> list[Any]:
    async def scenario() -> list[Any]:
        asked = [asyncio.ensure_future(client.send("POST", path, token=token)) for _ in range(number)]
        while not any(one.done() for one in asked):
            await asyncio.sleep(0)
        world.release.set()
        return await asyncio.gather(*asked)

    return client.run(scenario())


def test_a_full_pool_refuses_at_once(open_client: Any, world: World) -> None:
    replies = crowd(open_client(Limits(threads=1, queue=2)), world, "/slow", 8)
    assert sorted(reply.status for reply in replies) == [204] * 3 + [503] * 5
    assert all(reply.headers["retry-after"] for reply in replies if reply.status == 503)


def test_who_is_refused_learns_how_long_the_queue_takes() -> None:
    """By what calls took lately; a second where nothing was called yet, and never for ever."""
    pool = Pool("test", threads=2, waiting=7, refusal=busy)

    def refused_after(took: float) -> dict[bytes, bytes]:
        pool._took = took

        async def scenario() -> HttpRefusal:
            release = threading.Event()
            held = [asyncio.ensure_future(pool.run(release.wait)) for _ in range(9)]
            await asyncio.sleep(0)
            with pytest.raises(HttpRefusal) as caught:
                await pool.run(release.wait)
            release.set()
            await asyncio.gather(*held)
            return caught.value

        return dict(retry_after(asyncio.run(scenario()), 503))

    assert [refused_after(took)[b"retry-after"] for took in (0.0, 0.6, 3600.0)] == [b"1", b"3", b"30"]
    assert 0.0 < pool._took < 3600.0, "a queue that has become quick again is told to be"
    pool.close()


def test_sign_ins_queue_by_themselves(open_client: Any, world: World) -> None:
    client = open_client(Limits(sign_in_threads=1, sign_in_queue=1))
    replies = crowd(client, world, "/sign-in", 5, token="")
    assert sorted(reply.status for reply in replies) == [204] * 2 + [429] * 3
    assert client.post("/things", {"name": "a"}).status == 201


WAITS_FOR_NOBODY = ("/take-away", "/heal", "/in-kms", "/wait")


@pytest.mark.parametrize("hanging", ["/in-token", "/slow"])
def test_what_hangs_delays_neither_who_takes_access_away_nor_who_has_to_hear_of_it(
    open_client: Any, world: World, hanging: str
) -> None:
    client = open_client(Limits(threads=1, queue=1))
    free = WAITS_FOR_NOBODY if hanging == "/slow" else (*WAITS_FOR_NOBODY, "/things")

    async def scenario() -> None:
        held = [asyncio.ensure_future(client.send("POST", hanging)) for _ in range(2)]
        while not world.begun.is_set():
            await asyncio.sleep(0)
        assert (await client.send("POST", hanging)).status == 503
        for path in free:
            body = {"/things": {"name": "a"}, "/wait": {"known_generation": 0, "wait_ms": 0}}.get(path)
            assert (await client.send("POST", path, body)).status < 300, path
        assert not any(each.done() for each in held)
        world.release.set()
        assert [each.status for each in await asyncio.gather(*held)] == [204, 204]

    client.run(scenario())


def test_in_flight_is_bounded(open_client: Any, world: World) -> None:
    replies = crowd(open_client(Limits(in_flight=2, threads=8)), world, "/slow", 4)
    assert sorted(reply.status for reply in replies) == [204, 204, 503, 503]


def test_what_has_begun_ends_when_its_client_goes(client: Client, world: World) -> None:
    async def scenario() -> None:
        asked = asyncio.ensure_future(client.send("POST", "/slow"))
        await asyncio.to_thread(world.begun.wait)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        world.release.set()

    client.run(scenario())
    client.app.close()
    assert world.made == ["slow"]


def test_a_body_that_breaks_off_changes_nothing(client: Client, world: World, log: FakeLog) -> None:
    sent: list[Any] = []

    async def scenario() -> None:
        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", b"Bearer alice"), (b"content-length", b"5")]
        await client.app({"type": "http", "method": "POST", "path": "/keystead/v1/things", "query_string": b"",
                          "headers": headers}, receive, send)  # fmt: skip

    client.run(scenario())
    assert sent[0]["status"] == 400 and world.seen == [] and log.entries[-1].code == "MalformedBody"


# streams and long polls


def test_a_stream(client: Client, world: World, log: FakeLog) -> None:
    reply = client.post("/stream")
    assert (reply.status, reply.body, reply.whole) == (200, b"chunk0;chunk1;chunk2;", True)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert world.closed.is_set() and log.barriers == 1


def test_a_stream_that_breaks_is_cut(client: Client, world: World) -> None:
    world.error = Fault("Broken", "in the middle")
    reply = client.post("/stream")
    assert reply.body == b"chunk0;chunk1;chunk2;" and not reply.whole and world.closed.is_set()


def test_a_long_poll_answers_what_is_news_already(client: Client, world: World) -> None:
    world.generation = 5
    assert client.post("/wait", {"known_generation": 4, "wait_ms": 10_000}).json == {"generation": 5}


def test_a_long_poll_ends_by_itself(client: Client) -> None:
    assert client.post("/wait", {"known_generation": 1, "wait_ms": 30}).json == {"generation": 1}


def test_a_long_poll_wakes_when_something_moves(client: Client, world: World) -> None:
    async def scenario() -> Any:
        asked = [
            asyncio.ensure_future(client.send("POST", "/wait", {"known_generation": 1, "wait_ms": 10_000}))
            for _ in range(20)
        ]
        await asyncio.sleep(0.03)
        assert not any(one.done() for one in asked)
        world.generation = 2
        return await asyncio.gather(*asked)

    assert {reply.json["generation"] for reply in client.run(scenario(), 5)} == {2}
