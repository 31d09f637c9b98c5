"""This machine as the region knows it: its id, and the Ed25519 key with which `host` signs its short tokens.

<state>/host/machine.json   {"id": ..., "name": ..., "region": ...}
<state>/host/machine.key    PEM PKCS#8, mode 0400: it identifies the machine and opens nothing by itself
"""

import json
import socket
from dataclasses import dataclass
from pathlib import Path

from keystead.core.errors import Refusal
from keystead.core.ids import MachineId, parse_id
from keystead.core.secret import Secret
from keystead.crypto.sign import SigningKey

DIRECTORY = "host"
NAME_FILE = "machine.json"
KEY_FILE = "machine.key"


@dataclass(frozen=True, slots=True)
class ThisMachine:
    """A registered machine."""

    id: MachineId
    name: str
    region: str

    @classmethod
    def named_here(cls, machine: MachineId, region: str) -> "ThisMachine":
        """Under the host name of this machine."""
        return cls(machine, socket.gethostname(), region)

    def encode(self) -> bytes:
        """The content of `machine.json`."""
        return json.dumps({"id": self.id, "name": self.name, "region": self.region}, indent=1).encode() + b"\n"


def this_machine(state: Path) -> ThisMachine:
    """Raises: Refusal `NoMachine`."""
    try:
        found = json.loads((state / DIRECTORY / NAME_FILE).read_bytes())
        parse_id(found["id"], "machine")
        return ThisMachine(MachineId(found["id"]), str(found["name"]), str(found["region"]))
    except (OSError, ValueError, KeyError, TypeError, Refusal) as error:
        raise _missing(state, NAME_FILE) from error


def machine_key(state: Path) -> SigningKey:
    """Raises: Refusal `NoMachine`."""
    try:
        return SigningKey.from_pem(Secret((state / DIRECTORY / KEY_FILE).read_bytes()))
    except OSError as error:
        raise _missing(state, KEY_FILE) from error


def _missing(state: Path, name: str) -> Refusal:
    return Refusal(
        "NoMachine",
        f"{state / DIRECTORY / name} is missing or unreadable: this machine is not registered",
        hint="restore it from a state backup",
    )
