"""What `db verify` found on disk, as tables.

The report is `{"files": [...]}`; each file has `where` (data, temporary, log, backup), `path`, `kind`, `encrypted`,
`readable` (why it is in clear by design, else empty), `key_id`, `key_versions` (data-key version -> pages; 0 is a key
that lives in memory only), `copies` (the same for its doublewrite area), `plain_pages` and `canaries` (hits).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from keystead.cli.console import Column, Console
from keystead.cli.exits import CliError
from keystead.cli.wire import Json

_NAMED = 5  # leaks named in the error; the table has them all


def show(console: Console, report: Json) -> None:
    """Print what is encrypted and under what, what is readable by design and why, and what should not be readable."""
    files = report["files"]
    console.say("encrypted:")
    console.table([it for it in files if standing(it) == "encrypted"], _ENCRYPTED, "no file")
    console.say("\nreadable by design:")
    console.table([it for it in files if standing(it) == "readable by design"], _BY_DESIGN, "no file")
    leaks = [it for it in files if standing(it) == "LEAKS"]
    if leaks:
        console.say("\nreadable, and should not be:")
        console.table(leaks, _LEAKS)
    counted = Counter(map(standing, files))
    console.say("\n" + ", ".join(f"{counted[what]} {what}" for what in ("encrypted", "readable by design", "LEAKS")))
    needed = _versions_needed(files)
    if needed:
        console.say("data-key versions in use: " + ", ".join(f"{it} ({needed[it]} files)" for it in sorted(needed)))


def check(report: Json) -> None:
    """Whether everything is as it should be.

    Raises:
        CliError: a file is readable that should not be, or a canary was found in clear.
    """
    wrong = [_path(it) for it in report["files"] if standing(it) == "LEAKS"]
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise CliError(f"readable on disk: {', '.join(wrong[:_NAMED])}{more}", code="Readable")


def standing(file: Mapping[str, Any]) -> str:
    """`encrypted`, `readable by design` or `LEAKS`."""
    by_design = bool(file.get("readable"))
    in_memory = file.get("where") == "temporary" and by_design
    if (not file["encrypted"] and not by_design) or (file.get("canaries") and not in_memory):
        return "LEAKS"
    return "encrypted" if file["encrypted"] else "readable by design"


def _path(file: Mapping[str, Any]) -> str:
    where = file.get("where", "data")
    return str(file["path"]) if where == "data" else f"{where}: {file['path']}"


def _versions(file: Mapping[str, Any]) -> str:
    """`3 (118), 1 (3)`: newest first, with the pages under each."""

    def told(found: Mapping[str, int]) -> str:
        newest = sorted(found, key=int, reverse=True)
        return ", ".join(f"{'in memory' if it == '0' else it} ({found[it]})" for it in newest)

    copies = file.get("copies")
    return told(file.get("key_versions") or {}) + (f"; doublewrite {told(copies)}" if copies else "")


def _versions_needed(files: list[Json]) -> dict[int, int]:
    """How many files still hold something under each data-key version."""
    needed: Counter[int] = Counter()
    for file in files:
        needed.update({int(it) for it in (file.get("key_versions") or {}) | (file.get("copies") or {})} - {0})
    return dict(needed)


_ENCRYPTED: list[Column] = [
    ("file", _path),
    ("kind", "kind"),
    ("key", lambda it: it.get("key_id") or None),
    ("versions (pages)", _versions),
]
_BY_DESIGN: list[Column] = [("file", _path), ("kind", "kind"), ("why", "readable")]
_LEAKS: list[Column] = [
    ("file", _path),
    ("kind", "kind"),
    ("pages in clear", "plain_pages"),
    ("canaries found", "canaries"),
]
