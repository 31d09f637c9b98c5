"""Second factors, and the sign-ins that wait for an answer."""

from tests.fakes.region.routes import Request, route
from tests.fakes.region.state import MOMENT, Json, Refused, Region
from tests.fakes.region.tokens import password_token


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
    return password_token(ask.region, "olivia")


def pending(region: Region, kind: str, name: str) -> Json:
    return region.note("factor", kind=kind, name=name, state="PENDING", last_used_at=None, created_at=MOMENT)


@route("POST", "/auth/totp")
def enrol_totp(ask: Request) -> tuple[int, Json]:
    uri = "otpauth://totp/olivia?secret=EXAMPLE"
    return 201, {**pending(ask.region, "totp", ask.body["name"]), "uri": uri, "already_shown": False}


@route("POST", "/auth/webauthn")
def enrol_webauthn(ask: Request) -> tuple[int, Json]:
    return 201, {**pending(ask.region, "webauthn", ask.body["name"]), "options": "{}"}


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
    return {"items": ask.region.all("factor")}


@route("DELETE", "/users/{user_id}/factors/{factor_id}")
def remove_factor(ask: Request, user_id: str, factor_id: str) -> tuple[int, None]:
    ask.region.remove("factor", factor_id)
    return 204, None


@route("GET", "/users/{user_id}/devices")
def list_devices(ask: Request, user_id: str) -> Json:
    return {"items": [{"id": ask.region.new_id("device"), "first_at": MOMENT, "last_at": MOMENT}]}


@route("DELETE", "/users/{user_id}/devices/{device_id}")
def forget_device(ask: Request, user_id: str, device_id: str) -> tuple[int, None]:
    return 204, None


@route("GET", "/sign-in-settings")
def sign_in_settings(ask: Request) -> Json:
    return {"factor_from": "low", "refuse_from": "never"}


@route("PUT", "/sign-in-settings")
def update_sign_in_settings(ask: Request) -> Json:
    return dict(ask.body)
