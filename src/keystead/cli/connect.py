"""Handing over to the mariadb client, with TLS verified against the region's CA.

What this side demands (host, port, TCP, CA file, verification, user) comes last on the client's command line, where it
wins over whatever was passed on. A token goes over in MYSQL_PWD. A password never passes through here: the client asks
for it, or takes it from MYSQL_PWD, which is left as it is.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from keystead.cli.exits import CliError
from keystead.cli.profile import home
from keystead.cli.wire import Json

_PROGRAMS = ("mariadb", "mysql")


def command_line(
    program: str, endpoint: Json, ca_file: Path, user: str, database: str | None, passed_on: Sequence[str], ask: bool
) -> list[str]:
    """The client's argument list. `ask`: let the client ask for the password."""
    return [
        program,
        *passed_on,
        "--protocol=tcp",
        f"--host={endpoint['host']}",
        f"--port={endpoint['port']}",
        f"--ssl-ca={ca_file}",
        "--ssl-verify-server-cert",
        f"--user={user}",
        *([f"--database={database}"] if database else []),
        *(["--password"] if ask else []),
    ]


def replace_process(
    endpoint: Json, user: str, database: str | None, passed_on: Sequence[str], token: str | None = None
) -> None:
    """Become the mariadb client. Does not return. With a `token`, it logs in with that.

    Raises:
        CliError: no client is installed.
    """
    program = client_program()
    ask = "MYSQL_PWD" not in os.environ and token is None
    arguments = command_line(program, endpoint, keep_ca(endpoint["ca_pem"]), user, database, passed_on, ask)
    if token is not None:  # a client's environment is read by nobody but its own user
        os.environ["MYSQL_PWD"] = token
    os.execv(program, arguments)  # noqa: S606 - no shell is wanted


def client_program() -> str:
    """Where the mariadb client is. Raises: CliError: it is not installed."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        raise CliError("the mariadb client is not installed", hint="apt install mariadb-client", code="NoClient")
    return program


def keep_ca(pem: str) -> Path:
    """The CA certificate as a file that outlives this process; one file for each certificate."""
    import hashlib

    directory = home() / "ca"
    path = directory / f"{hashlib.sha256(pem.encode()).hexdigest()[:32]}.pem"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(pem)
        beside.replace(path)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}") from error
    return path
