"""Database servers in memory, with the machine they run on, and the ports that keepers need.

Honest in what matters: a server asks the key endpoint with its token before it does anything, and starts only if it is
answered with every key its data is under; killed in the middle of a step, the step fails; what is on the disk outlives
processes and the objects here that stand for `host`, what is in memory does not.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256

from tests.fakes.domain import DomainRegion

from keystead.core.errors import Refusal, Unavailable
from keystead.core.secret import Secret
from keystead.databases.config import mount_of
from keystead.databases.desk import HostView, Opened, OwnToken, Report
from keystead.databases.logins.model import LoginMapping, MappingReport
from keystead.databases.model import DbSystem
from keystead.databases.node import Credentials, Progress
from keystead.databases.plan import Standing
from keystead.databases.ports import Step
from keystead.host.endpoint import NodeKeys
from keystead.host.keeper import Keeper
from keystead.host.ports import Identities

SLOTS = (1, 2)


class Killed(BaseException):
    """As kill -9: whoever works here is gone, and with it what it had in memory."""


class FakeEndpoint:
    """The key endpoint, asked by calls instead of requests; None is the connection that is reset without a byte."""

    def __init__(self) -> None:
        self.tokens: dict[tuple[bytes, str], NodeKeys] = {}
        self.served: list[str] = []
        self.voided: list[str] = []

    def admit(self, token_sha256: bytes, mount: str, keys: NodeKeys) -> None:
        self.tokens[token_sha256, mount] = keys

    def dismiss(self, token_sha256: bytes, mount: str) -> None:
        found = self.tokens.pop((token_sha256, mount), None)
        for secret in found.versions.values() if found is not None else ():
            secret.wipe()

    def void(self, mount: str) -> None:
        self.voided.append(mount)
        for token, of in list(self.tokens):
            if of == mount:
                self.dismiss(token, of)

    def ask(self, token: bytes, mount: str, slot: int, number: int | None = None) -> tuple[int, bytes] | None:
        """The key of that number, or the latest."""
        keys = self.tokens.get((sha256(token).digest(), mount))
        if keys is None:
            return None
        wanted = keys.latest[slot] if number is None else number
        found = keys.versions.get((slot, wanted))
        if found is None:
            return None
        self.served.append(mount)
        return wanted, found.reveal()

    def answers(self, mount: str) -> bool:
        """Whether any token of the mount gets anything."""
        return any(of == mount for _, of in self.tokens)


class FakeResponder:
    """What clients of each port are told."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.taken: set[int] = set()

    def open(self, port: int, text: str) -> None:
        if port in self.taken:
            raise OSError("address already in use")
        self.texts[port] = text

    def close(self, port: int) -> None:
        self.texts.pop(port, None)


@dataclass
class Process:
    """A running server: what it has in memory."""

    token: bytes
    keys: dict[tuple[int, int], bytes]
    dead: bool = False


@dataclass
class Disk:
    """A data directory: complete or not, and what it holds. `pages` are the numbers of the keys they are under, and
    `under` tells which keys those were, by their SHA-256: pages open with no others.
    """

    prepared: bool = False
    pages: set[int] = field(default_factory=set)
    under: dict[int, bytes] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    accounts: dict[str, str] = field(default_factory=dict)


@dataclass
class Machine:
    """What outlives `host`: disks and server processes. `ports` are taken by strangers."""

    disks: dict[str, Disk] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    memory: set[str] = field(default_factory=set)
    ports: set[int] = field(default_factory=set)
    children: dict[str, list[Process]] = field(default_factory=dict)
    identities: dict[str, tuple[str, bytes]] = field(default_factory=dict)


def nothing(system: str, point: str) -> None:
    """Where nobody interferes."""


