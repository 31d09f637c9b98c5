"""What `db verify` found on disk, as tables."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from keystead.cli.console import Column, Console
from keystead.cli.exits import CliError
from keystead.cli.wire import Json


def show(console: Console, report: Json) -> None:
    """Print the files that matter one by one, then what was looked for."""
    files = report["files"]
    console.table([it for it in files if it["encrypted"] is True], _ENCRYPTED, "no encrypted file")
    readable = [it for it in files if it["encrypted"] is not True]
    if readable:
        console.say("\nnot encrypted:")
        console.table(readable, _READABLE)
    counted = Counter(_standing(it) for it in files)
    console.say("\n" + ", ".join(f"{count} {what}" for what, count in sorted(counted.items())))


def check(report: Json) -> None:
    """Whether everything is as it should be.

    Raises:
        CliError: a file is readable that should not be, or a canary was found in clear.
    """
    wrong = [it["path"] for it in report["files"] if _standing(it) == "READABLE" or it.get("canary_hits")]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CliError(f"readable on disk: {', '.join(wrong[:5])}{more}", code="Readable")


def _standing(file: Mapping[str, Any]) -> str:
    if file["encrypted"] is True:
        return "encrypted"
    return "readable by design" if file["encrypted"] else "READABLE"


def _versions(file: Mapping[str, Any]) -> str:
    """`2 (118 pages), 1 (3 pages)`: newest first."""
    found: Mapping[str, int] = file.get("key_versions") or {}
    newest: Sequence[str] = sorted(found, key=int, reverse=True)
    return ", ".join(f"{version} ({found[version]})" for version in newest)


_ENCRYPTED: list[Column] = [
    ("file", "path"),
    ("kind", "kind"),
    ("key versions (pages)", _versions),
]
_READABLE: list[Column] = [
    ("file", "path"),
    ("kind", "kind"),
    ("standing", _standing),
    ("why", "reason"),
]
