"""Real servers for tests: a `Machine` with a key endpoint, directories, free ports and uids, and everything it starts.

At the end of a test every process the machine started is killed through its pidfd and its directories are removed.
As root each node gets a uid of its own from 61000 up; otherwise everything runs as the user who runs the tests.
"""

import asyncio
import datetime
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.ports import free_port

from keystead.adapters.mariadb.datadir import NodeDirectories, build
from keystead.adapters.mariadb.process import Owner
from keystead.adapters.mariadb.server import Server
from keystead.core.ids import new_id
from keystead.core.secret import Secret
from keystead.databases.config import NodeConfig, Shape, mount_of, render
from keystead.host.endpoint import Asked, KeyEndpoint, NodeKeys

Result = TypeVar("Result")
SHM = Path("/dev/shm")
FIRST_UID = 61000


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        async def inner() -> Result:
            return function(*arguments)

        return self.run(inner())

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


class Keyring:
    """The keys of some systems and the tokens that may read them; what the host will do with the vault behind it."""

    def __init__(self) -> None:
        self.tokens: dict[bytes, tuple[str, NodeKeys]] = {}
        self.keys: dict[str, dict[tuple[int, int], Secret]] = {}
        self.latest: dict[str, dict[int, int]] = {}
        self.counter: dict[str, int] = {}
        self.asked: list[Asked] = []
        self.fault = False

    def publish(self, mount: str, key_id: int, step: int = 1) -> int:
        """A new version from the system's one counter; it becomes the latest."""
        number = self.counter.get(mount, 0) + step
        self.counter[mount] = number
        self.keys.setdefault(mount, {})[(key_id, number)] = Secret(os.urandom(32))
        self.latest.setdefault(mount, {})[key_id] = number
        return number

    def token(self, mount: str, uid: int) -> Secret:
        token = secrets.token_hex(24).encode()
        self.tokens[sha256(token).digest()] = (mount, NodeKeys(self.keys[mount], self.latest[mount], uid))
        return Secret(token)

    def void(self, mount: str) -> None:
        """Every token of `mount` is void from now on."""
        self.tokens = {digest: found for digest, found in self.tokens.items() if found[0] != mount}

    def lookup(self, digest: bytes, mount: str) -> NodeKeys | None:
        if self.fault:
            raise RuntimeError("the vault does not answer")
        found = self.tokens.get(digest)
        return found[1] if found and found[0] == mount else None


@dataclass
class Node:
    """One node of a test: its place, its configuration and, once started, its server."""

    machine: "Machine"
    owner: Owner
    directories: NodeDirectories
    config: NodeConfig
    config_file: Path
    log: Path
    server: Server | None = None
    token: Secret = field(default_factory=lambda: Secret(b""))

    @property
    def mount(self) -> str:
        return self.config.mount

    def write_config(self, config: NodeConfig | None = None) -> None:
        self.config = config or self.config
        self.config_file.write_text(render(self.config))
        self.config_file.chmod(0o644)

    def build(self) -> None:
        self.directories.make(self.owner)
        self.token = self.machine.keyring.token(self.mount, self.owner.uid)
        build(self.directories, self.owner, self.config_file, self.log, self.token)

    def launch(self) -> Server:
        """Start without waiting."""
        self.directories.make(self.owner)
        self.token = self.machine.keyring.token(self.mount, self.owner.uid)
        self.server = Server.start(
            self.config_file, self.owner, self.directories.data, self.config.socket, self.log, self.token
        )
        self.machine.servers.append(self.server)
        return self.server

    def start(self) -> Server:
        server = self.launch()
        server.wait_ready()
        return server


class Machine:
    """Where a test's nodes run."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="ks-"))
        self.base.chmod(0o755)
        self.shm = Path(tempfile.mkdtemp(prefix="ks-", dir=SHM))
        self.shm.chmod(0o755)
        self.keyring = Keyring()
        self.loop = LoopThread()
        self.endpoint = KeyEndpoint(self.keyring.lookup, on_request=self.keyring.asked.append)
        self.endpoint_port = self.loop.run(self.endpoint.start())
        self.servers: list[Server] = []
        self.nodes: list[Node] = []
        self._certify()

    def owner(self) -> Owner:
        if os.getuid() != 0:
            return Owner.ours()
        uid = FIRST_UID + secrets.randbelow(4000)
        return Owner(uid, uid)

    def _certify(self) -> None:
        """A throw-away certificate for the servers, also its own CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
            .add_extension(x509.BasicConstraints(True, None), True)
            .sign(key, hashes.SHA256())
        )
        (self.shm / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.tls_key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def node(self, memory_mb: int = 128) -> Node:
        """A new system with one node: keys published, configuration written, nothing built yet."""
        tenancy, system = new_id("tenancy", "test"), new_id("mysqldbsystem", "test")
        mount, owner = mount_of(tenancy, system), self.owner()
        self.keyring.publish(mount, 1)
        self.keyring.publish(mount, 2)
        place = self.base / f"n{len(self.nodes)}"
        place.mkdir()
        key = self.shm / f"n{len(self.nodes)}.key"
        key.write_bytes(self.tls_key)
        key.chmod(0o400)
        os.chown(key, owner.uid, owner.gid)
        directories = NodeDirectories(place / "data", place / "run", self.shm / f"n{len(self.nodes)}")
        config = NodeConfig(
            tenancy=tenancy,
            system=system,
            server_id=len(self.nodes) + 1,
            port=free_port(),
            endpoint_port=self.endpoint_port,
            data_directory=str(directories.data),
            run_directory=str(directories.run),
            tmp_directory=str(directories.tmp),
            tls_certificate=str(self.shm / "ca.pem"),
            tls_key=str(key),
            tls_ca=str(self.shm / "ca.pem"),
            shape=Shape.for_memory(memory_mb),
        )
        (self.shm / "ca.pem").chmod(0o644)
        node = Node(self, owner, directories, config, place / "my.cnf", place / "error.log")
        node.write_config()
        self.nodes.append(node)
        return node

    def running(self, memory_mb: int = 128) -> Node:
        """A new node, built and started."""
        node = self.node(memory_mb)
        node.build()
        node.start()
        return node

    def close(self) -> None:
        for server in self.servers:
            server.process.kill()
            server.process.wait(10)
            server.process.close()
        self.loop.run(self.endpoint.close())
        self.loop.close()
        shutil.rmtree(self.base, ignore_errors=True)
        shutil.rmtree(self.shm, ignore_errors=True)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine for one test."""
    found = Machine()
    yield found
    found.close()


@pytest.fixture(scope="module")
def shared_machine() -> Iterator[Machine]:
    """A machine for the tests of one file that do not disturb each other."""
    found = Machine()
    yield found
    found.close()


@pytest.fixture(scope="module")
def shared_node(shared_machine: Machine) -> Node:
    """One running node for the tests of one file that do not disturb each other."""
    return shared_machine.running()
