"""Step 6: the key is taken away and given back."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from demo import clients
from demo.keys import data_directory
from demo.show import megabytes, milliseconds
from demo.stage import DBA, OFFICER, Stage
from demo.writer import Writer

_FENCED_MS = 1000.0
_HEALED_SECONDS = 60.0
_STEPS = ("committed", "endpoint_closed", "process_gone", "socket_closed", "restart_refused")


def fence_and_heal(stage: Stage) -> None:
    """A backup under its own key; the key disabled; the key enabled."""
    show = stage.show
    made = stage.run(DBA, "backup", "create", "flights", "--name", "monday", "--key", "backups").data["backup"]
    show.prove("a backup is taken under a key of its own, while a client writes",
        made["state"] == "ACTIVE" and made["key_id"] == stage.known["key backups"],
        f"{megabytes(made['size'])} encrypted, data-key versions {made['detail']['data_key_versions']}")  # fmt: skip
    stage.checksums, took = clients.checksums(stage, "flights")
    show.did(f"CHECKSUM TABLE ... EXTENDED of five tables, flights: {stage.checksums['flights']}", took)
    _fence(stage)
    _heal(stage)


def _fence(stage: Stage) -> None:
    show, writer = stage.show, stage.known["writer"]
    assert isinstance(writer, Writer)
    disabled = stage.run(OFFICER, "key", "disable", "finance").data
    writer.join(15)
    stage.known["disabled at"] = _moment(disabled["changed_at"])
    receipt = _receipt(stage, stage.known["disabled at"])
    steps = {step["name"]: step["after_ms"] for step in receipt["steps"]}
    show.table(
        ("the fence", "ms after the commit"), [(name.replace("_", " "), float(ms)) for name, ms in steps.items()]
    )
    show.prove("every step of the fence was done and seen", set(_STEPS) <= set(steps), receipt["reason_text"])
    gone = steps.get("process_gone", 1e9)
    show.prove("the server was gone within a second", gone < _FENCED_MS, f"{gone:.0f} ms")
    last = (writer.acknowledged[-1][1] - stage.known["disabled at"]) * 1000
    show.did(
        f"the writing client: {len(writer.acknowledged):,} rows acknowledged, the last {last:.0f} ms after the commit, "
        f"then '{writer.error}'"
    )
    _prove_inaccessible(stage)


def _prove_inaccessible(stage: Stage) -> None:
    show = stage.show
    number, text, took = clients.refusal(stage, "flights")
    show.command(DBA, "pymysql.connect(...)", took)
    show.did(f"error {number}: {text}")
    show.prove("a client that connects is told the state and the reason", number > 0 and "INACCESSIBLE" in text
        and "finance" in text and "DISABLED" in text, f"one error packet, {milliseconds(took)}")  # fmt: skip
    system = stage.run(DBA, "db", "show", "flights").data
    show.prove("its state is INACCESSIBLE, with the reason", system["state"] == "INACCESSIBLE", system["reason_text"])
    refused = stage.run(DBA, "db", "start", "flights", fine=(1, 5))
    show.prove("a start is refused", refused.code == 5, f"{refused.error['message']}; {refused.error['code']}")
    show.prove("a start by hand, past the product, gets no keys either", *_start_by_hand(stage))


def _start_by_hand(stage: Stage) -> tuple[bool, str]:
    """What somebody with root on the machine may try: the server's own configuration, in the server's own name.

    What the fence wiped (its directories in memory, its TLS key) is made good first, so that only keys are missing.
    """
    data = data_directory(stage, "flights")
    owner = data.stat().st_uid
    scratch = stage.place.memory / "by-hand"
    for name in ("run", "tmp"):
        (scratch / name).mkdir(parents=True)
        os.chown(scratch / name, owner, owner)
    scratch.chmod(0o711)
    lines = (data.parent / "my.cnf").read_text().splitlines()
    memory = next(line.partition("= ")[2] for line in lines if line.startswith("tmpdir")).removesuffix("/tmp")
    kept = [line for line in lines if not line.startswith(("ssl_", "require_secure", "port"))]
    configuration = scratch / "my.cnf"
    configuration.write_text("\n".join([*kept, "skip_networking = ON", ""]).replace(memory, str(scratch)))
    program = shutil.which("mariadbd", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") or "mariadbd"
    account: dict[str, Any] = {} if owner == os.geteuid() else {"user": owner, "group": owner, "extra_groups": []}
    try:
        ended = subprocess.run(
            [program, f"--defaults-file={configuration}"], check=False, capture_output=True, text=True, timeout=20,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "VAULT_TOKEN": "a-guess"}, cwd="/", **account,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False, "it did not end within 20 s"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    words = [line.partition("[ERROR] ")[2] for line in ended.stderr.splitlines() if "[ERROR]" in line]
    told = next((line for line in words if "encryption" in line), words[0] if words else "")
    return ended.returncode != 0 and any("hashicorp" in line for line in words), f"mariadbd: {told}"


def _heal(stage: Stage) -> None:
    show, writer = stage.show, stage.known["writer"]
    enabled = stage.run(OFFICER, "key", "enable", "finance").data
    answered = clients.first_answer(stage, "flights", _HEALED_SECONDS)
    took = answered - _moment(enabled["changed_at"]) if answered else 0.0
    show.prove(
        "the key enabled, it heals by itself",
        answered,
        f"first query answered {milliseconds(took)} after the commit" if answered else "no query was answered in time",
    )
    after, checked = clients.checksums(stage, "flights")
    show.prove("the row checksums of all five tables equal those before", after == stage.checksums,
        f"flights: {after['flights']}, {milliseconds(checked)}")  # fmt: skip
    with clients.session(stage, "flights", None) as connection:
        lost = writer.lost(connection)
    show.prove("no acknowledged row was lost", lost == 0 and len(writer.acknowledged) > 0,
        f"{len(writer.acknowledged):,} acknowledged, {lost} missing")  # fmt: skip


def _receipt(stage: Stage, since: float) -> Mapping[str, Any]:
    """The receipt of the fence that followed `since`, once it is written."""
    found: Mapping[str, Any] = {}
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with contextlib.suppress(TypeError):  # null: there is none yet
            found = stage.run(DBA, "db", "fence-receipt", "flights").data["fence"]
            if _moment(found["committed_at"]) >= since - 0.001:
                return found
        time.sleep(0.1)
    return found


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
