"""How the token and the other KMS stand: what `keystead doctor` says of them, with the next step.

The doctor asks each itself, with the limits of the settings, and reads what the region's processes have noted: each
keeps a note of how its breaker stands, anew whenever that changes.

    <runtime>/keystores/<protection>.<pid>.json    {"state": "open", "failures": 3, "stuck": 0, "last": "..."}
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal

from keystead.adapters.keystores.patience import Patience, Seen
from keystead.core.errors import KeystoreUnavailable
from keystead.server import keystores
from keystead.server.settings import Effective

DIRECTORY: Final = "keystores"
SLOW: Final = 0.5
"""Seconds: a token or KMS that takes longer makes every use of its keys slow."""
Found = tuple[Literal["ok", "warning", "failed"], str]
_PIN: Final = {
    "low": "wrong PINs were tried: compare [hsm] pin_file with the token's",
    "final": "one more wrong PIN locks it: stop the region, compare [hsm] pin_file, and only then start it",
    "locked": "its PIN is locked: its security officer must set it anew",
}


def note(runtime: Path, protection: str, patience: Patience) -> None:
    """Have this process keep its note of a keystore. A note that cannot be written is none."""
    path = runtime / DIRECTORY / f"{protection}.{os.getpid()}.json"

    def write(seen: Seen) -> None:
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside = path.with_suffix(".new")
            beside.write_text(json.dumps(asdict(seen)))
            beside.rename(path)

    patience.heard_by(write)


def notes(runtime: Path, protection: str) -> Iterator[Seen]:
    """What living processes have noted; what others left goes."""
    for path in sorted((runtime / DIRECTORY).glob(f"{protection}.*.json")):
        if not Path(f"/proc/{path.name.split('.')[1]}").exists():
            path.unlink(missing_ok=True)
            continue
        with suppress(OSError, ValueError, TypeError):
            yield Seen(**json.loads(path.read_text()))


def token(effective: Effective) -> Found:
    """The token of protection `hsm`."""
    section = effective.settings.hsm
    if not section.uri:
        return "ok", "none: no key is kept in a token"
    asked = keystores.token(section)

    def look() -> str:
        found = asked.state()
        most = "" if found.most is None else f" of {found.most}"
        sessions = "" if found.open is None else f", {found.open}{most} sessions are open"
        if found.pin:
            raise KeystoreUnavailable("KeystoreDown", f"it answers, but {_PIN[found.pin]}")
        if found.open is not None and found.most is not None and found.open >= found.most:
            raise KeystoreUnavailable(
                "KeystoreDown", f"its session table is full{sessions}", hint="lower [hsm] sessions"
            )
        return sessions

    return _found(effective, "hsm", look, f"token {asked.uri.token or asked.uri.serial!r}", "is it plugged in?")


def external(effective: Effective) -> Found:
    """The KMS of protection `external`."""
    section = effective.settings.external
    if not section.url:
        return "ok", "none: no key is kept in another KMS"
    kms = keystores.kms(section)

    def look() -> str:
        kms.run(lambda found: found.check())
        return ""

    return _found(effective, "external", look, kms.kms.where, f"is {section.url} up, and does a firewall let us there?")


def _found(effective: Effective, protection: str, look: Callable[[], str], name: str, step: str) -> Found:
    began = time.monotonic()
    try:
        more = look()
    except KeystoreUnavailable as error:
        return "failed", f"{error.message} ({error.hint or step}); systems with such keys: keystead db list"
    took = time.monotonic() - began
    said = f"{name} answers in {took * 1000:.0f} ms{more}"
    shut = [each for each in notes(effective.runtime, protection) if each.state != "closed" or each.stuck]
    if shut:
        worst = max(shut, key=lambda each: (each.stuck, each.failures))
        last = f", last: {worst.last}" if worst.last else ""
        text = f"{said}; but to {len(shut)} of the region's processes it does not ({worst.stuck} calls hang{last})"
        return "warning", f"{text}: they try again by themselves within 5 s; if it stays so, see its log"
    if took > SLOW:
        return "warning", f"{said}: every use of its keys takes as long; look at its load, and at the way there"
    return "ok", said
