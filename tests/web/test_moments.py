"""Moments that strangers give: at the edges of time they are refused, and nobody else notices."""

from collections.abc import Iterator

import pytest
from tests.web.asgi import Client
from tests.web.region import Region, open_region

EDGES = ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"]


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return open_region(tmp_path_factory.mktemp("region"))


@pytest.fixture
def client(region: Region) -> Iterator[Client]:
    made = region.client("root")
    yield made
    made.close()


@pytest.mark.parametrize("moment", EDGES)
@pytest.mark.parametrize("name", ["not_before", "expires_at"])
def test_of_keys(region: Region, client: Client, name: str, moment: str) -> None:
    given = {name: moment.replace("%2B", "+")}
    asked = {"compartment_id": region.ids["compartment_id"], "vault_id": region.ids["vault_id"], "name": "edge"}
    for reply in (client.post("/keys", asked | given), client.call("PATCH", f"/keys/{region.ids['key_id']}", given)):
        assert (reply.status, reply.json["code"]) == (400, "InvalidParameter"), reply.body
    assert client.get("/auth/whoami").status == 200
    assert client.get(f"/keys/{region.ids['key_id']}").status == 200


@pytest.mark.parametrize("moment", EDGES)
@pytest.mark.parametrize("name", ["since", "until"])
def test_of_searches(client: Client, name: str, moment: str) -> None:
    reply = client.get(f"/audit/entries?{name}={moment}")
    assert (reply.status, reply.json["code"]) == (400, "InvalidParameter"), reply.body
