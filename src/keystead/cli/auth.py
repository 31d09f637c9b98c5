"""Signing in and out, and who and where one is."""

import base64
import getpass
import hashlib
import os
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from keystead.cli.browser import in_browser, on_device
from keystead.cli.client import Client
from keystead.cli.command import command
from keystead.cli.devices import DeviceFile
from keystead.cli.exits import NOT_SIGNED_IN, UNAVAILABLE, CliError, usage
from keystead.cli.factors import Given, stepping, with_factor
from keystead.cli.loopback import Loopback, open_browser
from keystead.cli.profile import Profile, SavedToken
from keystead.cli.proof import SessionKey
from keystead.cli.session import Session, connect, refreshed, signed_in
from keystead.cli.wire import Json

Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="Where the region is: https://HOST:PORT.")]
Ca = Annotated[str | None, typer.Option("--ca", metavar="FILE", help="CA certificate of the region (PEM).")]
TenancyName = Annotated[str | None, typer.Option("--tenancy", metavar="NAME", help="Tenancy to sign in to.")]
UserName = Annotated[str | None, typer.Option("--user", metavar="NAME", help="Who signs in.")]
Default = Annotated[
    str | None, typer.Option("--compartment", "-c", metavar="PATH", help="Default compartment of the profile.")
]
ProviderName = Annotated[
    str | None, typer.Option("--provider", metavar="NAME", help="Sign in by way of this identity provider.")
]
FactorOption = Annotated[
    str | None,
    typer.Option("--factor", metavar="NAME[:CODE]", help="Which second factor: totp, recovery or click; and its code."),
]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]

