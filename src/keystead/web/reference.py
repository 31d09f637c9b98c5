"""The list of operations for people: docs/api/operations.md, made from the table.

`python -m keystead.web.reference > docs/api/operations.md` writes it; a test holds the file to the table.
"""

from collections.abc import Iterable, Iterator

from keystead.web.api import TABLE
from keystead.web.operations import ROOT, Operation


def lines(table: Iterable[Operation]) -> Iterator[str]:
    """Markdown, one table for each tag."""
    yield "# Operations"
    yield ""
    yield f"Paths are below `{ROOT}`. How requests and answers look in general: [README.md](README.md); each field:"
    yield f"`GET {ROOT}/openapi.json`. This file is made from the table of operations."
    operations = tuple(table)
    for tag in dict.fromkeys(one.tag for one in operations):
        yield ""
        yield f"## {tag}"
        yield ""
        yield "| Operation | Request | What it does | Permission | Answer |"
        yield "|---|---|---|---|---|"
        for one in operations:
            if one.tag == tag:
                yield _row(one)


def _row(one: Operation) -> str:
    notes = []
    if one.creates:
        notes.append("Idempotency-Key")
    if one.moves:
        notes.append("If-Match")
    request = f"`{one.method} {one.path}`" + (f" ({', '.join(notes)})" if notes else "")
    needed = ", ".join(f"`{name}`" for name in one.permissions) or ("signed in" if one.auth else "none")
    return f"| {one.name} | {request} | {one.summary} | {needed} | {one.status} |"


def text() -> str:
    """The whole file."""
    return "\n".join(lines(TABLE)) + "\n"


if __name__ == "__main__":
    print(text(), end="")
