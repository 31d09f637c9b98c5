"""The drawings in docs/formats/ say what the code does."""

import json
import re
from pathlib import Path

from keystead.crypto import envelope, kdf, stream
from keystead.seal.model import PURPOSES

ROOT = Path(__file__).parent.parent.parent
DOCS = {name: (ROOT / "docs" / "formats" / f"{name}.md").read_text() for name in ("envelope", "stream", "seal")}


def test_the_worked_example_is_the_golden_vector() -> None:
    vector = json.loads((ROOT / "tests" / "vectors" / "envelope-v1.json").read_text())[1]
    example = DOCS["envelope"].split("## Worked example")[1]
    shown = {
        name: found.replace(" ", "") for name, found in re.findall(r"^(\w+) +([0-9a-f ]+)$", example, re.MULTILINE)
    }
    assert shown["header"] + shown["salt"] + shown["commitment"] + shown["tag"] == vector["blob"]
    assert shown["binding"] == vector["binding_bytes"]
    assert vector["plaintext"] == vector["key_id"].strip("k") == ""


def test_magics_labels_and_purposes_are_named() -> None:
    for name, magic, label in (
        ("envelope", envelope.MAGIC, envelope._EXTRACT_SALT),
        ("stream", stream.MAGIC, stream._EXTRACT_SALT),
    ):
        assert magic.hex(" ").upper() in DOCS[name]
        assert f'"{label.decode()}"' in DOCS[name]
    assert f'"{kdf._SALT.decode()}"' in DOCS["seal"]
    for purpose in PURPOSES:
        assert purpose in DOCS["seal"]


def test_the_cost_shown_is_the_default() -> None:
    cost = kdf.Cost()
    shown = f'{{"memory_kib": {cost.memory_kib}, "iterations": {cost.iterations}, "lanes": {cost.lanes}'
    assert shown in DOCS["seal"]
