"""Schemathesis over the whole description: valid and invalid requests, and never a 5xx.

The budget is fixed: `EXAMPLES` requests per operation and kind. Half of the ids asked for are those of real things.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from tests.web.asgi import Client, Reply
from tests.web.region import Region, open_region

from keystead.web.api import TABLE
from keystead.web.openapi import describe
from keystead.web.operations import Operation

EXAMPLES = 15
pytestmark = pytest.mark.slow
SCHEMA = schemathesis.openapi.from_dict(json.loads(msgspec.json.encode(describe(TABLE))))
# Signing out would end the session that all of it needs.
WALKED = [operation for operation in TABLE if operation.name != "SignOut"]


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return open_region(tmp_path_factory.mktemp("region"))


@pytest.fixture(scope="module")
def clients(region: Region) -> Iterator[dict[str, Client]]:
    made = {"root": region.client("root"), "host": region.client("host")}
    yield made
    for client in made.values():
        client.close()


def target_of(case: Any, region: Region, real: bool) -> str:
    path = case.path
    for name, value in (case.path_parameters or {}).items():
        text = region.ids[name] if real and name in region.ids else str(value)
        path = path.replace(f"{{{name}}}", "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "replace")))
    query = "&".join(
        f"{quoted(name)}={quoted(value)}" for name, value in (case.query or {}).items() if not isinstance(value, dict)
    )
    return f"!{path}?{query}" if query else f"!{path}"


def quoted(value: Any) -> str:
    return "".join(f"%{byte:02X}" for byte in str(value).encode("utf-8", "replace"))


def body_of(case: Any, region: Region, real: bool) -> bytes:
    if isinstance(case.body, schemathesis.core.NotSet):
        return b""
    body = case.body
    if real and isinstance(body, dict):
        body = body | {name: region.ids[name] for name in body if name in region.ids}
    if isinstance(body, bytes):
        return body
    return json.dumps(body).encode("utf-8", "surrogatepass")


def check(operation: Operation, case: Any, reply: Reply) -> None:
    documented = SCHEMA[operation.template][operation.method.lower()].definition.raw["responses"]
    assert reply.status < 500, (reply.status, reply.body)
    assert str(reply.status) in documented, (reply.status, reply.body, case.as_curl_command())
    if reply.status < 300:
        assert reply.status == operation.status
        if operation.reply is not None:
            msgspec.json.decode(reply.body, type=operation.reply)
    else:
        assert set(reply.json) == {"code", "message", "hint", "request_id"}


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", WALKED, ids=lambda operation: operation.name)
def test_nothing_asked_brings_a_5xx(
    region: Region, clients: dict[str, Client], operation: Operation, mode: GenerationMode
) -> None:
    described = SCHEMA[operation.template][operation.method.lower()]
    client = clients["host" if operation.tag == "host" else "root"]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=described.as_strategy(generation_mode=mode), real=st.booleans())
    def ask(case: Any, real: bool) -> None:
        client.token = region.host_token() if operation.tag == "host" else region.tokens["root"]
        headers = {
            name.lower(): str(value).encode("latin-1", "replace").decode("latin-1")
            for name, value in (case.headers or {}).items()
        }
        raw = body_of(case, region, real)
        if raw and "content-type" not in headers:
            headers["content-type"] = case.media_type or "application/json"
        reply = client.call(operation.method, target_of(case, region, real), raw=raw, headers=headers)
        check(operation, case, reply)

    try:
        ask()
    except Unsatisfiable:
        assert not (operation.parameters or operation.request or operation.query)
        pytest.skip("nothing invalid can be said to this operation")
