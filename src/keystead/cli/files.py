"""Files that a command reads and writes; `-` is standard input or output. What is written is for this user only."""

import os
import sys
from pathlib import Path

from keystead.cli.exits import CliError, usage

STDIO = Path("-")


def read(path: Path) -> bytes:
    """All of it.

    Raises:
        CliError: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if path == STDIO else path.read_bytes()
    except OSError as error:
        raise usage(f"cannot read {path}: {error.strerror}") from error


def read_text(path: Path) -> str:
    """All of it, as UTF-8.

    Raises:
        CliError: it cannot be read, or is not text.
    """
    try:
        return sys.stdin.read() if path == STDIO else path.read_text()
    except OSError as error:
        raise usage(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise usage(f"cannot read {path}: {error}") from error


def write(path: Path, data: bytes) -> None:
    """Write to a new or old file that only this user may read, or to standard output.

    Raises:
        CliError: it cannot be written, or it would garble the terminal.
    """
    if path == STDIO:
        if sys.stdout.isatty() and not data.decode("utf-8", "replace").isprintable() and not data.endswith(b"\n"):
            raise CliError("this is not text: it would garble the terminal", hint="use --out FILE or --base64")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}") from error


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, for this user alone. Raises: CliError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.rename(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}") from error
