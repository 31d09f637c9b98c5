"""The reference of every command, made from the commands themselves: docs/cli.md."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from keystead.cli.exits import MEANINGS

_EVERYWHERE = {"--help", "--json"}
_HEAD = """\
# The command line

Made from the commands themselves by `tools/cli_reference.py`; a test keeps it current.

**Where and who.** `keystead login` asks where the region is and who you are, remembers both in a profile, and keeps a
token that is valid for one hour. Profiles are in `~/.config/keystead/config.toml`, tokens beside it in `tokens/`
(mode 0600). `KEYSTEAD_HOME` moves both, `KEYSTEAD_CONFIG` the configuration alone; `KEYSTEAD_PROFILE` or `--profile`
chooses among profiles:

```toml
default_profile = "default"

[profiles.default]
url = "https://127.0.0.1:8443"      # or unix:/path/of/socket
ca = "/etc/keystead/ca.pem"         # TLS is always verified against this file
tenancy = "acme"
user = "olivia"
compartment = "prod/finance"        # where names are looked up and things are created
```

**Names.** Wherever a thing is named, an id is accepted too. A name is looked up in the compartment (`--compartment`,
else the profile's, else the root); `A/B/name` or `A:B:name` in compartment `A/B` from the root, `/name` in the root.

**Output.** Results go to standard output, remarks, progress and errors to standard error. On a terminal lists are drawn
as tables, otherwise they are aligned plain text. `--json`, before or after the command, prints one JSON document
instead, and errors as one line of JSON.

**Secrets.** Passwords and plaintext never go through arguments. What is *shown once* is kept nowhere.

**Jobs.** What takes long is a job of the region. Commands wait for it (`--no-wait`: they do not); Ctrl-C ends the
waiting, not the job.

## Exit codes

| code | meaning |
|---|---|
"""


def render(app: typer.Typer) -> str:
    """The whole document, as Markdown."""
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in MEANINGS.items())
    root = get_command(app)
    context = typer.Context(root, info_name="keystead")
    parts = [_HEAD + codes, "## keystead\n", _options(root, context), *_commands(root, context, 2)]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def commands(app: typer.Typer) -> Iterator[tuple[str, Any]]:
    """Every command with its full name: `("keystead key list", command)`."""
    root = get_command(app)
    yield from _walk(root, "keystead")


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for child in getattr(command, "commands", {}).values():
        if not child.hidden:
            yield from _walk(child, f"{name} {child.name}")


def _commands(group: Any, context: Any, level: int) -> Iterator[str]:
    for child in group.commands.values():
        if child.hidden:
            continue
        inner = typer.Context(child, info_name=child.name, parent=context)
        yield f"{'#' * level} {inner.command_path}\n"
        yield f"{_paragraphs(child.help or '')}\n"
        if hasattr(child, "commands"):
            yield from _commands(child, inner, level + 1)
            continue
        pieces = [piece.strip("{}") for piece in child.collect_usage_pieces(inner)]
        usage = " ".join([inner.command_path, *pieces])
        yield f"```\n{usage}\n```\n"
        yield _options(child, inner)


def _options(command: Any, context: Any) -> str:
    rows = []
    for param in command.params:
        record = param.get_help_record(context)
        if getattr(param, "hidden", False) or record is None or _EVERYWHERE & set(param.opts):
            continue
        left = param.metavar if param.param_type_name == "argument" else record[0]
        rows.append(f"| `{left}` | {_cell(record[1])} |\n")
    return "| | |\n|---|---|\n" + "".join(rows) if rows else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
