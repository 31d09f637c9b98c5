"""The pipeline, on a small table of its own."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from msgspec import Meta
from tests.web.asgi import Client
from tests.web.fakes import FakeLog, an_id, fake_services

from keystead.core.errors import Fault, Refusal, Unavailable, not_found
from keystead.web.messages import Listing, Message
from keystead.web.operations import Operation
from keystead.web.pipeline import Entrance, Limits, Pipeline

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


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


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


def refused(reply: Any, status: int, code: str) -> None:
    assert (reply.status, reply.json["code"]) == (status, code), reply.body
    assert set(reply.json) == {"code", "message", "hint", "request_id"}
    assert reply.json["message"] and not reply.json["message"].endswith(".")
    assert reply.json["request_id"] == reply.headers["x-request-id"]


def test_an_answer_has_its_headers(client: Client) -> None:
    reply = client.get(f"/keys/{KEY}")
    assert reply.status == 200 and reply.json["name"] == KEY
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["etag"] == '"7"'
    assert int(reply.headers["content-length"]) == len(reply.body)
    assert reply.headers["x-request-id"] != client.get(f"/keys/{KEY}").headers["x-request-id"]


def test_head_is_get_without_the_body(client: Client) -> None:
    reply = client.call("HEAD", f"/keys/{KEY}")
    assert reply.status == 200 and reply.body == b"" and int(reply.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "NoSuchOperation"),
        ("GET", "", 404, "NoSuchOperation"),
        ("GET", f"/keys/{KEY}/", 404, "NoSuchOperation"),
        ("GET", f"//keys/{KEY}", 404, "NoSuchOperation"),
        ("GET", f"/keys%2F{KEY}", 404, "NoSuchOperation"),
        ("GET", "!/keystead/v2/things", 404, "NoSuchOperation"),
        ("GET", "!*", 404, "NoSuchOperation"),
        ("DELETE", "/things", 405, "MethodNotAllowed"),
        ("LIST", "/things", 405, "MethodNotAllowed"),
        ("GET", "/keys/zzz", 400, "InvalidId"),
        ("GET", "/keys/%ff", 400, "InvalidId"),
        ("GET", f"/keys/{an_id('vault')}", 400, "InvalidId"),
        ("GET", "/keys/" + "a" * 9000, 414, "TargetTooLong"),
        ("POST", "/keys/zzz/actions/hot", 400, "InvalidId"),
    ],
)
def test_what_is_not_there_is_refused_and_recorded(
    client: Client, log: FakeLog, method: str, path: str, status: int, code: str
) -> None:
    refused(client.call(method, path), status, code)
    assert [(entry.outcome, entry.code) for entry in log.entries] == [("refused", code)]
    assert log.durable == 1


def test_percent_encoding_is_undone_after_routing(client: Client) -> None:
    assert client.get(f"/keys/{KEY.replace('.', '%2E')}").json["name"] == KEY


def test_405_names_the_methods(client: Client) -> None:
    assert client.call("PUT", "/things").headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Basic abc", "Bearer not.a.token", "Bearer \xe9", "bearer 123"]
)
def test_a_token_is_needed(client: Client, log: FakeLog, value: str) -> None:
    client.token = ""
    reply = client.get(f"/keys/{KEY}", headers={"authorization": value} if value else {})
    refused(reply, 401, "NotAuthenticated")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert log.entries[-1].code == "NotAuthenticated" and log.entries[-1].resource_id == KEY


def test_nothing_is_read_from_a_stranger(client: Client) -> None:
    reply = client.post("/things", token="?", raw=b"x" * 10)
    refused(reply, 401, "NotAuthenticated")


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"", "MalformedBody", "JSON"),
        (b"{", "MalformedBody", "JSON"),
        (b'{"name":"a"} trailing', "MalformedBody", "JSON"),
        (b'{"name":"\xff"}', "MalformedBody", "UTF-8"),
        (b'{"name":"\\ud800"}', "MalformedBody", "JSON"),
        (b"[]", "InvalidParameter", "an object, not a list"),
        (b"null", "InvalidParameter", "an object, not null"),
        (b"[" * 100_000, "InvalidParameter", "object"),
        (b'{"nam":"a"}', "InvalidParameter", "'nam' is not known"),
        (b"{}", "InvalidParameter", "'name' is missing"),
        (b'{"name":1}', "InvalidParameter", "'name' must be a string, not a whole number"),
        (b'{"name":"a","size":"1"}', "InvalidParameter", "'size' must be a whole number, not a string"),
        (b'{"name":"a","size":10}', "InvalidParameter", "'size' must be at most 9"),
        (b'{"name":"a","size":1.5}', "InvalidParameter", "'size' must be a whole number"),
        (b'{"name":"a","blob":"####"}', "InvalidParameter", "'blob' is not valid base64"),
        (b'{"name":"a","blob":"AAA"}', "InvalidParameter", "'blob' is not valid base64"),
        (b'{"name":"a","blob":"A A="}', "InvalidParameter", "'blob' is not valid base64"),
        (b'{"name":"a","blob":"-_-_"}', "InvalidParameter", "'blob' is not valid base64"),
    ],
)
def test_bad_bodies_change_nothing(
    client: Client, world: World, log: FakeLog, body: bytes, code: str, words: str
) -> None:
    reply = client.post("/things", raw=body, headers={"content-type": "application/json"})
    refused(reply, 400, code)
    assert words in reply.json["message"]
    assert world.seen == [] and log.entries[-1].code == code


def test_a_slip_of_the_pen_gets_a_hint(client: Client) -> None:
    assert client.post("/things", {"nmae": "a"}).json["hint"] == "did you mean 'name'?"


def test_refusals_do_not_repeat_what_was_sent(client: Client) -> None:
    reply = client.post("/things", raw=b'{"name":"a","size":"hunter2"}', headers={"content-type": "application/json"})
    assert b"hunter2" not in reply.body


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_only_json_is_taken(client: Client, kind: str) -> None:
    refused(client.post("/things", raw=b'{"name":"a"}', headers={"content-type": kind}), 415, "UnsupportedMediaType")


def test_json_may_name_its_charset(client: Client) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post("/things", raw=b'{"name":"a"}', headers=headers).status == 201


def test_operations_without_a_body_take_none(client: Client) -> None:
    refused(client.post("/stream", {"a": 1}), 400, "InvalidParameter")
    assert client.post("/stream", {}).status == 200


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1&limit=2", "unknown=1", "limit", "%zz=1", "page=\xff"])
def test_bad_queries(client: Client, query: str) -> None:
    reply = client.run(client.send("GET", "/things?" + query.encode().decode("latin-1")))
    assert reply.status == 400, reply.body


def test_good_query(client: Client) -> None:
    assert client.get("/things?limit=17").json == {"generation": 17}


def test_large_bodies_are_refused(open_client: Any) -> None:
    client = open_client(Limits(body_bytes=100))
    refused(client.post("/things", raw=b" " * 101), 413, "TooLarge")
    refused(client.post("/things", chunks=[b" " * 60, b" " * 60]), 413, "TooLarge")
    refused(client.post("/things", raw=b"", headers={"content-length": "x"}), 400, "InvalidParameter")
    refused(client.post("/things", raw=b"", headers={"content-length": "9" * 30}), 400, "InvalidParameter")


def test_who_has_not_signed_in_sends_little(open_client: Any) -> None:
    client = open_client(Limits(open_body_bytes=100))
    refused(client.post("/sign-in", raw=b" " * 101), 413, "TooLarge")
    assert client.post("/things", {"name": "a" * 200}).status == 201


def test_bodies_may_come_in_pieces(client: Client) -> None:
    reply = client.post("/things", chunks=[b'{"na', b'me":"', b'a"}'], headers={"content-type": "application/json"})
    assert reply.status == 201


def test_a_body_that_does_not_come(open_client: Any) -> None:
    client = open_client(Limits(body_s=0.05))

    async def stuck() -> Any:
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", b"Bearer alice"), (b"content-length", b"5")]
        scope = {"type": "http", "method": "POST", "path": "/keystead/v1/things", "raw_path": b"/keystead/v1/things",
                 "query_string": b"", "client": None, "headers": headers}  # fmt: skip
        await client.app(scope, receive, send)
        return sent

    assert client.run(stuck())[0]["status"] == 408


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Refusal("Odd", "that is odd"), 400, "Odd"),
        (Refusal("No", "you may not", kind="denied"), 403, "No"),
        (not_found("key"), 404, "NotFound"),
        (Refusal("Taken", "it is taken", kind="conflict"), 409, "Taken"),
        (Refusal("Stale", "it has changed", kind="stale"), 412, "Stale"),
        (Refusal("Sealed", "the region is sealed", kind="unavailable"), 503, "Sealed"),
        (Unavailable("DiskGone", "secret detail"), 503, "DiskGone"),
        (Fault("Broken", "secret detail"), 500, "InternalError"),
        (ValueError("secret detail"), 500, "InternalError"),
    ],
)
def test_errors_have_one_shape(
    client: Client, world: World, log: FakeLog, capfd: Any, error: Exception, status: int, code: str
) -> None:
    world.error = error
    for reply in (client.get(f"/keys/{KEY}"), client.post(f"/keys/{KEY}/actions/hot", {"name": "a"})):
        refused(reply, status, code)
        assert b"secret detail" not in reply.body
        assert ("retry-after" in reply.headers) == (status in (429, 503))
    assert {entry.outcome for entry in log.entries} == {"refused" if isinstance(error, Refusal) else "failed"}
    assert {entry.principal_name for entry in log.entries} == {"alice"} and len(log.entries) == 2
    if isinstance(error, ValueError):
        assert "secret detail" not in "".join(capfd.readouterr())


def test_what_the_guard_recorded_is_not_recorded_twice(client: Client, world: World, log: FakeLog) -> None:
    world.error = not_found("key")
    world.error.recorded = True  # type: ignore[attr-defined]
    refused(client.get(f"/keys/{KEY}"), 404, "NotFound")
    assert log.entries == [] and log.barriers == 1


def test_no_answer_before_the_audit_is_durable(client: Client, log: FakeLog) -> None:
    log.hold = True

    async def scenario() -> None:
        for path in (f"/keys/{KEY}", "/nothing"):
            asked = asyncio.ensure_future(client.send("GET", path))
            while not log.barriers:
                await asyncio.sleep(0)
            await asyncio.sleep(0.02)
            assert not asked.done()
            log.flush()
            assert (await asked).status in (200, 404)
            log.barriers = 0

    client.run(scenario())


def test_requests_share_barriers_and_all_are_answered(client: Client, log: FakeLog) -> None:
    log.hold = True

    async def scenario() -> None:
        asked = [
            asyncio.ensure_future(client.send("POST", f"/keys/{KEY}/actions/hot", {"name": "a"})) for _ in range(50)
        ]
        while not log.barriers:
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)
        assert log.barriers < 50
        flusher = threading.Thread(target=log.flush)
        flusher.start()
        assert {reply.status for reply in await asyncio.gather(*asked)} == {200}
        flusher.join()

    client.run(scenario())


def test_when_the_audit_fails_the_answer_is_withheld(client: Client, log: FakeLog) -> None:
    log.hold = True

    async def scenario() -> Any:
        asked = asyncio.ensure_future(client.send("GET", f"/keys/{KEY}"))
        while not log.barriers:
            await asyncio.sleep(0)
        log.full, log.hold = True, False
        log.flush(Fault("AuditUnavailable", "no space left"))
        return await asked

    reply = client.run(scenario())
    refused(reply, 503, "AuditUnavailable")
    assert KEY.encode() not in reply.body
    refused(client.get("/nothing"), 503, "AuditUnavailable")
    assert client.get("/health").status == 200


def test_health_leaves_no_trace(client: Client, log: FakeLog) -> None:
    assert client.get("/health", token="").status == 200
    assert log.entries == [] and log.barriers == 0


def test_cryptography_runs_on_the_loop_and_the_rest_on_a_pool(client: Client, world: World) -> None:
    assert client.post(f"/keys/{KEY}/actions/hot", {"name": "a"}).json["name"] == threading.current_thread().name


@pytest.mark.parametrize(("value", "seen"), [('"3"', 3), ("*", None), ("", None), ('"0"', 0), (' "12" ', 12)])
def test_if_match(client: Client, world: World, value: str, seen: int | None) -> None:
    assert client.call("PATCH", f"/keys/{KEY}", headers={"if-match": value}).status == 200
    assert world.seen[-1].if_match == seen


@pytest.mark.parametrize("value", ["3", '"x"', 'W/"3"', '"', '""', '"-1"', '"1", "2"', '"' + "9" * 40 + '"', '"\xb2"'])
def test_if_match_that_is_not_ours(client: Client, value: str) -> None:
    refused(client.call("PATCH", f"/keys/{KEY}", headers={"if-match": value}), 400, "InvalidParameter")


@pytest.mark.parametrize(("source", "seen"), [(("192.0.2.9", "1"), "192.0.2.9"), (("", "0"), "unix"), (None, "unix")])
def test_where_a_request_comes_from_is_recorded(
    client: Client, log: FakeLog, source: tuple[str, str] | None, seen: str
) -> None:
    client.get("/nothing", source=source)
    assert log.entries[-1].source == seen


# idempotency


def test_a_repetition_gets_the_first_answer_without_its_secret(client: Client, world: World) -> None:
    first = client.post("/things", {"name": "a"}, headers={"idempotency-key": "k1"})
    again = client.post("/things", {"name": "a"}, headers={"idempotency-key": "k1"})
    assert first.status == again.status == 201
    assert first.json == {"name": "a", "version": 3, "password": "shown-once", "already_shown": False}
    assert again.json == {"name": "a", "version": 3, "password": None, "already_shown": True}
    assert again.headers["idempotency-replayed"] == "true"
    assert world.made == ["a"]
    assert all(b"shown-once" not in note.body for note in client.services.idempotency.notes.values())


def test_a_repetition_is_recorded(client: Client, log: FakeLog) -> None:
    client.post("/things", {"name": "a"}, headers={"idempotency-key": "k1"})
    before = len(log.entries)
    client.post("/things", {"name": "a"}, headers={"idempotency-key": "k1"})
    assert [(found.operation, found.outcome, found.code) for found in log.entries[before:]] == [
        ("Make", "allowed", "Replayed")
    ]


def test_a_key_belongs_to_one_request_and_one_principal(client: Client, world: World) -> None:
    headers = {"idempotency-key": "k1"}
    client.post("/things", {"name": "a"}, headers=headers)
    refused(client.post("/things", {"name": "b"}, headers=headers), 409, "IdempotencyMismatch")
    assert client.post("/things", {"name": "a"}, headers=headers, token="bob").status == 201
    assert world.made == ["a", "a"]


def test_a_refused_request_leaves_no_note(client: Client, world: World) -> None:
    world.error = Refusal("Taken", "it is taken", kind="conflict")
    refused(client.post("/things", {"name": "a"}, headers={"idempotency-key": "k"}), 409, "Taken")
    world.error = None
    assert client.post("/things", {"name": "a"}, headers={"idempotency-key": "k"}).status == 201


def test_a_request_that_was_cut_off_is_not_repeated_blindly(client: Client, world: World) -> None:
    world.error = Unavailable("DiskGone", "it went away in the middle")
    client.post("/things", {"name": "a"}, headers={"idempotency-key": "k"})
    world.error = None
    reply = client.post("/things", {"name": "a"}, headers={"idempotency-key": "k"})
    refused(reply, 409, "IdempotencyUnfinished")
    assert world.made == []


@pytest.mark.parametrize("key", ["x" * 129, "a b", "\xe9"])
def test_bad_idempotency_keys(client: Client, key: str) -> None:
    refused(client.post("/things", {"name": "a"}, headers={"idempotency-key": key}), 400, "InvalidParameter")


# too much at once, and clients that go away


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


@pytest.mark.parametrize(
    ("entrance", "source", "seen"),
    [
        ("private", None, "private"),
        ("private", ("10.0.0.9", "1"), "private 10.0.0.9"),
        ("local", None, "local"),
        ("", ("private", "1"), "private"),  # a peer is told by the kernel, and has an address
        ("", None, "unix"),
    ],
)
def test_the_entrance_is_what_the_server_says(
    open_client: Any, log: FakeLog, entrance: Entrance, source: tuple[str, str] | None, seen: str
) -> None:
    client = open_client(entrance=entrance)
    client.get("/nothing", source=source, headers={"x-forwarded-for": "private", "forwarded": "for=local"})
    assert log.entries[-1].source == seen
