"""What anybody finds below /.well-known/: the keys, to GET and HEAD, and nothing else."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.web.asgi import Client
from tests.web.region import Region, open_region

from keystead.web.app import make_app


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return open_region(tmp_path_factory.mktemp("region"))


@pytest.fixture
def client(region: Region) -> Iterator[Client]:
    made = Client(make_app(region.services), "", root="")
    yield made
    made.close()


def test_a_token_is_verified_by_what_is_found_there(region: Region, client: Client) -> None:
    found = client.get("/.well-known/jwks.json")
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    keys = KeySet.import_key_set(found.json)
    claims = jwt.decode(region.tokens["root"], keys, algorithms=["Ed25519"]).claims
    assert (claims["iss"], claims["aud"]) == ("home", "keystead:home:api")
    assert not any({"d", "p", "q"} & set(key) for key in found.json["keys"])


def test_it_is_what_the_api_says(client: Client) -> None:
    assert client.get("/.well-known/jwks.json").json == client.get("/keystead/v1/auth/jwks").json


@pytest.mark.parametrize("path", ["openid-configuration", "oauth-authorization-server", "", "jwks.json/", "jwks"])
def test_nothing_else_is_claimed(client: Client, path: str) -> None:
    found = client.get(f"/.well-known/{path}")
    assert (found.status, found.json["code"]) == (404, "NoSuchOperation")


def test_it_is_only_read(client: Client) -> None:
    assert client.call("HEAD", "/.well-known/jwks.json").status == 200
    found = client.post("/.well-known/jwks.json")
    assert (found.status, found.headers["allow"]) == (405, "GET, HEAD")


def test_a_sealed_region_has_none(region: Region) -> None:
    client = Client(make_app(replace(region.services, sealed=lambda: True)), "", root="")
    try:
        assert client.get("/.well-known/jwks.json").json["code"] == "Sealed"
    finally:
        client.close()
