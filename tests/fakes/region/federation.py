"""Identity providers, whom they name, and signing in by them."""

from tests.fakes.region.routes import Request, no_clash, route, rows
from tests.fakes.region.state import MOMENT, Json, Refused

rows("identityprovider", "/identity-providers/{identity_provider_id}", delete=True)


def told(ask: Request) -> Json:
    """What of a provider is ever shown again."""
    return {name: value for name, value in ask.body.items() if name != "client_secret"}


@route("POST", "/identity-providers")
def create_identity_provider(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "identityprovider", ask.body["name"])
    usual = {
        "state": "ENABLED", "scopes": ["openid", "profile", "email"], "origins": [], "ca": "", "subject_claim": "sub",
        "name_claim": "preferred_username", "groups_claim": "groups", "just_in_time": False,
        "links_provisioned": False, "trusts_factors": False, "group_choice": "all", "group_mappings": [],
        "description": "", "redirect_uri": "https://keys.example/callback",
    }  # fmt: skip
    return 201, ask.region.keep("identityprovider", **(usual | told(ask)))


@route("PATCH", "/identity-providers/{identity_provider_id}")
def update_identity_provider(ask: Request, identity_provider_id: str) -> Json:
    return ask.change("identityprovider", identity_provider_id, **told(ask))


@route("PUT", "/identity-providers/{identity_provider_id}/users/{user_id}")
def link_federated_user(ask: Request, identity_provider_id: str, user_id: str) -> Json:
    ask.region.get("identityprovider", identity_provider_id)
    made = {"user_id": user_id, "user_name": ask.region.get("user", user_id)["name"], "made": False}
    made |= {"subject": ask.body["subject"], "created_at": MOMENT}
    ask.region.links.append(made)
    return made


@route("GET", "/identity-providers/{identity_provider_id}/users")
def list_federated_users(ask: Request, identity_provider_id: str) -> Json:
    ask.region.get("identityprovider", identity_provider_id)
    return ask.page(ask.region.links)


@route("DELETE", "/identity-providers/{identity_provider_id}/users/{user_id}")
def unlink_federated_user(ask: Request, identity_provider_id: str, user_id: str) -> tuple[int, None]:
    ask.region.get("identityprovider", identity_provider_id)
    ask.region.links = [each for each in ask.region.links if each["user_id"] != user_id]
    return 204, None


@route("POST", "/auth/federation/start")
def start_federated_sign_in(ask: Request) -> tuple[int, Json]:
    ask.region.began = ask.body
    return 201, {"authorization_url": "https://id.example.com/authorize?state=s", "expires_at": MOMENT}


@route("POST", "/auth/federation/tokens")
def finish_federated_sign_in(ask: Request) -> tuple[int, Json]:
    if ask.body["code"] != "one-time":
        raise Refused(401, "NotAuthenticated", "the sign-in is not known, took too long, or is not yours")
    ask.region.tokens["federated-token"] = "olivia"
    return 201, {
        "token": "federated-token", "token_id": ask.region.new_id("token"), "expires_at": MOMENT,
        "user_id": ask.region.olivia["id"], "tenancy_id": ask.region.tenancy,
    }  # fmt: skip
