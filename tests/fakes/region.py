"""A small region in memory, behind a real HTTP server in a thread: what the command line talks to in its tests.

It keeps the shapes of the public API (tests/cli/test_contract.py holds it to the real table), does no real cryptography
but for keys brought along, and decides nothing: refusals are planted with `plan`. Ids and times are counted, so that
transcripts are stable.
"""

import base64
import json
import re
import ssl
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from keystead.core.secret import Secret
from keystead.crypto import asymmetric, byok, checkvalue, transport
from keystead.crypto.public import pem
from keystead.crypto.suites import suite_of

Json = dict[str, Any]
BASE = "/keystead/v1"
ROUTES: list[tuple[str, str, re.Pattern[str], Callable[..., Any]]] = []
MOMENT = "2026-01-31T12:00:00.000Z"
LATER = "2026-03-02T12:00:00.000Z"
LIFE: Json = {
    "state": "ENABLED", "deletion_at": None, "purge_at": None, "retention_days": 90, "purge_protection": False,
    "lock": "", "tags": {}, "changed_by": "olivia", "changed_at": MOMENT,
}  # fmt: skip
VAULT_SETTINGS: Json = {"networks": [], "trusted_services": [], "key_limit": 0}
KEY_SETTINGS: Json = {
    "operations": [], "not_before": None, "expires_at": None, "rotation_days": 0, "next_rotation_at": None,
    "rotated_at": None, "minimum_version": 1, "backed_up_at": None,
}  # fmt: skip


def route(method: str, template: str) -> Callable[[Any], Any]:
    pattern = re.compile(
        "".join(f"(?P<{p[1:-1]}>[^/]+)" if p[:1] == "{" else p for p in re.split(r"(\{\w+\})", template))
    )

    def add(function: Any) -> Any:
        ROUTES.append((method, template, pattern, function))
        return function

    return add


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        self.status, self.body = status, {"code": code, "message": message, "hint": hint}


@dataclass
class Exchange:
    """One request as it came, and what was answered."""

    method: str
    template: str
    target: str
    headers: dict[str, str]
    body: Any
    raw: bytes
    status: int = 0
    reply: Any = None


