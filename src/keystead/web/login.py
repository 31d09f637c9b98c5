"""The pages under `/login/`: a face of the pipeline that speaks HTML forms. See iam/sessions/logins for the steps.

    GET  /login/authorize?response_type=code&client_id=keystead-cli&redirect_uri=http://127.0.0.1:<port>/<path>
                         &code_challenge=<43>&code_challenge_method=S256&state=<...>          (RFC 6749, 7636, 8252)
    GET  /login/device[?user_code=XXXX-XXXX]                                                  (RFC 8628)
    POST /login/sign-in, /login/ask, /login/factor, /login/consent                            forms of these pages

A browser from which somebody has signed in is a known device of theirs, by a cookie that holds what a sign-in gave to
it: for this origin alone (`__Host-`), out of reach of scripts, sent by our own pages only. It is worth nothing without
the password.

A form that another site sends is refused (Sec-Fetch-Site, Origin). The way back leads to this machine's own loopback
address and nowhere else, and carries a code, never a token.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.iam.factors.model import SECOND_FACTORS
from keystead.iam.factors.secrets import MAX_SHOWN
from keystead.iam.model import Caller, IssuedToken
from keystead.web import login_pages as pages
from keystead.web.exchange import Answer, Exchange, Header
from keystead.web.operations import Call, Operation
from keystead.web.refusals import HttpRefusal, retry_after, status_of
from keystead.web.services import Services

PREFIX = b"/login/"
CLIENT = "keystead-cli"
MAX_ASSERTION = 15000
COOKIE = "__Host-keystead-device"
COOKIE_DAYS = 400  # as long as browsers keep any
_REDIRECT = re.compile(r"http://(127\.0\.0\.1|\[::1\]):[1-9][0-9]{3,4}(/[A-Za-z0-9_-]{1,64})")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_DEVICE = re.compile(r"ksd_[A-Za-z0-9_-]{43}")
_STATE = re.compile(r"[A-Za-z0-9_.~-]{16,128}")
_ASKED = ("redirect_uri", "code_challenge", "state")
Form = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Browser:
    """What a browser shows besides the form: what sign-ins before gave to it, with dots between."""

    device: str = ""

    def keeping(self, issued: IssuedToken, answer: Answer) -> Answer:
        """The answer that has the browser keep what it was given, beside what other users were."""
        if not issued.device:
            return answer
        kept = ".".join([issued.device, *_DEVICE.findall(self.device)][:MAX_SHOWN])
        rules = f"Path=/; Max-Age={COOKIE_DAYS * 86400}; Secure; HttpOnly; SameSite=Strict"
        return replace(answer, headers=(*answer.headers, (b"set-cookie", f"{COOKIE}={kept}; {rules}".encode())))


class LoginFace:
    """The pipeline's face towards browsers."""

    def serves(self, raw_path: bytes) -> bool:
        return raw_path.startswith(PREFIX)

    def route(self, exchange: Exchange) -> Operation:
        method = "GET" if exchange.method == "HEAD" else exchange.method
        found = _ROUTES.get((method, exchange.raw_path.decode("latin-1")))
        if found is None:
            raise HttpRefusal(404, "NoSuchOperation", "there is no such page")
        return found

    def caller(self, services: Services, exchange: Exchange) -> Caller:
        raise RuntimeError("every page is open to everybody")

    def call(self, exchange: Exchange, operation: Operation, body: bytes) -> Call[Any, Any]:
        headers = {name: value for name, value in exchange.headers if name in (b"sec-fetch-site", b"origin", b"host")}
        if operation.method == "POST":
            _same_site(headers)
            if not exchange.wanted.content_type.startswith(b"application/x-www-form-urlencoded"):
                raise HttpRefusal(415, "UnsupportedMediaType", "this is a form's")
        form = _form(body if operation.method == "POST" else exchange.query)
        return Call(form, _browser(exchange.headers), {}, None, exchange.request_id, exchange.source, None)

    def refusal(self, exchange: Exchange, error: BaseException, now: datetime) -> Answer:
        if isinstance(error, Refusal):
            answer = pages.told("That did not work", f"{error.message}. {error.hint}", status_of(error))
            return _when_to_try(answer, error)
        return pages.told("That did not work", f"Something went wrong here: {exchange.request_id}", status_of(error))


