"""The demonstration can do only what users can: it imports nothing of the product."""

import ast
from pathlib import Path

DEMO = Path(__file__).resolve().parents[2] / "demo"


def test_nothing_of_the_product_is_imported() -> None:
    files = sorted(DEMO.glob("*.py"))
    assert len(files) > 10
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "keystead"], path
