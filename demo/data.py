"""Steps 3 and 4: real data, and what of it can be read on disk."""

import json
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pymysql

from demo import clients, flights
from demo.clients import SCHEMA
from demo.show import megabytes
from demo.stage import DBA, Stage

_QUERIES = (
    (
        "airlines with the most flights",
        "SELECT a.name, COUNT(*), ROUND(AVG(f.dep_delay), 1) FROM flights f JOIN airlines a USING (carrier)"
        " GROUP BY f.carrier ORDER BY 2 DESC LIMIT 4",
        ("airline", "flights", "mean delay, minutes"),
    ),
    (
        "where they go",
        "SELECT p.name, COUNT(*), CAST(MAX(f.distance) AS INT) FROM flights f JOIN airports p ON p.faa = f.dest"
        " GROUP BY f.dest ORDER BY 2 DESC LIMIT 4",
        ("airport", "flights", "miles"),
    ),
)
# Values that are in the data and in nothing else, and so would show if a byte of it were readable.
_TELLING = (b"Endeavor Air Inc.", b"ExpressJet Airlines", b"George Bush Intercontinental", b"Fixed wing multi engine")


def load_data(stage: Stage) -> None:
    """Step 3: five tables over TLS, then queries."""
    show = stage.show
    began = time.monotonic()
    with clients.session(stage, "flights", None) as connection:
        clients.query(connection, f"CREATE DATABASE {SCHEMA}")
        clients.query(connection, f"USE {SCHEMA}")
        for table in flights.TABLES:
            clients.query(connection, table.definition())
        tls, cipher = clients.status(connection, "Ssl_version"), clients.status(connection, "Ssl_cipher")
        version = str(clients.query(connection, "SELECT VERSION()")[0][0])
    show.command(DBA, f"pymysql.connect(port={stage.systems['flights']['port']}, ssl_verify_identity=True)")
    with show.waiting("loading"):
        counts = _load(stage)
    rows, seconds = sum(counts.values()), time.monotonic() - began
    show.did(f"MariaDB {version}, {tls}, {cipher}; {rows:,} rows in five tables: {rows / seconds:,.0f} rows/s", seconds)
    with clients.session(stage, "flights") as connection:
        stored = {name: clients.query(connection, f"SELECT COUNT(*) FROM {name}")[0][0] for name in counts}
        for title, text, headers in _QUERIES:
            started = time.monotonic()
            answer = clients.query(connection, text)
            show.did(f"{title}:", time.monotonic() - started)
            show.table(headers, [tuple(map(_plain, row)) for row in answer])
    show.prove("every row of the files is in the tables", stored == counts, f"flights: {stored['flights']:,}")
    show.prove("the connection was encrypted, its certificate and name verified", tls.startswith("TLSv1."), tls)
    show.prove("a client without TLS is refused", *_without_tls(stage))


def _load(stage: Stage) -> dict[str, int]:
    """Each statement is one transaction. Two sessions: one's text is made while the server stores the other's."""
    waiting: queue.Queue[str | None] = queue.Queue(4)
    failures: list[Exception] = []
    counts: dict[str, int] = {}

    def store() -> None:
        try:
            with clients.session(stage, "flights") as connection:
                while (text := waiting.get()) is not None:
                    clients.query(connection, text)
        except Exception as error:
            failures.append(error)
            while waiting.get() is not None:  # let the others come to their end
                pass

    threads = [threading.Thread(target=store, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for table in flights.TABLES:
            for text, rows in flights.statements(table, stage.data):
                waiting.put(text)
                counts[table.name] = counts.get(table.name, 0) + rows
    finally:
        for _ in threads:
            waiting.put(None)
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    return counts


def _without_tls(stage: Stage) -> tuple[bool, str]:
    found = stage.systems["flights"]
    secret = stage.password(f"{found['admin_username']}@flights")
    try:
        pymysql.connect(
            host="127.0.0.1", port=found["port"], user=found["admin_username"], password=secret, ssl_disabled=True
        ).close()
    except pymysql.err.MySQLError as error:
        return True, str(error.args[-1])[:90]
    return False, "it was let in"


def verify_disk(stage: Stage) -> None:
    """Step 4: what is on disk, read by the product and once more by ourselves."""
    report = verified(stage, "flights", sample=True)
    stage.known["report"] = report
    show_report(stage, report)
    show = stage.show
    hits = sum(file["canary_hits"] for file in report["files"])
    pages = sum(sum(file["key_versions"].values()) for file in report["files"])
    show.prove("every page and log on disk is encrypted", report["holds"], f"{pages:,} pages, by their own headers")
    planted, sampled = report["canaries_planted"], report.get("samples_looked_for", 0)
    show.prove(
        "canary values and values of our own rows are nowhere in clear",
        planted > 0 and sampled > 0 and hits == 0,
        f"{planted} canaries planted, {sampled} values sampled under our own login, "
        f"{hits} found in {megabytes(report['bytes_read'])}",
    )
    search(stage, "our own search of the bytes finds nothing of the data set either")


def verified(stage: Stage, system: str, *, sample: bool = False) -> dict[str, Any]:
    """`db verify`; its report."""
    found = stage.systems[system]
    login = {"MYSQL_PWD": stage.password(f"{found['admin_username']}@{system}")}
    said = stage.run(DBA, "db", "verify", system, *(["--sample"] if sample else []), environment=login, fine=(0, 1))
    report: dict[str, Any] = json.loads(said.data["job"]["result"]["report"])
    return report


def show_report(stage: Stage, report: Mapping[str, Any]) -> None:
    """Which data-key version protects how much of what, and what is readable by design."""
    protected: dict[tuple[str, str], list[int]] = {}
    readable: dict[tuple[str, str], list[str]] = {}
    for file in report["files"]:
        if file["encrypted"]:
            versions = ", ".join(sorted(file["key_versions"], key=int)) or "-"
            row = protected.setdefault((f"{file['where']}: {file['kind']}", versions), [0, 0, 0])
            for index, more in enumerate((1, sum(file["key_versions"].values()), file["size"])):
                row[index] += more
        else:
            readable.setdefault((file["kind"], file["readable_by_design"]), []).append(file["path"])
    rows = [(*what, files, pages, size / 1e6) for (what, (files, pages, size)) in sorted(protected.items())]
    stage.show.table(("encrypted", "under data-key version", "files", "pages", "MB"), rows)
    by_design = [(kind, len(paths), _short(paths), why) for (kind, why), paths in sorted(readable.items())]
    stage.show.table(("readable by design", "files", "such as", "what it tells"), by_design)


def search(stage: Stage, claim: str) -> None:
    """Look for values of the data set in every file that the region's database systems and backups consist of."""
    place = stage.place
    known = list(_files([stage.data]))
    seen = sum(any(value in path.read_bytes() for path in known) for value in _TELLING)
    read, hits = 0, []
    for path in _files([place.data, place.backups, place.memory]):
        content = path.read_bytes()
        read += len(content)
        hits += [path.name for value in _TELLING if value in content]
    stage.show.prove(
        claim,
        seen == len(_TELLING) and not hits,
        f"{len(_TELLING)} values, all in the CSV files, {hits or 'none'} in {megabytes(read)} on disk",
    )


def _files(directories: Iterable[Path]) -> Iterable[Path]:
    return (path for directory in directories for path in directory.rglob("*") if path.is_file())


def _short(paths: Sequence[str]) -> str:
    return min(paths, key=len)


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | None) else float(str(value))
