"""Step 5: keys are changed and rotated. The first takes milliseconds, the second rewrites data, and says so."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo import clients, data
from demo.rest import Rest
from demo.show import megabytes, milliseconds
from demo.stage import DBA, OFFICER, Stage
from demo.writer import Writer

_PAGE = 16384
_MOVES = (
    ("newer version of its key", "finance"),
    ("to a service-managed key", None),
    ("to a CMEK", "finance"),
    ("to another CMEK", "ledger"),
    ("and back", "finance"),
)


def change_and_rotate(stage: Stage) -> None:
    """Rewrap the store key under other keys; then new data keys, and every page rewritten while a client writes."""
    _change(stage)
    _rotate(stage)


def _change(stage: Stage) -> None:
    show, system = stage.show, stage.systems["flights"]
    stage.run(OFFICER, "key", "rotate", "finance")
    before, size = _fingerprint(stage, "flights")
    rest, rows, slowest = Rest(stage, DBA), [], 0.0
    for what, key in _MOVES:
        wanted = {"key_id": stage.known[f"key {key}"] if key else None}
        answer, took = rest.call("POST", f"/db-systems/{system['id']}/actions/change-key", wanted)
        under = "service-managed" if answer["service_managed"] else str(key)
        rows.append((what, under, f"version {answer['key_version']}", took * 1000))
        slowest = max(slowest, took)
    rest.close()
    after, _ = _fingerprint(stage, "flights")
    show.command(
        DBA, "POST /keystead/v1/db-systems/.../actions/change-key   (= keystead db change-key flights --key NAME)"
    )
    show.table(("the store key is rewrapped", "under", "", "ms"), rows)
    show.prove("each change of key takes milliseconds", slowest < 1, f"the slowest {milliseconds(slowest)}")
    show.prove("no data was rewritten", before == after, f"{megabytes(size)} in five table files, the same SHA-256")
    held = stage.run(DBA, "db", "keys", "flights").data
    wrapped = [item for item in held if item["kind"] == "store"]
    parents = [(item["parent_id"], item["parent_version"]) for item in wrapped]
    show.prove(
        "one wrapped copy of the store key is left, under the newest version of 'finance'",
        parents == [(stage.known["key finance"], 2)],
        f"version {parents[0][1]}",
    )


def _rotate(stage: Stage) -> None:
    show = stage.show
    before = page_versions(stage, "flights")
    writer = stage.known["writer"] = Writer(stage, "flights")
    writer.start()
    writer.writing.wait(15)
    began = time.time()
    result = _rotated(stage)
    rows, gap = writer.between(began, time.time())
    after = page_versions(stage, "flights")
    report = data.verified(stage, "flights")
    number = result["number"]
    show.table(("page headers of the five tables", *(f"version {v}" for v in sorted({*before, *after}, key=int))), [
        (when, *(found.get(v, 0) for v in sorted({*before, *after}, key=int)))
        for when, found in (("before", before), ("after", after))
    ])  # fmt: skip
    seconds = float(result["seconds"])
    rate = sum(after.values()) * _PAGE / max(seconds, 0.01)
    show.prove(
        "every page of every table was rewritten under the new data key",
        set(after) == {number} and number not in before,
        f"{sum(after.values()):,} pages in {seconds:.1f} s, {megabytes(rate)}/s",
    )
    show.prove(
        "clients went on writing meanwhile", rows > 0 and not writer.error,
        f"{rows:,} rows acknowledged, the longest wait {milliseconds(gap)}",
    )  # fmt: skip
    _prove_needed(stage, json.loads(result["still_needed"]), report, number)


def _rotated(stage: Stage) -> Mapping[str, str]:
    """Rotate the data keys, with a progress bar where there is a terminal; the job's result."""
    if not stage.show.interactive:
        return dict(stage.run(DBA, "db", "rotate-data-keys", "flights").data["job"]["result"])
    job = stage.run(DBA, "db", "rotate-data-keys", "flights", "--no-wait").data["job"]["id"]
    stage.run(DBA, "job", "wait", job, as_json=False, on_terminal=True)
    return dict(stage.run(DBA, "job", "show", job).data["result"])


def _prove_needed(stage: Stage, needed: Mapping[str, list[str]], report: Mapping[str, Any], number: str) -> None:
    show = stage.show
    for version, what in needed.items():
        show.did(f"version {version} is still needed by {', '.join(what)}")
    named = {item.split()[0] for what in needed.values() for item in what}
    old = [path for version, paths in report["key_versions"].items() if int(version) < int(number) for path in paths]
    # what was written over long ago: nothing reads it but the repair of a page that was torn just then
    copies = [path for path in old if path.endswith("(doublewrite area)")]
    holding = sorted(set(old) - set(copies))
    if copies:
        show.did(f"old copies of pages, not needed by anything: {', '.join(copies)}")
    show.prove(
        "nothing is called retired that is not: what still holds the old version on disk is what was listed",
        set(holding) <= named and report["holds"],
        ", ".join(holding) or "nothing",
    )


def page_versions(stage: Stage, system: str) -> dict[str, int]:
    """Data-key version -> pages, read from the page headers of the five tables; pages never written are left out."""
    found: Counter[str] = Counter()
    for path in _table_files(stage, system):
        content = path.read_bytes()
        # in the checksum format of encrypted tablespaces the key version is the first word of a page; page 0 is plain
        for at in range(_PAGE, len(content), _PAGE):
            if any(content[at + 38 : at + 54]):
                found[str(int.from_bytes(content[at : at + 4], "big"))] += 1
    return dict(found)


def _fingerprint(stage: Stage, system: str) -> tuple[dict[str, str], int]:
    """SHA-256 of each table file, and their size together."""
    contents = {path.name: path.read_bytes() for path in _table_files(stage, system)}
    size = sum(map(len, contents.values()))
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}, size


def _table_files(stage: Stage, system: str) -> list[Path]:
    return sorted((data_directory(stage, system) / clients.SCHEMA).glob("*.ibd"))


def data_directory(stage: Stage, system: str) -> Path:
    """Where a system's server keeps its files."""
    return stage.place.data / str(stage.systems[system]["id"]).rpartition(".")[2] / "data"
