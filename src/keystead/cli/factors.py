"""Second factors: signing in with them, having them, and letting another sign-in in."""

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from keystead.cli.command import NewName, Reference, Yes, command, group
from keystead.cli.console import Console, moment
from keystead.cli.exits import NOT_SIGNED_IN, CliError, usage
from keystead.cli.kinds import USER
from keystead.cli.profile import Profile
from keystead.cli.session import Session
from keystead.cli.wire import Call, Json

if TYPE_CHECKING:
    from keystead.cli.client import Client

factors = group("Second factors: enrol and remove them, let a sign-in on another device in, say when they are needed.")

POLL_S = 1.0
TRIES = 3
_WORDS = {
    "totp": "Code of your authenticator app: ",
    "recovery": "Recovery code: ",
}
_FACTORS = (("id", "id"), ("name", "name"), ("kind", "kind"), ("state", "state"), ("last used", moment("last_used_at")))
_WAITING = (("id", "id"), ("from", "source"), ("asked at", moment("asked_at")), ("until", moment("until")))

UserName = Annotated[str | None, typer.Option("--user", metavar="NAME", help="Whose; your own otherwise.")]
Code = Annotated[str | None, typer.Option("--code", metavar="CODE", help="The code; asked for otherwise.")]
FactorId = Annotated[str, typer.Argument(metavar="ID", help="Id of the factor.", show_default=False)]


@dataclass(frozen=True)
class Given:
    """What the command line said about the factor."""

    factor: str | None = None
    code: str | None = None

    @classmethod
    def of(cls, text: str | None) -> "Given":
        """From `NAME` or `NAME:CODE`."""
        name, _, code = (text or "").partition(":")
        return cls(name or None, code or None)


def with_factor(console: Console, client: "Client", profile: Profile, password: str, device: str, given: Given) -> Json:
    """Sign in with password and, when the region asks, a second factor. Returns the token as the region gave it."""
    body = {"tenancy": profile.tenancy, "user": profile.user, "password": password, "device": device}
    return stepping(console, client, "/auth/tokens", body, given)


def stepping(console: Console, client: "Client", path: str, body: Json, given: Given) -> Json:
    """What a step of signing in answers, after a second factor where one is asked for. `body` names the device."""
    device = str(body["device"])
    try:
        return client.post(path, body).data
    except CliError as error:
        if error.code != "FactorRequired":
            raise
        told = error.told
    challenge, offered = str(told["challenge"]), [str(each) for each in told["factors"]]
    factor = _chosen(offered, given)
    if factor == "click":
        return _clicked(console, client, challenge, device)
    for left in range(TRIES - 1, -1, -1):
        code = given.code or _ask(_WORDS[factor])
        try:
            return client.post(
                "/auth/factors", {"challenge": challenge, "factor": factor, "code": code, "device": device}
            ).data
        except CliError as error:
            if error.code != "FactorWrong" or given.code or not left:
                raise
            console.remark(error.message)
    raise AssertionError("the last try returns or raises")


def _chosen(offered: list[str], given: Given) -> str:
    able = [each for each in offered if each != "webauthn"]
    if given.factor is not None:
        if given.factor not in able:
            raise usage(f"this sign-in cannot go on with {given.factor!r}", f"with one of: {', '.join(able)}")
        return given.factor
    return able[0]


def _clicked(console: Console, client: "Client", challenge: str, device: str) -> Json:
    number = client.post("/auth/factors/actions/begin", {"challenge": challenge, "factor": "click"}).data["number"]
    print(f"Type {number} on a device where you are signed in: keystead factor answer", file=sys.stderr, flush=True)
    while True:
        try:
            return client.post("/auth/factors", {"challenge": challenge, "factor": "click", "device": device}).data
        except CliError as error:
            if error.code != "FactorPending":
                raise
        time.sleep(POLL_S)


def _ask(question: str) -> str:
    if not sys.stdin.isatty():
        raise CliError(
            "a second factor is needed and nobody can be asked",
            hint="give --factor totp:CODE, or sign in where a person can be asked",
            code="FactorRequired",
            exit_code=NOT_SIGNED_IN,
        )
    return str(typer.prompt(question, err=True, prompt_suffix=""))


@command(factors, "enrol-totp")
def enrol_totp(session: Session, name: NewName, code: Code = None) -> None:
    """Enrol an authenticator app. It counts once a code of it was given, here or with `factor confirm`."""
    made = session.client.create("/auth/totp", {"name": name}).data
    session.console.show(made, hide=("uri", "already_shown"))
    session.console.secret("put this into the app", made.get("uri"))
    if code is not None or (session.console.interactive and sys.stdin.isatty()):
        _confirm(session, made["id"], code)


