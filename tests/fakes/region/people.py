"""Tenancies, compartments, users and what they sign in with, groups and who is in them for a while."""

from tests.fakes.region.routes import Request, no_clash, route, rows
from tests.fakes.region.state import LATER, MOMENT, Json

rows("user", "/users/{user_id}")
rows("group", "/groups/{group_id}", change="PATCH", delete=True)
rows("tenancy", "/tenancies/{tenancy_id}")


@route("POST", "/compartments")
def create_compartment(ask: Request) -> tuple[int, Json]:
    parent, name = ask.body["parent_id"], ask.body["name"]
    no_clash(ask.region, "compartment", name, parent_id=parent)
    above = [parent] if parent == ask.region.tenancy else ask.region.get("compartment", parent)["path"]
    made = ask.region.keep(
        "compartment", name=name, parent_id=parent, description=ask.body.get("description", ""), tags={}
    )
    made["path"] = [*above, made["id"]]
    return 201, made


@route("GET", "/compartments")
def list_compartments(ask: Request) -> Json:
    return ask.page(ask.region.all("compartment"), parent_id=ask.query["parent_id"], name=ask.query.get("name"))


@route("GET", "/compartments/{compartment_id}")
def get_compartment(ask: Request, compartment_id: str) -> Json:
    if compartment_id == ask.region.tenancy:
        root = {"id": compartment_id, "name": "acme", "parent_id": None, "path": [compartment_id], "description": ""}
        root["tags"] = {}
        return {**root, "created_at": MOMENT, "version": 1}
    return ask.region.get("compartment", compartment_id)


@route("PUT", "/compartments/{compartment_id}/tags")
def tag_compartment(ask: Request, compartment_id: str) -> Json:
    return ask.change("compartment", compartment_id, tags=ask.body["tags"])


@route("PUT", "/groups/{group_id}/tags")
def tag_group(ask: Request, group_id: str) -> Json:
    return ask.change("group", group_id, tags=ask.body["tags"])


@route("POST", "/users")
def create_user(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "user", ask.body["name"])
    made = ask.region.keep("user", name=ask.body["name"], state="ACTIVE", description=ask.body.get("description", ""))
    return 201, {**made, "password": "example-password-1", "already_shown": False}


@route("PATCH", "/users/{user_id}")
def update_user(ask: Request, user_id: str) -> Json:
    return ask.change("user", user_id, state=ask.body["state"])


@route("DELETE", "/users/{user_id}")
def delete_user(ask: Request, user_id: str) -> tuple[int, None]:
    ask.change("user", user_id, state="DELETED")
    return 204, None


@route("POST", "/users/{user_id}/actions/reset-password")
def reset_password(ask: Request, user_id: str) -> Json:
    ask.region.get("user", user_id)
    return {"password": "example-password-2", "already_shown": False}


@route("POST", "/users/{user_id}/actions/revoke-tokens")
def revoke_tokens(ask: Request, user_id: str) -> tuple[int, None]:
    name = ask.region.get("user", user_id)["name"]
    ask.region.tokens = {token: user for token, user in ask.region.tokens.items() if user != name}
    return 204, None


def credentials(kind: str, template: str) -> None:
    """The list of what a user signs in with, and taking one of them away."""
    collection, _, parameter = template.rpartition("/")

    def remove(ask: Request, user_id: str, **ids: str) -> tuple[int, None]:
        ask.region.get("user", user_id)
        ask.region.remove(kind, ids[parameter.strip("{}")])
        return 204, None

    route("GET", collection)(lambda ask, user_id: ask.page(ask.region.all(kind), user_id=user_id))
    route("DELETE", template)(remove)


credentials("authtoken", "/users/{user_id}/auth-tokens/{auth_token_id}")
credentials("apikey", "/users/{user_id}/api-keys/{api_key_id}")


@route("POST", "/users/{user_id}/auth-tokens")
def create_auth_token(ask: Request, user_id: str) -> tuple[int, Json]:
    ask.region.get("user", user_id)
    times = {"expires_at": MOMENT, "created_at": MOMENT}
    made = ask.region.note("authtoken", name=ask.body["name"], user_id=user_id, **times)
    return 201, {**made, "text": "example-auth-token", "already_shown": False}


@route("POST", "/users/{user_id}/api-keys")
def create_api_key(ask: Request, user_id: str) -> tuple[int, Json]:
    ask.region.get("user", user_id)
    public = {"fingerprint": "00:11", "key_id": "t/u/00:11", "public_key": ask.body["public_key"]}
    return 201, ask.region.note("apikey", name=ask.body["name"], user_id=user_id, created_at=MOMENT, **public)


@route("POST", "/groups")
def create_group(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "group", ask.body["name"])
    described = ask.body.get("description", "")
    return 201, ask.region.keep("group", name=ask.body["name"], description=described, tags={}, break_glass_minutes=240)


@route("GET", "/groups/{group_id}/members")
def list_members(ask: Request, group_id: str) -> Json:
    broken = ask.region.all("breakglass")
    until = {it["user_id"]: it["expires_at"] for it in broken if it["running"] and it["group_id"] == group_id}
    ids = [*ask.region.members.get(group_id, []), *until]
    return ask.page([{**ask.region.get("user", it), "until": until.get(it)} for it in ids])


@route("POST", "/groups/{group_id}/break-glass")
def begin_break_glass(ask: Request, group_id: str) -> tuple[int, Json]:
    team, person = ask.region.get("group", group_id), ask.region.get("user", ask.body["user_id"])
    return 201, ask.region.note(
        "breakglass", group_id=team["id"], group_name=team["name"], user_id=person["id"], user_name=person["name"],
        reason=ask.body["reason"], granted_by_id=ask.region.olivia["id"], granted_by_name="olivia", began_at=MOMENT,
        expires_at=LATER, running=True, ended_at=None, how="",
    )  # fmt: skip


@route("GET", "/break-glass")
def list_break_glass(ask: Request) -> Json:
    return ask.page(ask.region.all("breakglass"))


@route("POST", "/break-glass/{break_glass_id}/actions/end")
def end_break_glass(ask: Request, break_glass_id: str) -> Json:
    found = ask.region.get("breakglass", break_glass_id)
    found |= {"running": False, "ended_at": MOMENT, "how": "early"}
    return found


@route("PUT", "/groups/{group_id}/members/{user_id}")
def add_member(ask: Request, group_id: str, user_id: str) -> tuple[int, None]:
    ask.region.members.setdefault(group_id, []).append(user_id)
    return 204, None


@route("DELETE", "/groups/{group_id}/members/{user_id}")
def remove_member(ask: Request, group_id: str, user_id: str) -> tuple[int, None]:
    ask.region.members[group_id].remove(user_id)
    return 204, None


@route("POST", "/tenancies")
def create_tenancy(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "tenancy", ask.body["name"])
    group = ask.region.new_id("group")
    made = ask.region.note("tenancy", name=ask.body["name"], administrators_id=group, created_at=MOMENT)
    admin = {"admin_id": ask.region.new_id("user"), "admin_name": ask.body["admin"]}
    return 201, {**made, **admin, "password": "horse correct", "already_shown": False}