AskPassword = Annotated[bool, typer.Option("--password", help="Ask for the password here, not in a browser.")]
Device = Annotated[bool, typer.Option("--device", help="Show a code, to be typed in on a page elsewhere.")]
Bearer = Annotated[bool, typer.Option("--bearer", help="Take a token that is bound to no key, for scripts.")]
Refresh = Annotated[bool, typer.Option("--refresh", help="Only take a new token for the session at hand.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the root."""
    command(app, "login")(login)
    command(app, "logout")(logout)
    command(app, "whoami")(whoami)
    command(app, "status")(status)


def login(  # noqa: PLR0913, PLR0917 (each is an option)
    session: Session,
    url: Url = None,
    ca: Ca = None,
    tenancy: TenancyName = None,
    user: UserName = None,
    compartment: Default = None,
    password_stdin: FromStdin = False,
    password: AskPassword = False,
    device: Device = False,
    bearer: Bearer = False,
    refresh: Refresh = False,
    provider: ProviderName = None,
    factor: FactorOption = None,
) -> None:
    """Sign in, and remember where and as whom in the profile.

    What is not given is taken from the profile, or asked for, a second factor too. You sign in in the browser, where
    there is one; with --device, in one elsewhere; with --password, here; with --provider, the browser shows the sign-in
    of an identity provider. The token is valid for one hour; bound to a key that is kept beside it, it is of no use
    without that, and is followed by new ones for 24 hours while it is used.
    """
    if refresh:
        _refresh(session)
        return
    here = password or password_stdin or not (device or _has_browser())
    known = user if provider is None else user or session.profile.user or "-"
    profile = _asked(session.profile, url, ca, tenancy, known, compartment, here=here or provider is not None)
    client = connect(profile.url, profile.ca)
    key = None if bearer else SessionKey.generate()
    if provider is not None:
        answer = by_provider(session, client, profile.tenancy, provider, Given.of(factor))
        profile = _named(profile, answer, None)
        answer = _bound(profile, answer, key)
    elif here:
        password_given = _password(profile, password_stdin)
        answer = _bound(profile, _by_password(session, client, profile, password_given, factor), key)
    else:
        way = on_device if device else in_browser
        answer = way(client, profile, key.public if key is not None else "", session.console)
        profile = _named(profile, answer, key)
    _keep(session, profile, answer, key)


def _by_password(session: Session, client: Client, profile: Profile, password: str, factor: str | None) -> Json:
    """The answer with a token for a password and, where one is asked for, a second factor."""
    known_here = DeviceFile(session.profile_name)
    shown = known_here.load(profile.url, profile.user)
    answer = with_factor(session.console, client, profile, password, shown, Given.of(factor))
    if answer.get("device"):
        known_here.save(profile.url, profile.user, answer["device"])
    return answer


def _keep(session: Session, profile: Profile, answer: Json, key: SessionKey | None) -> None:
    """Remember where and as whom, and say so."""
    token = SavedToken(
        url=profile.url,
        token=answer["token"],
        token_id=answer["token_id"],
        expires_at=answer["expires_at"],
        tenancy_id=answer["tenancy_id"],
        tenancy=profile.tenancy or answer["tenancy_id"],
        user_id=answer["user_id"],
        user=profile.user,
        bound=key is not None,
    )
    session.profiles.save(session.profile_name, profile)
    session.token_file.remove()
    if key is not None:
        session.token_file.save_key(key.reveal_pem())
    session.token_file.save(token)
    session.console.result(
        _about(token), f"signed in to {token.url} as {token.user} of {token.tenancy} until {token.expires_at}"
    )


def by_provider(session: Session, client: Client, tenancy: str, provider: str, given: Given) -> Json:
    """The answer with a token, after the person has signed in at an identity provider, in a browser, and has shown a
    second factor here where one is asked for."""
    verifier = secrets.token_urlsafe(32)
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    with Loopback() as listener:
        asked = {"tenancy": tenancy, "provider": provider, "redirect_uri": listener.url}
        asked |= {"code_challenge": challenge, "state": listener.state}
        begun = client.post("/auth/federation/start", asked).data
        if not open_browser(begun["authorization_url"]):
            session.console.remark("open this in a browser on this machine:")
        session.console.remark(begun["authorization_url"])
        said = listener.wait()
    if "code" not in said:
        hint = "the region's audit trail says why; an administrator reads it with `keystead audit list`"
        code = said.get("error", "SignInRefused")
        message = f"the identity provider did not sign you in ({code})"
        raise CliError(message, hint=hint, code=code, exit_code=NOT_SIGNED_IN)
    devices, name = DeviceFile(session.profile_name), f"{provider} of {tenancy}"  # no user's: those have no spaces
    body: Json = {"code": said["code"], "code_verifier": verifier, "device": devices.load(client.url, name)}
    answer = stepping(session.console, client, "/auth/federation/tokens", body, given)
    if answer.get("device"):
        devices.save(client.url, name, answer["device"])
    return answer


def _bound(profile: Profile, answer: Json, key: SessionKey | None) -> Json:
    """The token in `answer`, bound to the key if there is one."""
    if key is None:
        return answer
    return (
        connect(profile.url, profile.ca, answer["token"]).post("/auth/tokens/exchange", {"public_key": key.public}).data
    )


def _named(profile: Profile, answer: Json, key: SessionKey | None) -> Profile:
    """The profile with the names of who signed in on the page."""
    client = Client(profile.url, profile.ca, answer["token"], key)
    user = client.get("/auth/whoami").data["name"]
    return replace(profile, user=user)


def _has_browser() -> bool:
    return sys.stdin.isatty() and any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _refresh(session: Session) -> None:
    """A new token now, in place of the one at hand."""
    token = session.token
    if not token.bound:
        raise usage("a bearer token is not refreshed", "sign in again without --bearer")
    new = refreshed(signed_in(session.profile.ca, token, session.token_file), token, session.token_file)
    if new is None:
        raise CliError("the session is over", hint="run `keystead login`", code="NotSignedIn", exit_code=NOT_SIGNED_IN)
    session.console.result(_about(new), f"signed in to {new.url} as {new.user} of {new.tenancy} until {new.expires_at}")


def logout(session: Session) -> None:
    """Sign out: the token is void at once, and forgotten here."""
    token = session.token_file.load()
    if token is None:
        session.console.say("nobody was signed in")
        return
    try:
        signed_in(session.profile.ca, token, session.token_file).delete("/auth/tokens/current")
    except CliError as error:
        if error.exit_code == UNAVAILABLE:
            hint = f"it stays valid until {token.expires_at}, or until `keystead user revoke-tokens {token.user}`"
            raise CliError(
                f"the region did not hear of it, the token is only forgotten here: {error.message}",
                hint=hint,
                code=error.code,
                exit_code=UNAVAILABLE,
            ) from error
        # any other answer means that the token was void already
    finally:
        session.token_file.remove()
    session.console.say(f"{token.user} is signed out")


def whoami(session: Session) -> None:
    """Show who is signed in, as the region sees it."""
    session.console.show(session.client.get("/auth/whoami").data)


def status(session: Session) -> None:
    """Show whether the region answers, and who is signed in. Exit code 6 when it does not, or is sealed."""
    health = connect(session.url, session.profile.ca).get("/health").data
    saved = session.token_file.load()
    signed_in: Json = {"signed_in": False}
    if saved is not None and saved.url == session.url:
        signed_in = {"signed_in": True, **_about(saved)}
    session.console.show({"profile": session.profile_name, "url": session.url, **health, **signed_in})
    if health.get("status") != "ok":
        raise CliError(f"the region is {health.get('status')}", code="NotReady", exit_code=UNAVAILABLE)


def _about(token: SavedToken) -> Json:
    """Everything but the token itself."""
    return {
        "url": token.url,
        "tenancy": token.tenancy,
        "tenancy_id": token.tenancy_id,
        "user": token.user,
        "user_id": token.user_id,
        "token_id": token.token_id,
        "expires_at": token.expires_at,
    }


def _asked(
    known: Profile,
    url: str | None,
    ca: str | None,
    tenancy: str | None,
    user: str | None,
    compartment: str | None,
    *,
    here: bool,
) -> Profile:
    """The profile as it will be: options first, then what is known, then questions."""
    told = {"url": url, "tenancy": tenancy, "user": user, "compartment": compartment}
    profile = replace(known, **{key: value for key, value in told.items() if value is not None})
    if ca is not None:
        profile = replace(profile, ca=str(Path(ca).expanduser().absolute()))
    for name, question in (("url", "URL of the region"), ("tenancy", "Tenancy"), ("user", "User")):
        if not getattr(profile, name) and (here or name == "url"):
            if not sys.stdin.isatty():
                raise usage(f"--{name} is missing")
            profile = replace(profile, **{name: typer.prompt(question, err=True)})
    return profile


def _password(profile: Profile, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise usage("nobody can be asked for the password", "use --password-stdin")
    return getpass.getpass(f"Password of {profile.user} at {profile.tenancy}: ", sys.stderr)
