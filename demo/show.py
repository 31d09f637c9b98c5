"""What is printed: steps, the commands in them with their times, and proofs.

A `Proof` is one claim with what was measured for it; it holds or it does not. Nothing stops at a proof that does not
hold: the run goes on as far as it can, and the summary names the first.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH = 118
_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Proof:
    """One claim: `holds` says whether what was measured (`evidence`) bears it out."""

    step: str
    claim: str
    holds: bool
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the demonstration and how long it took."""

    name: str
    seconds: float


class Show:
    """Prints to standard output: in colour on a terminal, as plain text otherwise."""

    def __init__(self) -> None:
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
        self.interactive = sys.stdout.isatty() and sys.stdin.isatty()
        self._console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)
        self.proofs: list[Proof] = []
        self.steps: list[Step] = []
        self._step = ""

    @contextmanager
    def step(self, number: int, title: str) -> Iterator[None]:
        """Everything that is shown inside belongs to this step."""
        self._step = f"{number}. {title}"
        self._print("")
        self._console.print(Text(f"── {self._step} ".ljust(_WIDTH, "─"), "bold cyan"))
        began = time.monotonic()
        try:
            yield
        finally:
            self.steps.append(Step(self._step, time.monotonic() - began))
            self._print(f"{_INDENT}({self.steps[-1].seconds:.1f} s)", "dim")
            sys.stdout.flush()

    def command(self, who: str, line: str, seconds: float | None = None) -> None:
        """A command that `who` gave."""
        took = "" if seconds is None else f"  [{milliseconds(seconds)}]"
        text = Text(f"  {who}$ ", "bold")
        text.append(line, "not bold").append(took, "not bold dim")
        self._console.print(text)
        sys.stdout.flush()

    def did(self, text: str, seconds: float | None = None) -> None:
        """Something that was done, or what came of it."""
        took = "" if seconds is None else f"  [{milliseconds(seconds)}]"
        for line in text.splitlines():
            self._print(f"{_INDENT}{line}{took}")
            took = ""
        sys.stdout.flush()

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Rows under headers; numbers to the right."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
        for index, header in enumerate(headers):
            numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
            table.add_column(header, justify="right" if numeric else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(_cell(value)) for value in row))
        wide = Console(width=300, force_terminal=self._console.is_terminal, highlight=False)
        with wide.capture() as captured:
            wide.print(table)
        for line in captured.get().rstrip("\n").split("\n"):
            self._console.print(Text.from_ansi(_INDENT + line.rstrip()))

    def prove(self, claim: str, holds: object, evidence: str = "") -> bool:
        """Say that something is so, and whether it is. Returns whether it holds."""
        proof = Proof(self._step, claim, bool(holds), evidence)
        self.proofs.append(proof)
        mark, style = ("  ✓ proved  ", "green") if proof.holds else ("  ✗ FAILED  ", "bold red")
        text = Text(mark, style)
        text.append(claim, "default not bold")
        if evidence:
            text.append(f"  ({evidence})", "dim not bold")
        self._console.print(text)
        sys.stdout.flush()
        return proof.holds

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A sign of life on a terminal while something takes long."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status(f"  {what} ..."):
            yield

    def summary(self, total: float) -> Proof | None:
        """Print what each step took and how many proofs held. Returns the first that did not."""
        self._print("")
        self._console.print(Text("── Summary ".ljust(_WIDTH, "─"), "bold cyan"))
        for step in self.steps:
            proofs = [proof for proof in self.proofs if proof.step == step.name]
            held = sum(proof.holds for proof in proofs)
            self._print(f"{_INDENT}{step.name:<74} {held:>2} of {len(proofs):>2} proofs {step.seconds:>8.1f} s")
        failed = next((proof for proof in self.proofs if not proof.holds), None)
        held = sum(proof.holds for proof in self.proofs)
        self._print(f"{_INDENT}{'together':<74} {held:>2} of {len(self.proofs):>2} proofs {total:>8.1f} s", "bold")
        self._print("")
        if failed is None:
            self._print("  Every proof held.", "bold green")
        else:
            self._print(f"  The first proof that did not hold: {failed.step}: {failed.claim}", "bold red")
            if failed.evidence:
                self._print(f"  {failed.evidence}", "red")
        sys.stdout.flush()
        return failed

    def line(self, text: str = "", style: str = "") -> None:
        """Anything else."""
        self._print(text, style)
        sys.stdout.flush()

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style))


def milliseconds(seconds: float) -> str:
    """`4.1 ms`, `480 ms`, `3.2 s`."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def megabytes(count: float) -> str:
    """A number of bytes, in MB."""
    return f"{count / 1e6:,.1f} MB"


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.1f}"
        case _:
            return str(value)
