"""The connection: TLS, retries, answers that are not what they should be."""

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.cli.conftest import Keystead
from tests.fakes.region import Handler, Region, Server

from keystead.cli.client import Client
from keystead.cli.exits import CliError
from keystead.crypto.x509 import Authority


class Issued:
    """A region's CA and a server context with a certificate of it."""

    def __init__(self, directory: Path, name: str, *hosts: str) -> None:
        now = datetime.now(UTC)
        authority = Authority.create(name, now)
        certificate = authority.issue(hosts[0], list(hosts), now)
        self.ca = directory / f"{name}.pem"
        self.ca.write_bytes(authority.pem)
        chain = directory / f"{name}-server.pem"
        chain.write_bytes(certificate.pem + certificate.key.reveal())
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain)


def test_tls_is_verified_against_the_ca_of_the_region(keystead: Keystead, tmp_path: Path) -> None:
    ours, theirs, other = (
        Issued(tmp_path, "ours", "127.0.0.1"),
        Issued(tmp_path, "theirs", "127.0.0.1"),
        Issued(tmp_path, "other", "db.example"),
    )
    server = Server(Region(), ours.context)
    elsewhere = Server(Region(), other.context)
    try:

        def login(url: str, ca: Path) -> int:
            about = ("--url", url, "--ca", str(ca), "--tenancy", "acme", "--user", "olivia", "--password-stdin")
            ran = keystead("login", *about, stdin="correct horse\n")
            if ran.code:
                assert "[UntrustedServer]" in ran.err
            return ran.code

        assert login(server.url, theirs.ca) == 1  # another region's CA
        assert login(elsewhere.url, other.ca) == 1  # the right CA, but a certificate for another name
        assert server.region.exchanges == elsewhere.region.exchanges == []
        assert login(server.url, ours.ca) == 0
        assert keystead("whoami").code == 0
        ours.ca.unlink()
        ran = keystead("whoami")
        assert (ran.code, "cannot use the CA file" in ran.err) == (2, True)
    finally:
        server.close()
        elsewhere.close()


def test_a_unix_socket(keystead: Keystead, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"

    class UnixServer(ThreadingHTTPServer):
        address_family = socket.AF_UNIX
        daemon_threads = True
        region = Region()
        lock = threading.Lock()

        def server_bind(self) -> None:
            self.socket.bind(self.server_address)

        def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
            connection, _ = super().get_request()
            return connection, ("local", 0)

    server = UnixServer(str(path), Handler)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        about = ("--url", f"unix:{path}", "--tenancy", "acme", "--user", "olivia", "--password-stdin")
        assert keystead("login", *about, stdin="correct horse\n").code == 0
        assert keystead("whoami").code == 0
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    ran = keystead("whoami")
    assert (ran.code, "cannot reach" in ran.err) == (6, True)


class Scripted:
    """Answers each connection with the next list of raw answers, then hangs up."""

    def __init__(self, *connections: list[bytes]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._run, args=(connections,), daemon=True)
        self._thread.start()

    def _run(self, connections: tuple[list[bytes], ...]) -> None:
        for answers in connections:
            connection, _ = self.listener.accept()
            with connection:
                for answer in answers:
                    self.requests.append(connection.recv(65536))
                    connection.sendall(answer)

    def close(self) -> None:
        self._thread.join(10)
        self.listener.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + b'{"a": 17}'


def test_an_idle_connection_that_was_closed_is_opened_again() -> None:
    server = Scripted([OK], [OK], [OK])
    client = Client(server.url)
    assert client.get("/a").data == {"a": 17}
    assert client.get("/b").data == {"a": 17}
    assert client.create("/c", {}).data == {"a": 17}
    server.close()
    assert [it.split(b" ")[1] for it in server.requests] == [b"/keystead/v1/a", b"/keystead/v1/b", b"/keystead/v1/c"]


def test_what_could_happen_twice_is_not_sent_twice() -> None:
    server = Scripted([OK], [OK])
    client = Client(server.url)
    client.get("/a")
    with pytest.raises(CliError) as told:
        client.post("/keys/x/actions/rotate")
    assert told.value.exit_code == 6
    client.get("/b")
    server.close()
    assert [it.split(b" ")[0] for it in server.requests] == [b"GET", b"GET"]


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", 6, "the server answered 502 Bad Gateway"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\nX-Request-Id: r7\r\n\r\n[]", 1, "the server answered 500 Oops"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n", 1, "answered 302 Found"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", 1, "not a JSON object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope", 1, "not JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{", 6, "cannot reach the region"),
        (b"\x00\x00garbage\r\n\r\n", 6, "cannot reach the region"),
        (b"", 6, "cannot reach the region"),
    ],
)
def test_answers_that_are_no_answers(answer: bytes, code: int, words: str) -> None:
    server = Scripted([answer])
    with pytest.raises(CliError) as told:
        Client(server.url).get("/a")
    server.close()
    assert (told.value.exit_code, words in told.value.message) == (code, True), told.value.message


def test_state_backup_is_whole_and_private(signed_in: Keystead, tmp_path: Path) -> None:
    target = tmp_path / "state.kss"
    ran = signed_in("state", "backup", str(target))
    assert (ran.code, ran.out) == (0, f"state backup: {target}, 14000 bytes\n")
    assert target.read_bytes() == b"\x00sealed state\xff" * 1000
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    ran = signed_in("state", "backup", str(target))
    assert (ran.code, "--force" in ran.err) == (2, True)
    assert signed_in("state", "backup", str(target), "--force", "--json").json["size"] == 14000
    ran = signed_in("state", "backup", str(tmp_path / "none" / "x"))
    assert (ran.code, "cannot write" in ran.err) == (1, True)


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_a_state_backup_cut_short_leaves_nothing(
    signed_in: Keystead, server: Server, tmp_path: Path, home: Path, cut: bytes
) -> None:
    scripted = Scripted([cut])
    for file in (home / "config.toml", home / "tokens" / "default.json"):
        file.write_text(file.read_text().replace(server.url, scripted.url))
    ran = signed_in("state", "backup", str(tmp_path / "state.kss"))
    scripted.close()
    assert ran.code == 6, ran
    assert [it.name for it in tmp_path.iterdir() if "state" in it.name] == []
