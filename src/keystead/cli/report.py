"""What `db verify` found on disk, as tables.

The report: `holds`, `canaries_planted`, `bytes_read`, `key_versions` (data-key version -> files that still hold
something under it) and `files`; each of these has `where` (data, temporary, log, backup), `path`, `kind`, `encrypted`,
`readable_by_design` (the reason, else empty), `key_versions` (version -> pages), `plain_pages`, `canary_hits`, `leaks`.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from keystead.cli.console import Column, Console
from keystead.cli.exits import CliError
from keystead.cli.wire import Json

_NAMED = 5  # leaks named in the error; the table has them all


def show(console: Console, report: Json) -> None:
    """Print what is encrypted and under what, what is readable by design and why, and what should not be readable."""
    files = report["files"]
    leaks = [it for it in files if it["leaks"]]
    encrypted = [it for it in files if it["encrypted"] and not it["leaks"]]
    by_design = [it for it in files if not it["encrypted"] and not it["leaks"]]
    console.say("encrypted:")
    console.table(encrypted, _ENCRYPTED, "no file")
    console.say("\nreadable by design:")
    console.table(_by_reason(by_design), _BY_DESIGN, "no file")
    if leaks:
        console.say("\nreadable, and should not be:")
        console.table(leaks, _LEAKS)
    console.say("")
    for version, paths in sorted(report["key_versions"].items(), key=lambda it: int(it[0])):
        console.say(f"data-key version {version}: {len(paths)} files")
    planted = report["canaries_planted"]
    seen = sum(it["canary_hits"] for it in files)
    sampled = report.get("samples_looked_for", 0)
    more = f" and {sampled} values of your own rows" if sampled else ""
    console.say(f"canaries: {planted} planted{more}, found {seen} times in clear")
    console.say(f"{len(encrypted)} files encrypted, {len(by_design)} readable by design, {len(leaks)} leak")


def show_rotation(console: Console, result: Mapping[str, str]) -> None:
    """Print what a rotation of data keys did, and what still needs an old version and until when."""
    console.show({key: value for key, value in result.items() if key != "still_needed"})
    needed: Mapping[str, list[str]] = json.loads(result.get("still_needed") or "{}")
    for version in sorted(needed, key=int):
        console.say(f"version {version} is still needed by:")
        for what in needed[version]:
            console.say(f"  {what}")
    if not needed:
        console.say("nothing needs an older version any more")


def check(report: Json) -> None:
    """Whether everything is as it should be.

    Raises:
        CliError: a file is readable that should not be, or a canary was found in clear.
    """
    wrong = [_path(it) for it in report["files"] if it["leaks"]]
    if wrong or not report["holds"]:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise CliError(f"readable on disk: {', '.join(wrong[:_NAMED])}{more}", code="Readable")


def _path(file: Mapping[str, Any]) -> str:
    return str(file["path"]) if file["where"] == "data" else f"{file['where']}: {file['path']}"


def _versions(file: Mapping[str, Any]) -> str:
    """`3 (118), 1 (3)`: newest first, with the pages under each."""
    found: Mapping[str, int] = file["key_versions"]
    return ", ".join(f"{version} ({found[version]})" for version in sorted(found, key=int, reverse=True))


def _by_reason(files: Iterable[Json]) -> list[Json]:
    """One row for each kind and reason: there are as many definition files as tables."""
    rows: dict[tuple[str, str], list[str]] = {}
    for file in files:
        rows.setdefault((file["kind"], file["readable_by_design"]), []).append(_path(file))
    return [
        {"kind": kind, "files": len(paths), "such as": paths[0], "why": why}
        for (kind, why), paths in sorted(rows.items(), key=lambda it: -len(it[1]))
    ]


_ENCRYPTED: list[Column] = [("file", _path), ("kind", "kind"), ("key versions (pages)", _versions)]
_BY_DESIGN: list[Column] = [("kind", "kind"), ("files", "files"), ("such as", "such as"), ("why", "why")]
_LEAKS: list[Column] = [
    ("file", _path),
    ("kind", "kind"),
    ("pages in clear", "plain_pages"),
    ("canaries", "canary_hits"),
]