def authorize(services: Services, call: Call[Form, Any]) -> Answer:
    asked = call.body
    if asked.get("client_id") != CLIENT or asked.get("response_type") != "code":
        raise Refusal("InvalidParameter", "an unknown client asks, or for something else than a code")
    if asked.get("code_challenge_method") != "S256":
        raise Refusal("InvalidParameter", "PKCE is S256 here")
    kept = _asked(asked)
    hinted = {name: asked[name][:100] for name in ("tenancy", "user") if name in asked}
    return pages.sign_in({**kept, **hinted, "region": services.region})


def device(services: Services, call: Call[Form, Any]) -> Answer:
    return pages.sign_in({"user_code": call.body.get("user_code", "")[:16], "region": services.region})


def sign_in(services: Services, call: Call[Form, Browser]) -> Answer:
    form, kept = call.body, _kept(call.body, services.region)
    names = {name: form.get(name, "")[:100] for name in ("tenancy", "user")}
    try:
        password = Secret(form.get("password", "")[:1024].encode())
        asked = (names["tenancy"], names["user"], password, call.source, call.request_id)
        issued = services.iam.sign_in(*asked, device=call.query.device)
    except Refusal as refusal:
        challenge = getattr(refusal, "challenge", "")
        if challenge:
            return pages.factor(kept, challenge, getattr(refusal, "factors", ()))
        answer = pages.sign_in({**kept, **names}, f"{refusal.message}.", status_of(refusal))
        return _when_to_try(answer, refusal)
    return _consent(services, call, issued)


def ask(services: Services, call: Call[Form, Any]) -> Answer:
    """What an authenticator or another device needs before it can answer; without a factor, the choice again."""
    form, kept = call.body, _kept(call.body, services.region)
    challenge, offered = _challenged(form)
    wanted = form.get("factor", "")
    if wanted not in ("webauthn", "click"):
        return pages.factor(kept, challenge, offered)
    try:
        begun = services.iam.begin_factor(challenge, wanted, call.source, call.request_id)  # type: ignore[arg-type]  # one of the two
    except Refusal as refusal:
        if refusal.code in ("FactorNotOffered", "TooManyRequests"):
            answer = pages.factor(kept, challenge, offered, f"{refusal.message}.", status_of(refusal))
            return _when_to_try(answer, refusal)
        raise
    if wanted == "webauthn":
        return pages.authenticator(kept, challenge, offered, begun.options)
    return pages.number(kept, challenge, offered, begun.number)


def factor(services: Services, call: Call[Form, Browser]) -> Answer:
    form, kept = call.body, _kept(call.body, services.region)
    challenge, offered = _challenged(form)
    shown = form.get("factor", "")
    if shown not in SECOND_FACTORS:
        return pages.factor(kept, challenge, offered, "choose one of them.", 400)
    proof = Secret(
        (form.get("assertion", "")[:MAX_ASSERTION] if shown == "webauthn" else form.get("code", "")[:100]).encode()
    )
    try:
        asked = (challenge, shown, proof, call.source, call.request_id)
        issued = services.iam.prove_factor(*asked, device=call.query.device)  # type: ignore[arg-type]  # one of them
    except Refusal as refusal:
        if refusal.code == "FactorPending":
            return pages.number(kept, challenge, offered, form.get("number", "")[:2])
        if refusal.code in ("FactorWrong", "FactorNotOffered"):
            return pages.factor(kept, challenge, offered, f"{refusal.message}.", status_of(refusal))
        raise
    return _consent(services, call, issued)


def _when_to_try(answer: Answer, refusal: Refusal) -> Answer:
    return replace(answer, headers=(*answer.headers, *retry_after(refusal, answer.status)))


def _challenged(form: Form) -> tuple[str, tuple[str, ...]]:
    """The challenge, and the factors that it was made for."""
    offered = tuple(each for each in form.get("offered", "").split()[:8] if each in SECOND_FACTORS)
    return form.get("challenge", "")[:1024], offered


