"""The documents hold together: links, settings, permissions, decisions, commands, and words that do not belong here."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import typer
from tests.docs.place import ROOT
from tests.docs.shell import blocks, fences

from keystead.databases.model import Reason
from keystead.iam.actions import TYPES
from keystead.server import settings
from keystead.server.main import app
from keystead.vault.use.association import Purpose
from keystead.vault.use.operations import Use

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)

# What a reader must never meet: numbers of a tracker, paths and hosts of whoever wrote it, real-looking secrets.
FOREIGN = {
    "number of an issue": r"(?i)\bissues? +#?\d|(?<![&\w/])#\d+\b",
    "somebody's machine": r"/home/\w|/Users/|/root/(?!keystead)",
    "a package index": r"(?i)pypi\.org|files\.pythonhosted|--index-url|artifactory",
    "a promise": r"(?i)\b(coming soon|todo|tbd|fixme|will be (?:added|supported) soon)\b",
    "a long secret": r"\b(?=[A-Za-z0-9+/]{43}=)[A-Za-z0-9+/]{43}=",
}


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_resolves(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in _LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        if anchor:
            assert anchor in {_anchor(found) for found in _HEADING.findall(target.read_text())}, f"{link}: no such part"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_test_that_is_linked_exists(page: Path) -> None:
    for name, link in re.findall(r"\[`?(test_\w+)`?\]\(([^)\s]+)\)", page.read_text()):
        target = (page.parent / link).resolve()
        assert target.suffix == ".py" and re.search(rf"^ *def {name}\(", target.read_text(), re.MULTILINE), (
            f"{link}: {name}"
        )


def test_every_row_of_the_comparison_is_backed() -> None:
    """Ours by a link, or by a plain no; theirs by how it is known."""
    text = (ROOT / "docs/comparison.md").read_text().partition("\n## ")[2]
    rows = [re.split(r" *\| *", line.strip("| ")) for line in text.splitlines() if re.match(r"\| (?!\|)", line)]
    rows = [row for row in rows if row[1:2] != ["Keystead"]]
    assert len(rows) > 40
    for what, ours, *theirs in rows:
        assert _LINK.search(ours) or re.match(r"no\b", ours), f"{what}: nothing backs it"
        assert len(theirs) == 3, what
        for said in theirs:
            assert said == "?" or said[-1] in "ᵐʳⁱ", f"{what}: {said}: how is that known?"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
@pytest.mark.parametrize("what", FOREIGN)
def test_nothing_foreign_is_in_it(page: Path, what: str) -> None:
    found = re.search(FOREIGN[what], page.read_text())
    assert found is None, f"{what}: {found[0] if found else ''}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_lines_and_fences_are_whole(page: Path) -> None:
    text = page.read_text()
    assert text.startswith("# ") and text.endswith("\n")
    assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(list(fences(text))), "a fence is not closed"
    blocks(text)


def test_every_setting_is_documented() -> None:
    written = (ROOT / "docs/settings.md").read_text()
    for section, name, about, _ in settings.described():
        part = written.split(f"## [{section}]")[1].split("\n## ")[0]
        assert f"| `{name}` |" in part and about in part


def test_every_setting_and_variable_named_in_a_page_exists() -> None:
    known = {f"{section}.{name}" for section, name, _, _ in settings.described()}
    variables = {f"KEYSTEAD_{name.replace('.', '_').upper()}" for name in known}
    own = {"KEYSTEAD_SETTINGS", "KEYSTEAD_STATE_DIR", "KEYSTEAD_HOME", "KEYSTEAD_CONFIG", "KEYSTEAD_PROFILE"}
    for page in PAGES:
        text = page.read_text()
        for section, name in re.findall(r"\[([a-z]+)\]`? `?([a-z_]+)\b`", text):
            if section in settings.SECTIONS:
                assert f"{section}.{name}" in known, f"{page.name}: [{section}] {name}"
        for variable in re.findall(r"\bKEYSTEAD_[A-Z_]+[A-Z]\b", text):
            of_tests = {"KEYSTEAD_WRITE_DOCS", "KEYSTEAD_TEST_TOKEN"}
            assert variable in variables | own | of_tests, f"{page.name}: {variable}"


def test_every_permission_is_documented() -> None:
    written = (ROOT / "docs/policy.md").read_text()
    for kind in TYPES:
        assert f"| `{kind.name}` |" in written


def test_every_reason_to_be_inaccessible_is_in_operations() -> None:
    """`keystore_unreachable` is no system's reason: after the grace it is fenced as `vault_unreachable`."""
    written = (ROOT / "docs/operations.md").read_text().split("| INACCESSIBLE because |")[1].split("\n\n")[0]
    reasons = {reason for part in get_args(Reason) for reason in (get_args(part) or (part,))}
    assert set(re.findall(r"`([a-z_]+)`", "".join(row.split(" | ")[0] for row in written.splitlines()))) == (
        reasons - {"keystore_unreachable"}
    )


