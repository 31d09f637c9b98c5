"""SCIM over the pipeline: what a provisioning client says and hears, and what it brings about."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.web.asgi import Client, Reply
from tests.web.region import Region, open_region

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


class Scim:
    """A provisioning client, with an auth token of a user who may manage users and groups."""

    def __init__(self, directory: Path) -> None:
        self.region: Region = open_region(directory)
        iam, root = self.region.services.iam, self.region.caller()
        user, _ = iam.create_user(root, "entra")
        group = iam.create_group(root, "Provisioners")
        iam.add_member(root, group.id, user.id)
        statements = (
            "Allow group Provisioners to manage users in tenancy",
            "Allow group Provisioners to inspect groups in tenancy",
            "Allow group Provisioners to manage groups in tenancy where target.group.name != 'Administrators'",
        )
        iam.create_policy(root, self.region.ids["tenancy"], "provisioning", statements)
        _, text = iam.create_auth_token(root, user.id, "scim")
        self.token = text.reveal().decode()
        self.client: Client = self.region.client("")

    def ask(self, method: str, path: str, body: Any = None, **given: Any) -> Reply:
        given.setdefault("token", self.token)
        raw = None if body is None else json.dumps(body).encode()
        reply = self.client.call(method, f"!/scim/v2{path}", raw=raw, **given)
        if reply.body:
            assert reply.headers["content-type"] == "application/scim+json"
        return reply

    def user(self, user_name: str = "bjensen@example.com", **more: Any) -> Any:
        reply = self.ask("POST", "/Users", {"schemas": [USER], "userName": user_name} | more)
        assert reply.status == 201, reply.body
        return reply.json

    def patch(self, path: str, *operations: dict[str, Any], status: int = 200) -> Any:
        reply = self.ask("PATCH", path, {"schemas": [PATCH], "Operations": operations})
        assert reply.status == status, reply.body
        return reply.json

    def names(self, filter_text: str, kind: str = "Users") -> list[str]:
        reply = self.ask("GET", f"/{kind}?filter={filter_text.replace(' ', '%20')}")
        assert reply.status == 200, reply.body
        return [each.get("userName") or each["displayName"] for each in reply.json["Resources"]]


@pytest.fixture(scope="module")
def scim(tmp_path_factory: pytest.TempPathFactory) -> Scim:
    return Scim(tmp_path_factory.mktemp("scim"))


def test_nobody_is_let_in_again_by_silence(scim: Scim) -> None:
    """A client that replaces a user and says nothing of `active`, or removes it, leaves it as it is."""
    made = scim.user("silent@example.com", active=False)
    place = f"/Users/{made['id']}"
    assert scim.ask("PUT", place, {"schemas": [USER], "userName": "silent@example.com"}).json["active"] is False
    assert scim.patch(place, {"op": "remove", "path": "active"})["active"] is False
    assert scim.patch(place, {"op": "replace", "path": "active", "value": True})["active"] is True
    assert scim.ask("PUT", place, {"schemas": [USER], "userName": "silent@example.com"}).json["active"] is True
    assert scim.patch(place, {"op": "remove", "path": "active"})["active"] is True


def test_the_life_of_a_user(scim: Scim) -> None:
    """As in RFC 7644, 3.3 to 3.6."""
    said = {
        "externalId": "bjensen", "name": {"formatted": "Ms. Barbara J Jensen III", "familyName": "Jensen"},
        "emails": [{"value": "bjensen@example.com", "type": "work", "primary": True}], "displayName": "Babs",
    }  # fmt: skip
    made = scim.user(**said)
    assert made.items() >= (said | {"active": True, "schemas": [USER]}).items()
    place = f"/Users/{made['id']}"
    assert made["meta"]["location"].endswith(f"/scim/v2{place}") and made["meta"]["version"] == 'W/"1"'
    seen = scim.ask("GET", place)
    assert (seen.json, seen.headers["etag"]) == (made, 'W/"1"')
    again = scim.ask("POST", "/Users", {"schemas": [USER], "userName": "BJensen@example.com"})
    assert (again.status, again.json["scimType"], again.json["status"]) == (409, "uniqueness", "409")
    changed = scim.ask("PUT", place, {"schemas": [USER], "userName": "babs@example.com", "externalId": "b"})
    assert changed.status == 200 and "emails" not in changed.json and changed.json["userName"] == "babs@example.com"
    stale = scim.ask("PUT", place, {"schemas": [USER], "userName": "x"}, headers={"if-match": 'W/"1"'})
    assert stale.status == 412
    assert scim.ask("DELETE", place).status == 204
    gone = scim.ask("GET", place)
    assert (gone.status, gone.json["schemas"]) == (404, ["urn:ietf:params:scim:api:messages:2.0:Error"])


def test_who_is_deactivated_is_out_at_once(scim: Scim) -> None:
    made = scim.user("leaver@example.com")
    iam, root = scim.region.services.iam, scim.region.caller()
    password = iam.reset_password(root, made["id"])
    scim.region.clock.advance(1)
    token = iam.sign_in("acme", "leaver@example.com", password, "test", "test").token
    assert scim.client.get("/auth/whoami", token=token).status == 200
    place = f"/Users/{made['id']}"
    assert scim.patch(place, {"op": "Replace", "path": "active", "value": "False"})["active"] is False
    assert scim.client.get("/auth/whoami", token=token).status == 401
    assert scim.patch(place, {"op": "replace", "value": {"active": True}})["active"] is True
    assert scim.client.get("/auth/whoami", token=token).status == 401, "what was voided stays void"


def test_the_life_of_a_group(scim: Scim) -> None:
    ann, bob = scim.user("ann")["id"], scim.user("bob")["id"]
    body = {"schemas": [GROUP], "displayName": "Tour Guides", "members": [{"value": ann}]}
    made = scim.ask("POST", "/Groups", body).json
    place = f"/Groups/{made['id']}"
    assert made["displayName"] == "Tour Guides" and [each["value"] for each in made["members"]] == [ann]
    ours = scim.client.get("/groups?name=Tour-Guides", token=scim.region.tokens["root"]).json["items"]
    assert [each["id"] for each in ours] == [made["id"]], "an ordinary group, by a name that policies can say"
    added = scim.patch(place, {"op": "add", "path": "members", "value": [{"value": bob}, {"value": ann}]})
    assert {each["value"] for each in added["members"]} == {ann, bob}
    assert scim.ask("GET", f"/Users/{bob}").json["groups"][0]["value"] == made["id"]
    left = scim.patch(place, {"op": "remove", "path": f'members[value eq "{ann}"]'})
    assert [each["value"] for each in left["members"]] == [bob]
    assert "members" not in scim.ask("GET", f"{place}?excludedAttributes=members").json
    assert "members" not in scim.patch(place, {"op": "remove", "path": "members"})
    named = scim.patch(place, {"op": "replace", "path": "displayName", "value": "Guides"})
    assert named["displayName"] == "Guides"
    nobody = {"op": "add", "path": "members", "value": [{"value": scim.region.ids["other_root"]}]}
    assert scim.patch(place, nobody, status=400)["scimType"] == "invalidValue"
    assert scim.ask("DELETE", place).status == 204


def test_filters_and_pages(scim: Scim) -> None:
    for number in range(5):
        scim.user(f"page-{number}", externalId=f"x{number}", active=number != 3)
    assert scim.names('userName eq "PAGE-2"') == ["page-2"]
    assert scim.names('externalId eq "x4"') == ["page-4"]
    assert scim.names('userName sw "page-" and active eq false') == ["page-3"]
    assert scim.names('userName co "age-" and not (userName eq "page-0" or externalId eq "x1")') == [
        "page-2", "page-3", "page-4",
    ]  # fmt: skip
    assert scim.names('displayName eq "administrators"', "Groups") == ["Administrators"]
    first = scim.ask("GET", "/Users?filter=userName%20sw%20%22page-%22&startIndex=2&count=2&attributes=userName").json
    assert (first["totalResults"], first["startIndex"], first["itemsPerPage"]) == (5, 2, 2)
    assert [set(each) for each in first["Resources"]] == [{"schemas", "id", "userName"}] * 2
    assert scim.ask("GET", "/Users?count=0").json["Resources"] == []
    bad = scim.ask("GET", "/Users?filter=userName%20is%20x")
    assert (bad.status, bad.json["scimType"]) == (400, "invalidFilter")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"userName": ""}, "invalidValue"),
        ({"userName": "../x"}, "invalidValue"),
        ({"userName": "fine", "active": 7}, "invalidValue"),
        ({"userName": "fine", "emails": "x"}, "invalidValue"),
        ({"userName": "fine", "displayName": "x" * 20000}, "invalidValue"),
    ],
)
def test_what_cannot_be(scim: Scim, body: dict[str, Any], kind: str) -> None:
    reply = scim.ask("POST", "/Users", {"schemas": [USER]} | body)
    assert (reply.status, reply.json["scimType"]) == (400, kind)


def test_a_provisioning_client_is_no_more_than_its_user(scim: Scim) -> None:
    admins = scim.client.get("/groups?name=Administrators", token=scim.region.tokens["root"]).json["items"][0]["id"]
    ann = scim.user("climber")["id"]
    add = {"op": "add", "path": "members", "value": [{"value": ann}]}
    refused = scim.ask("PATCH", f"/Groups/{admins}", {"schemas": [PATCH], "Operations": [add]})
    assert refused.status in (403, 404)
    for token in ("", "ksa_x_y", scim.token[:-1], "x"):
        reply = scim.ask("GET", "/Users", token=token)
        assert (reply.status, reply.json["status"]) == (401, "401")
    assert scim.ask("GET", "/Users", token=scim.region.tokens["nobody"]).status == 404
    assert scim.ask("GET", f"/Users/{ann}", token=scim.region.tokens["other_root"]).status == 404
    assert scim.client.get("/keys", token=scim.token).status == 401, "it is a secret for provisioning, not a token"


def test_every_act_leaves_its_entry(scim: Scim) -> None:
    made = scim.user("recorded")
    outbox = [entry for _, entry in scim.region.store.outbox(0, 10_000)]
    entry = next(each for each in outbox if each.resource_id == made["id"])
    assert (entry.operation, entry.action, entry.principal_name) == ("ScimCreateUser", "USER_CREATE", "entra")


def test_what_is_supported_is_said_to_everybody(scim: Scim) -> None:
    assert scim.ask("GET", "/ServiceProviderConfig", token="").json["patch"] == {"supported": True}
    types = scim.ask("GET", "/ResourceTypes", token="").json
    assert [each["id"] for each in types["Resources"]] == ["User", "Group"]
    for schema in (USER, GROUP):
        assert scim.ask("GET", f"/Schemas/{schema}", token="").json["id"] == schema
    assert scim.ask("GET", "/Nothing", token="").status == 404
    assert scim.ask("POST", "/Schemas", token="", body={}).status == 405