def consent(services: Services, call: Call[Form, Any]) -> Answer:
    allow = call.body.get("decision") == "allow"
    done = services.iam.decide_login(call.body.get("ticket", "")[:200], allow, call.source, call.request_id)
    if done.kind == "device":
        text = "The device is let in. You can close this page." if allow else "The device is not let in."
        return pages.told("Done", text)
    if _REDIRECT.fullmatch(done.redirect) is None:
        raise Refusal("InvalidParameter", "the client does not listen on this machine")
    answer = {"code": done.code} if allow else {"error": "access_denied"}
    place = f"{done.redirect}?{urlencode({**answer, 'state': done.state})}"
    shown = pages.told("Done", "Go back to the command line.")
    return Answer(303, shown.body, (*shown.headers, (b"location", place.encode())))


def _consent(services: Services, call: Call[Form, Browser], issued: IssuedToken) -> Answer:
    """The token that signing in gave goes nowhere: what the client gets is issued when it asks with its code."""
    caller = services.iam.authenticate(issued.token, call.source, call.request_id)
    form = call.body
    if "user_code" in form:
        found = services.iam.login_signed_in(caller, {}, form["user_code"][:16])
        back = ""
    else:
        asked = _asked(form)
        told = {"challenge": asked["code_challenge"], "redirect": asked["redirect_uri"], "state": asked["state"]}
        found = services.iam.login_signed_in(caller, told)
        back = asked["redirect_uri"].rpartition("/")[0]
    page = pages.consent(found.user, found.tenancy, found.asked_from, found.ticket, services.region, back)
    return call.query.keeping(issued, page)


def _asked(form: Form) -> dict[str, str]:
    """What the client asked, checked. Raises: Refusal."""
    redirect, challenge, state = (form.get(name, "") for name in _ASKED)
    if _REDIRECT.fullmatch(redirect) is None:
        raise Refusal("InvalidParameter", "the client does not listen on this machine", hint="http://127.0.0.1:PORT")
    if _CHALLENGE.fullmatch(challenge) is None or _STATE.fullmatch(state) is None:
        raise Refusal("InvalidParameter", "the client sent no PKCE challenge, or no state")
    return {"redirect_uri": redirect, "code_challenge": challenge, "state": state}


def _kept(form: Form, region: str) -> dict[str, str]:
    """What the next page has to know again."""
    known = {"user_code": form["user_code"][:16]} if "user_code" in form else _asked(form)
    return {**known, "region": region}


def _same_site(headers: Mapping[bytes, bytes]) -> None:
    site, origin = headers.get(b"sec-fetch-site", b""), headers.get(b"origin", b"")
    host = headers.get(b"host", b"")
    elsewhere = origin not in (b"", b"null") and origin.partition(b"://")[2] != host
    if site not in (b"", b"same-origin") or elsewhere:
        raise HttpRefusal(403, "OtherSite", "the form was sent by another site")


def _browser(headers: Iterable[Header]) -> Browser:
    cookies = (
        each.strip().partition(b"=") for name, value in headers if name == b"cookie" for each in value.split(b";")
    )
    found = [value for name, _, value in cookies if name == COOKIE.encode()]
    return Browser(found[0][:1024].decode("latin-1")) if len(found) == 1 else Browser()


def _form(raw: bytes) -> Form:
    """Raises: Refusal, not a form, or a name twice."""
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=bool(raw), max_num_fields=20)
    except (UnicodeDecodeError, ValueError) as error:
        raise Refusal("MalformedBody", "not a form", hint="open the page again") from error
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refusal("MalformedBody", "a name comes twice", hint="open the page again")
    return found


_TABLE = (
    Operation(
        "ShowSignInPage", "GET", "/login/authorize", "Sign in for a client", authorize, "login", auth=False, root=""
    ),
    Operation("ShowDevicePage", "GET", "/login/device", "Sign in for a device", device, "login", auth=False, root=""),
    Operation(
        "SignInOnPage", "POST", "/login/sign-in", "Sign in", sign_in, "login", auth=False, root="", runs="sign_in"
    ),
    Operation("BeginFactorOnPage", "POST", "/login/ask", "Ask", ask, "login", auth=False, root=""),
    Operation(
        "ProveFactorOnPage", "POST", "/login/factor", "Prove", factor, "login", auth=False, root="", runs="sign_in"
    ),
    Operation("ConsentOnPage", "POST", "/login/consent", "Allow or deny", consent, "login", auth=False, root=""),
)
_ROUTES = {(each.method, each.path): each for each in _TABLE}
