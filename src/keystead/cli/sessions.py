"""One's own sessions, and tokens for another purpose."""

from typing import Annotated

import typer

from keystead.cli.command import Limit, command, group
from keystead.cli.console import Column, moment
from keystead.cli.session import Session

sessions = group("Your sign-ins, and the tokens that come from them.")

_COLUMNS: list[Column] = [
    ("proved by", "factors"),
    ("from", "source"),
    ("bound", "bound"),
    ("this one", "current"),
    ("began", moment("created_at")),
    ("ends at the latest", moment("limit_at")),
    ("id", "id"),
]

SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="Id of the session, or `current`.")]


@command(sessions, "list")
def list_sessions(session: Session, limit: Limit = None) -> None:
    """List your sessions that go on."""
    found = session.client.items("/auth/sessions", limit)
    session.console.table(list(found), _COLUMNS, "no sessions")


@command(sessions, "end")
def end_session(session: Session, session_id: SessionId) -> None:
    """End a session: its tokens are void at once, those for databases too."""
    if session_id == "current":
        mine = [item["id"] for item in session.client.items("/auth/sessions") if item["current"]]
        session_id = mine[0] if mine else session_id
    session.client.delete(f"/auth/sessions/{session_id}")
    session.console.say(f"session {session_id} has ended")


Audience = Annotated[str, typer.Option("--for", metavar="PURPOSE", help="api, or databases.")]
Minutes = Annotated[int, typer.Option("--minutes", metavar="N", help="How long it is good for: 1 to 60.")]
Algorithm = Annotated[str, typer.Option("--algorithm", metavar="NAME", help="Ed25519, or RS256.")]


@command(sessions, "token")
def token(
    session: Session, audience: Audience = "databases", minutes: Minutes = 60, algorithm: Algorithm = "Ed25519"
) -> None:
    """Print a bearer token for another purpose. Whoever has it is you, until it expires."""
    asked = {"audience": audience, "minutes": minutes, "algorithm": algorithm}
    session.console.show(session.client.post("/auth/tokens/exchange", asked).data)