class FakeNode:
    """A `Node` on a `Machine`. `at` is called with the name of each point at which something may happen."""

    def __init__(
        self, system: DbSystem, machine: Machine, endpoint: FakeEndpoint, at: Callable[[str, str], None] = nothing
    ) -> None:
        self.system = system
        self.machine = machine
        self.endpoint = endpoint
        self._at = at
        self.mount = mount_of(system.tenancy, system.id)
        self.calls: list[str] = []

    @property
    def disk(self) -> Disk:
        return self.machine.disks.setdefault(self.system.id, Disk())

    @property
    def process(self) -> Process | None:
        found = self.machine.processes.get(self.system.id)
        return None if found is None or found.dead else found

    def at(self, point: str) -> None:
        self.calls.append(point)
        self._at(self.system.id, point)

    def prepared(self) -> bool:
        return self.disk.prepared

    def running(self) -> bool:
        return self.process is not None

    def adopt(self) -> bytes | None:
        for stray in self.machine.children.pop(self.system.id, []):
            stray.dead = True
        return sha256(self.process.token).digest() if self.process is not None else None

    def prepare(self, credentials: Credentials) -> None:
        self.machine.disks[self.system.id] = Disk()
        self.machine.memory.add(self.system.id)
        with self._child(credentials.token) as child:
            self.at("prepare")
            number = self._latest(child)
            self.at("preparing")
            self._alive(child, "PrepareFailed")
            self.disk.pages, self.disk.under = {number}, {number: sha256(child.keys[1, number]).digest()}
        self.disk.prepared = True

    def start(self, credentials: Credentials) -> None:
        self.at("start")
        if not self.disk.prepared:
            raise Unavailable("ServerDidNotStart", "there is no data directory")
        if self.system.port in self.machine.ports:
            raise Refusal("PortTaken", f"port {self.system.port} is taken", kind="conflict")
        process = self._launch(credentials.token)
        self.machine.processes[self.system.id] = process
        self.at("starting")
        self._alive(process, "ServerDidNotStart")
        self.at("ready")

    def stop(self) -> None:
        self.at("stop")
        self.machine.processes.pop(self.system.id, None)

    def kill(self) -> None:
        self.at("kill")
        process = self.machine.processes.pop(self.system.id, None)
        for each in (process, *self.machine.children.pop(self.system.id, [])):
            if each is not None:
                each.dead = True
                each.keys.clear()
        self.at("killed")

    def silent(self, seconds: float) -> bool:
        self.at("silent")
        return not self.running()

    def refuses_start(self, void: Credentials) -> bool:
        self.at("refuses_start")
        self.machine.memory.add(self.system.id)
        try:
            self._launch(void.token)
        except Unavailable:
            return True
        return False

    def wipe(self) -> None:
        self.at("wipe")
        self.machine.memory.discard(self.system.id)
        self.machine.identities.pop(self.system.id, None)

    def put_administrator(self, name: str, password_hash: str) -> None:
        self._server()
        self.disk.accounts[name] = password_hash

    def drop_administrator(self, name: str) -> None:
        self._server()
        self.disk.accounts.pop(name, None)

    def reencrypt(self, number: int, progress: Progress) -> Mapping[str, str]:
        process = self._server()
        for percent in (0, 50):
            progress(percent, "pages rewritten")
            self.at("reencrypt")
            self._alive(process, "ServerGone")
        found = self.endpoint.ask(process.token, self.mount, 1, number)
        if found is None:
            raise Unavailable("NoKey", "the new data key is not served")
        self.disk.pages, self.disk.under = {number}, {number: sha256(found[1]).digest()}
        return {"pages": "1"}

    def verify(self, progress: Progress, samples: Sequence[bytes], backups: Sequence[str]) -> Mapping[str, str]:
        self.at("verify")
        progress(50, "reading")
        return {"report": json.dumps({"samples": len(samples), "pages": sorted(self.disk.pages)})}

    def checksums(self) -> Mapping[str, int]:
        self._server()
        return {"rows": len(self.disk.rows)}

    def backup(self, token: Secret) -> Iterator[bytes]:
        self._server()
        with self._child(token) as child:
            for number in self.disk.pages:
                if self.endpoint.ask(child.token, self.mount, 1, number) is None:
                    raise Unavailable("BackupFailed", "no key")
            data = self._image()
            for start in range(0, len(data), 100):
                self.at("backup")
                self._alive(child, "BackupFailed")
                yield data[start : start + 100]

    def restore(self, chunks: Iterator[bytes], credentials: Credentials) -> Mapping[str, str]:
        self.machine.disks[self.system.id] = Disk()
        with self._child(credentials.token) as child:
            data = b""
            for chunk in chunks:
                self.at("restore")
                self._alive(child, "RestoreFailed")
                data += chunk
            content = json.loads(data)
            under = {int(number): bytes.fromhex(digest) for number, digest in content["under"].items()}
            for number, digest in under.items():
                found = self.endpoint.ask(child.token, self.mount, 1, number)
                if found is None or sha256(found[1]).digest() != digest:
                    raise Unavailable("RestoreFailed", "the pages cannot be read")
        self.machine.disks[self.system.id] = Disk(
            True, set(content["pages"]), under, content["rows"], content["accounts"]
        )
        return {}

    def discard(self) -> None:
        self.kill()
        self.at("discard")
        self.machine.disks.pop(self.system.id, None)
        self.machine.memory.discard(self.system.id)

    def login_socket(self) -> int:
        return -1

    def is_server(self, pid: int) -> bool:
        return False

    def put_logins(self, mappings: Sequence[LoginMapping]) -> Sequence[MappingReport]:
        self._server()
        return [MappingReport(mapping.id) for mapping in mappings]

    def token_sessions(self) -> Mapping[int, str]:
        return {}

    def end_sessions(self, connections: Sequence[int]) -> None:
        """There are none."""

    def note_login(self, line: bytes) -> None:
        """There are none."""

    def noted_logins(self) -> Sequence[bytes]:
        return ()

    def renew_notes(self, lines: Sequence[bytes]) -> None:
        """There are none."""

    def insert(self, row: str) -> None:
        """What a customer does; acknowledged when it returns."""
        self._server()
        self.disk.rows.append(row)

    def _launch(self, token: Secret) -> Process:
        """A server reads the keys of all its pages, and the latest, or ends."""
        process = Process(token.reveal(), {})
        for slot in SLOTS:
            found = self.endpoint.ask(process.token, self.mount, slot)
            if found is None:
                raise Unavailable("ServerDidNotStart", "it got no keys")
            process.keys[slot, found[0]] = found[1]
        for number, digest in self.disk.under.items():
            found = self.endpoint.ask(process.token, self.mount, 1, number)
            if found is None or sha256(found[1]).digest() != digest:
                raise Unavailable("ServerDidNotStart", "it cannot read its pages")
        return process

    @contextmanager
    def _child(self, token: Secret) -> Iterator[Process]:
        """A process that works for the server. It ends with its work, but not with a `host` that is killed."""
        child = Process(token.reveal(), {})
        of_system = self.machine.children.setdefault(self.system.id, [])
        of_system.append(child)
        try:
            yield child
        except Killed:
            raise
        except BaseException:
            _remove(of_system, child)
            raise
        _remove(of_system, child)

    def offer_identity(self, token: str, key: Secret, region: str) -> None:
        self.at("offer")
        self.machine.identities[self.system.id] = (token, key.reveal())

    def offered_key(self) -> Secret | None:
        found = self.machine.identities.get(self.system.id)
        return Secret(found[1]) if found is not None else None

    def withdraw_identity(self) -> None:
        self.machine.identities.pop(self.system.id, None)

    def _image(self) -> bytes:
        """The bytes of a physical backup."""
        disk = self.disk
        under = {str(number): digest.hex() for number, digest in disk.under.items()}
        content = {"pages": sorted(disk.pages), "under": under, "rows": disk.rows, "accounts": disk.accounts}
        return json.dumps(content).encode()

    def _latest(self, process: Process) -> int:
        found = self.endpoint.ask(process.token, self.mount, 1)
        if found is None:
            raise Unavailable("PrepareFailed", "it got no keys")
        process.keys[1, found[0]] = found[1]
        return found[0]

    def _server(self) -> Process:
        if self.process is None:
            raise Unavailable("ServerNotRunning", "the database server is not running")
        return self.process

    def _alive(self, process: Process, code: str) -> None:
        if process.dead:
            raise Unavailable(code, "it was killed")


