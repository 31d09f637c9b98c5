"""The API's own description: valid, complete, and served."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from tests.web.asgi import Client
from tests.web.region import open_region

from keystead.web.api import TABLE
from keystead.web.openapi import describe, document


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return json.loads(msgspec.json.encode(describe(TABLE)))


def test_it_is_valid_openapi(found: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(found).validate()


def test_every_reference_leads_somewhere(found: dict[str, Any]) -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                here: Any = found
                for part in node["$ref"].removeprefix("#/").split("/"):
                    here = here[part]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(found)


def test_it_describes_the_whole_table(found: dict[str, Any]) -> None:
    described = {operation["operationId"] for path in found["paths"].values() for operation in path.values()}
    assert described == {operation.name for operation in TABLE}


def test_every_message_and_every_parameter_of_our_own_tells_what_it_is(found: dict[str, Any]) -> None:
    for name, schema in found["components"]["schemas"].items():
        assert schema.get("description"), name
    for path in found["paths"].values():
        for operation in path.values():
            for parameter in operation["parameters"]:
                assert parameter["description"], (operation["operationId"], parameter["name"])


def test_secrets_do_not_travel_in_targets() -> None:
    for operation in TABLE:
        if operation.query is not None:
            assert not {"password", "token", "plaintext"} & set(operation.query.__struct_fields__)


def test_who_is_asked_about_a_sign_in_is_not_told_its_number(found: dict[str, Any]) -> None:
    assert set(found["components"]["schemas"]["WaitingSignIn"]["properties"]) == {"id", "source", "asked_at", "until"}


def test_it_is_served_without_a_token(tmp_path: Path, found: dict[str, Any]) -> None:
    client: Client = open_region(tmp_path).client("")
    reply = client.get("/openapi.json")
    client.close()
    assert reply.status == 200 and reply.json == found
    assert json.loads(bytes(document())) == found