@command(factors, "confirm")
def confirm(session: Session, factor_id: FactorId, code: Code = None) -> None:
    """Give a code of a new authenticator app; from then on it is asked for."""
    _confirm(session, factor_id, code)


def _confirm(session: Session, factor_id: str, code: str | None) -> None:
    body: Json = {"factor_id": factor_id, "code": code or _ask(_WORDS["totp"])}
    session.console.show(session.client.post("/auth/factors/actions/confirm", body).data)


@command(factors, "enrol-webauthn")
def enrol_webauthn(session: Session, name: NewName) -> None:
    """Begin to enrol an authenticator: prints the options for a browser. `confirm-webauthn` takes its answer."""
    session.console.show(session.client.post("/auth/webauthn", {"name": name}).data)


@command(factors, "confirm-webauthn")
def confirm_webauthn(session: Session, factor_id: FactorId) -> None:
    """Finish enrolling an authenticator: the browser's answer, JSON, comes from standard input."""
    body: Json = {"factor_id": factor_id, "credential": sys.stdin.read().strip()}
    session.console.show(session.client.post("/auth/factors/actions/confirm", body).data)


@command(factors, "recovery-codes")
def recovery_codes(session: Session) -> None:
    """Make ten recovery codes, each good once. Those made before are void."""
    made = session.client.create("/auth/recovery-codes").data
    if session.console.json:
        session.console.document(made)
        return
    for code in made.get("codes") or []:
        session.console.say(code)
    session.console.remark("shown once, keep them now; each is good once")


@command(factors, "list")
def list_factors(session: Session, user: UserName = None) -> None:
    """List one's own second factors, or a user's."""
    found = session.client.get(f"/users/{whose(session, user)}/factors").data["items"]
    session.console.table(found, _FACTORS, "no second factors")


@command(factors, "remove")
def remove(session: Session, factor_id: FactorId, user: UserName = None, yes: Yes = False) -> None:
    """Remove a second factor: one's own shortly after having shown one, or a user's as an administrator."""
    session.confirm(f"remove factor {factor_id}", yes)
    session.client.delete(f"/users/{whose(session, user)}/factors/{factor_id}")
    session.console.result({"id": factor_id, "removed": True}, f"factor {factor_id} is removed")


@command(factors, "pending")
def pending(session: Session) -> None:
    """List one's own sign-ins elsewhere that wait to be let in."""
    session.console.table(session.client.get("/auth/sign-ins").data["items"], _WAITING, "nobody waits")


@command(factors, "answer")
def answer(
    session: Session,
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="What is shown there.", show_default=False)],
    sign_in: Annotated[str | None, typer.Option("--sign-in", metavar="ID", help="Which; the only one else.")] = None,
) -> None:
    """Let a sign-in elsewhere in, by the number that it shows. A wrong number denies it."""
    if sign_in is None:
        waiting = session.client.get("/auth/sign-ins").data["items"]
        if len(waiting) != 1:
            raise usage(f"{len(waiting) or 'no'} sign-ins wait", "choose with --sign-in; see: keystead factor pending")
        sign_in = waiting[0]["id"]
    body: Json = {"sign_in_id": sign_in, "number": number}
    told = session.client.post("/auth/sign-ins/actions/answer", body).data
    session.console.result(told, "it is let in" if told["approved"] else "wrong number: it is denied")


@command(factors, "deny")
def deny(session: Session, sign_in: Reference) -> None:
    """Deny a sign-in elsewhere. NAME is its id."""
    body: Json = {"sign_in_id": sign_in, "number": ""}
    session.console.show(session.client.post("/auth/sign-ins/actions/answer", body).data)


@command(factors, "settings")
def settings(
    session: Session,
    factor_from: Annotated[
        str | None, typer.Option("--factor-from", metavar="LEVEL", help="low, medium, high or never.")
    ] = None,
    refuse_from: Annotated[
        str | None, typer.Option("--refuse-from", metavar="LEVEL", help="medium, high or never.")
    ] = None,
) -> None:
    """Show or set from which risk on a second factor is asked for, and nobody is let in."""
    told = session.client.get("/sign-in-settings").data
    given = {"factor_from": factor_from, "refuse_from": refuse_from}
    changes = {key: value for key, value in given.items() if value is not None}
    if changes:
        told = session.client.send(Call("PUT", "/sign-in-settings", body={**told, **changes})).data
    session.console.show(told)


def whose(session: Session, user: str | None) -> str:
    """Id of that user; one's own when none is named."""
    return session.token.user_id if user is None else session.resolve(USER, user)
