"""The pipeline, on a small table of its own."""

import asyncio
import threading
from typing import Any

import pytest
from tests.web.asgi import Client
from tests.web.fakes import FakeLog, an_id
from tests.web.world import KEY, World, refused

from keystead.core.errors import Fault, Refusal, Unavailable, not_found
from keystead.web.pipeline import Entrance, Limits


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
