"""The import rules hold, and each of them fails when it is broken.

The rules themselves are the import-linter contracts in pyproject.toml. A copy of the package gets one forbidden line
at a time, and the contract meant for it must report it.
"""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "keystead"
PURE = ("core", "crypto", "seal", "audit", "iam", "vault", "jobs", "databases")

# (contract, package that breaks it, the line it gets)
VIOLATIONS = [
    ("layers", "core", "import keystead.vault"),
    ("layers", "crypto", "import keystead.seal"),
    ("layers", "iam", "from keystead.vault import __doc__ as x"),
    ("layers", "vault", "import keystead.adapters.sql"),
    ("layers", "databases", "import keystead.host"),
    ("layers", "web", "import keystead.adapters"),
    ("layers", "host", "import keystead.web"),
    ("layers", "adapters", "import keystead.host"),
    ("layers", "web", "import keystead.server"),
    ("cli-below", "cli", "import keystead.vault"),
    ("cli-below", "cli", "import keystead.adapters"),
    ("cli-above", "web", "import keystead.cli"),
    ("pure", "core", "import os"),
    ("pure", "crypto", "import asyncio"),
    ("pure", "vault", "import sqlite3"),
    ("pure", "iam", "from sqlalchemy import select"),
    ("pure", "audit", "import msgspec"),
    ("pure", "databases", "import subprocess"),
    ("pure", "jobs", "from http.client import HTTPConnection"),
    ("core-stands-alone", "core", "import lark"),
    ("cryptography-door", "vault", "from cryptography.hazmat.primitives.ciphers.aead import AESGCM"),
    ("cryptography-door", "server", "import cryptography"),
    ("lark-door", "web", "import lark"),
    ("sql-door", "web", "import sqlalchemy"),
    ("sql-door", "cli", "import pymysql"),
]


def lint(directory: Path, contract: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the contracts of pyproject.toml on the package that lies in `directory`."""
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--no-cache",
        "--config",
        str(ROOT / "pyproject.toml"),
    ]
    if contract:
        command += ["--contract", contract]
    environment = {**os.environ, "PYTHONPATH": str(directory)}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=110)


def test_the_contracts_hold() -> None:
    result = lint(PACKAGE.parent)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 broken" in result.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package alone, every module emptied: only the injected line imports anything."""
    for source in PACKAGE.rglob("*.py"):
        target = tmp_path / "keystead" / source.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    return tmp_path


def test_an_emptied_copy_is_clean_and_is_what_is_looked_at(copy: Path) -> None:
    (copy / "keystead" / "core" / "__init__.py").write_text("import keystead.server\n")
    assert lint(copy).returncode == 1
    (copy / "keystead" / "core" / "__init__.py").write_text("")
    assert lint(copy).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("contract", "package", "line"), VIOLATIONS, ids=lambda value: str(value).replace(" ", "-"))
def test_a_violation_fails(copy: Path, contract: str, package: str, line: str) -> None:
    (copy / "keystead" / package / "__init__.py").write_text(line + "\n")
    result = lint(copy, contract)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout


def test_a_new_package_has_to_be_given_a_layer(copy: Path) -> None:
    (copy / "keystead" / "somewhere").mkdir()
    (copy / "keystead" / "somewhere" / "__init__.py").write_text("")
    assert lint(copy, "layers").returncode == 1


def test_the_real_package_fails_with_one_bad_line(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "keystead", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "keystead" / "vault" / "__init__.py").open("a") as module:
        module.write("\nimport socket\n")
    result = lint(tmp_path)
    assert result.returncode == 1
    assert "keystead.vault -> socket" in result.stdout


# --- what import rules cannot see ------------------------------------------------------------------------------------


def file_access(source: str) -> Iterator[str]:
    """Where a module opens files without importing anything that a contract could forbid."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("open", "__import__"):
            yield f"line {node.lineno}: {node.func.id}()"
        if isinstance(node, ast.ImportFrom) and node.module == "pathlib":
            yield from (f"line {node.lineno}: {name.name}" for name in node.names if not name.name.startswith("Pure"))
        if isinstance(node, ast.Import):
            yield from (f"line {node.lineno}: {a.name}" for a in node.names if a.name in ("pathlib", "io", "importlib"))


def test_domain_packages_open_no_files() -> None:
    found = [
        f"{path.relative_to(PACKAGE)} {what}"
        for package in PURE
        for path in sorted((PACKAGE / package).rglob("*.py"))
        for what in file_access(path.read_text())
    ]
    assert not found


@pytest.mark.parametrize("line", ["open('x')", "from pathlib import Path", "import io", "__import__('os')"])
def test_opening_a_file_is_noticed(line: str) -> None:
    assert list(file_access(line))


def test_pure_paths_are_fine() -> None:
    assert not list(file_access("from pathlib import PurePosixPath\nself.open(blob)"))
