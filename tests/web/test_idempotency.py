"""Idempotency keys: what is asked for twice is done once, and told again without its secret."""

import pytest
from tests.web.asgi import Client
from tests.web.fakes import FakeLog
from tests.web.world import World, refused

from keystead.core.errors import Refusal, Unavailable


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
