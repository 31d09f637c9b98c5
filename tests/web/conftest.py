"""The pipeline over a small table of operations, with a log and services in memory."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.web.asgi import Client
from tests.web.fakes import FakeLog, fake_services
from tests.web.world import World, table

from keystead.web.pipeline import Entrance, Limits, Pipeline


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


@pytest.fixture
def open_client(world: World, log: FakeLog) -> Iterator[Any]:
    opened: list[tuple[Client, Pipeline]] = []

    def make(limits: Limits | None = None, token: str = "alice", entrance: Entrance = "", **services: Any) -> Client:
        held = {"log": log, "generation": lambda: world.generation} | services
        pipeline = Pipeline(fake_services(**held), table(world), limits or Limits(), entrance=entrance)
        client = Client(pipeline, token)
        client.services = pipeline._services  # type: ignore[attr-defined]
        opened.append((client, pipeline))
        return client

    yield make
    world.release.set()
    for client, pipeline in opened:
        client.close()
        pipeline.close()


@pytest.fixture
def client(open_client: Any) -> Client:
    return open_client()
