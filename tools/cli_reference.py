"""Write docs/cli.md from the commands: `python tools/cli_reference.py`."""

from pathlib import Path

from keystead.cli.reference import render
from keystead.server.main import app

TARGET = Path(__file__).parent.parent / "docs" / "cli.md"

if __name__ == "__main__":
    TARGET.write_text(render(app))
