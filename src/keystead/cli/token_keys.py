"""The keys that sign the region's tokens."""

from typing import Annotated

import typer

from keystead.cli.command import Yes, command, group
from keystead.cli.session import Session

token_keys = group("The keys that sign everybody's tokens.")

AtOnce = Annotated[bool, typer.Option("--at-once", help="Void every token there is, yours too.")]


@command(token_keys, "rotate")
def rotate(session: Session, at_once: AtOnce = False, yes: Yes = False) -> None:
    """Sign tokens with new keys from now on; those of before are good until they end."""
    if at_once:
        session.confirm("void every token there is: everybody has to sign in again", yes)
    done = session.client.post("/auth/token-keys/actions/rotate", {"at_once": at_once}).data
    told = (
        "every token of before is void"
        if at_once
        else f"tokens of before are good until {done['others_until']} at most"
    )
    session.console.result(done, f"tokens are signed by {' and '.join(done['kids'])}; {told}")
