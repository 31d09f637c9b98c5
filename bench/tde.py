"""`make bench-tde`: what encryption costs: sysbench oltp_read_write on two MariaDB servers that differ in nothing else.

One is a database system of a region made for the purpose, the other a plain server with its settings copied from it.
Any two servers that run already can be compared too:

    python -m bench.tde --plain SOCKET --encrypted SOCKET [--plain-user U] [--encrypted-user U]

Refuses to compare servers whose settings differ where it counts, that are not durable
(innodb_flush_log_at_trx_commit=1, sync_binlog=1, binary log on), or whose buffer pool does not hold the whole table
set. At least 7 interleaved pairs; the result `tde` is the median ratio of transactions per second,
encrypted / plain. Passwords, where needed, come from $KEYSTEAD_BENCH_PLAIN_PASSWORD and
$KEYSTEAD_BENCH_ENCRYPTED_PASSWORD; they reach sysbench through a file of mode 0600.
"""

import argparse
import contextlib
import os
import pwd
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pymysql

from bench import keystead_region
from bench.harness import compare, emit, interleave, need, say, say_machine, workspace
from bench.mariadb import COPIED, Server, start_encrypted, start_plain

SCHEMA = "keystead_bench"
_MUST_BE = {"innodb_flush_log_at_trx_commit": "1", "sync_binlog": "1", "log_bin": "ON", "innodb_doublewrite": "ON"}
_MUST_AGREE = ("version", "innodb_page_size", "innodb_stats_persistent", "thread_handling", *COPIED)


@dataclass(frozen=True, slots=True)
class Work:
    """How much sysbench does."""

    tables: int = 4
    rows: int = 50_000
    threads: int = 4
    seconds: int = 10
    rounds: int = 7


def check_fair(plain: Server, encrypted: Server, work: Work) -> None:
    """Refuse an unfair comparison.

    Raises:
        RuntimeError: naming every difference.
    """
    settings: Mapping[str, Mapping[str, str]] = {server.name: server.settings() for server in (plain, encrypted)}
    wrong = [
        f"{name}: {key} is {values.get(key)}, not {wanted}"
        for name, values in settings.items()
        for key, wanted in _MUST_BE.items()
        if values.get(key) != wanted
    ]
    one, two = settings[plain.name], settings[encrypted.name]
    wrong += [f"{key} differs: {one.get(key)} / {two.get(key)}" for key in _MUST_AGREE if one.get(key) != two.get(key)]
    # sysbench's rows take about 240 bytes with their index; undo and the system tables want room too
    least = work.tables * work.rows * 240 * 3 // 2
    wrong += [
        f"{name}: a buffer pool of {values['innodb_buffer_pool_size']} bytes does not hold the data ({least})"
        for name, values in settings.items()
        if int(values["innodb_buffer_pool_size"]) < least
    ]
    for name, values in settings.items():
        on = {key: values.get(key) for key in ("innodb_encrypt_tables", "innodb_encrypt_log", "encrypt_binlog")}
        if any((value in ("ON", "FORCE", "1")) != (name == encrypted.name) for value in on.values()):
            wrong.append(f"{name} is not what it is called: {on}")
    if wrong:
        raise RuntimeError("an unfair comparison:\n  " + "\n  ".join(wrong))


def sysbench(server: Server, work: Work, directory: Path, command: str, seconds: int = 0) -> str:
    """Run one sysbench command against a server; its output."""
    options = directory / f"{server.name}.sysbench"
    options.touch(mode=0o600)
    options.write_text(
        f"db-driver=mysql\nmysql-socket={server.socket}\nmysql-user={server.user}\nmysql-password={server.password}\n"
        f"mysql-db={SCHEMA}\ntables={work.tables}\ntable-size={work.rows}\nthreads={work.threads}\n"
        f"time={seconds}\nreport-interval=0\nrand-seed=7\n"
    )
    # the workload's name comes before its command, and the file with options before both
    argv = ["sysbench", f"--config-file={options}", "oltp_read_write", command]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(
            f"sysbench {command} on {server.name} failed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}"
        )
    return result.stdout


def rate(server: Server, work: Work, directory: Path, seconds: int) -> float:
    """Transactions per second over one run."""
    output = sysbench(server, work, directory, "run", seconds)
    found = re.search(r"transactions:\s+\d+\s+\(([\d.]+) per sec", output)
    if not found:
        raise RuntimeError(f"sysbench gave no figure:\n{output}")
    return float(found[1])


def measure(plain: Server, encrypted: Server, work: Work) -> None:
    """Prepare both, check that the comparison is fair, run the pairs, print the result, drop the data."""
    if work.rounds < 7:
        raise ValueError("fewer than 7 pairs say little")
    with workspace("tde") as directory:
        try:
            for server in (plain, encrypted):
                with server.session() as cursor:
                    cursor.execute(f"DROP DATABASE IF EXISTS {SCHEMA}")
                    cursor.execute(f"CREATE DATABASE {SCHEMA}")
                say(f"{server.name}: {work.tables} tables of {work.rows:,} rows")
                sysbench(server, work, directory, "prepare")
            check_fair(plain, encrypted, work)
            for server in (plain, encrypted):
                rate(server, work, directory, max(3, work.seconds // 2))
            values = interleave(
                work.rounds,
                {
                    "encrypted": lambda: rate(encrypted, work, directory, work.seconds),
                    "plain": lambda: rate(plain, work, directory, work.seconds),
                },
            )
            emit(compare("tde", "transactions/s", values["encrypted"], values["plain"]))
        finally:
            for server in (plain, encrypted):
                with contextlib.suppress(pymysql.MySQLError), server.session() as cursor:
                    cursor.execute(f"DROP DATABASE IF EXISTS {SCHEMA}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for side in ("plain", "encrypted"):
        parser.add_argument(f"--{side}", type=Path, help="its unix socket")
        parser.add_argument(f"--{side}-user", default="root")
    defaults = {"rounds": 7, "seconds": 10, "threads": 4, "tables": 4, "rows": 50_000, "memory-mb": 1024}
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    if (options.plain is None) != (options.encrypted is None):
        parser.error("--plain and --encrypted go together")
    need("sysbench")
    say_machine()
    work = Work(options.tables, options.rows, options.threads, options.seconds, options.rounds)
    if options.plain:
        measure(_given("plain", options), _given("encrypted", options), work)
        return
    with (
        workspace("tde") as directory,
        keystead_region.start(directory / "region") as region,
        start_encrypted(region, 1, options.memory_mb) as fleet,
        start_plain(directory, fleet.systems[0].server.settings()) as plain,
    ):
        # The operator's own account on the socket: customers' accounts ask for TLS, which would weigh on one side only.
        encrypted = Server("encrypted", fleet.systems[0].server.socket, pwd.getpwuid(os.geteuid()).pw_name)
        measure(plain, encrypted, work)


def _given(side: str, options: argparse.Namespace) -> Server:
    password = os.environ.get(f"KEYSTEAD_BENCH_{side.upper()}_PASSWORD", "")
    return Server(side, getattr(options, side), getattr(options, f"{side}_user"), password)


if __name__ == "__main__":
    main()
