"""The hot path under load: what was taken away is refused from the next request on, in every worker."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bench import keystead_region
from bench.harness import Target
from bench.keystead_region import API, Region

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
CLIENTS = 32
ROUNDS = 200


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Region, Target]]:
    with keystead_region.start(tmp_path_factory.mktemp("hot") / "region") as region:
        yield region, keystead_region.unwrap_target(region, os.urandom(32))


class Wire:
    """One kept connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.worker = ""

    async def ask(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, Any]:
        """Status and decoded body; notes which worker answered."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()] + [f"Content-Length: {len(content)}"]
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        found = dict(line.split(": ", 1) for line in head[1:] if line)
        self.worker = found["x-request-id"].partition("-")[0]
        text = await self._reader.readexactly(int(found.get("content-length", "0")))
        return int(head[0].split()[1]), json.loads(text) if text else None

    async def unwrap(self, target: Target) -> int:
        return (await self.ask("POST", target.path, dict(target.headers), dict(target.body)))[0]

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def wires(port: int, count: int) -> AsyncIterator[list[Wire]]:
    made = await asyncio.gather(*(wire(port) for _ in range(count)))
    try:
        yield made
    finally:
        for each in made:
            each.close()


async def wire(port: int) -> Wire:
    return Wire(*await asyncio.open_connection("127.0.0.1", port))


async def until_both_are_asked(port: int, target: Target, kept: list[Wire]) -> None:
    """Connect more often, until each worker has some of `kept`: who is quicker to accept a connection gets it."""
    async with asyncio.timeout(60):
        while True:
            assert set(await asyncio.gather(*(each.unwrap(target) for each in kept))) == {200}
            if len({each.worker for each in kept}) == 2:
                return
            kept += await asyncio.gather(*(wire(port) for _ in range(8)))


def test_not_one_success_starts_after_the_answer_to_disable(served: tuple[Region, Target]) -> None:
    region, target = served
    key = target.path.removesuffix("/actions/unwrap")
    root = dict(region.administrator.headers)

    async def main() -> None:
        taken_away = 0  # which time it is, from the answer to `disable` until `enable` is sent; else 0
        over = False
        late: list[int] = []
        counts = {200: 0, 409: 0}
        refusals = [0] * ROUNDS
        news = asyncio.Condition()

        async def client(wire: Wire) -> None:
            while not over:
                began = taken_away
                status = await wire.unwrap(target)
                counts[status] += 1
                if began and began == taken_away:  # who was answered after `enable` was sent proves nothing
                    refusals[began - 1] += status == 409
                    if status == 200:
                        late.append(began)
                    async with news:
                        news.notify_all()

        async with wires(region.port, CLIENTS + 1) as (officer, *others):
            clients = [asyncio.create_task(client(wire)) for wire in others]
            for number in range(ROUNDS):
                status, _body = await officer.ask("POST", f"{key}/actions/disable", root)
                assert status == 200
                taken_away = number + 1
                async with news:
                    await asyncio.wait_for(news.wait_for(lambda at=number: late or refusals[at] >= CLIENTS), 30)
                taken_away = 0
                status, _body = await officer.ask("POST", f"{key}/actions/enable", root)
                assert status == 200
            over = True
            await asyncio.gather(*clients)
        assert late == []
        assert counts[200] > 0 and min(refusals) >= CLIENTS

    asyncio.run(main())


def test_a_change_reaches_every_worker_on_its_next_request(served: tuple[Region, Target]) -> None:
    region, target = served
    first = region.administrator
    key = target.path.removesuffix("/actions/unwrap")
    found: Any = first.call("GET", f"{API}/policies?compartment_id={region.tenancy_id}&name=bench")
    policy = found["items"][0]["id"]
    groups: Any = first.call("GET", f"{API}/groups?name=bench-apps")
    users: Any = first.call("GET", f"{API}/users?name=bench-app")
    member = f"{API}/groups/{groups['items'][0]['id']}/members/{users['items'][0]['id']}"
    statement = "Allow group bench-apps to use keys in compartment bench"

    async def everywhere(kept: list[Wire]) -> set[int]:
        """What each connection is told on its very next request; other requests are under way at the same time."""
        return set(await asyncio.gather(*(wire.unwrap(target) for wire in kept)))

    async def main() -> None:
        root = dict(first.headers)
        async with wires(region.port, 1) as (officer,), wires(region.port, 16) as kept:

            async def change(method: str, path: str, body: Any = None) -> None:
                status, answer = await officer.ask(method, path, root, body)
                assert status < 300, answer

            await until_both_are_asked(region.port, target, kept)
            for _ in range(10):
                await change("POST", f"{key}/actions/disable")
                assert await everywhere(kept) == {409}
                await change("POST", f"{key}/actions/enable")
                assert await everywhere(kept) == {200}
                await change("PUT", f"{API}/policies/{policy}", {"statements": [statement.replace("use", "inspect")]})
                assert await everywhere(kept) == {403}
                await change("PUT", f"{API}/policies/{policy}", {"statements": [statement]})
                assert await everywhere(kept) == {200}
                await change("DELETE", member)
                assert await everywhere(kept) == {404}
                await change("PUT", member, {})
                assert await everywhere(kept) == {200}

    asyncio.run(main())
