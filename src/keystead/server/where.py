"""Which region a command on its own machine is about, as options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

StateDir = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="State directory; $KEYSTEAD_STATE_DIR.", show_default=False),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file; $KEYSTEAD_SETTINGS.", show_default=False)
]


@dataclass(frozen=True, slots=True)
class Where:
    """Which region: its state and its settings."""

    state: StateDir = None
    config: ConfigFile = None