def test_every_decision_is_listed_and_numbered() -> None:
    directory = ROOT / "docs/decisions"
    listed = (directory / "README.md").read_text()
    numbers = []
    for page in sorted(directory.glob("[0-9]*.md")):
        number, _, _ = page.name.partition("-")
        numbers.append(int(number))
        title = page.read_text().splitlines()[0]
        assert title.startswith(f"# {number} ")
        assert f"[{number}]({page.name})" in listed and title.removeprefix(f"# {number} ") in listed
        assert len(page.read_text().splitlines()) < 60, f"{page.name} is longer than a page"
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_format_is_listed() -> None:
    directory = ROOT / "docs/formats"
    listed = (directory / "README.md").read_text()
    for page in directory.glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in listed


def test_every_purpose_is_listed() -> None:
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs/formats/README.md").read_text(), re.MULTILINE))
    made = {*get_args(Use), *get_args(Purpose)}
    for module in (ROOT / "src").rglob("*.py"):
        made |= set(re.findall(r"""\bBinding\("([a-z-]+)\"""", module.read_text()))
    assert made == listed


def test_every_page_can_be_found_from_the_readme() -> None:
    seen, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for link in _LINK.findall(page.read_text()):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.is_file():
                todo.append(target)
    assert not [str(page.relative_to(ROOT)) for page in set(PAGES) - seen]


def test_every_module_named_exists() -> None:
    for page in PAGES:
        for name in re.findall(r"`(keystead(?:\.[a-z_0-9]+)+)", page.read_text()):
            parts = (ROOT / "src" / name.replace(".", "/"),)
            exists = any(part.is_dir() or part.with_suffix(".py").exists() for part in (*parts, parts[0].parent))
            assert exists, f"{page.name}: {name}"
        for name in re.findall(r"`((?:tests|docs|tools|bench|demo|src)/[\w./-]+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_every_command_named_exists() -> None:
    """`keystead X Y --option` in text and blocks, held against the command line itself."""
    root = typer.main.get_command(app)
    for page in PAGES:
        text = page.read_text()
        spans = re.findall(r"`(keystead [^`\n]+)`", text)
        spans += [step.command.partition(" | ")[0] for block in blocks(text) for step in block.steps]
        for span in spans:
            if span.startswith("keystead "):
                _check_command(root, span, page.name)


def _check_command(root: object, span: str, page: str) -> None:
    words = shlex.split(span.replace("…", "x").replace("...", "x"), comments=True)[1:]
    command: object = root
    options = set[str]()
    while True:
        known = [name for item in command.params for name in (*item.opts, *item.secondary_opts)]  # type: ignore[attr-defined]
        options |= {name for name in known if name.startswith("-")}
        while words and words[0].startswith("--"):
            assert words[0].partition("=")[0] in options | {"--help"}, f"{page}: {span}"
            words = words[2:] if words[0] == "--profile" else words[1:]
        commands = getattr(command, "commands", None)
        if not commands or not words:
            break
        assert words[0] in commands, f"{page}: {span}: there is no {words[0]!r}"
        command, words = commands[words[0]], words[1:]
    for word in words:
        if word in ("--", "|", ">", "&&"):
            break
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"{page}: {span}: {word}"
