"""The runner of documentation: what it takes for a match, and that it notices what differs."""

from pathlib import Path

import pytest
from tests.docs.shell import Shell, blocks, missing, run_block

PAGE = """
text

```console exit=3
$ echo one 17 ks1.key.main.home.sujvjhbkqcxz7nn5lyvgji5izwv7rmxe
one  4  ks1.key.main.home.nhj3kd7us3uxebg6nvuneupssbdisbyg
$ cat <<X
> two
> X
two
$ (exit 3)
```

```sh
never run
```
"""


@pytest.fixture
def shell(tmp_path: Path):
    made = Shell({"PATH": "/usr/bin:/bin"}, tmp_path)
    yield made
    made.close()


def test_blocks_are_read() -> None:
    (block,) = blocks(PAGE)
    assert [step.exit_code for step in block.steps] == [None, None, 3]
    assert block.steps[1].command == "cat <<X\ntwo\nX"
    assert block.steps[1].shown == ("two",)


def test_a_block_runs(shell: Shell) -> None:
    assert run_block(shell, blocks(PAGE)[0], "page") == []


@pytest.mark.parametrize(
    ("shown", "output", "lacks"),
    [
        (("a  12.5 b",), "x\na 7 b\ny", None),
        (("… b …",), "a b c", None),
        (("a", "b"), "b\na", "b"),
        (("a", "…", "c"), "a\nb\nc", None),
        (("state ACTIVE",), "state INACCESSIBLE", "state ACTIVE"),
        (("a b",), "a b c", "a b"),
        (("a (b) …",), "a b c", "a (b) …"),
    ],
)
def test_what_counts_as_shown(shown: tuple[str, ...], output: str, lacks: str | None) -> None:
    assert missing(shown, output) == lacks


@pytest.mark.parametrize(
    "content",
    ["$ echo no\nyes", "$ false\n$ true", "$ true\n$ false"],
)
def test_what_differs_is_noticed(shell: Shell, content: str) -> None:
    assert run_block(shell, blocks(f"```console\n{content}\n```\n")[0], "page")


def test_variables_functions_and_directories_last(shell: Shell) -> None:
    shell.run("mkdir d && cd d && x=1 && f() { echo f$x; }")
    assert shell.run("f; pwd").output.split()[0] == "f1"


@pytest.mark.parametrize("info", ["exits=1", "console"])
def test_misspelt_marks_are_refused(info: str) -> None:
    with pytest.raises(ValueError, match="mean"):
        blocks(f"```console {info}\n$ true\n```\n")
