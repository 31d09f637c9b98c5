"""A sealed region: 503 and what to do, for every operation but the few that it answers; and those."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.fakes.seal import FakeSeal
from tests.web.asgi import Client
from tests.web.region import Region, open_region
from tests.web.samples import OPERATIONS, body_of

from keystead.server.sealing.door import Closed
from keystead.web.api.seal import SealReply
from keystead.web.app import make_app

OPEN = {"GetHealth", "GetOpenApi", "GetSeal", "Unseal", "ResetUnseal"}


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return open_region(tmp_path_factory.mktemp("region"))


@pytest.fixture
def client(region: Region) -> Iterator[Client]:
    """The same region's operations, sealed: the services behind them are not there."""
    closed = {
        name: Closed()
        for name in ("iam", "vaults", "databases", "jobs", "audit_trail", "state", "host_desk", "login_desk")
    }
    services = replace(region.services, sealed=lambda: True, seal=FakeSeal(sealed=True), **closed)
    made = Client(make_app(services), region.tokens["root"])
    yield made
    made.close()


def path_of(region: Region, name: str) -> str:
    path = OPERATIONS[name].path
    for parameter in OPERATIONS[name].parameters:
        path = path.replace(f"{{{parameter}}}", region.ids[parameter])
    return path


def test_the_table_says_what_a_sealed_region_answers() -> None:
    assert {name for name, operation in OPERATIONS.items() if operation.while_sealed} == OPEN


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - OPEN))
def test_everything_else_is_refused_with_a_hint(region: Region, client: Client, name: str) -> None:
    before = len(region.log.entries)
    for body in (body_of(region, name), None):
        reply = client.call(OPERATIONS[name].method, path_of(region, name), body)
        assert (reply.status, reply.json["code"]) == (503, "Sealed"), reply.body
        assert "keystead unseal" in reply.json["hint"]
        assert reply.headers["retry-after"]
    said = region.log.entries[before:]
    told = [(name, "refused", "Sealed")] * 2 if OPERATIONS[name].recorded else []
    assert [(entry.operation, entry.outcome, entry.code) for entry in said] == told


def test_shares_come_one_by_one(client: Client) -> None:
    assert client.get("/health").json["status"] == "sealed"
    for count in (1, 2):
        reply = client.post("/seal/actions/unseal", {"kind": "share", "secret": "share"}, token="")
        found = msgspec.json.decode(reply.body, type=SealReply)
        assert found.sealed and len(found.progress[0].given) == count
    assert client.post("/seal/actions/unseal", {"kind": "share", "secret": "wrong"}).json["code"] == "WrongShare"
    assert client.post("/seal/actions/reset").json["progress"][0]["given"] == []
    for _ in range(3):
        reply = client.post("/seal/actions/unseal", {"kind": "share", "secret": "share"})
    assert not reply.json["sealed"]


def test_what_is_given_is_in_no_entry(region: Region, client: Client) -> None:
    client.post("/seal/actions/unseal", {"kind": "passphrase", "secret": "hunter2 hunter2"})
    assert "hunter2" not in str(region.log.entries)


def test_an_open_region_is_not_opened(region: Region) -> None:
    client = region.client("")
    reply = client.post("/seal/actions/unseal", {"kind": "share", "secret": "share"})
    assert (reply.status, reply.json["code"]) == (409, "NotSealed")
    assert client.get("/seal").json["sealed"] is False
    client.close()


def test_what_is_not_there_says_sealed() -> None:
    with pytest.raises(Exception, match="sealed"):
        _ = Closed().anything
    assert not hasattr(Closed(), "__len__")


def test_who_may_seal(tmp_path: Path, region: Region) -> None:
    for who, status in (("root", 200), ("nobody", 404), ("", 401)):
        client = region.client(who) if who else region.client("")
        assert client.post("/seal/actions/seal").status in {status, 403 if who == "nobody" else status}
        client.close()