def _remove(processes: list[Process], process: Process) -> None:
    """By identity: two may look alike."""
    processes[:] = [each for each in processes if each is not process]


class LocalDesk:
    """The region's desk, without a socket between. `gone`: no answer. `asked` is called before each answer."""

    def __init__(self, region: DomainRegion) -> None:
        self.region = region
        self.gone = False
        self.reports: list[Report] = []
        self.asked: Callable[[str], None] = lambda call: None

    def watch(self, known_generation: int, wait_seconds: float) -> HostView:
        self._ask("watch")
        return self.region.desk.watch(self.region.host())

    def open_store_key(self, system: str) -> Opened:
        self._ask("open_store_key")
        opened = self.region.desk.open_store_key(self.region.host(), system)
        self.asked("opened")
        return opened

    def issue_session(self, system: str, public_key: str) -> OwnToken:
        self._ask("issue_session")
        issued = self.region.logins.issue_session(self.region.host(), system, public_key)
        self.asked("issued")
        assert issued.expires_at is not None
        return OwnToken(issued.token, (issued.expires_at - self.region.clock.now()).total_seconds())

    def report(self, report: Report) -> None:
        self._ask("report")
        self.region.desk.report(self.region.host(), report)
        self.reports.append(report)

    def _ask(self, call: str) -> None:
        self.asked(call)
        if self.gone:
            raise Unavailable("DeskUnavailable", "the region does not answer")


