"""A vault with networks, reached over real sockets: by TCP as if it were not there, by the private listener as ever."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port

pytestmark = pytest.mark.live


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class Place:
    """A region with a private unix socket, and who asks it."""

    def __init__(self, state: Path, port: int) -> None:
        self.state, self.port, self.socket = state, port, state / "p.sock"
        self.token = ""

    def ask(self, method: str, path: str, body: Any = None, *, by: str = "tcp", **headers: str) -> tuple[int, Any]:
        connection: http.client.HTTPConnection = (
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            if by == "tcp"
            else UnixConnection(self.socket if by == "private" else self.state / "run" / "local.sock")
        )
        try:
            sent = {"Content-Type": "application/json", **headers}
            if self.token:
                sent["Authorization"] = f"Bearer {self.token}"
            connection.request(method, f"/keystead/v1{path}", None if body is None else json.dumps(body), sent)
            reply = connection.getresponse()
            text = reply.read()
            return reply.status, json.loads(text) if text else None
        finally:
            connection.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    state, port = tmp_path / "s", free_port()
    key = tmp_path / "key" / "root.key"
    environment = {
        **os.environ,
        "KEYSTEAD_LISTEN_PORT": str(port),
        "KEYSTEAD_LISTEN_TLS": "false",
        "KEYSTEAD_LISTEN_WORKERS": "1",
        "KEYSTEAD_LISTEN_PRIVATE": f"unix:{state}/p.sock",
        "KEYSTEAD_LISTEN_PRIVATE_MODE": "0600",
        "KEYSTEAD_CONFIG": str(tmp_path / "cli"),
    }
    run = [sys.executable, "-m", "keystead.server.main"]
    made = subprocess.run(
        [*run, "init", "--state", str(state), "--key-file", str(key), "--tenancy", "acme", "--admin", "ada", "--json"],
        text=True, capture_output=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    password = next(value for name, value in json.loads(made.stdout).items() if "password" in name)
    served = subprocess.Popen(
        [*run, "serve", "--state", str(state)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    found = Place(state, port)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(OSError):
                if all(found.ask("GET", "/health", by=by)[0] == 200 for by in ("tcp", "private", "local")):
                    break
            time.sleep(0.2)
        sign_in = {"tenancy": "acme", "user": "ada", "password": password}
        status, reply = found.ask("POST", "/auth/tokens", sign_in)
        assert status == 201, reply
        found.token = reply["token"]
        yield found
    finally:
        served.terminate()
        served.wait(30)


def test_from_the_network_it_is_not_there_and_by_the_private_listener_it_is(place: Place) -> None:
    tenancy = place.ask("GET", "/auth/whoami")[1]["tenancy_id"]
    body = {"compartment_id": tenancy, "name": "v", "networks": ["private"]}
    status, refused = place.ask("POST", "/vaults", body)
    assert (status, refused["code"]) == (409, "ShutsYouOut")
    status, vault = place.ask("POST", "/vaults", body, by="private")
    assert status == 201, vault
    wanted_key = {"compartment_id": tenancy, "vault_id": vault["id"], "name": "k"}
    status, key = place.ask("POST", "/keys", wanted_key, by="private")
    assert status == 201, key
    sealing = ("POST", f"/keys/{key['id']}/actions/encrypt", {"plaintext": "YWJj"})
    for by, wanted in (("private", 200), ("local", 200), ("tcp", 404)):
        assert place.ask(*sealing, by=by)[0] == wanted, by
    # What a request says of itself is not believed.
    pretended = {"X-Forwarded-For": "private", "Forwarded": "for=private", "X-Real-Ip": "10.0.0.1"}
    assert place.ask(*sealing, **pretended)[0] == 404
    absent = place.ask("POST", f"/keys/{key['id'][:-8]}aaaaaaaa/actions/encrypt", {"plaintext": "YWJj"})
    hidden = place.ask(*sealing)
    assert {**hidden[1], "request_id": ""} == {**absent[1], "request_id": ""}
    assert (place.socket.stat().st_mode & 0o777) == 0o600
