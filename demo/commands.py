"""The `keystead` command line as several people use it: a subprocess each time, a profile for each person."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).parent / "keystead"
NOT_FOUND, CONFLICT = 4, 5  # exit codes


class Unexpected(Exception):
    """A command ended otherwise than it should have; the message holds what it said."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered. `out` may hold secrets."""

    line: str
    code: int
    out: str
    err: str
    seconds: float

    @property
    def data(self) -> Any:
        """The JSON document of a command that succeeded."""
        return json.loads(self.out)

    @property
    def error(self) -> Mapping[str, Any]:
        """`code`, `message`, `hint`, `request_id` of a command that was refused."""
        for line in reversed(self.err.splitlines()):
            if line.startswith("{"):
                return dict(json.loads(line))
        return {"code": "", "message": self.err.strip() or f"it ended with {self.code}", "hint": ""}


class CommandLine:
    """Runs commands with profiles and tokens under `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(
        self,
        profile: str | None,
        words: Sequence[str],
        *,
        secret: str = "",
        as_json: bool = True,
        environment: Mapping[str, str] | None = None,
        on_terminal: bool = False,
    ) -> Said:
        """Run one command to its end.

        Args:
            profile: whose; None for commands that need nobody to be signed in.
            secret: goes to standard input.
            on_terminal: let standard error through, for a progress bar.
        """
        options = [*(["--json"] if as_json else []), *(["--profile", profile] if profile else [])]
        began = time.monotonic()
        ended = subprocess.run(
            [str(PROGRAM), *options, *words],
            input=secret,
            stdout=subprocess.PIPE,
            stderr=None if on_terminal else subprocess.PIPE,
            text=True,
            check=False,
            env=self._environment() | dict(environment or {}),
        )
        took = time.monotonic() - began
        return Said(spelled(words), ended.returncode, ended.stdout, ended.stderr or "", took)

    def _environment(self) -> dict[str, str]:
        """This process's, without settings that are meant for other regions."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KEYSTEAD_", "MYSQL_"))}
        return kept | {"KEYSTEAD_HOME": str(self.home)}


def spelled(words: Sequence[str]) -> str:
    """A command as one would type it."""
    return " ".join(["keystead", *(f'"{word}"' if not word or " " in word else word for word in words)])
