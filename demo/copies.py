"""Step 7: a backup becomes a system of its own, which needs nothing of the first."""

from demo import clients, data
from demo.commands import CONFLICT, NOT_FOUND
from demo.keys import data_directory, page_versions
from demo.region import remember
from demo.show import milliseconds
from demo.stage import DBA, OFFICER, Stage


def restore_and_part(stage: Stage) -> None:
    """Restore under another key; delete the first system, then its key, for ever; the copy goes on."""
    show = stage.show
    old = set(page_versions(stage, "flights"))
    made = stage.run(DBA, "backup", "restore", "monday", "--name", "copy", "--key", "ledger")
    remember(stage, made.data)
    stage.place.record()
    system = made.data["db_system"]
    show.prove("the backup is restored to a new system under another key",
        system["state"] == "ACTIVE" and system["key_id"] == stage.known["key ledger"],
        f"{system['state']} after {milliseconds(made.seconds)}, under 'ledger'")  # fmt: skip
    _prove_same(stage, "its row checksums equal those of the first")
    found = page_versions(stage, "copy")
    show.prove("it has data keys of its own: its pages were rewritten under them", found and not old & set(found),
        ", ".join(f"version {version}: {pages:,} pages" for version, pages in found.items()))  # fmt: skip
    _part(stage)
    stage.run(DBA, "backup", "create", "copy", "--name", "tuesday", "--key", "backups")
    report = data.verified(stage, "copy")
    hits = sum(file["canary_hits"] for file in report["files"])
    backups = [file for file in report["files"] if file["kind"] == "backup"]
    show.prove(
        "the copy and a backup of it are encrypted on disk too",
        report["holds"] and not hits and backups and all(file["encrypted"] for file in backups),
        f"{len(report['files'])} files, {len(backups)} of them a backup",
    )
    redo = {version for file in report["files"] if file["kind"] == "redo log" for version in file["key_versions"]}
    show.prove("the restart wrote a fresh redo log under the new data key", redo == set(found),
        f"version {', '.join(sorted(redo))}")  # fmt: skip
    data.search(stage, "our own search of the bytes, backups included, finds nothing of the data set")


def _part(stage: Stage) -> None:
    show = stage.show
    refused = stage.run(OFFICER, "key", "delete", "finance", "--yes", fine=(CONFLICT,)).error
    show.prove("a key that a system needs is not deleted just so: the refusal names what needs it",
        refused["code"] == "StillNeeded" and "'flights'" in refused["message"], refused["message"])  # fmt: skip
    first = data_directory(stage, "flights")
    stage.run(DBA, "db", "delete", "flights", "--yes")
    number, text, _ = clients.refusal(stage, "flights")
    show.prove("the first system is deleted, with its files", number != 0 and not first.exists(), text)
    _destroy(stage)
    restarted = stage.run(DBA, "db", "restart", "copy")
    stage.place.record()
    with clients.session(stage, "copy") as connection:
        rows = clients.query(connection, "SELECT COUNT(*) FROM flights")[0][0]
    show.prove("the first system and its key gone, the copy stops, starts and answers", rows > 0,
        f"{rows:,} flights, restarted in {milliseconds(restarted.seconds)}")  # fmt: skip
    _prove_same(stage, "and its row checksums are still the same")


def _destroy(stage: Stage) -> None:
    """Delete the key of the system that is gone, and destroy its material."""
    show = stage.show
    impact = stage.run(OFFICER, "key", "impact", "finance", "--if", "delete").data
    show.prove("before its key goes the vault says what that would stop: nothing any more",
        impact["needed_by"] == 0 and not impact["effects"], f"needed by {impact['needed_by']}")  # fmt: skip
    deleted = stage.run(OFFICER, "key", "delete", "finance", "--yes").data
    show.did(f"'finance' is {deleted['state']}, and could be recovered until {deleted['purge_at']}")
    purged = stage.run(OFFICER, "key", "purge", "finance", "--yes").data
    back = stage.run(OFFICER, "key", "recover", stage.known["key finance"], fine=(CONFLICT, NOT_FOUND)).error
    show.prove("deleted and purged, it is destroyed: nothing brings it back", purged["state"] == "PURGED",
        back["message"])  # fmt: skip


def _prove_same(stage: Stage, claim: str) -> None:
    found, took = clients.checksums(stage, "copy")
    stage.show.prove(claim, found == stage.checksums, f"flights: {found['flights']}, {milliseconds(took)}")
