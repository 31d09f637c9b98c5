"""Another KMS that misbehaves: slow, silent, endless, sealed, gone, denying, forgetful. Never a wrong answer.

A small server plays what a real one does not do on demand; the tests marked live take a real OpenBao through the rest.
"""

import base64
import json
import signal
import socket
import socketserver
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.fakes.kms import FakeKms

from keystead.adapters.keystores.external import ExternalKeystore, PatientKms
from keystead.adapters.keystores.openbao import OpenBaoKms, wrapper
from keystead.adapters.keystores.patience import Limits
from keystead.core.errors import Refusal, Unavailable, Unreadable
from keystead.crypto.envelope import Binding
from keystead.vault.ports import KeySpec

SPEC = KeySpec("t", "vault.1", "key.oc1.home.abc", 1, "AES-256")
BINDING = Binding("customer-data", "t", "home", "", "key.1")
QUICK = Limits(at_once=2, waiting=2, wait_seconds=1.0, call_seconds=1.0, failures=2, pause=0.05, longest_pause=0.1)


def eventually(attempt, expected) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            assert attempt() == expected
            return
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            threading.Event().wait(0.02)


def unavailable(attempt) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        attempt()
    return caught.value


class Played:
    """An HTTP server that answers each request as `play(socket, request line)` does."""

    def __init__(self) -> None:
        self.play = self.well
        self.asked = 0
        self.stop = threading.Event()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer.asked += 1
                if self.request.recv(65536):
                    outer.play(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, request, status: int, body: object) -> None:
        text = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        request.sendall(head.encode() + text)

    def well(self, request) -> None:
        self.answer(request, 200, {"data": {"plaintext": base64.b64encode(bytes(32)).decode()}})

    def silent(self, request) -> None:
        self.stop.wait(30)

    def trickling(self, request) -> None:
        request.sendall(b"HTTP/1.1 200 OK\r\n")
        while not self.stop.wait(0.05):
            request.sendall(b"X-More: and more\r\n")

    def endless(self, request) -> None:
        request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while not self.stop.is_set():
                request.sendall(b" " * 65536)
        except OSError:
            pass

    def close(self) -> None:
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def played():
    server = Played()
    yield server
    server.close()


@pytest.fixture
def opened(played, tmp_path):
    (tmp_path / "token").write_text("s.0123456789\n")
    found = wrapper(f"openbao+{played.url}/transit/root?token-file={tmp_path / 'token'}", QUICK)
    return lambda: found.unwrap(b"vault:v1:AAAA")


@pytest.mark.parametrize("fault", ["silent", "trickling", "endless"])
def test_an_answer_that_does_not_end_is_given_up_in_time(played, opened, fault):
    assert opened() == bytes(32)
    played.play = getattr(played, fault)
    for _ in range(3):
        began = time.monotonic()
        error = unavailable(opened)
        assert time.monotonic() - began < 8
        assert error.code in ("KeystoreDown", "KeystoreBusy") and error.hint
    played.play = played.well
    eventually(opened, bytes(32))


@pytest.mark.parametrize("status", [500, 502, 503, 504, 307])
def test_outages_open_the_breaker_and_spare_the_kms(played, opened, status):
    played.play = lambda request: played.answer(request, status, {"errors": ["Vault is sealed"]})
    for _ in range(QUICK.failures):
        assert unavailable(opened).code == "KeystoreDown"
    asked = played.asked
    assert unavailable(opened).code == "KeystoreDown"
    assert played.asked == asked
    played.play = played.well
    eventually(opened, bytes(32))


def test_too_many_requests_are_busy(played, opened):
    played.play = lambda request: played.answer(request, 429, {})
    assert unavailable(opened).code == "KeystoreBusy"


@pytest.mark.parametrize(
    "answer", [[], {}, {"data": 7}, {"data": {"plaintext": "%%"}}, {"data": {"plaintext": 7}}, "x"]
)
def test_answers_that_make_no_sense_are_no_plaintexts(played, opened, answer):
    played.play = lambda request: played.answer(request, 200, answer)
    with pytest.raises((Unavailable, Unreadable)):
        opened()


def test_a_crowd_before_a_silent_kms_is_answered_in_time(played, opened):
    played.play = played.silent
    began = time.monotonic()
    with ThreadPoolExecutor(32) as pool:
        errors = list(pool.map(lambda _: unavailable(opened).code, range(64)))
    assert set(errors) <= {"KeystoreBusy", "KeystoreDown"}
    assert time.monotonic() - began < 30


