"""Runs what a page of documentation shows, in order, in one shell, and compares what comes out with what is shown.

In Markdown:

    ```console                   every line that begins with `$ ` is run, `> ` continues it; the others are output
    $ keystead status
    status      ok
    …
    ```

The info string may add `exit=N` (the last command of the block ends so; 0 unless told) and `retry` (the block is run
again until it is as shown, for up to 30 s). Blocks of any other language are for reading.

Shown output is checked loosely: each shown line must be there, in order; others may come between. Numbers stand for any
number, an id for any id, `…` for anything, and white space is not counted.
"""

import os
import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

RETRY_SECONDS = 30.0
COMMAND_SECONDS = 150.0
_FENCE = re.compile(r"^```(\S*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"ks1\.[a-z]+\.[a-z0-9]+\.[a-z0-9-]+\.[a-z2-7]{32}")


@dataclass(frozen=True)
class Step:
    """One command with the output shown below it."""

    line: int
    command: str
    shown: tuple[str, ...]
    exit_code: int | None = None
    """None: not the last of its block; must succeed, like one that ends with 0."""


@dataclass(frozen=True)
class Block:
    line: int
    steps: tuple[Step, ...]
    retry: bool


@dataclass(frozen=True)
class Outcome:
    code: int
    output: str


def fences(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Line number, language, rest of the info string and content of every fenced block."""
    for found in _FENCE.finditer(text):
        yield text[: found.start()].count("\n") + 1, found[1], found[2].strip(), found[3]


def blocks(text: str) -> list[Block]:
    """The runnable blocks of a page. Raises: ValueError for an info string or a line that is not understood."""
    made = []
    for line, language, info, content in fences(text):
        if language != "console":
            continue
        wanted, retry = 0, False
        for word in info.split():
            if word == "retry":
                retry = True
            elif word.startswith("exit="):
                wanted = int(word.removeprefix("exit="))
            else:
                raise ValueError(f"line {line}: what does {word!r} mean?")
        steps = _steps(line, content)
        steps[-1] = replace(steps[-1], exit_code=wanted)
        made.append(Block(line, tuple(steps), retry))
    return made


def _steps(first: int, content: str) -> list[Step]:
    steps: list[Step] = []
    for number, text in enumerate(content.splitlines(), first + 1):
        if text.startswith("$ "):
            steps.append(Step(number, text[2:], ()))
        elif not steps:
            raise ValueError(f"line {number}: output before the first command")
        elif text.startswith("> ") and not steps[-1].shown:
            steps[-1] = replace(steps[-1], command=f"{steps[-1].command}\n{text[2:]}")
        else:
            steps[-1] = replace(steps[-1], shown=(*steps[-1].shown, text))
    if not steps:
        raise ValueError(f"line {first}: a console block without a command")
    return steps


def missing(shown: tuple[str, ...], output: str) -> str | None:
    """The first shown line that the output does not have (where it should be); None when all is there."""
    actual = iter(_loose(line) for line in output.splitlines())
    for line in shown:
        if line.strip() in ("", "…"):
            continue
        pattern = re.compile(re.sub(r"(\\ )?…(\\ )?", ".*", re.escape(_loose(line))))
        if not any(pattern.fullmatch(found) for found in actual):
            return line
    return None


def _loose(line: str) -> str:
    """What does not count is made alike: ids, numbers, white space."""
    line = re.sub(r"-?[0-9]+(\.[0-9]+)?", "0", _ID.sub("ID", line))
    return re.sub(r"\s+", " ", line).strip()


class Shell:
    """One bash for a whole page: directories, variables and functions last from block to block."""

    def __init__(self, environment: Mapping[str, str], directory: Path, runner: Sequence[str] = ()) -> None:
        """`runner`: a program that runs the shell, e.g. as somebody else."""
        self._mark = f"--- {secrets.token_hex(8)}"
        self._output = tempfile.NamedTemporaryFile()  # noqa: SIM115  # closed with the shell
        self._process = subprocess.Popen(
            [*runner, "bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> Outcome:
        """Run `command`; its standard output and error together. Raises: TimeoutError."""
        stdin = self._process.stdin
        assert stdin is not None
        begin = os.fstat(self._output.fileno()).st_size
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            script.write(command + "\n")
            script.flush()
            Path(script.name).chmod(0o644)
            stdin.write(f". {script.name} </dev/null 2>&1\nprintf '\\n%s %s\\n' '{self._mark}' $?\n")
            stdin.flush()
            end = time.monotonic() + COMMAND_SECONDS
            while time.monotonic() < end:
                said = self._said(begin)
                found = re.search(rf"\n{self._mark} (\d+)\n\Z", said)
                if found is not None:
                    return Outcome(int(found[1]), said[: found.start()])
                if self._process.poll() is not None:
                    raise AssertionError(f"the shell ended: {command}\n{said}")
                time.sleep(0.02)
        raise TimeoutError(f"no end after {COMMAND_SECONDS:.0f} s: {command}\n{self._said(begin)}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()

    def _said(self, begin: int) -> str:
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size - begin, begin).decode(errors="replace")


def run_block(shell: Shell, block: Block, page: str) -> list[str]:
    """Run one block. Returns what differs from what is shown: nothing, when all is well."""
    end = time.monotonic() + (RETRY_SECONDS if block.retry else 0.0)
    while True:
        wrong = _attempt(shell, block, page)
        if not wrong or time.monotonic() > end:
            return wrong
        time.sleep(0.2)


def _attempt(shell: Shell, block: Block, page: str) -> list[str]:
    for step in block.steps:
        outcome = shell.run(step.command)
        where = f"{page}:{step.line}: {step.command}"
        if outcome.code != (step.exit_code or 0):
            return [f"{where}\nended with {outcome.code} and said:\n{outcome.output}"]
        lacking = missing(step.shown, outcome.output)
        if lacking is not None:
            return [f"{where}\ndid not say: {lacking}\nbut:\n{outcome.output}"]
    return []
