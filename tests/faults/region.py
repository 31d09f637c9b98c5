"""A whole region for the tests of bad days: `keystead init` and `up` on directories, ports and uids of its own.

Everything goes through the doors that users have: the console script, REST over TLS with the region's CA, MySQL over
TLS. Every secret that the test gets to see is remembered, and when the region is closed no trace of any may have been
left (secrets_left.py); neither may a process, a listener or a file outside its own directory.
"""

import contextlib
import http.client
import json
import os
import pwd
import secrets
import shutil
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pymysql
from tests.faults import secrets_left
from tests.faults.machine import (
    Found,
    children,
    eventually,
    everything,
    listens,
    of_directory,
    send,
    tail,
)
from tests.ports import free_block

PROGRAM = str(Path(sys.executable).with_name("keystead"))
API = "/keystead/v1"
SHM = Path("/dev/shm")
FINAL = ("SUCCEEDED", "FAILED", "CANCELED")
MARK = "FAULTS_REGION"


class Refused(Exception):
    """An answer of 400 or more."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.code = str(body.get("code"))
        self.body = body


@dataclass(frozen=True, slots=True)
class System:
    """A database system of a test."""

    id: str
    name: str
    port: int
    admin: str
    password: str = field(repr=False)
    job: str = ""


class Region:
    """One region. `Region.made()` is a context manager that makes, starts and closes one."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        base: Path | None = None,
        data: Path | None = None,
        backups: Path | None = None,
    ) -> None:
        self.base = base or Path(tempfile.mkdtemp(prefix="ksf-"))
        self.base.chmod(0o711)
        self.data, self.backups = data or self.base / "data", backups or self.base / "backups"
        self.mark = secrets.token_hex(8)
        self.state, self.key_file = self.base / "state", self.base / "root.key"
        self.credentials_file, self.lives, self.kills = self.base / "credentials.json", 0, 0
        self.port, self.endpoint_port, *self.ports = free_block(14)
        first_uid = 62000 + secrets.randbelow(200) * 12
        self.settings = {
            "databases.data_dir": str(self.data),
            "databases.backup_dir": str(self.backups),
            "databases.endpoint_port": str(self.endpoint_port),
            "databases.ports": f"{self.ports[0]}-{self.ports[-1]}",
            "databases.uids": f"{first_uid}-{first_uid + 11}",
            "access.lease_seconds": "2",
            "access.grace_seconds": "1",
            "listen.workers": "1",
            **(settings or {}),
        }
        self.launcher = [PROGRAM]
        self.secrets: dict[str, bytes] = {}
        self.spoken: list[bytes] = []
        self._words: set[bytes] = set()
        self._closing = threading.Event()
        self.up_process: subprocess.Popen[bytes] | None = None
        self.token = ""
        self.compartment = ""
        self.vault = ""

    # life

    @classmethod
    @contextlib.contextmanager
    def made(
        cls, settings: Mapping[str, str] | None = None, launcher: Sequence[str] = (PROGRAM,), **places: Path
    ) -> Iterator["Region"]:
        """A region that is up, with a compartment, a vault and the policy that systems need.

        `launcher`: what runs `up`. `places`: directories that are there already: base, data, backups.
        """
        region = cls(settings, **places)
        region.launcher = list(launcher)
        try:
            threading.Thread(target=region._watch_words, name="words", daemon=True).start()
            region.init()
            region.up()
            region.sign_in()
            region.furnish()
            yield region
            region.check_secrets()
            region.close()
            region.check_nothing_remains()
        finally:
            region.destroy()

    def init(self) -> None:
        extra = [word for name, value in self.settings.items() for word in ("--set", f"{name}={value}")]
        self.cli(
            "--json", "init", "--state", str(self.state), "--key-file", str(self.key_file), "--port", str(self.port),
            "--credentials-file", str(self.credentials_file), *extra, quiet=True,
        )  # fmt: skip
        shown = json.loads(self.credentials_file.read_text())
        self.tenancy, self.root_compartment = shown["tenancy"], shown["tenancy_id"]
        self.learn("administrator's password", shown["password"])
        self.learn("region's passphrase", shown["passphrase"])
        self.user, self._password = shown["user"], shown["password"]

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM", "PYTHONPATH") if name in os.environ}
        return {**kept, "HOME": str(self.base), "KEYSTEAD_HOME": str(self.base / "cli"), MARK: self.mark}

    def cli(self, *words: str, stdin: str = "", quiet: bool = False, fine: tuple[int, ...] = (0,)) -> str:
        """Run the command; its standard output. `quiet`: it shows secrets by design, so it is not searched for them."""
        done = subprocess.run(
            [PROGRAM, *words], input=stdin.encode(), capture_output=True, env=self.environment(), check=False
        )
        if not quiet:
            self.spoken += [done.stdout, done.stderr]
        assert done.returncode in fine, f"{words}: {done.returncode}: {done.stderr.decode()}{done.stdout.decode()}"
        return done.stdout.decode() + (done.stderr.decode() if done.returncode else "")

    def start_up(self, *more: str) -> "subprocess.Popen[bytes]":
        """Start `keystead up` without waiting."""
        self.lives, self.kills = self.lives + 1, 0
        with self.log.open("xb") as log:
            self.up_process = subprocess.Popen(
                [*self.launcher, "up", "--state", str(self.state), *more],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment(),
            )  # fmt: skip
        return self.up_process

    def up(self, *more: str, seconds: float = 40.0) -> None:
        process = self.start_up(*more)

        def healthy() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"up ended with {process.returncode}: {tail(self.log)}{self.tails()}")
            return "region is up" in tail(self.log)

        eventually("the region is up", healthy, seconds, 0.05)

    def tails(self) -> str:
        """The ends of the region's logs, for the message of a failure."""
        return "".join(f"\n{path.name}: {tail(path)}" for path in sorted((self.state / "log").glob("*.log")))

    def down(self, *more: str) -> None:
        self.cli("down", "--state", str(self.state), *more)
        if self.up_process is not None:
            self.up_process.wait(30)
            self.up_process = None

    def close(self) -> None:
        """Stop everything as an operator would."""
        if self.up_process is not None and self.up_process.poll() is None:
            self.down("--with-databases")
        elif self.state.exists():
            self.up_process = None

    def destroy(self) -> None:
        """Whatever is left, after a failure too."""
        self._closing.set()
        for found in self.ours():
            send(found)
        if self.up_process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.up_process.wait(5)
        shutil.rmtree(self.memory, ignore_errors=True)
        if not os.environ.get("FAULTS_KEEP"):
            shutil.rmtree(self.base, ignore_errors=True)

    # what there is

    @property
    def log(self) -> Path:
        """What this life of `up` says."""
        return self.base / f"up-{self.lives}.log"

    @property
    def memory(self) -> Path:
        return SHM / f"keystead-{sha256(os.fsencode(self.state)).hexdigest()[:12]}"

    def ours(self) -> list[Found]:
        """Every process of this region: those that carry its mark, and those that work on its directories."""
        marked = []
        for found in everything():
            with contextlib.suppress(OSError):
                if f"{MARK}={self.mark}".encode() in Path(f"/proc/{found.pid}/environ").read_bytes().split(b"\0"):
                    marked.append(found)
        return [*marked, *(found for found in of_directory(self.base, self.data) if found not in marked)]

    def process(self, name: str) -> Found:
        """One of the processes that `up` keeps running: http, local, work, host."""
        assert self.up_process is not None
        return next(found for found in children(self.up_process.pid) if found.name == f"ks-{name}")

    def kill(self, name: str) -> Found:
        """SIGKILL to one of them."""
        found = eventually(f"{name} runs", lambda: self.process(name))
        self.kills += 1
        send(found)
        return found

    def kill_up(self) -> None:
        """SIGKILL to `up`; what it runs ends with it, database servers go on."""
        assert self.up_process is not None
        others = [found for found in self.ours() if found.name.startswith("ks-") or found.name == "keystead"]
        self.up_process.kill()
        self.up_process.wait(10)
        self.up_process = None
        eventually("its children have ended", lambda: not any(found.alive for found in others), 15)

    def wait_back(self, name: str, before: Found, seconds: float = 10.0) -> Found:
        """Until it was started again and says that it works."""

        def back() -> Found | None:
            now = self.process(name)
            path = self.state / "run" / f"{name}.ready"
            ready = name not in ("work", "host") or path.read_text() == str(now.pid)
            return now if now.pid != before.pid and ready else None

        return eventually(f"{name} is back", back, seconds)

    def error_log(self, system: System) -> str:
        """What the system's server wrote to its log last."""
        return tail(self.data / system.id.rpartition(".")[2] / "error.log")

    def servers(self, system: str) -> list[Found]:
        """MariaDB's processes that work for a system: server, bootstrap, backup, prepare."""
        home = self.data / system.rpartition(".")[2]
        return [found for found in of_directory(home) if Path(os.fsdecode(found.words[0])).name in _MARIADB]

    def no_server_stays(self, system: str) -> None:
        """A fence ends with a start, which is refused: that server is there for a moment, and then nothing is."""
        eventually("no server runs", lambda: not self.servers(system), 15)

    # REST

    def call(
        self, method: str, path: str, body: object = None, *, token: bool | str = True, timeout: float = 30.0
    ) -> Any:
        """One request over TLS; the decoded answer. Raises: Refused; OSError."""
        context = ssl.create_default_context(cafile=str(self.state / "ca.pem"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token if isinstance(token, str) else self.token}"
        try:
            connection.request(method, API + path, None if body is None else json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        found = json.loads(text) if text else {}
        if answer.status >= 400:
            self.spoken.append(text)
            raise Refused(answer.status, found)
        return found

    def post(self, path: str, body: object = None) -> Any:
        return self.call("POST", path, {} if body is None else body)

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def sign_in(self) -> None:
        asked = {"tenancy": self.tenancy, "user": self.user, "password": self._password}
        self.token = self.call("POST", "/auth/tokens", asked, token=False)["token"]
        self.learn("security token", self.token)

    def furnish(self) -> None:
        self.compartment = self.post("/compartments", {"parent_id": self.root_compartment, "name": "prod"})["id"]
        self.vault = self.post("/vaults", {"compartment_id": self.compartment, "name": "prod"})["id"]
        self.policy = self.allow_systems()

    def allow_systems(self) -> str:
        statement = (
            "Allow any-user to use key-delegate in compartment prod "
            f"where all {{request.principal.type = 'mysqldbsystem', target.compartment.id = '{self.compartment}'}}"
        )
        asked = {"compartment_id": self.root_compartment, "name": f"systems-{secrets.token_hex(3)}"}
        made = self.post("/policies", {**asked, "statements": [statement]})
        return str(made["id"])

    def key(self, name: str = "") -> str:
        asked = {"compartment_id": self.compartment, "vault_id": self.vault, "name": name or secrets.token_hex(4)}
        return str(self.post("/keys", asked)["id"])

    def disable(self, key: str) -> None:
        self.post(f"/keys/{key}/actions/disable")

    def enable(self, key: str) -> None:
        self.post(f"/keys/{key}/actions/enable")

    # jobs and systems

    def job(self, job: str) -> Any:
        return self.get(f"/jobs/{job}")

    def wait_job(self, job: str, seconds: float = 60.0) -> Any:
        def final() -> Any:
            found = self.job(job)
            return found if found["state"] in FINAL else None

        try:
            return eventually(f"job {job} ends", final, seconds, 0.03)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.job(job)}\n{tail(self.state / 'log' / 'work.log')}") from error

    def done(self, job: str, seconds: float = 60.0) -> Any:
        found = self.wait_job(job, seconds)
        assert found["state"] == "SUCCEEDED", f"{found}\n{tail(self.state / 'log' / 'work.log')}"
        return found

    def begin(self, key: str | None, name: str = "", memory_mb: int = 64) -> System:
        """Ask for a system; its job is under way."""
        name = name or f"s{secrets.token_hex(3)}"
        asked = {"compartment_id": self.compartment, "name": name, "key_id": key, "memory_mb": memory_mb}
        return self._system(self.post("/db-systems", asked))

    def begin_restore(self, backup: str, key: str | None, name: str = "") -> System:
        name = name or f"r{secrets.token_hex(3)}"
        asked = {"compartment_id": self.compartment, "name": name, "key_id": key, "memory_mb": 64}
        return self._system(self.post(f"/backups/{backup}/actions/restore", asked))

    def begin_backup(self, system: System, key: str | None = None) -> tuple[str, str]:
        """Ask for a backup: its id and its job's."""
        asked = {"db_system_id": system.id, "name": f"b{secrets.token_hex(4)}", "key_id": key}
        made = self.post("/backups", asked)
        return made["backup"]["id"], made["job"]["id"]

    def _system(self, made: Any) -> System:
        found, password = made["db_system"], made["admin_password"]
        self.learn(f"password of {found['name']}", password)
        return System(found["id"], found["name"], found["port"], found["admin_username"], password, made["job"]["id"])

    def create(self, key: str | None, name: str = "") -> System:
        system = self.begin(key, name)
        self.done(system.job)
        return system

    def delete(self, system: System) -> None:
        secrets_left.learn_keys(self)  # while they can still be opened
        self.done(self.call("DELETE", f"/db-systems/{system.id}")["job"]["id"])

    def system(self, system: System) -> Any:
        return self.get(f"/db-systems/{system.id}")

    def wait_state(self, system: System, state: str, seconds: float = 20.0) -> Any:
        def there() -> Any:
            found = self.system(system)
            return found if found["state"] == state else None

        try:
            return eventually(f"{system.name} is {state}", there, seconds, 0.03)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.system(system)}\n{tail(self.state / 'log' / 'host.log')}") from error

    def fence(self, system: System) -> Any:
        return self.get(f"/db-systems/{system.id}/last-fence")["fence"]

    # SQL

    def connect(self, system: System, seconds: float = 5.0) -> "pymysql.Connection[Any]":
        """As the customer's administrator, over TLS verified by the region's CA."""
        return pymysql.connect(
            host="127.0.0.1", port=system.port, user=system.admin, password=system.password, autocommit=True,
            ssl=ssl.create_default_context(cafile=str(self.state / "databases-ca.pem")),
            connect_timeout=int(seconds), read_timeout=seconds, write_timeout=seconds,
        )  # fmt: skip

    def sql(self, system: System, *statements: str, seconds: float = 20.0) -> tuple[tuple[Any, ...], ...]:
        """The rows of the last one; each has `seconds` to be answered."""
        with contextlib.closing(self.connect(system, seconds)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return tuple(cursor.fetchall())

    def operator_sql(self, system: System, statement: str) -> tuple[tuple[Any, ...], ...]:
        """As the operator's own account, on the socket."""
        socket = self.memory / system.id.rpartition(".")[2] / "run" / "mysql.sock"
        name = pwd.getpwuid(os.geteuid()).pw_name
        connection = pymysql.connect(unix_socket=str(socket), user=name, autocommit=True)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            return tuple(cursor.fetchall())

    def fill(self, system: System, rows: int = 2000) -> None:
        """Some data: rows with a canary each, which must be found nowhere in clear."""
        canary = f"canary-{secrets.token_hex(12)}"
        self.learn(f"plaintext of {system.name}", canary)
        self.sql(
            system,
            "CREATE DATABASE IF NOT EXISTS shop",
            "USE shop",
            "CREATE TABLE IF NOT EXISTS goods (id INT PRIMARY KEY, text VARCHAR(200)) ENGINE=InnoDB",
            f"INSERT INTO goods SELECT seq, CONCAT('{canary}-', seq, REPEAT('x', 100)) FROM seq_1_to_{rows}",
        )

    def checksum(self, system: System, tables: str = "shop.goods") -> object:
        return self.sql(system, f"CHECKSUM TABLE {tables} EXTENDED")

    # what may not be

    def learn(self, what: str, secret: str | bytes) -> None:
        """Remember a secret, to look for it everywhere."""
        self.secrets[what] = secret if isinstance(secret, bytes) else secret.encode()

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Read the state behind everybody's back."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state}/state.db?mode=ro", uri=True, timeout=10)) as found:
            return found.execute(query, arguments).fetchall()

    def words_seen(self) -> set[bytes]:
        """Every command line that was on this machine since the region began, as far as one looks often enough."""
        return set(self._words)

    def _watch_words(self) -> None:
        while not self._closing.wait(0.2):
            self._words.update(b"\0".join(found.words) for found in everything())

    def check_secrets(self) -> None:
        """No trace of any secret (secrets_left.py)."""
        secrets_left.check(self)

    def check_nothing_remains(self) -> None:
        """After `close`: no process, no listener, no directory in memory."""
        assert not self.ours(), f"processes remain: {self.ours()}"
        listening = [port for port in (self.port, self.endpoint_port, *self.ports) if listens(port)]
        assert not listening, f"ports remain: {listening}"

    def check_gone(self, system: System) -> None:
        """After a deletion: nothing of the system is left on this machine."""
        unique = system.id.rpartition(".")[2]
        assert not self.servers(system.id)
        assert not listens(system.port)
        for place in (self.data / unique, self.memory / unique):
            assert not place.exists(), f"{place} remains: {list(place.rglob('*'))}"


_MARIADB = ("mariadbd", "mariadb-backup", "mbstream", "setpriv", "prlimit")
