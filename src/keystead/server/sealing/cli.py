"""The commands `keystead seal ...` and `keystead recovery ...` that work on the region's own machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keystead.cli.command import command, group
from keystead.cli.session import Session
from keystead.server.where import Where

if TYPE_CHECKING:
    from keystead.server.sealing import commands

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


@dataclass(frozen=True, slots=True)
class Opening:
    """The way that is there already."""

    how: With = ""
    stdin: Stdin = False

    def read(self) -> "commands.Opening":
        """As `commands` takes it; loaded now."""
        from keystead.server.sealing import commands

        return commands.Opening(self.how, self.stdin)


@dataclass(frozen=True, slots=True)
class NewSlot:
    """The way that is made."""

    label: Label = ""
    to: To = ""
    shares: Counts = "3/5"
    make_key: MakeKey = False

    def wish(self, kind: str, proof: Path | None = None) -> "commands.Wish":
        """As `commands` takes it; loaded now."""
        from keystead.server.sealing import commands

        return commands.Wish(kind, self.label, self.to, self.shares, proof, self.make_key)


def add_to(app: typer.Typer, seal: typer.Typer) -> None:
    """Declare the commands: `app` gets the group `recovery`, `seal` is there already."""
    app.add_typer(recovery, name="recovery")
    command(seal, "list")(list_slots)
    command(seal, "add")(add)
    command(seal, "remove")(remove)
    command(seal, "migrate")(migrate)
    command(seal, "rotate")(rotate)
    command(recovery, "keygen")(keygen)
    command(recovery, "drill")(drill)


def list_slots(session: Session, where: Where) -> None:
    """The ways to open this region's root key. Needs no key."""
    from keystead.server.sealing import commands

    commands.show_slots(session.console, where.config, where.state)


def add(session: Session, kind: Kind, where: Where, opening: Opening, new: NewSlot) -> None:
    """One more way to open the root key. What runs is not touched."""
    from keystead.server.sealing import commands

    commands.add(session.console, where.config, where.state, opening.read(), new.wish(kind))


def remove(session: Session, slot: SlotId, where: Where, opening: Opening) -> None:
    """One way less. It is opened with a way that remains."""
    from keystead.server.sealing import commands

    commands.remove(session.console, where.config, where.state, opening.read(), slot)


def migrate(
    session: Session,
    slot: SlotId,
    kind: Kind,
    where: Where,
    opening: Opening,
    new: NewSlot,
    proof: Annotated[
        Path | None, typer.Option("--proof", metavar="FILE", help="recipient: an identity that opens the new slot.")
    ] = None,
) -> None:
    """Exchange one way for another: the old goes when the new one was seen to open. What runs is not touched."""
    from keystead.server.sealing import commands

    commands.migrate(session.console, where.config, where.state, opening.read(), slot, new.wish(kind, proof))


def rotate(
    session: Session,
    where: Where,
    opening: Opening,
    drop: Annotated[
        list[str] | None, typer.Option("--drop", metavar="SLOT", help="Leave this slot behind. May be repeated.")
    ] = None,
    key_file: Annotated[
        list[Path] | None,
        typer.Option("--key-file", metavar="FILE", help="Another key file that shall go on. May be repeated."),
    ] = None,
) -> None:
    """A new root key: everything is wrapped anew. The region must be down; tokens are void afterwards.

    Slots of tokens, other KMS and recipients are made anew by themselves; passphrases and shares are asked for.
    """
    from keystead.server.sealing import commands

    commands.rotate(session.console, where.config, where.state, opening.read(), drop or [], key_file or [])


def keygen(
    session: Session,
    identity: Annotated[Path, typer.Argument(metavar="IDENTITY", help="Where the private half goes.")],
    recipient: Annotated[Path, typer.Argument(metavar="RECIPIENT", help="Where the public half goes.")],
) -> None:
    """Make a recovery recipient (X25519 + ML-KEM-768), best on a machine that never meets the region's."""
    from keystead.server.sealing import commands

    commands.keygen(session.console, identity, recipient)


def drill(session: Session, where: Where, opening: Opening) -> None:
    """Rebuild the root key in a scratch copy in memory, and open everything with it. Exit code 1 when that fails."""
    from keystead.server.sealing import commands

    if not commands.drill(session.console, where.config, where.state, opening.read()):
        raise typer.Exit(1)
