"""A small table of operations behind the real pipeline, and what its handlers saw."""

import itertools
import threading
from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta
from tests.web.fakes import an_id

from keystead.web.messages import Listing, Message
from keystead.web.operations import Operation

KEY = an_id("key")


class Make(Message):
    name: str
    size: Annotated[int, Meta(ge=1, le=9)] = 1
    blob: bytes = b""


class Made(Message):
    name: str
    version: int
    password: str | None
    already_shown: bool = False


class Wait(Message):
    known_generation: int
    wait_ms: int


class Moved(Message):
    generation: int


class World:
    """What the handlers of these tests work on."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.seen: list[Any] = []
        self.begun = threading.Event()
        self.release = threading.Event()
        self.error: BaseException | None = None
        self.closed = threading.Event()
        self.generation = 1


def table(world: World) -> tuple[Operation, ...]:
    def make(_services: Any, call: Any) -> Made:
        world.seen.append(call)
        if world.error is not None:
            raise world.error
        world.made.append(call.body.name)
        return Made(name=call.body.name, version=3, password="shown-once")

    def look(_services: Any, call: Any) -> Made:
        world.seen.append(call)
        if world.error is not None:
            raise world.error
        return Made(name=call.path["key_id"], version=7, password=None)

    def slow(_services: Any, call: Any) -> None:
        world.begun.set()
        assert world.release.wait(10)
        world.made.append("slow")

    def stream(_services: Any, call: Any) -> Iterator[bytes]:
        def chunks() -> Iterator[bytes]:
            try:
                for number in itertools.count():
                    if number == 3:
                        if world.error is not None:
                            raise world.error
                        return
                    yield b"chunk%d;" % number
            finally:
                world.closed.set()

        return chunks()

    def wait(_services: Any, call: Any) -> Moved:
        return Moved(generation=world.generation)

    return (
        Operation("Make", "POST", "/things", "make", make, "t", request=Make, reply=Made, status=201, creates=True,
                  secrets=("password",), permissions=("KEY_CREATE",)),
        Operation("Look", "GET", "/keys/{key_id}", "look", look, "t", reply=Made),
        Operation("Change", "PATCH", "/keys/{key_id}", "change", look, "t", reply=Made, moves=True),
        Operation("List", "GET", "/things", "list", look_at_query, "t", query=Listing, reply=Moved),
        Operation("Slow", "POST", "/slow", "slow", slow, "t", status=204),
        Operation("InToken", "POST", "/in-token", "slow", slow, "t", status=204, waits=lambda *_: "hsm"),
        Operation("InKms", "POST", "/in-kms", "look", look_at_query, "t", query=Listing, reply=Moved, runs="loop",
                  waits=lambda *_: "external"),
        Operation("TakeAway", "POST", "/take-away", "look", look_at_query, "t", query=Listing, reply=Moved,
                  takes_access=True),
        Operation("Heal", "POST", "/heal", "look", look_at_query, "t", query=Listing, reply=Moved, first=True),
        Operation("Hot", "POST", "/keys/{key_id}/actions/hot", "hot", make_hot(world), "t", request=Make, reply=Made,
                  runs="loop"),
        Operation("SignIn", "POST", "/sign-in", "sign in", slow, "t", status=204, auth=False, runs="sign_in"),
        Operation("Stream", "POST", "/stream", "stream", stream, "t", runs="stream"),
        Operation("Wait", "POST", "/wait", "wait", wait, "t", request=Wait, reply=Moved, runs="wait"),
        Operation("Health", "GET", "/health", "health", lambda *_: Moved(generation=0), "t", auth=False,
                  recorded=False, runs="loop"),
    )  # fmt: skip


def look_at_query(_services: Any, call: Any) -> Moved:
    return Moved(generation=call.query.limit or 0)


def make_hot(world: World) -> Any:
    def hot(_services: Any, call: Any) -> Made:
        world.seen.append(call)
        if world.error is not None:
            raise world.error
        return Made(name=threading.current_thread().name, version=1, password=None)

    return hot


def refused(reply: Any, status: int, code: str) -> None:
    assert (reply.status, reply.json["code"]) == (status, code), reply.body
    assert set(reply.json) == {"code", "message", "hint", "request_id"}
    assert reply.json["message"] and not reply.json["message"].endswith(".")
    assert reply.json["request_id"] == reply.headers["x-request-id"]
