"""The region's root key: whether it is open, opening it, closing it.

On the region's own machine the console script adds what changes the ways to open it (`seal list`, `seal add`, ...).
What opens a region is asked for without being shown, or read from standard input; it is never an argument.
"""

import getpass
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from keystead.cli.command import Yes, command, group
from keystead.cli.exits import UNAVAILABLE, CliError, usage
from keystead.cli.session import Session, connect
from keystead.cli.wire import Json

OPEN_SECONDS = 60.0
LOOK_SECONDS = 0.2

Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Where the region is; unix:/PATH on its own machine.")
]
Ca = Annotated[str | None, typer.Option("--ca", metavar="FILE", help="CA certificate of the region (PEM).")]

seal = group("The root key: the ways to open it, opening and closing.")


def add_to(app: typer.Typer) -> None:
    """Add `unseal` to the root."""
    command(app, "unseal")(unseal)


@command(seal, "status")
def status(session: Session, url: Url = None, ca: Ca = None) -> None:
    """Whether the region is sealed, what opens it, and which shares were given."""
    _show(session, _asked(session, url, ca, "GET", "/seal"))


@command(seal, "now")
def now(session: Session, yes: Yes = False) -> None:
    """Seal the region: nobody has its keys, every database system is fenced, until it is unsealed."""
    session.confirm("seal the region, and stop every database system of it", yes)
    found = session.client.post("/seal/actions/seal").data
    session.console.result(found, f"the region {found['region']} is sealed; `keystead unseal` opens it")


def unseal(
    session: Session,
    url: Url = None,
    ca: Ca = None,
    kind: Annotated[
        str, typer.Option("--with", metavar="KIND", help="share (default), passphrase, key-file or identity.")
    ] = "share",
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="The key file or identity file.", show_default=False)
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Shares or passphrase on standard input, one a line.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="First forget the shares given so far.")] = False,
) -> None:
    """Open a sealed region: give one share (others give theirs), or what opens it alone."""
    if kind not in ("share", "passphrase", "key-file", "identity"):
        raise usage(f"a region is not opened with {kind!r}", "share, passphrase, key-file or identity")
    found = _asked(session, url, ca, "POST" if reset else "GET", "/seal/actions/reset" if reset else "/seal")
    if not found["sealed"]:
        raise CliError("the region is open", code="NotSealed", hint="there is nothing to do")
    if reset:
        session.console.remark("the shares given before are forgotten")
    found = _give(session, url, ca, kind, _secret(kind, file, stdin))
    while stdin and kind == "share" and found["sealed"] and (line := sys.stdin.readline().strip()):
        found = _give(session, url, ca, kind, line)
    if not found["sealed"]:
        _wait_open(session, url, ca)
    _show(session, found)


def _give(session: Session, url: str | None, ca: str | None, kind: str, secret: str) -> Json:
    return _asked(session, url, ca, "POST", "/seal/actions/unseal", {"kind": kind, "secret": secret})


def _secret(kind: str, file: Path | None, stdin: bool) -> str:
    if kind in ("key-file", "identity"):
        if file is None:
            raise usage(f"which {kind}?", "--file FILE")
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CliError(f"{file} cannot be read", code="NoFile") from error
    if stdin:
        given = sys.stdin.readline().strip()
    elif sys.stdin.isatty():
        given = getpass.getpass(f"{kind}: ").strip()
    else:
        raise usage("there is no terminal to ask at", "--stdin")
    if not given:
        raise usage("nothing was given")
    return given


def _wait_open(session: Session, url: str | None, ca: str | None) -> None:
    """Its processes start anew with the root key: until they answer it is not open."""
    end = time.monotonic() + OPEN_SECONDS
    while True:
        try:
            if _asked(session, url, ca, "GET", "/health")["status"] == "ok":
                return
        except CliError as error:
            if error.exit_code != UNAVAILABLE:
                raise
        if time.monotonic() > end:
            raise CliError("it was opened, but does not answer yet", hint="see its logs", exit_code=UNAVAILABLE)
        time.sleep(LOOK_SECONDS)


def _asked(session: Session, url: str | None, ca: str | None, method: str, path: str, body: Json | None = None) -> Json:
    client = connect(url or session.url, session.profile.ca if ca is None else ca)
    return client.get(path).data if method == "GET" else client.post(path, body).data


def _show(session: Session, found: Json) -> None:
    console = session.console
    if console.json:
        console.document(found)
        return
    if not found["sealed"]:
        console.say(f"the region {found['region']} is open")
        return
    why = f", by order of {found['by']}" if found["ordered"] else ""
    console.say(f"the region {found['region']} is sealed since {found['since']}{why}")
    console.say(f"  opens with  {', '.join(found['ways'])}")
    for each in found["progress"]:
        given = ", ".join(str(number) for number in each["given"]) or "none"
        console.say(f"  set {each['set']}: {len(each['given'])} of {each['threshold']} shares given ({given})")
