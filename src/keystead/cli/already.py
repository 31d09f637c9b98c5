"""What is asked for is so already: then it is done, and said so.

The region refuses a move that its tables do not have, `disable` of a disabled key too, and records that. For whoever
typed it, or a script that runs twice, the thing is where it was to go: exit code 0. Any other refusal stays one.
"""

from typing import NamedTuple

from keystead.cli.exits import CliError
from keystead.cli.session import Session
from keystead.cli.wire import Call, Json

# what a move is refused with that has been made: the table has none, or what was destroyed is needed
_REFUSED = frozenset({"IllegalState", "StillNeeded"})


class Moved(NamedTuple):
    """What was answered. `already`: the region refused, and `answer` is the thing as it is, in the wanted state."""

    answer: Json
    already: bool

    def said(self, state: str) -> str:
        """The state in words."""
        return f"{state} already" if self.already else state


def moved(session: Session, call: Call, thing: str, wanted: str | None) -> Moved:
    """Send `call`, which is to bring the thing at the path `thing` into the state `wanted` (None: into none).

    Raises:
        CliError: refused, and the thing is not in that state, or may not be seen.
    """
    try:
        return Moved(session.client.send(call).data, False)
    except CliError as error:
        if error.code not in _REFUSED or wanted is None:
            raise
        try:
            found = session.client.get(thing).data
        except CliError:
            raise error from None
        if found.get("state") != wanted:
            raise
        return Moved(found, True)
