"""Signing in with a password or a device, tokens and sessions."""

from collections.abc import Mapping
from typing import Any

from tests.fakes.region.routes import Request, route
from tests.fakes.region.state import MOMENT, Json, Refused, Region

SESSION = f"ks1.session.main.home.{'a' * 32}"


def shown_token(headers: Mapping[str, str]) -> str:
    return headers.get("Authorization", "").removeprefix("Bearer ").removeprefix("DPoP ")


def new_token(region: Region, user: str, **more: Any) -> tuple[int, Json]:
    token = f"token-{len(region.tokens) + 1}"
    region.tokens[token] = user
    return 201, {
        "token": token,
        "token_id": region.new_id("token"),
        "expires_at": "2026-01-31T13:00:00.000Z",
        "user_id": region.olivia["id"],
        "tenancy_id": region.tenancy,
        **more,
    }


def password_token(region: Region, user: str) -> tuple[int, Json]:
    return new_token(region, user, device="")


def session_token(ask: Request, user: str) -> tuple[int, Json]:
    """Bound to the key the request brings, if it brings one."""
    bound = "DPoP" if ask.body.get("public_key") else "Bearer"
    return new_token(ask.region, user, token_type=bound, session_id=SESSION)


@route("POST", "/auth/tokens")
def sign_in(ask: Request) -> tuple[int, Json]:
    region = ask.region
    if ask.body["tenancy"] != "acme" or region.passwords.get(ask.body["user"]) != ask.body["password"]:
        raise Refused(401, "SignInFailed", "tenancy, user or password is wrong")
    if region.factors_asked:
        error = Refused(401, "FactorRequired", "the password is right; a second factor is needed")
        error.body |= {"challenge": "ksc_challenge", "factors": region.factors_asked}
        raise error
    return password_token(region, ask.body["user"])


@route("POST", "/auth/tokens/exchange")
def exchange_token(ask: Request) -> tuple[int, Json]:
    region, token = ask.region, shown_token(ask.headers)
    return session_token(ask, region.tokens.pop(token) if ask.body.get("public_key") else region.tokens[token])


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
    ask.region.asked_logins += 1
    if ask.body["way"] == "device" and ask.region.asked_logins < 3:
        raise Refused(409, "LoginPending", "nobody has allowed it yet")
    return session_token(ask, "olivia")


@route("POST", "/auth/tokens/refresh")
def refresh_token(ask: Request) -> tuple[int, Json]:
    assert "DPoP" in ask.headers
    ask.body = {"public_key": "its"}
    return exchange_token(ask)


@route("GET", "/auth/sessions")
def list_sessions(ask: Request) -> Json:
    times = {"created_at": MOMENT, "refreshed_at": MOMENT, "limit_at": MOMENT}
    how = {"factors": ["password"], "bound": "DPoP" in ask.headers, "source": "192.0.2.7", "current": True}
    return ask.page([{"id": SESSION, **how, **times}])


@route("DELETE", "/auth/sessions/{session_id}")
def end_session(ask: Request, session_id: str) -> tuple[int, None]:
    assert session_id == SESSION
    return 204, None


@route("DELETE", "/auth/tokens/current")
def sign_out(ask: Request) -> tuple[int, None]:
    del ask.region.tokens[shown_token(ask.headers)]
    return 204, None


@route("GET", "/auth/whoami")
def who_am_i(ask: Request) -> Json:
    olivia = {"id": ask.region.olivia["id"], "type": "user", "name": "olivia"}
    return {**olivia, "tenancy_id": ask.region.tenancy, "token_id": f"ks1.token.main.home.{'a' * 32}"}


@route("POST", "/auth/token-keys/actions/rotate")
def rotate_token_keys(ask: Request) -> Json:
    return {"kids": ["region-0123456789abcdef", "region-fedcba9876543210"], "others_until": MOMENT}
