"""The table of legal moves."""

from typing import Literal

from keystead.core.errors import Refusal
from keystead.vault.model import KeyState

KeyMove = Literal["enable", "disable"]

MOVES: dict[tuple[KeyState, KeyMove], KeyState] = {
    ("ENABLED", "disable"): "DISABLED",
    ("DISABLED", "enable"): "ENABLED",
}


def after(state: KeyState, move: KeyMove, name: str) -> KeyState:
    """The state that `move` leads to from `state`.

    Raises:
        Refusal: the table has no such move.
    """
    found = MOVES.get((state, move))
    if found is None:
        legal = sorted(verb for origin, verb in MOVES if origin == state)
        raise Refusal(
            "IllegalState",
            f"key {name!r} is {state}: it cannot {move}",
            hint=f"from {state} it can: {', '.join(legal)}",
            kind="conflict",
        )
    return found