@dataclass
class Planned:
    method: str
    path: str
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Region:
    """The state of the region, and what was asked of it."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.planned: list[Planned] = []
        self.status = "ok"
        self.shares: list[int] = []
        self.counters: dict[str, int] = {}
        self.things: dict[str, dict[str, Json]] = {}
        self.members: dict[str, list[str]] = {}
        self.links: list[Json] = []
        self.began: Json = {}
        self.passwords = {"olivia": "correct horse"}
        self.tokens: dict[str, str] = {}
        self.factors_asked: list[str] = []  # after the password
        self.asked_in_vain = 0  # how often nobody has answered yet
        self.asked_logins = 2  # the third is answered
        self.scripts: dict[str, list[tuple[int, str]]] = {}
        self.fail_jobs: dict[str, tuple[str, str]] = {}
        self.results: dict[str, dict[str, str]] = {}
        self.entries: list[Json] = []
        self.fences: dict[str, Json] = {}
        self.mappings: dict[str, Json] = {}
        self.private: dict[str, Secret] = {}
        self.arrived: list[bytes] = []
        self.told = ""
        self.warnings: list[str] = []
        self.hold_jobs = False
        self.polled = threading.Event()
        self.tenancy = self.new_id("tenancy")
        self.olivia = self.keep("user", name="olivia", state="ACTIVE", description="security officer")

    def new_id(self, kind: str) -> str:
        number = self.counters[kind] = self.counters.get(kind, 0) + 1
        letters = base64.b32encode(number.to_bytes(20, "big")).decode().lower()
        return f"ks1.{kind}.main.home.{letters}"

    def keep(self, kind: str, /, **fields: Any) -> Json:
        made = {"id": self.new_id(kind), **fields, "created_at": MOMENT, "version": 1}
        self.things.setdefault(kind, {})[made["id"]] = made
        return made

    def get(self, kind: str, identity: str) -> Json:
        found = self.things.get(kind, {}).get(identity)
        if found is None:
            raise Refused(404, "NotFound", f"{kind} does not exist or you may not see it", "check the id")
        return found

    def change(self, found: Json, seen: str | None, **fields: Any) -> Json:
        if seen is not None and seen != str(found["version"]):
            raise Refused(412, "Stale", "it was changed meanwhile", "read it again")
        found.update(fields, version=found["version"] + 1)
        return found

    def job(self, kind: str, about: Json, compartment: str) -> Json:
        steps = self.scripts.get(kind, [(50, "half way")])
        made = self.keep(
            "job",
            compartment_id=compartment,
            kind=kind,
            resource_id=about["id"],
            resource_name=about["name"],
            requested_by="olivia",
            state="ACCEPTED",
            step="",
            percent=0,
            result={},
            error_code="",
            error="",
        )
        made["updated_at"] = MOMENT
        made["_left"], made["_about"] = list(steps), about
        return made

    def advance(self, job: Json) -> None:
        self.polled.set()
        if self.hold_jobs or job["state"] in {"SUCCEEDED", "FAILED"}:
            return
        job["version"] += 1
        if job["_left"]:
            percent, step = job["_left"].pop(0)
            job.update(state="IN_PROGRESS", percent=percent, step=step)
        elif job["kind"] in self.fail_jobs:
            code, message = self.fail_jobs[job["kind"]]
            job.update(state="FAILED", error_code=code, error=message)
            job["_about"]["state"] = "FAILED"
        else:
            job.update(state="SUCCEEDED", percent=100, result=self.results.get(job["kind"], {}))
            after = {"stop": "INACTIVE", "delete": "DELETED", "delete-backup": "DELETED"}
            job["_about"]["state"] = after.get(job["kind"], "ACTIVE")

    def plan(self, method: str, path: str, status: int, code: str, message: str, hint: str = "") -> None:
        """Refuse the next request to `path` (a regular expression)."""
        body = {"code": code, "message": message, "hint": hint, "request_id": self.new_id("request")}
        self.planned.append(Planned(method, path, status, json.dumps(body).encode()))

    def plan_raw(self, method: str, path: str, status: int, body: bytes, **headers: str) -> None:
        self.planned.append(Planned(method, path, status, body, headers))

    def last(self, method: str, template: str) -> Exchange:
        return [it for it in self.exchanges if (it.method, it.template) == (method, template)][-1]


@dataclass
class Request:
    region: Region
    query: dict[str, str]
    body: Any
    headers: dict[str, str]

    @property
    def seen(self) -> str | None:
        value = self.headers.get("If-Match")
        return None if value is None else value.strip('"')

    def page(self, items: list[Json], **wanted: str | None) -> Json:
        chosen = [it for it in items if all(it.get(k) == v for k, v in wanted.items() if v is not None)]
        start, limit = int(self.query.get("page", "0")), int(self.query.get("limit", "50"))
        more = start + limit < len(chosen)
        return {"items": chosen[start : start + limit], "next_page": str(start + limit) if more else None}

    def listed(self, kind: str) -> Json:
        inside = self.query.get("compartment_id")
        return self.page(
            list(self.region.things.get(kind, {}).values()), name=self.query.get("name"), compartment_id=inside
        )


def no_clash(region: Region, kind: str, name: str, **place: str) -> None:
    for it in region.things.get(kind, {}).values():
        if it["name"] == name and it.get("state") != "DELETED" and all(it[k] == v for k, v in place.items()):
            raise Refused(409, "NameTaken", f"there is a {kind} {name!r} already", "choose another name")


# --- who is calling


SESSION = f"ks1.session.main.home.{'a' * 32}"


def shown_token(headers: Mapping[str, str]) -> str:
    return headers.get("Authorization", "").removeprefix("Bearer ").removeprefix("DPoP ")


@route("POST", "/auth/tokens")
def sign_in(ask: Request) -> tuple[int, Json]:
    region = ask.region
    if ask.body["tenancy"] != "acme" or region.passwords.get(ask.body["user"]) != ask.body["password"]:
        raise Refused(401, "SignInFailed", "tenancy, user or password is wrong")
    if region.factors_asked:
        error = Refused(401, "FactorRequired", "the password is right; a second factor is needed")
        error.body |= {"challenge": "ksc_challenge", "factors": region.factors_asked}
        raise error
    return new_token(region, ask.body["user"])


def new_token(region: "Region", user: str) -> tuple[int, Json]:
    token = f"token-{len(region.tokens) + 1}"
    region.tokens[token] = user
    return 201, {
        "token": token,
        "token_id": region.new_id("token"),
        "expires_at": "2026-01-31T13:00:00.000Z",
        "user_id": region.olivia["id"],
        "tenancy_id": region.tenancy,
        "device": "",
    }


@route("POST", "/auth/tokens/exchange")
def exchange_token(ask: Request) -> tuple[int, Json]:
    region, shown = ask.region, shown_token(ask.headers)
    who = region.tokens.pop(shown) if ask.body.get("public_key") else region.tokens[shown]
    token = f"token-{len(region.tokens) + 1}"
    region.tokens[token] = who
    return 201, {
        "token": token,
        "token_id": region.new_id("token"),
        "token_type": "DPoP" if ask.body.get("public_key") else "Bearer",
        "expires_at": "2026-01-31T13:00:00.000Z",
        "user_id": region.olivia["id"],
        "tenancy_id": region.tenancy,
        "session_id": SESSION,
    }


@route("POST", "/auth/device")
def begin_device_login(ask: Request) -> tuple[int, Json]:
    return 201, {
        "device_code": "device-code",
        "user_code": "BCDF-GHJK",
        "verification_path": "/login/device",
        "expires_at": MOMENT,
        "interval": 0,
    }


@route("POST", "/auth/logins")
def redeem_login(ask: Request) -> tuple[int, Json]:
    region = ask.region
    region.asked_logins += 1
    if ask.body["way"] == "device" and region.asked_logins < 3:
        raise Refused(409, "LoginPending", "nobody has allowed it yet")
    token = f"token-{len(region.tokens) + 1}"
    region.tokens[token] = "olivia"
    return 201, {
        "token": token,
        "token_id": region.new_id("token"),
        "token_type": "DPoP" if ask.body.get("public_key") else "Bearer",
        "expires_at": "2026-01-31T13:00:00.000Z",
        "user_id": region.olivia["id"],
        "tenancy_id": region.tenancy,
        "session_id": SESSION,
    }


@route("POST", "/auth/tokens/refresh")
def refresh_token(ask: Request) -> tuple[int, Json]:
    assert "DPoP" in ask.headers
    ask.body = {"public_key": "its"}
    return exchange_token(ask)


@route("GET", "/auth/sessions")
def list_sessions(ask: Request) -> Json:
    bound = "DPoP" in ask.headers
    return ask.page(
        [
            {
                "id": SESSION,
                "factors": ["password"],
                "bound": bound,
                "source": "192.0.2.7",
                "current": True,
                "created_at": MOMENT,
                "refreshed_at": MOMENT,
                "limit_at": MOMENT,
            }
        ]
    )


@route("DELETE", "/auth/sessions/{session_id}")
def end_session(ask: Request, session_id: str) -> tuple[int, None]:
    assert session_id == SESSION
    return 204, None


@route("POST", "/auth/factors/actions/begin")
def begin_factor(ask: Request) -> Json:
    return {"number": "42" if ask.body["factor"] == "click" else "", "options": ""}


@route("POST", "/auth/factors")
def prove_factor(ask: Request) -> tuple[int, Json]:
    if ask.body["factor"] == "click" and ask.region.asked_in_vain:
        ask.region.asked_in_vain -= 1
        raise Refused(401, "FactorPending", "nobody has answered yet")
    if ask.body["factor"] != "click" and ask.body["code"] != "123456":
        raise Refused(401, "FactorWrong", "the code or proof is wrong, or was used before")
    return new_token(ask.region, "olivia")


def kept_factor(region: "Region", kind: str, name: str, state: str = "PENDING") -> Json:
    made = region.keep("factor", kind=kind, name=name, state=state, last_used_at=None)
    del made["version"]
    return made


@route("POST", "/auth/totp")
def enrol_totp(ask: Request) -> tuple[int, Json]:
    uri = "otpauth://totp/olivia?secret=EXAMPLE"
    return 201, {**kept_factor(ask.region, "totp", ask.body["name"]), "uri": uri, "already_shown": False}


@route("POST", "/auth/webauthn")
def enrol_webauthn(ask: Request) -> tuple[int, Json]:
    return 201, {**kept_factor(ask.region, "webauthn", ask.body["name"]), "options": "{}"}


@route("POST", "/auth/factors/actions/confirm")
def confirm_factor(ask: Request) -> Json:
    found = ask.region.get("factor", ask.body["factor_id"])
    found |= {"state": "ACTIVE", "last_used_at": MOMENT}
    return found


@route("POST", "/auth/recovery-codes")
def recovery_codes(ask: Request) -> tuple[int, Json]:
    return 201, {"codes": ["abcd-efgh-jkmn-pqrs"], "already_shown": False}


@route("GET", "/auth/sign-ins")
def list_sign_ins(ask: Request) -> Json:
    one = {"id": f"ks1.signin.main.home.{'a' * 32}", "source": "203.0.113.9", "asked_at": MOMENT, "until": MOMENT}
    return {"items": [one]}


@route("POST", "/auth/sign-ins/actions/answer")
def answer_sign_in(ask: Request) -> Json:
    return {"approved": ask.body["number"] == "42"}


@route("GET", "/users/{user_id}/factors")
def list_factors(ask: Request, user_id: str) -> Json:
    return {"items": list(ask.region.things.get("factor", {}).values())}


@route("DELETE", "/users/{user_id}/factors/{factor_id}")
def remove_factor(ask: Request, user_id: str, factor_id: str) -> tuple[int, None]:
    del ask.region.things["factor"][factor_id]
    return 204, None


@route("GET", "/sign-in-settings")
def sign_in_settings(ask: Request) -> Json:
    return {"factor_from": "low", "refuse_from": "never"}


@route("PUT", "/sign-in-settings")
def update_sign_in_settings(ask: Request) -> Json:
    return dict(ask.body)


@route("DELETE", "/auth/tokens/current")
def sign_out(ask: Request) -> tuple[int, None]:
    del ask.region.tokens[shown_token(ask.headers)]
    return 204, None


@route("GET", "/auth/whoami")
def who_am_i(ask: Request) -> Json:
    region = ask.region
    token = f"ks1.token.main.home.{'a' * 32}"
    return {
        "id": region.olivia["id"],
        "type": "user",
        "name": "olivia",
        "tenancy_id": region.tenancy,
        "token_id": token,
    }


@route("GET", "/health")
def health(ask: Request) -> Json:
    return {"status": ask.region.status, "version": "0.1.0", "region": "home"}


@route("GET", "/seal")
def seal_status(ask: Request) -> Json:
    sealed = ask.region.status == "sealed"
    progress = [{"set": 7, "threshold": 2, "given": list(ask.region.shares)}] if sealed else []
    told = {"sealed": sealed, "region": "home", "since": MOMENT, "ordered": sealed, "by": "olivia" if sealed else ""}
    return {**told, "ways": ["key-file", "shares"] if sealed else [], "progress": progress}


@route("POST", "/seal/actions/seal")
def seal(ask: Request) -> Json:
    ask.region.status = "sealed"
    return seal_status(ask)


@route("POST", "/seal/actions/reset")
def reset_unseal(ask: Request) -> Json:
    ask.region.shares.clear()
    return seal_status(ask)


@route("POST", "/seal/actions/unseal")
def unseal(ask: Request) -> Json:
    if ask.body["kind"] == "share" and ask.body["secret"] == "wrong":
        raise Refused(400, "WrongShare", "this is not a share that opens this region")
    ask.region.shares.append(len(ask.region.shares) + 1)
    if ask.body["kind"] != "share" or len(ask.region.shares) == 2:
        ask.region.status = "ok"
        ask.region.shares.clear()
    return seal_status(ask)


# --- identity


@route("POST", "/compartments")
def create_compartment(ask: Request) -> tuple[int, Json]:
    parent, name = ask.body["parent_id"], ask.body["name"]
    no_clash(ask.region, "compartment", name, parent_id=parent)
    above = [parent] if parent == ask.region.tenancy else ask.region.get("compartment", parent)["path"]
    made = ask.region.keep("compartment", name=name, parent_id=parent, description=ask.body.get("description", ""))
    made["path"] = [*above, made["id"]]
    return 201, made


@route("GET", "/compartments")
def list_compartments(ask: Request) -> Json:
    found = list(ask.region.things.get("compartment", {}).values())
    return ask.page(found, parent_id=ask.query["parent_id"], name=ask.query.get("name"))


@route("GET", "/compartments/{compartment_id}")
def get_compartment(ask: Request, compartment_id: str) -> Json:
    if compartment_id == ask.region.tenancy:
        root = {"id": compartment_id, "name": "acme", "parent_id": None, "path": [compartment_id], "description": ""}
        return {**root, "created_at": MOMENT, "version": 1}
    return ask.region.get("compartment", compartment_id)


@route("POST", "/users")
def create_user(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "user", ask.body["name"])
    made = ask.region.keep("user", name=ask.body["name"], state="ACTIVE", description=ask.body.get("description", ""))
    return 201, {**made, "password": "example-password-1", "already_shown": False}


@route("GET", "/users")
def list_users(ask: Request) -> Json:
    return ask.listed("user")


@route("GET", "/users/{user_id}")
def get_user(ask: Request, user_id: str) -> Json:
    return ask.region.get("user", user_id)


@route("PATCH", "/users/{user_id}")
def update_user(ask: Request, user_id: str) -> Json:
    return ask.region.change(ask.region.get("user", user_id), ask.seen, state=ask.body["state"])


@route("DELETE", "/users/{user_id}")
def delete_user(ask: Request, user_id: str) -> tuple[int, None]:
    ask.region.change(ask.region.get("user", user_id), ask.seen, state="DELETED")
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


@route("POST", "/users/{user_id}/auth-tokens")
def create_auth_token(ask: Request, user_id: str) -> tuple[int, Json]:
    ask.region.get("user", user_id)
    made = ask.region.keep("authtoken", name=ask.body["name"], user_id=user_id, expires_at=MOMENT)
    del made["version"]
    return 201, {**made, "text": "example-auth-token", "already_shown": False}


@route("GET", "/users/{user_id}/auth-tokens")
def list_auth_tokens(ask: Request, user_id: str) -> Json:
    return ask.page([*ask.region.things.get("authtoken", {}).values()], user_id=user_id)


@route("DELETE", "/users/{user_id}/auth-tokens/{auth_token_id}")
def delete_auth_token(ask: Request, user_id: str, auth_token_id: str) -> tuple[int, None]:
    ask.region.get("user", user_id)
    ask.region.get("authtoken", auth_token_id)
    del ask.region.things["authtoken"][auth_token_id]
    return 204, None


@route("POST", "/users/{user_id}/api-keys")
def create_api_key(ask: Request, user_id: str) -> tuple[int, Json]:
    ask.region.get("user", user_id)
    public = {"fingerprint": "00:11", "key_id": "t/u/00:11", "public_key": ask.body["public_key"]}
    made = ask.region.keep("apikey", name=ask.body["name"], user_id=user_id, **public)
    del made["version"]
    return 201, made


@route("GET", "/users/{user_id}/api-keys")
def list_api_keys(ask: Request, user_id: str) -> Json:
    return ask.page([*ask.region.things.get("apikey", {}).values()], user_id=user_id)


@route("DELETE", "/users/{user_id}/api-keys/{api_key_id}")
def delete_api_key(ask: Request, user_id: str, api_key_id: str) -> tuple[int, None]:
    ask.region.get("user", user_id)
    del ask.region.things["apikey"][api_key_id]
    return 204, None


@route("POST", "/identity-providers")
def create_identity_provider(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "identityprovider", ask.body["name"])
    usual = {
        "state": "ENABLED", "scopes": ["openid", "profile", "email"], "origins": [], "ca": "", "subject_claim": "sub",
        "name_claim": "preferred_username", "groups_claim": "groups", "just_in_time": False,
        "links_provisioned": False, "trusts_factors": False, "group_choice": "all", "group_mappings": [],
        "description": "", "redirect_uri": "https://keys.example/callback",
    }  # fmt: skip
    said = {name: value for name, value in ask.body.items() if name != "client_secret"}
    return 201, ask.region.keep("identityprovider", **(usual | said))


@route("GET", "/identity-providers")
def list_identity_providers(ask: Request) -> Json:
    return ask.listed("identityprovider")


@route("GET", "/identity-providers/{identity_provider_id}")
def get_identity_provider(ask: Request, identity_provider_id: str) -> Json:
    return ask.region.get("identityprovider", identity_provider_id)


@route("PATCH", "/identity-providers/{identity_provider_id}")
def update_identity_provider(ask: Request, identity_provider_id: str) -> Json:
    found = ask.region.get("identityprovider", identity_provider_id)
    said = {name: value for name, value in ask.body.items() if name != "client_secret"}
    return ask.region.change(found, ask.seen, **said)


@route("DELETE", "/identity-providers/{identity_provider_id}")
def delete_identity_provider(ask: Request, identity_provider_id: str) -> tuple[int, None]:
    ask.region.change(ask.region.get("identityprovider", identity_provider_id), ask.seen)
    del ask.region.things["identityprovider"][identity_provider_id]
    return 204, None


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


@route("POST", "/groups")
def create_group(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "group", ask.body["name"])
    described = ask.body.get("description", "")
    return 201, ask.region.keep("group", name=ask.body["name"], description=described, break_glass_minutes=240)


@route("PATCH", "/groups/{group_id}")
def update_group(ask: Request, group_id: str) -> Json:
    return ask.region.change(ask.region.get("group", group_id), ask.seen, **ask.body)


@route("GET", "/groups")
def list_groups(ask: Request) -> Json:
    return ask.listed("group")


@route("GET", "/groups/{group_id}")
def get_group(ask: Request, group_id: str) -> Json:
    return ask.region.get("group", group_id)


@route("DELETE", "/groups/{group_id}")
def delete_group(ask: Request, group_id: str) -> tuple[int, None]:
    ask.region.change(ask.region.get("group", group_id), ask.seen)
    del ask.region.things["group"][group_id]
    return 204, None


@route("GET", "/groups/{group_id}/members")
def list_members(ask: Request, group_id: str) -> Json:
    broken = ask.region.things.get("breakglass", {}).values()
    until = {it["user_id"]: it["expires_at"] for it in broken if it["running"] and it["group_id"] == group_id}
    ids = [*ask.region.members.get(group_id, []), *until]
    return ask.page([{**ask.region.get("user", it), "until": until.get(it)} for it in ids])


@route("POST", "/groups/{group_id}/break-glass")
def begin_break_glass(ask: Request, group_id: str) -> tuple[int, Json]:
    team, person = ask.region.get("group", group_id), ask.region.get("user", ask.body["user_id"])
    made = ask.region.keep(
        "breakglass", group_id=team["id"], group_name=team["name"], user_id=person["id"], user_name=person["name"],
        reason=ask.body["reason"], granted_by_id=ask.region.olivia["id"], granted_by_name="olivia", began_at=MOMENT,
        expires_at=LATER, running=True, ended_at=None, how="",
    )  # fmt: skip
    del made["created_at"], made["version"]
    return 201, made


@route("GET", "/break-glass")
def list_break_glass(ask: Request) -> Json:
    return ask.page(list(ask.region.things.get("breakglass", {}).values()))


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


RULE_FIELDS = ("name", "compartment_id", "operations", "group_id", "needed", "hours")


@route("POST", "/approval-rules")
def create_rule(ask: Request) -> tuple[int, Json]:
    fields = {name: ask.body[name] for name in RULE_FIELDS}
    return 201, ask.region.keep("approvalrule", **fields, emergency_group_id=None, description="")


@route("GET", "/approval-rules")
def list_rules(ask: Request) -> Json:
    return ask.listed("approvalrule")


@route("GET", "/approval-rules/{approval_rule_id}")
def get_rule(ask: Request, approval_rule_id: str) -> Json:
    return ask.region.get("approvalrule", approval_rule_id)


@route("PUT", "/approval-rules/{approval_rule_id}")
def update_rule(ask: Request, approval_rule_id: str) -> Json:
    return ask.region.change(ask.region.get("approvalrule", approval_rule_id), ask.seen, **ask.body)


@route("DELETE", "/approval-rules/{approval_rule_id}")
def delete_rule(ask: Request, approval_rule_id: str) -> tuple[int, None]:
    ask.region.change(ask.region.get("approvalrule", approval_rule_id), ask.seen)
    del ask.region.things["approvalrule"][approval_rule_id]
    return 204, None


def waiting(region: Region) -> Json:
    """The request that waits: always this one."""
    found = region.things.get("approval", {})
    if not found:
        rule = {"rule_id": region.new_id("approvalrule"), "rule_name": "two", "group_id": "g", "needed": 2}
        region.keep(
            "approval", operation="PurgeKey", state="PENDING", target_type="keys", target_id="k", target_name="finance",
            target_version=3, compartment_id=region.tenancy, requester_id="u", requester_name="olivia",
            request={"path": {"key_id": "k"}}, digest="5e1f", rules=[rule], votes=[], approvers=["ada", "bob"],
            expires_at=LATER, ended_at=None,
        )  # fmt: skip
        del next(iter(region.things["approval"].values()))["version"]
    return next(iter(region.things["approval"].values()))


@route("GET", "/approvals")
def list_approvals(ask: Request) -> Json:
    return ask.page([waiting(ask.region)])


@route("GET", "/approvals/{approval_id}")
def get_approval(ask: Request, approval_id: str) -> Json:
    return waiting(ask.region)


@route("POST", "/approvals/{approval_id}/actions/{choice}")
def say(ask: Request, approval_id: str, choice: str) -> Json:
    found = waiting(ask.region)
    if choice == "withdraw":
        return {**found, "state": "WITHDRAWN"}
    vote = {"user_id": "u", "user_name": "ada", "choice": choice, "comment": ask.body.get("comment", ""), "at": MOMENT}
    return {**found, "votes": [vote], "state": "PENDING" if choice == "approve" else "REJECTED"}


@route("POST", "/policies")
def create_policy(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "policy", ask.body["name"], compartment_id=ask.body["compartment_id"])
    return 201, ask.region.keep("policy", **{"description": "", **ask.body})


@route("GET", "/policies")
def list_policies(ask: Request) -> Json:
    return ask.listed("policy")


@route("GET", "/policies/{policy_id}")
def get_policy(ask: Request, policy_id: str) -> Json:
    return ask.region.get("policy", policy_id)


@route("PUT", "/policies/{policy_id}")
def update_policy(ask: Request, policy_id: str) -> Json:
    return ask.region.change(ask.region.get("policy", policy_id), ask.seen, statements=ask.body["statements"])


@route("DELETE", "/policies/{policy_id}")
def delete_policy(ask: Request, policy_id: str) -> tuple[int, None]:
    ask.region.change(ask.region.get("policy", policy_id), ask.seen)
    del ask.region.things["policy"][policy_id]
    return 204, None


# --- what statements speak of


def _simple(kind: str, path: str, parameter: str, **usual: Any) -> None:
    """The five operations of a kind that lies in no compartment and has nothing of its own about it."""
    one = f"{path}/{{{parameter}}}"

    def create(ask: Request) -> tuple[int, Json]:
        no_clash(ask.region, kind, ask.body["name"])
        return 201, ask.region.keep(kind, **{**usual, **ask.body})

    def show(ask: Request, **ids: str) -> Json:
        return ask.region.get(kind, ids[parameter])

    def update(ask: Request, **ids: str) -> Json:
        return ask.region.change(ask.region.get(kind, ids[parameter]), ask.seen, **ask.body)

    def delete(ask: Request, **ids: str) -> tuple[int, None]:
        ask.region.change(ask.region.get(kind, ids[parameter]), ask.seen)
        del ask.region.things[kind][ids[parameter]]
        return 204, None

    route("POST", path)(create)
    route("GET", path)(lambda ask: ask.listed(kind))
    route("GET", one)(show)
    route("PUT", one)(update)
    route("DELETE", one)(delete)


SOMEBODY: Json = {"id": "somebody", "type": "user", "name": "ada"}
STATEMENT: Json = {"policy_id": "p", "number": 1, "text": "Allow group Dba to use keys in tenancy"}


@route("POST", "/policies/actions/explain")
def explain_policy(ask: Request) -> Json:
    told = {**STATEMENT, "effect": "allow", "denies": False, "applies": True, "why": ""}
    return {"allowed": True, "depends": False, "statement": STATEMENT, "reasons": [], "considered": [told]}


@route("POST", "/policies/actions/who-can")
def who_can(ask: Request) -> Json:
    return {"items": [{"principal": SOMEBODY, "statement": STATEMENT, "depends": False}]}


@route("POST", "/policies/actions/simulate")
def simulate_policy(ask: Request) -> Json:
    on = {"resource_type": "keys", "resource_id": "k", "resource_name": "finance"}
    return {"items": [{"principal": SOMEBODY, "permission": "KEY_DECRYPT", **on, "opens": True}], "examined": 12}


@route("GET", "/policies/actions/unused")
def unused_grants(ask: Request) -> Json:
    return {"items": [{"statement": STATEMENT, "used": ["KEY_READ"], "unused": ["KEY_DECRYPT"]}]}


@route("GET", "/policies/actions/duties")
def mixed_duties(ask: Request) -> Json:
    keys = {"key_permission": "KEY_DECRYPT", "key_place": "prod", "key_statement": STATEMENT}
    databases = {"database_permission": "MYSQL_INSTANCE_CREATE", "database_place": "prod", "database_statement": None}
    return {"items": [{"principal": SOMEBODY, **keys, **databases}]}


_simple("dynamicgroup", "/dynamic-groups", "dynamic_group_id", description="")
_simple("networksource", "/network-sources", "network_source_id", description="")


@route("POST", "/tenancies")
def create_tenancy(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "tenancy", ask.body["name"])
    made = ask.region.keep("tenancy", name=ask.body["name"], administrators_id=ask.region.new_id("group"))
    del made["version"]
    admin = {"admin_id": ask.region.new_id("user"), "admin_name": ask.body["admin"]}
    return 201, {**made, **admin, "password": "horse correct", "already_shown": False}


@route("GET", "/tenancies")
def list_tenancies(ask: Request) -> Json:
    return ask.listed("tenancy")


@route("GET", "/tenancies/{tenancy_id}")
def get_tenancy(ask: Request, tenancy_id: str) -> Json:
    return ask.region.get("tenancy", tenancy_id)


# --- vault


@route("POST", "/vaults")
def create_vault(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "vault", ask.body["name"], compartment_id=ask.body["compartment_id"])
    made = {"protection": "software", "kind": "shared", **LIFE, **VAULT_SETTINGS, "state": "ACTIVE", **ask.body}
    return 201, ask.region.keep("vault", **made)


@route("GET", "/vaults")
def list_vaults(ask: Request) -> Json:
    return ask.listed("vault")


@route("GET", "/vaults/{vault_id}")
def get_vault(ask: Request, vault_id: str) -> Json:
    return ask.region.get("vault", vault_id)


@route("POST", "/keys")
def create_key(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "key", ask.body["name"], compartment_id=ask.body["compartment_id"])
    ask.region.get("vault", ask.body["vault_id"])
    made = {"algorithm": "AES-256", "protection": "software", **LIFE, **KEY_SETTINGS, "current_version": 1, **ask.body}
    return 201, ask.region.keep("key", **made)


@route("GET", "/keys")
def list_keys(ask: Request) -> Json:
    return ask.listed("key")


@route("GET", "/keys/{key_id}")
def get_key(ask: Request, key_id: str) -> Json:
    return ask.region.get("key", key_id)


@route("GET", "/keys/{key_id}/versions")
def list_versions(ask: Request, key_id: str) -> Json:
    return ask.page([version(key_id, it + 1) for it in range(ask.region.get("key", key_id)["current_version"])])


def version(key_id: str, number: int, state: str = "ENABLED") -> Json:
    letters = base64.b32encode(number.to_bytes(20, "big")).decode().lower()
    shown = {"state": state, "origin": "generated", "deletion_at": None, "created_at": MOMENT}
    return {"id": f"ks1.keyversion.main.home.{letters}", "key_id": key_id, "number": number, **shown}


def number_of(version_id: str) -> int:
    return int.from_bytes(base64.b32decode(version_id.rpartition(".")[2].upper()), "big")


@route("GET", "/keys/{key_id}/versions/{key_version_id}")
def get_version(ask: Request, key_id: str, key_version_id: str) -> Json:
    return version(key_id, number_of(key_version_id))


@route("POST", "/keys/{key_id}/versions/{key_version_id}/actions/{verb}")
def act_on_version(ask: Request, key_id: str, key_version_id: str, verb: str) -> Json:
    state = {"enable": "ENABLED", "schedule-deletion": "PENDING_DELETION"}.get(verb, "DISABLED")
    return version(key_id, number_of(key_version_id), state)


@route("PATCH", "/keys/{key_id}")
def update_key(ask: Request, key_id: str) -> Json:
    return ask.region.change(ask.region.get("key", key_id), ask.seen, **ask.body)


@route("PATCH", "/vaults/{vault_id}")
def update_vault(ask: Request, vault_id: str) -> Json:
    return ask.region.change(ask.region.get("vault", vault_id), ask.seen, **ask.body)


NEED = {
    "kind": "dbsystem", "id": "s", "name": "flights", "compartment_id": "c", "key_versions": [1, 2],
    "read_from": "envelope", "state": "ACTIVE", "running": True, "part_of": "", "problem": "",
}  # fmt: skip
HIDDEN = {**NEED, "kind": "backup", "id": "", "name": "", "compartment_id": "", "read_from": "header", "state": ""}


@route("GET", "/keys/{key_id}/inventory")
def key_inventory(ask: Request, key_id: str) -> Json:
    ask.region.get("key", key_id)
    copies = [{"kind": "state-backup", "count": 3, "last_at": MOMENT, "last_by": "olivia"}]
    versions = [{"key_version": 1, "count": 2}]
    return {"needs": [NEED, HIDDEN], "needed_by": 2, "versions": versions, "copies": copies, "at": MOMENT}


@route("GET", "/keys/{key_id}/impact")
def key_impact(ask: Request, key_id: str) -> Json:
    key = ask.region.get("key", key_id)
    seen = {"kind": "dbsystem", "id": "s", "name": "flights"}
    effects: list[Json] = [{**seen, "when": "at_once", "at": None, "text": "is fenced within a second"}]
    if ask.query["if"] == "delete":
        effects.append({**seen, "when": "later", "at": LATER, "text": "can never be opened again"})
    return {
        "if": ask.query["if"], "key_version": int(ask.query.get("version", "0")), "effects": effects, "needed_by": 2,
        "undo": f"keystead key enable {key['name']}", "final_at": LATER if len(effects) > 1 else None,
        "approvers": ["ada", "grace"], "more_approvers": 0,
    }  # fmt: skip


@route("GET", "/keys/{key_id}/usage")
def key_usage(ask: Request, key_id: str) -> Json:
    ask.region.get("key", key_id)
    use = {
        "principal_id": "u", "principal_type": "user", "principal_name": "ada", "operation": "Encrypt",
        "outcome": "allowed", "calls": 7, "first_at": MOMENT, "last_at": MOMENT,
    }  # fmt: skip
    return {"since": MOMENT, "calls": 7, "uses": [use]}


@route("GET", "/vaults/{vault_id}/inventory")
def vault_inventory(ask: Request, vault_id: str) -> Json:
    ask.region.get("vault", vault_id)
    key = {"key_id": "k", "key_name": "finance", "state": "ENABLED", "needs": [NEED]}
    return {"keys": [key], "needed_by": 1}


@route("DELETE", "/keys/{key_id}")
def delete_key(ask: Request, key_id: str) -> Json:
    return deleted(ask, ask.region.get("key", key_id))


@route("DELETE", "/vaults/{vault_id}")
def delete_vault(ask: Request, vault_id: str) -> Json:
    return deleted(ask, ask.region.get("vault", vault_id))


def deleted(ask: Request, thing: Json) -> Json:
    check_origin(thing, "delete", {"ACTIVE", "ENABLED", "DISABLED", "PENDING_DELETION"})
    return ask.region.change(thing, ask.seen, state="DELETED", deletion_at=None, purge_at=LATER)


# --- bring your own key, backups: real wrapping, so that what arrives can be looked at


def wrapping_key(ask: Request, vault: str, key: str | None, algorithm: str) -> tuple[int, Json]:
    way = ask.body.get("wrapping_algorithm", "HPKE-X25519-MLKEM768")
    suite = transport.wrapping_suite(way)
    private = asymmetric.generate(suite)
    spki = pem(asymmetric.PrivateKey(suite, private).public)
    shown = {"vault_id": vault, "key_id": key, "algorithm": algorithm, "wrapping_algorithm": way, "public_key": spki}
    made = ask.region.keep("wrappingkey", **shown, expires_at=LATER)
    del made["version"]
    ask.region.private[made["id"]] = private
    return 201, made


@route("POST", "/vaults/{vault_id}/wrapping-keys")
def create_wrapping_key(ask: Request, vault_id: str) -> tuple[int, Json]:
    return wrapping_key(ask, vault_id, None, ask.body.get("algorithm", "AES-256"))


@route("POST", "/keys/{key_id}/wrapping-keys")
def create_version_wrapping_key(ask: Request, key_id: str) -> tuple[int, Json]:
    key = ask.region.get("key", key_id)
    return wrapping_key(ask, key["vault_id"], key_id, key["algorithm"])


def arrived(ask: Request) -> tuple[Json, str]:
    row = ask.region.get("wrappingkey", ask.body["wrapping_key_id"])
    private, blob = ask.region.private[row["id"]], base64.b64decode(ask.body["wrapped_key"])
    if ask.body["format"] == "byok":
        plain = transport.unwrap_transfer(private, byok.read(blob).wrapped)
    else:
        plain = transport.unwrap(row["wrapping_algorithm"], private, blob)
    ask.region.arrived.append(plain.reveal())
    suite = suite_of(row["algorithm"])
    return row, ask.region.told or checkvalue.of_material(suite, plain)


@route("POST", "/keys/actions/import")
def import_key(ask: Request) -> tuple[int, Json]:
    row, told = arrived(ask)
    body = {name: value for name, value in ask.body.items() if name not in ("wrapping_key_id", "wrapped_key", "format")}
    made = {"protection": "software", **LIFE, **KEY_SETTINGS, "current_version": 1, **body}
    key = ask.region.keep("key", algorithm=row["algorithm"], **made)
    return 201, {"key": key, "key_version": 1, "key_check_value": told}


@route("POST", "/keys/{key_id}/actions/import-version")
def import_version(ask: Request, key_id: str) -> Json:
    _, told = arrived(ask)
    key = ask.region.get("key", key_id)
    key = ask.region.change(key, ask.seen, current_version=key["current_version"] + 1)
    return {"key": key, "key_version": key["current_version"], "key_check_value": told}


@route("POST", "/keys/{key_id}/actions/backup")
def back_up_key(ask: Request, key_id: str) -> Json:
    return {"key": ask.region.get("key", key_id), "backup": base64.b64encode(key_id.encode()).decode()}


@route("POST", "/keys/actions/restore")
def restore_key(ask: Request) -> tuple[int, Json]:
    key = ask.region.get("key", base64.b64decode(ask.body["backup"]).decode())
    return 201, {"key": ask.region.change(key, None, state="DISABLED"), "warnings": ["rotate it"]}


@route("POST", "/vaults/{vault_id}/actions/backup")
def back_up_vault(ask: Request, vault_id: str) -> Json:
    """In two parts."""
    after = None if ask.body["after"] else "more"
    blob = base64.b64encode(vault_id.encode()).decode()
    left_out = ["in-token"] if ask.body["leave_out"] else []
    return {
        "vault": ask.region.get("vault", vault_id), "backup": blob, "keys": 2, "left_out": left_out, "after": after,
    }  # fmt: skip


@route("POST", "/vaults/actions/restore")
def restore_vault(ask: Request) -> tuple[int, Json]:
    vault = ask.region.get("vault", base64.b64decode(ask.body["backup"]).decode())
    return 201, {"vault": vault, "restored": 1, "present": 1, "warnings": []}


@route("POST", "/vaults/{vault_id}/actions/{verb}")
def act_on_vault(ask: Request, vault_id: str, verb: str) -> Json:
    if verb == "generate-random":
        ask.region.get("vault", vault_id)
        return {"random_bytes": base64.b64encode(bytes(range(ask.body.get("length", 32)))).decode()}
    return lived(ask, ask.region.get("vault", vault_id), verb, "ACTIVE")


def check_origin(thing: Json, verb: str, origins: set[str] | None) -> None:
    if origins is not None and thing["state"] not in origins:
        raise Refused(409, "IllegalState", f"{thing['name']!r} is {thing['state']}: it cannot {verb.replace('-', ' ')}")


def lived(ask: Request, thing: Json, verb: str, back: str) -> Json:
    """What becomes of a vault or a key by one of the acts of its life."""
    origins = {"cancel-deletion": {"PENDING_DELETION"}, "recover": {"DELETED"}, "purge": {"DELETED"}}
    origins["schedule-deletion"] = {"ACTIVE", "ENABLED", "DISABLED"}
    check_origin(thing, verb, origins.get(verb))
    changes: Json = {
        "schedule-deletion": {"state": "PENDING_DELETION", "deletion_at": LATER},
        "cancel-deletion": {"state": back, "deletion_at": None},
        "recover": {"state": back, "purge_at": None},
        "purge": {"state": "PURGED", "purge_at": None},
        "lock": {"lock": (ask.body or {}).get("lock", "")},
        "unlock": {"lock": ""},
        "move": {"compartment_id": (ask.body or {}).get("compartment_id", "")},
    }
    return ask.region.change(thing, ask.seen, **changes[verb])


@route("GET", "/keys/{key_id}/public-key")
def public_key(ask: Request, key_id: str) -> Json:
    key = ask.region.get("key", key_id)
    pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    number = int(ask.query.get("key_version", key["current_version"]))
    shown = {"pem": pem, "jwk": {"kty": "OKP", "kid": "k"}, "schemes": ["ED25519"], "algorithm": "ED25519"}
    return {"key_id": key_id, "key_version": number, **shown}


@route("POST", "/keys/{key_id}/actions/{verb}")
def act_on_key(ask: Request, key_id: str, verb: str) -> Json:
    key = ask.region.get("key", key_id)
    move = {"enable": ("DISABLED", "ENABLED"), "disable": ("ENABLED", "DISABLED")}.get(verb)
    if move is not None:
        if key["state"] != move[0]:
            raise Refused(409, "IllegalState", f"key {key['name']!r} is {key['state']}: it cannot {verb}")
        return ask.region.change(key, ask.seen, state=move[1])
    if verb in ("schedule-deletion", "cancel-deletion", "recover", "purge", "lock", "unlock", "move"):
        return lived(ask, key, verb, "DISABLED")
    if verb == "rotate":
        return ask.region.change(key, ask.seen, current_version=key["current_version"] + 1)
    if key["state"] == "DISABLED":
        raise Refused(409, "KeyDisabled", f"key {key['name']!r} is disabled", "an administrator can enable it")
    if verb.endswith("-batch"):
        return crypto_batch(key, verb.removesuffix("-batch"), ask.body)
    return crypto(key, verb, ask.body)


def crypto_batch(key: Json, verb: str, body: Json) -> Json:
    """Each item as if it were alone."""
    items: list[Json] = []
    for item in body["items"]:
        try:
            answer = crypto(key, verb, item)
            items.append(
                {name: value for name, value in answer.items() if name not in ("key_id", "key_version", "scheme")}
            )
        except Refused as error:
            items.append({"error": error.body})
    failed = sum("error" in item for item in items)
    made = {"key_id": key["id"], "key_version": key["current_version"]}
    return {"items": items, "failed": failed} | (made if verb in ("encrypt", "wrap", "rewrap", "sign") else {})


def crypto(key: Json, verb: str, body: Json) -> Json:
    """No cryptography: the associated data in front of the reversed bytes."""
    mark = base64.b64decode(body.get("associated_data", "")) + b"|"

    def seal(plain: bytes) -> Json:
        made = base64.b64encode(mark + plain[::-1]).decode()
        return {"ciphertext": made, "key_id": key["id"], "key_version": key["current_version"]}

    def unseal() -> bytes:
        raw = base64.b64decode(body["ciphertext"])
        if not raw.startswith(mark):
            raise Refused(400, "Unreadable", "the ciphertext cannot be opened with this key and context")
        return raw.removeprefix(mark)[::-1]

    signed = base64.b64encode(b"signed|" + base64.b64decode(body.get("message", body.get("digest", "")))).decode()
    match verb:
        case "sign":
            made = {"key_id": key["id"], "key_version": key["current_version"]}
            return {"signature": signed, "scheme": body.get("scheme", "ED25519"), **made}
        case "verify":
            return {"valid": body["signature"] == signed}
        case "encrypt":
            return seal(base64.b64decode(body["plaintext"]))
        case "wrap":
            return seal(base64.b64decode(body["key_material"]))
        case "decrypt":
            return {"plaintext": base64.b64encode(unseal()).decode()}
        case "unwrap":
            return {"key_material": base64.b64encode(unseal()).decode()}
        case "rewrap":
            return seal(unseal())
        case _:
            fresh = bytes(range(32))
            plain = base64.b64encode(fresh).decode() if body.get("include_plaintext", True) else None
            return {**seal(fresh), "plaintext": plain}


# --- databases


def new_system(ask: Request, kind: str, restored_from: str | None) -> tuple[int, Json]:
    body = ask.body
    no_clash(ask.region, "mysqldbsystem", body["name"], compartment_id=body["compartment_id"])
    made = ask.region.keep(
        "mysqldbsystem",
        compartment_id=body["compartment_id"],
        name=body["name"],
        state="CREATING",
        reason="",
        reason_text="",
        key_id=body.get("key_id"),
        key_version=1,
        service_managed=body.get("key_id") is None,
        admin_username=body.get("admin_username", "admin"),
        port=33061,
        memory_mb=body.get("memory_mb", 512),
        deletion_protection=body.get("deletion_protection", False),
        follow_key=body.get("follow_key", False),
        confirmed=True,
        restored_from=restored_from,
    )
    job = ask.region.job(kind, made, made["compartment_id"])
    return 202, {"db_system": dict(made), "job": job, "admin_password": "example-password-3", "already_shown": False}


@route("POST", "/db-systems")
def create_system(ask: Request) -> tuple[int, Json]:
    return new_system(ask, "create", None)


@route("GET", "/db-systems")
def list_systems(ask: Request) -> Json:
    return ask.listed("mysqldbsystem")


@route("GET", "/db-systems/{db_system_id}")
def get_system(ask: Request, db_system_id: str) -> Json:
    return ask.region.get("mysqldbsystem", db_system_id)


@route("PATCH", "/db-systems/{db_system_id}")
def update_system(ask: Request, db_system_id: str) -> Json:
    return ask.region.change(ask.region.get("mysqldbsystem", db_system_id), ask.seen, **ask.body)


@route("DELETE", "/db-systems/{db_system_id}")
def delete_system(ask: Request, db_system_id: str) -> tuple[int, Json]:
    found = ask.region.get("mysqldbsystem", db_system_id)
    if found["deletion_protection"]:
        raise Refused(409, "Protected", f"{found['name']!r} is protected against deletion", "unprotect it first")
    return 202, {"job": ask.region.job("delete", found, found["compartment_id"])}


@route("GET", "/db-systems/{db_system_id}/key-hierarchy")
def hierarchy(ask: Request, db_system_id: str) -> Json:
    found = ask.region.get("mysqldbsystem", db_system_id)

    def key(kind: str, slot: int, number: int, parent: str, latest: bool) -> Json:
        about = {"kind": kind, "slot": slot, "number": number, "parent_id": parent, "parent_version": 1}
        return {**about, "latest": latest, "created_at": MOMENT}

    cmek = found["key_id"] or "service-managed"
    items = [key("store", 0, 0, cmek, True), key("data", 1, 1, "store", True), key("data", 2, 2, "store", True)]
    return {"items": items}


@route("GET", "/db-systems/{db_system_id}/last-fence")
def last_fence(ask: Request, db_system_id: str) -> Json:
    return {"fence": ask.region.fences.get(ask.region.get("mysqldbsystem", db_system_id)["name"])}


@route("GET", "/db-systems/{db_system_id}/endpoint")
def endpoint(ask: Request, db_system_id: str) -> Json:
    found = ask.region.get("mysqldbsystem", db_system_id)
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    return {"host": "127.0.0.1", "port": found["port"], "ca_pem": pem}


@route("POST", "/db-systems/{db_system_id}/login-mappings")
def map_login(ask: Request, db_system_id: str) -> tuple[int, Json]:
    found, body = ask.region.get("mysqldbsystem", db_system_id), ask.body
    subject = ask.region.get(body["kind"], body["subject_id"])
    made = {
        "id": ask.region.new_id("loginmapping"),
        "db_system_id": found["id"],
        "subject_name": subject["name"],
        "precedence": 100,
        "reason_text": "",
        "created_at": MOMENT,
        **body,
    }
    made["account"] = body["account"] or subject["name"].lower()
    ask.region.mappings[made["id"]] = {**made, "state": "ACTIVE"}
    return 201, {**made, "state": "PENDING"}


@route("GET", "/db-systems/{db_system_id}/login-mappings")
def login_mappings(ask: Request, db_system_id: str) -> Json:
    return {"items": [each for each in ask.region.mappings.values() if each["db_system_id"] == db_system_id]}


@route("DELETE", "/db-systems/{db_system_id}/login-mappings/{login_mapping_id}")
def unmap_login(ask: Request, db_system_id: str, login_mapping_id: str) -> tuple[int, None]:
    del ask.region.mappings[login_mapping_id]
    return 204, None


@route("GET", "/db-systems/{db_system_id}/login-readiness")
def login_readiness(ask: Request, db_system_id: str) -> Json:
    return {"ready": True, "reasons": []}


@route("POST", "/db-systems/{db_system_id}/actions/{verb}")
def act_on_system(ask: Request, db_system_id: str, verb: str) -> Any:
    found = ask.region.get("mysqldbsystem", db_system_id)
    match verb:
        case "start" | "stop" | "restart" | "rotate-data-keys" | "verify":
            check_origin(found, verb, {"start": {"INACTIVE", "FAILED"}, "stop": {"ACTIVE", "FAILED"}}.get(verb))
            return 202, {"job": ask.region.job(verb, found, found["compartment_id"])}
        case "change-key":
            key = ask.body["key_id"]
            changed = ask.region.change(found, ask.seen, key_id=key, service_managed=key is None)
            return {**changed, "warnings": ask.region.warnings}
        case "delete-identity":
            why = {"reason": "identity_deleted", "reason_text": "its identity was deleted"}
            return ask.region.change(found, ask.seen, state="INACCESSIBLE", **why)
        case _:
            return ask.region.change(found, ask.seen, state="ACTIVE", reason="", reason_text="", confirmed=True)


@route("POST", "/backups")
def create_backup(ask: Request) -> tuple[int, Json]:
    system = ask.region.get("mysqldbsystem", ask.body["db_system_id"])
    made = ask.region.keep(
        "mysqlbackup",
        compartment_id=system["compartment_id"],
        db_system_id=system["id"],
        db_system_name=system["name"],
        name=ask.body["name"],
        state="CREATING",
        reason_text="",
        key_id=ask.body.get("key_id") or ask.region.new_id("key"),
        key_version=1,
        size=1048576,
        detail={},
    )
    return 202, {"backup": dict(made), "job": ask.region.job("backup", made, made["compartment_id"])}


@route("GET", "/backups")
def list_backups(ask: Request) -> Json:
    return ask.listed("mysqlbackup")


@route("GET", "/backups/{backup_id}")
def get_backup(ask: Request, backup_id: str) -> Json:
    return ask.region.get("mysqlbackup", backup_id)


@route("DELETE", "/backups/{backup_id}")
def delete_backup(ask: Request, backup_id: str) -> tuple[int, Json]:
    found = ask.region.get("mysqlbackup", backup_id)
    return 202, {"job": ask.region.job("delete-backup", found, found["compartment_id"])}


@route("POST", "/backups/{backup_id}/actions/restore")
def restore(ask: Request, backup_id: str) -> tuple[int, Json]:
    return new_system(ask, "restore", ask.region.get("mysqlbackup", backup_id)["id"])


# --- jobs, audit, state


@route("GET", "/jobs")
def list_jobs(ask: Request) -> Json:
    return ask.listed("job")


@route("GET", "/jobs/{job_id}")
def get_job(ask: Request, job_id: str) -> Json:
    found = ask.region.get("job", job_id)
    ask.region.advance(found)
    return found


@route("GET", "/audit/entries")
def list_entries(ask: Request) -> Json:
    return ask.page(ask.region.entries, outcome=ask.query.get("outcome"))


@route("GET", "/audit/verification")
def verify_audit(ask: Request) -> Json:
    return {"intact": True, "entries": 42, "segments": 3, "problems": []}


@route("POST", "/state/actions/backup")
def backup_state(ask: Request) -> tuple[int, bytes]:
    return 200, b"\x00sealed state\xff" * 1000


def shown(thing: Any) -> Any:
    """Without the fake's own marks."""
    if isinstance(thing, dict):
        return {key: shown(value) for key, value in thing.items() if not key.startswith("_")}
    return [shown(item) for item in thing] if isinstance(thing, list) else thing


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    server: "Server"

    def handle_any(self) -> None:
        region = self.server.region
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        path = unquote(parts.path).removeprefix(BASE)
        ask = Request(region, dict(parse_qsl(parts.query)), json.loads(raw) if raw else None, dict(self.headers))
        seen = Exchange(self.command, path, self.path, ask.headers, ask.body, raw)
        region.exchanges.append(seen)
        with self.server.lock:
            status, reply, extra = self.answer(ask, seen, path)
        data = reply if isinstance(reply, bytes) else b"" if reply is None else json.dumps(shown(reply)).encode()
        seen.status, seen.reply = status, json.loads(data) if data and not isinstance(reply, bytes) else None
        if isinstance(seen.reply, dict) and status < 300 and "version" in seen.reply:
            extra["ETag"] = f'"{seen.reply["version"]}"'
        self.send_response(status)
        for name, value in extra.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self, ask: Request, seen: Exchange, path: str) -> tuple[int, Any, dict[str, str]]:
        region = ask.region
        for plan in region.planned:
            if plan.method == self.command and re.fullmatch(plan.path, path):
                region.planned.remove(plan)
                return plan.status, plan.body, dict(plan.headers)
        try:
            open_to_all = (
                path == "/health"
                or (path.startswith("/seal") and path != "/seal/actions/seal")
                or (
                    self.command == "POST"
                    and path
                    in ("/auth/tokens", "/auth/device", "/auth/logins", "/auth/factors", "/auth/factors/actions/begin")
                )
                or path.startswith("/auth/federation/")
            )
            token = shown_token(ask.headers)
            if not open_to_all and token not in region.tokens:
                raise Refused(401, "Unauthenticated", "the token is expired or void")
            for method, template, pattern, function in ROUTES:
                if method == self.command and (found := pattern.fullmatch(path)):
                    seen.template = template
                    given = function(ask, **found.groupdict())
                    status, reply = given if isinstance(given, tuple) else (200, given)
                    return status, reply, {}
            raise Refused(404, "NoSuchOperation", f"there is no {self.command} {path}")
        except Refused as error:
            return error.status, {**error.body, "request_id": region.new_id("request")}, {}

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Serves a `Region` on a free port of loopback until closed."""

    daemon_threads = True

    def __init__(self, region: Region, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.region = region
        self.lock = threading.Lock()
        self.mistakes: list[str] = []
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news; anything else is a mistake here, reported by `close`."""
        if not isinstance(sys.exc_info()[1], OSError):
            self.mistakes.append(traceback.format_exc())

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
        assert not self.mistakes, "\n".join(self.mistakes)
