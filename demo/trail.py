"""Step 8: what happened is on record, and the region's own state comes back."""

import base64
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demo import clients, region
from demo.commands import Said
from demo.show import megabytes, milliseconds
from demo.stage import ADMIN, AUDITOR, DBA, OFFICER, Stage

# who, what they did, on what, what came of it: each of these has to be on record
_ACTS = (
    ("olivia", "CreateVault", "prod", "allowed"),
    ("olivia", "CreateKey", "finance", "allowed"),
    ("david", "CreateDbSystem", "finance", "refused"),
    ("olivia", "CreatePolicy", "database-keys", "allowed"),
    ("david", "CreateDbSystem", "flights", "allowed"),
    ("flights", "UseAssociatedKey", "finance", "allowed"),
    ("david", "VerifyDbSystem", "flights", "allowed"),
    ("olivia", "RotateKey", "finance", "allowed"),
    ("david", "ChangeDbSystemKey", "flights", "allowed"),
    ("david", "RotateDbSystem", "flights", "allowed"),
    ("david", "CreateBackup", "monday", "allowed"),
    ("olivia", "DisableKey", "finance", "allowed"),
    ("flights", "RenewLease", "flights", "refused"),
    ("host", "ReportNode", "flights", "succeeded"),
    ("david", "StartDbSystem", "flights", "refused"),
    ("olivia", "EnableKey", "finance", "allowed"),
    ("david", "RestoreBackup", "monday", "allowed"),
    ("olivia", "DeleteKey", "finance", "refused"),
    ("david", "DeleteDbSystem", "flights", "allowed"),
    ("olivia", "DeleteKey", "finance", "allowed"),
    ("olivia", "PurgeKey", "finance", "allowed"),
)


def trail_and_state(stage: Stage) -> None:
    """The audit trail; a backup of the state; the state lost; the region back, fenced until confirmed."""
    _show_trail(stage)
    file = stage.place.directory / "region.backup"
    said = stage.run(ADMIN, "state", "backup", str(file))
    content = file.read_bytes()
    secrets = [value for name, value in stage.place.credentials.items() if name != "url"]
    shown = [value for value in secrets if value.encode() in content]
    stage.show.prove("the state is backed up, encrypted, without the root key", not shown and content,
        f"{megabytes(len(content))}, {milliseconds(said.seconds)}")  # fmt: skip
    stage.run("root", "down", "--with-databases", "--state", str(stage.state), profile=False)
    shutil.rmtree(stage.state)
    stage.show.did("the state directory is lost")
    _prove_refused(stage, file)
    _bring_back(stage, file)


def _show_trail(stage: Stage) -> None:
    show = stage.show
    said = stage.run(AUDITOR, "audit", "list", "--limit", "2000")
    entries: Sequence[Mapping[str, Any]] = list(reversed(said.data))
    found = {act: _first(entries, act) for act in _ACTS}
    rows = [_row(entry) for entry in sorted(filter(None, found.values()), key=lambda entry: str(entry["at"]))]
    show.table(("time", "who", "did", "on", "from", "outcome", "why"), rows)
    missing = [" ".join(act) for act, entry in found.items() if entry is None]
    show.prove("each important act is on record: who, what, on what, from where, allowed or refused and why",
        not missing, f"{len(entries)} entries; missing: {'; '.join(missing) or 'none'}")  # fmt: skip
    checked = stage.run(AUDITOR, "audit", "verify").data
    show.prove("no entry was changed, cut or lost", checked["intact"], f"{checked['entries']} entries in chains")


def _first(entries: Sequence[Mapping[str, Any]], act: tuple[str, str, str, str]) -> Mapping[str, Any] | None:
    who, did, what, outcome = act
    for entry in entries:
        fenced = did != "ReportNode" or entry["detail"].get("event") == "fenced"
        same = (entry["principal_name"], entry["operation"], entry["resource_name"], entry["outcome"])
        if same == (who, did, what, outcome) and fenced:
            return entry
    return None


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    kind = f" ({entry['principal_type']})" if entry["principal_type"] != "user" else ""
    why = str(entry["reason"]).split("\n")[0]
    return (
        str(entry["at"])[11:23],
        f"{entry['principal_name']}{kind}",
        str(entry["operation"]),
        f"{entry['resource_type']} {entry['resource_name']}",
        str(entry["source"] or "-"),
        str(entry["outcome"]),
        f"{why[:60]}..." if len(why) > 60 else why,
    )


def _prove_refused(stage: Stage, file: Path) -> None:
    place, show = stage.place, stage.show
    wrong = place.directory / "keys" / "wrong.key"
    wrong.touch(mode=0o600)
    kind = place.key_file.read_text().split()[0]
    wrong.write_text(f"{kind} {base64.b64encode(os.urandom(32)).decode()}\n")
    short = place.directory / "short.backup"
    short.write_bytes(file.read_bytes()[:-1000])
    into = ["--into", str(place.restored), "--key-file"]
    refused = stage.run("root", "state", "restore", str(file), *into, str(wrong), profile=False, fine=(1,))
    show.prove("a wrong root key does not open it", _is_refusal(refused, "WrongRootKey"), refused.error["message"])
    refused = stage.run("root", "state", "restore", str(short), *into, str(place.key_file), profile=False, fine=(1,))
    nothing = not place.restored.exists()
    show.prove("a backup cut short is refused, and nothing is left behind",
        _is_refusal(refused, "InvalidBackup") and nothing, refused.error["message"])  # fmt: skip


def _is_refusal(said: Said, code: str) -> bool:
    return said.code != 0 and said.error["code"] == code


def _bring_back(stage: Stage, file: Path) -> None:
    place, show = stage.place, stage.show
    phrase = stage.password("passphrase of the region")
    words = ["state", "restore", str(file), "--into", str(place.restored), "--passphrase-stdin"]
    told = stage.run("root", *words, secret=f"{phrase}\n", profile=False).data
    show.prove("the passphrase, the second slot, opens it", told["fenced_systems"] == 1 and not told["audit_problems"],
        f"state of {told['created_at']}, {told['fenced_systems']} system to be confirmed")  # fmt: skip
    stage.state = place.restored
    region.start(stage)
    region.login(stage, ADMIN, OFFICER, DBA, AUDITOR)
    systems = stage.run(DBA, "db", "list").data
    living = [system for system in systems if system["state"] != "DELETED"]
    number, text, _ = clients.refusal(stage, "copy")
    show.did(f"a client that connects: error {number}: {text}")
    show.prove("every database system is fenced until somebody confirms it",
        [(it["name"], it["state"], it["reason"]) for it in living] == [("copy", "INACCESSIBLE", "unconfirmed")]
        and number != 0,
        ", ".join(f"{it['name']} {it['state']} ({it['reason']})" for it in living))  # fmt: skip
    stage.run(DBA, "db", "confirm", "copy")
    key = stage.run(OFFICER, "key", "show", "ledger").data
    show.prove("and every key is disabled until its officer enables it: it may have been disabled since",
        key["state"] == "DISABLED", f"ledger: {key['state']}")  # fmt: skip
    stage.run(OFFICER, "key", "enable", "ledger")
    answered = clients.first_answer(stage, "copy", 60)
    stage.place.record()
    found, _ = clients.checksums(stage, "copy") if answered else ({}, 0.0)
    show.prove("confirmed and enabled, it runs again, with the same rows", found == stage.checksums,
        f"flights: {found.get('flights')}")  # fmt: skip
    checked = stage.run(AUDITOR, "audit", "verify").data
    show.prove("the trail goes on where it was, and is intact", checked["intact"], f"{checked['entries']} entries")
