"""The console script: the client's commands, and those that make, run and repair a region.

Commands import what they need when they run, so that `keystead --help` is quick.
"""

from pathlib import Path
from typing import Annotated

import typer

from keystead.cli.command import command
from keystead.cli.main import app, groups
from keystead.cli.session import Session
from keystead.server.process import openssl
from keystead.server.sealing import cli as seal_cli
from keystead.server.where import StateDir, Where

seal_cli.add_to(app, groups["seal"])

FromStdin = Annotated[
    bool, typer.Option("--passphrase-stdin", help="Read the region's passphrase from the first line of standard input.")
]
Accept = Annotated[
    bool, typer.Option("--accept-rollback", help="Go on with state that is older than its audit trail; recorded.")
]


@command(app, "init")
def init(  # noqa: PLR0913, PLR0917 - options of a command line
    session: Session,
    state: StateDir = None,
    region: Annotated[str, typer.Option("--region", metavar="NAME", help="Name of the region.")] = "home",
    tenancy: Annotated[str, typer.Option("--tenancy", metavar="NAME", help="The first tenancy.")] = "main",
    admin: Annotated[str, typer.Option("--admin", metavar="NAME", help="The first administrator.")] = "admin",
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", metavar="FILE", help="Where the key file goes: outside the state directory."),
    ] = None,
    passphrase_only: Annotated[
        bool, typer.Option("--passphrase-only", help="No key file: the passphrase is asked for at every start.")
    ] = False,
    credentials_file: Annotated[
        Path | None, typer.Option("--credentials-file", metavar="FILE", help="Also write the secrets here (0600).")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Port of the API.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.NAME=VALUE", help="Any other setting.")
    ] = None,
    recovery_shares: Annotated[
        str, typer.Option("--recovery-shares", metavar="K/N", help="Shares for people, shown once: 3/5 is any 3 of 5.")
    ] = "",
    recovery_recipient: Annotated[
        list[Path] | None,
        typer.Option("--recovery-recipient", metavar="FILE", help="A recipient file of `keystead recovery keygen`."),
    ] = None,
) -> None:
    """Make a region: root key, certificate authority, first tenancy and administrator."""
    from keystead.server import commands

    asked = commands.Asked(
        state,
        region,
        tenancy,
        admin,
        key_file,
        passphrase_only,
        credentials_file,
        port,
        setting,
        recovery_shares,
        recovery_recipient,
    )
    commands.init(session.console, asked)


@command(app, "up")
def up(
    session: Session,
    where: Where,
    passphrase_stdin: FromStdin = False,
    detach: Annotated[bool, typer.Option("--detach", help="Come back when the region is up; it goes on.")] = False,
    accept_rollback: Accept = False,
    sealed: Annotated[bool, typer.Option("--sealed", help="Start sealed, whatever could open it.")] = False,
) -> None:
    """Run a region on this machine: serve, work and host, until told to stop."""
    openssl.prefer_faster_rsa()
    from keystead.server import up as runner

    runner.up(
        session.console,
        where.config,
        where.state,
        from_stdin=passphrase_stdin,
        detach=detach,
        accept_rollback=accept_rollback,
        sealed=sealed,
    )


@command(app, "down")
def down(
    session: Session,
    where: Where,
    with_databases: Annotated[
        bool, typer.Option("--with-databases", help="Also stop the database servers; otherwise they go on.")
    ] = False,
) -> None:
    """Stop a region that `up` runs."""
    from keystead.server import up as runner

    runner.down(session.console, where.config, where.state, with_databases=with_databases)


@command(app, "serve")
def serve(
    session: Session,
    where: Where,
    passphrase_stdin: FromStdin = False,
) -> None:
    """Answer HTTP: one of the three processes that `up` runs."""
    openssl.prefer_faster_rsa()
    from keystead.server import commands

    commands.process("serve", where.config, where.state, from_stdin=passphrase_stdin)


@command(app, "work")
def work(session: Session, where: Where, passphrase_stdin: FromStdin = False) -> None:
    """Do jobs and keep the audit index: one of the three processes that `up` runs."""
    from keystead.server import commands

    commands.process("work", where.config, where.state, from_stdin=passphrase_stdin)


@command(app, "host")
def host(session: Session, where: Where) -> None:
    """Run this machine's database servers: one of the three processes that `up` runs."""
    from keystead.server import commands

    commands.process("host", where.config, where.state, from_stdin=False)


@command(app, "doctor")
def doctor(session: Session, where: Where) -> None:
    """Show the effective settings and check this machine. Exit code 1 when something fails."""
    from keystead.server import doctor as physician

    physician.doctor(session.console, where.config, where.state)


@command(app, "migrate")
def migrate(session: Session, where: Where) -> None:
    """Bring the state to this program's schema. The region must not run."""
    from keystead.server import commands

    commands.migrate(session.console, where.config, where.state)


@command(groups["state"], "restore")
def restore(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A state backup.", show_default=False)],
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="Empty or absent directory for the state.")],
    key_file: Annotated[
        Path | None, typer.Option("--key-file", metavar="FILE", help="The region's key file.", show_default=False)
    ] = None,
    passphrase_stdin: FromStdin = False,
    how: Annotated[str, typer.Option("--with", metavar="HOW", help="Open with shares or identity:FILE instead.")] = "",
) -> None:
    """Bring a region's state back from a backup. Every database system stays fenced until it is confirmed."""
    from keystead.server import commands

    commands.restore(session.console, file, into, key_file, from_stdin=passphrase_stdin, how=how)


def main() -> None:
    """The entry point of `keystead`."""
    try:
        app()
    except Exception as error:
        # Whatever its text holds, frames and type are all that is shown.
        from traceback import extract_tb

        for frame in extract_tb(error.__traceback__)[-8:]:
            typer.echo(f"  {frame.filename}:{frame.lineno} {frame.name}", err=True)
        typer.echo(
            f"error: an internal error ({type(error).__name__}): please report it with the lines above", err=True
        )
        raise SystemExit(70) from None


if __name__ == "__main__":
    main()