class LocalHost:
    """The port `Host` of databases: keepers over fake nodes, asked in the caller's own thread.

    As the agent does, it looks at the desk before each step, and brings a system in line when it sees it for the first
    time; unlike it, it does nothing else by itself.
    """

    def __init__(self, region: DomainRegion, machine: Machine | None = None) -> None:
        self.machine = machine or Machine()
        self.desk = LocalDesk(region)
        self.endpoint, self.responder = FakeEndpoint(), FakeResponder()
        self.keepers: dict[str, Keeper] = {}
        self.nodes: dict[str, FakeNode] = {}
        self.at: Callable[[str, str], None] = nothing
        self.resumes = True
        self.identities: Identities | None = None

    def keeper(self, system: str) -> Keeper:
        """The keeper of a system, with the newest view."""
        view = self.desk.watch(-1, 0.0)
        for seen in view.systems:
            if seen.system.id in self.keepers:
                self.keepers[seen.system.id].update(seen)
                continue
            node = FakeNode(seen.system, self.machine, self.endpoint, lambda system, point: self.at(system, point))
            self.nodes[seen.system.id] = node
            keeper = Keeper(
                seen, view.region, node, self.desk, self.endpoint, self.responder, self.desk.region.clock,
                identities=self.identities,
            )  # fmt: skip
            self.keepers[seen.system.id] = keeper
            if self.resumes:
                keeper.reconcile(Standing(seen.granted, 0.0, 10.0, None))
        if system not in self.keepers:
            raise Refusal("NotFound", "no such system", kind="not_found")
        return self.keepers[system]

    def apply(self, system: str, step: Step, progress: Progress, **arguments: str) -> Mapping[str, str]:
        return self.keeper(system).apply(step, progress, arguments)

    def backup(self, system: str) -> Iterator[bytes]:
        return self.keeper(system).backup()

    def restore(self, system: str, chunks: Iterator[bytes]) -> Mapping[str, str]:
        return self.keeper(system).restore(chunks)
