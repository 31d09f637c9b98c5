"""What a person or a script sees.

Results go to standard output, everything else to standard error. Three forms: JSON when asked for, tables drawn by rich
on a terminal, aligned plain text otherwise (nothing cut, nothing wrapped). Text that comes from elsewhere is shown with
its control characters made visible, so that a name in the audit trail cannot drive the reader's terminal.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keystead.cli.exits import CliError

Column = tuple[str, str | Callable[[Mapping[str, Any]], Any]]

# C0 but tab and newline, DEL, C1, and the marks that turn the direction of writing
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """`text` with control characters spelled out as `\\x1b`."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def phrase(value: Any) -> str:
    """One value in words."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
        case list() | tuple():
            return ", ".join(phrase(item) for item in value) or "-"
        case dict():
            return ", ".join(f"{key}={phrase(item)}" for key, item in value.items()) or "-"
        case _:
            return visible(str(value))


def moment(name: str) -> Callable[[Mapping[str, Any]], str]:
    """A column's cell: the moment in member `name`, to the second, still in UTC."""

    def cell(item: Mapping[str, Any]) -> str:
        return re.sub(r"(\.\d+)?(Z|\+00:00)$", "Z", str(item.get(name) or ""))

    return cell


class Console:
    """Writes results and remarks. `json` is set by `--json`."""

    def __init__(self) -> None:
        self.json = False

    @property
    def interactive(self) -> bool:
        """Whether a person sees remarks and progress as they come."""
        return sys.stderr.isatty() and not self.json

    def document(self, value: Any) -> None:
        """Print `value` as JSON. Escapes what could move a terminal's cursor."""
        text = json.dumps(value, indent=2, ensure_ascii=False)
        print(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))

    def say(self, text: str) -> None:
        """A result in words; nothing when JSON is asked for."""
        if not self.json:
            print(visible(text))

    def result(self, told: Mapping[str, Any], said: str) -> None:
        """What was done: as a document where JSON is asked for, else in words."""
        if self.json:
            self.document(told)
        else:
            self.say(said)

    def remark(self, text: str) -> None:
        """Something beside the result, on standard error."""
        if not self.json:
            print(visible(text), file=sys.stderr, flush=True)

    def secret(self, label: str, value: str | None) -> None:
        """Something that is never shown again. None: it already was."""
        if self.json:
            return
        if value is None:
            print(f"{label}: already shown once, and not kept anywhere")
        else:
            print(f"{label} (shown once, keep it now): {value}")
        sys.stdout.flush()

    def show(self, item: Mapping[str, Any], hide: Sequence[str] = ()) -> None:
        """One thing, field by field."""
        if self.json:
            self.document(item)
            return
        rows = [(key.replace("_", " "), value) for key, value in item.items() if key not in hide]
        width = max((len(key) for key, _ in rows), default=0)
        for key, value in rows:
            print(f"{key:<{width}}  {_block(value, width + 2)}")

    def table(self, items: Sequence[Mapping[str, Any]], columns: Sequence[Column], empty: str = "nothing") -> None:
        """Many things, a row each."""
        if self.json:
            self.document(list(items))
            return
        if not items:
            self.remark(f"({empty})")
            return
        rows = [[phrase(cell(item) if callable(cell) else item.get(cell)) for _, cell in columns] for item in items]
        headers = [header for header, _ in columns]
        if sys.stdout.isatty():
            _draw(headers, rows)
        else:
            _align(headers, rows)

    def error(self, error: CliError) -> None:
        """Tell why a command did not succeed, on standard error."""
        if self.json:
            told = {"code": error.code, "message": error.message, "hint": error.hint, "request_id": error.request_id}
            print(json.dumps({**told, "exit_code": error.exit_code}), file=sys.stderr)
            return
        code = f" [{error.code}]" if error.code and error.code != "Usage" else ""
        print(f"error: {visible(error.message)}{code}", file=sys.stderr)
        if error.hint:
            print(f"hint:  {_indent(visible(error.hint), 7)}", file=sys.stderr)
        if error.request_id:
            print(f"request id: {visible(error.request_id)}", file=sys.stderr)


def _block(value: Any, indent: int) -> str:
    if isinstance(value, list | tuple) and len(value) > 1:
        return _indent("\n".join(phrase(item) for item in value), indent)
    return _indent(phrase(value), indent)


def _indent(text: str, by: int) -> str:
    return text.replace("\n", "\n" + " " * by)


def _align(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[at]) for row in [headers, *rows]) for at in range(len(headers))]
    for row in [[header.upper() for header in headers], *rows]:
        print("  ".join(cell.replace("\n", " ").ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console as Terminal
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(Text(header), overflow="fold", no_wrap=header == "name")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Terminal(highlight=False).print(table)


_STYLES = {
    "ACTIVE": "green",
    "ENABLED": "green",
    "SUCCEEDED": "green",
    "allowed": "green",
    "succeeded": "green",
    "DISABLED": "yellow",
    "BLOCKED": "yellow",
    "INACCESSIBLE": "bold red",
    "FAILED": "bold red",
    "refused": "bold red",
    "failed": "bold red",
}
