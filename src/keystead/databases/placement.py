"""Where a new system runs: on which machine, port and uid (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass

from keystead.core.errors import Refusal
from keystead.core.ids import MachineId
from keystead.databases.model import DbSystem


@dataclass(frozen=True, slots=True)
class Placement:
    """The machine and the ranges that systems are given their ports and uids from. One uid per system.

    `uids` is empty where `host` does not run as root: every server then runs as the user that `host` runs as.
    """

    machine: MachineId
    address: str
    ports: range
    uids: range

    def free_port(self, others: Sequence[DbSystem]) -> int:
        """Raises: Refusal `NoRoom`."""
        used = {system.port for system in others}
        found = next((port for port in self.ports if port not in used), None)
        if found is None:
            raise _full("port", self.ports)
        return found

    def free_uid(self, others: Sequence[DbSystem]) -> int:
        """0 stands for the user that `host` runs as. Raises: Refusal `NoRoom`."""
        if not self.uids:
            return 0
        used = {system.uid for system in others}
        found = next((uid for uid in self.uids if uid not in used), None)
        if found is None:
            raise _full("uid", self.uids)
        return found


def _full(what: str, given: range) -> Refusal:
    return Refusal(
        "NoRoom",
        f"every {what} from {given.start} to {given.stop - 1} is taken",
        hint=f"widen the range of {what}s in keystead.toml",
        kind="conflict",
    )
