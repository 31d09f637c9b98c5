"""The commands `keystead seal ...` and `keystead recovery ...` that work on the region's own machine."""

from pathlib import Path
from typing import Annotated

import typer

from keystead.cli.command import command, group
from keystead.cli.session import Session

StateDir = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="State directory; $KEYSTEAD_STATE_DIR.", show_default=False),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file; $KEYSTEAD_SETTINGS.", show_default=False)
]
With = Annotated[
    str,
    typer.Option(
        "--with",
        metavar="HOW",
        help="Open with key-file[:FILE], passphrase, shares, identity:FILE, pkcs11 or external; "
        "else the key file of the settings.",
    ),
]
Stdin = Annotated[bool, typer.Option("--stdin", help="Passphrase or shares come on standard input, one a line.")]
Label = Annotated[str, typer.Option("--label", metavar="TEXT", help="What people call the new slot.")]
To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="WHERE",
        help="key-file: where it goes. recipient: the recipient file. pkcs11, external: the URI of the key.",
    ),
]
MakeKey = Annotated[bool, typer.Option("--make-key", help="pkcs11, external: make the key there first.")]
Counts = Annotated[str, typer.Option("--shares", metavar="K/N", help="shares: how many are needed, of how many.")]
Kind = Annotated[
    str, typer.Argument(metavar="KIND", help="key-file, passphrase, shares, recipient, pkcs11 or external.")
]
SlotId = Annotated[str, typer.Argument(metavar="SLOT", help="Id of a slot, as `seal list` shows it.")]

recovery = group("Getting the root key back: recipients, and practice.")


def add_to(app: typer.Typer, seal: typer.Typer) -> None:
    """Declare the commands: `app` gets the group `recovery`, `seal` is there already."""
    app.add_typer(recovery, name="recovery")
    command(seal, "list")(list_slots)
    command(seal, "add")(add)
    command(seal, "remove")(remove)
    command(seal, "migrate")(migrate)
    command(recovery, "keygen")(keygen)
    command(recovery, "drill")(drill)


def list_slots(session: Session, state: StateDir = None, config: ConfigFile = None) -> None:
    """The ways to open this region's root key. Needs no key."""
    from keystead.server.sealing import commands as seal_commands

    seal_commands.show_slots(session.console, config, state)


def add(
    session: Session,
    kind: Kind,
    state: StateDir = None,
    config: ConfigFile = None,
    how: With = "",
    stdin: Stdin = False,
    label: Label = "",
    to: To = "",
    shares: Counts = "3/5",
    make_key: MakeKey = False,
) -> None:
    """One more way to open the root key. What runs is not touched."""
    from keystead.server.sealing import commands as seal_commands

    opening = seal_commands.Opening(how, stdin)
    wish = seal_commands.Wish(kind, label, to, shares, None, make_key)
    seal_commands.add(session.console, config, state, opening, wish)


def remove(
    session: Session,
    slot: SlotId,
    state: StateDir = None,
    config: ConfigFile = None,
    how: With = "",
    stdin: Stdin = False,
) -> None:
    """One way less. It is opened with a way that remains."""
    from keystead.server.sealing import commands as seal_commands

    seal_commands.remove(session.console, config, state, seal_commands.Opening(how, stdin), slot)


def migrate(  # noqa: PLR0913, PLR0917 - options of a command line
    session: Session,
    slot: SlotId,
    kind: Kind,
    state: StateDir = None,
    config: ConfigFile = None,
    how: With = "",
    stdin: Stdin = False,
    label: Label = "",
    to: To = "",
    shares: Counts = "3/5",
    make_key: MakeKey = False,
    proof: Annotated[
        Path | None, typer.Option("--proof", metavar="FILE", help="recipient: an identity that opens the new slot.")
    ] = None,
) -> None:
    """Exchange one way for another: the old goes when the new one was seen to open. What runs is not touched."""
    from keystead.server.sealing import commands as seal_commands

    opening = seal_commands.Opening(how, stdin)
    wish = seal_commands.Wish(kind, label, to, shares, proof, make_key)
    seal_commands.migrate(session.console, config, state, opening, slot, wish)


def keygen(
    session: Session,
    identity: Annotated[Path, typer.Argument(metavar="IDENTITY", help="Where the private half goes.")],
    recipient: Annotated[Path, typer.Argument(metavar="RECIPIENT", help="Where the public half goes.")],
) -> None:
    """Make a recovery recipient (X25519 + ML-KEM-768), best on a machine that never meets the region's."""
    from keystead.server.sealing import commands as seal_commands

    seal_commands.keygen(session.console, identity, recipient)


def drill(
    session: Session,
    state: StateDir = None,
    config: ConfigFile = None,
    how: With = "",
    stdin: Stdin = False,
) -> None:
    """Rebuild the root key in a scratch copy in memory, and open everything with it. Exit code 1 when that fails."""
    from keystead.server.sealing import commands as seal_commands

    if not seal_commands.drill(session.console, config, state, seal_commands.Opening(how, stdin)):
        raise typer.Exit(1)
