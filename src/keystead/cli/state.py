"""The region's own state."""

import os
from pathlib import Path
from typing import Annotated

import typer

from keystead.cli.command import command, group
from keystead.cli.exits import CliError, usage
from keystead.cli.session import Session
from keystead.cli.wire import Call

state = group("The region's own state: backup, and restore.")

ToFile = Annotated[Path, typer.Argument(metavar="FILE", help="Where the backup goes.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Replace FILE when it is there.")]


@command(state, "backup", approvable=True)
def backup(session: Session, file: ToFile, force: Force = False) -> None:
    """Back up the region's state into one encrypted file. It opens with the region's root key only."""
    if file.exists() and not force:
        raise usage(f"{file} is there already", "choose another name, or --force")
    client = session.client
    beside = file.with_name(f".{file.name}.part")
    size = 0
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as out:
            for piece in client.stream(Call("POST", "/state/actions/backup")):
                out.write(piece)
                size += len(piece)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)
    except OSError as error:
        raise CliError(f"cannot write {file}: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
    session.console.result({"file": str(file), "size": size}, f"state backup: {file}, {size} bytes")