def test_a_token_file_that_is_gone_is_said(played, tmp_path):
    found = wrapper(f"openbao+{played.url}/transit/root?token-file={tmp_path / 'none'}", QUICK)
    error = unavailable(lambda: found.wrap(bytes(32)))
    assert error.code == "KeystoreRefused" and "token_file" in error.hint
    assert played.asked == 0


def test_nobody_listens(tmp_path):
    (tmp_path / "token").write_text("s.0123456789\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = wrapper(
            f"openbao+http://127.0.0.1:{taken.getsockname()[1]}/transit/root?token-file={tmp_path / 'token'}"
        )
        error = unavailable(lambda: found.wrap(bytes(32)))
    assert error.code == "KeystoreDown" and "refused" in error.message


@pytest.mark.parametrize(
    "uri",
    [
        "openbao+http://kms.example:8200/transit/root?token-file=/t",  # plain text over a network
        "openbao+https://kms.example/root?token-file=/t",
        "openbao+https://user@kms.example/transit/root?token-file=/t",
        "openbao+https://kms.example/transit/root?token=secret",
        "https://kms.example/transit/root",
        "openbao+ftp://kms.example/transit/root",
    ],
)
def test_addresses_that_are_refused(uri):
    with pytest.raises(Refusal) as caught:
        wrapper(uri)
    assert "secret" not in caught.value.message + caught.value.hint


def test_a_kms_that_denies_is_told_as_that_and_is_no_outage():
    kms = FakeKms()
    patient = PatientKms(kms, QUICK)
    keystore = ExternalKeystore(patient)
    stored = keystore.generate(SPEC)
    material = keystore.use(SPEC, stored)
    blob = material.seal(b"plaintext", BINDING)
    kms.denied = True
    for _ in range(5):
        assert unavailable(lambda: material.open(blob, BINDING)).code == "KeystoreRefused"
    assert patient.patience.state == "closed"
    kms.denied, kms.down = False, True
    for _ in range(5):
        assert unavailable(lambda: material.open(blob, BINDING)).code == "KeystoreDown"
    kms.down = False
    eventually(lambda: material.open(blob, BINDING), b"plaintext")


@pytest.mark.live
def test_a_real_server_taken_through_everything(openbao):
    patient = PatientKms(openbao.kms(timeout=2.0), QUICK)
    keystore = ExternalKeystore(patient)
    stored = keystore.generate(SPEC)
    material = keystore.use(SPEC, stored)
    blob = material.seal(b"plaintext", BINDING)

    def opened():
        return material.open(blob, BINDING)

    openbao.signal(signal.SIGSTOP)  # it answers never
    for _ in range(3):
        assert unavailable(opened).code in ("KeystoreDown", "KeystoreBusy")
    openbao.signal(signal.SIGCONT)
    eventually(opened, b"plaintext")

    openbao.seal()
    error = unavailable(opened)
    assert error.code == "KeystoreDown" and "sealed" in error.message
    openbao.unseal()
    eventually(opened, b"plaintext")

    openbao.stop()
    assert unavailable(opened).code == "KeystoreDown"
    openbao.start()
    openbao.unseal()
    eventually(opened, b"plaintext")

    old = openbao.token_file.read_text().strip()
    openbao.call("POST", "/v1/auth/token/revoke", {"token": old})
    error = unavailable(opened)
    assert error.code == "KeystoreRefused" and old not in error.message + error.hint
    openbao.new_token()  # written to the file, as an agent would
    assert opened() == b"plaintext"

    for _ in range(4):
        with pytest.raises(Unreadable):
            material.open(blob[:-1] + bytes((blob[-1] ^ 1,)), BINDING)
    assert patient.patience.state == "closed"
    keystore.destroy(SPEC, stored)
    assert unavailable(opened).code == "KeyNotInKeystore"


@pytest.mark.live
def test_a_key_that_exists_is_not_adopted(openbao):
    kms = OpenBaoKms(openbao.url, str(openbao.token_file))
    kms.make("keystead-twice", "AES-256")
    with pytest.raises(Refusal) as caught:
        kms.make("keystead-twice", "AES-256")
    assert caught.value.code == "NameTaken"
    kms.destroy("keystead-twice")


@pytest.mark.live
def test_the_wrapper_of_a_real_key(openbao):
    found = wrapper(f"openbao+{openbao.url}/transit/keystead-root?token-file={openbao.token_file}", QUICK)
    found.make_key()
    wrapped = found.wrap(bytes(range(32)))
    assert found.unwrap(wrapped) == bytes(range(32))
    for broken in (b"", b"x", wrapped[:-4], b"\xff" + wrapped):
        with pytest.raises(Unreadable):
            found.unwrap(broken)
