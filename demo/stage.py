"""What the steps share: the place, what is shown, the people, and what is known by now."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.commands import CommandLine, Said, Unexpected, spelled
from demo.place import Place
from demo.show import Show

ADMIN, OFFICER, DBA, AUDITOR = "admin", "olivia", "david", "ada"
COMPARTMENT = "prod"


@dataclass
class Stage:
    """One run."""

    show: Show
    place: Place
    data: Path
    region: dict[str, Any] = field(default_factory=dict)
    state: Path = Path()
    systems: dict[str, dict[str, Any]] = field(default_factory=dict)
    checksums: dict[str, int] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._commands = CommandLine(self.place.home)

    def run(
        self,
        who: str,
        *words: str,
        fine: tuple[int, ...] = (0,),
        secret: str = "",
        as_json: bool = True,
        profile: bool = True,
        environment: Mapping[str, str] | None = None,
        on_terminal: bool = False,
    ) -> Said:
        """Run a command as `who` and show it.

        Raises:
            Unexpected: its exit code is not in `fine`.
        """
        # what draws a progress bar itself needs no other sign of life
        with nullcontext() if on_terminal else self.show.waiting(spelled(words[:3])):
            said = self._commands.run(
                who if profile else None,
                words,
                secret=secret,
                as_json=as_json,
                environment=environment,
                on_terminal=on_terminal,
            )
        self.show.command(who, said.line.replace(f"{self.place.directory}/", ""), said.seconds)
        if said.code not in fine:
            raise Unexpected(
                f"{said.line} ended with {said.code}: {said.error['message']} {said.error.get('hint', '')}"
            )
        return said

    def together(self, chains: Sequence[Sequence[tuple[str, Sequence[str], str]]]) -> list[list[Said]]:
        """Run chains of commands (who, words, secret) beside each other, and show them in their order.

        Raises:
            Unexpected: one of them failed.
        """

        def chained(chain: Sequence[tuple[str, Sequence[str], str]]) -> list[Said]:
            return [self._commands.run(who, words, secret=secret) for who, words, secret in chain]

        with self.show.waiting("commands"), ThreadPoolExecutor(len(chains)) as pool:
            ended = list(pool.map(chained, chains))
        for chain, answers in zip(chains, ended, strict=True):
            for (who, _, _), said in zip(chain, answers, strict=True):
                self._shown(who, said, (0,))
        return ended

    def quietly(self, *words: str) -> Said:
        """Run a command that is no part of the show, as nobody."""
        return self._commands.run(None, words)

    def password(self, name: str) -> str:
        """A password of this run."""
        return self.place.credentials[name]

    def _shown(self, who: str, said: Said, fine: tuple[int, ...]) -> Said:
        self.show.command(who, said.line.replace(f"{self.place.directory}/", ""), said.seconds)
        if said.code not in fine:
            raise Unexpected(
                f"{said.line} ended with {said.code}: {said.error['message']} {said.error.get('hint', '')}"
            )
        return said
