"""Our side of a benchmark: a region of its own, made, started and filled through the same doors a customer uses.

One vault, one key, and a user in a group whose only statement is `use keys` in that compartment. Plain HTTP on
loopback, as the peer has it; everything else is the default, but for what the benchmark varies (`[audit] sync`).
"""

import base64
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness import ROOT, Api, Target, child, free_port, free_ports, run_quietly, wait_until

_PROGRAM = os.environ.get("KEYSTEAD_PROGRAM") or str(Path(sys.executable).with_name("keystead"))
API = "/keystead/v1"


@dataclass(frozen=True, slots=True)
class Region:
    """A running region, and its first administrator's client."""

    port: int
    tenancy: str
    tenancy_id: str
    administrator: Api

    def sign_in(self, user: str, password: str) -> Api:
        """A client with a fresh token for `user`."""
        return _sign_in(self.port, self.tenancy, user, password)


def _sign_in(port: int, tenancy: str, user: str, password: str) -> Api:
    asked = {"tenancy": tenancy, "user": user, "password": password}
    issued: Any = Api(port, {}).call("POST", f"{API}/auth/tokens", asked)
    return Api(port, {"Authorization": f"Bearer {issued['token']}"})


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, **settings}


@contextlib.contextmanager
def start(directory: Path, sync: str = "synced", settings: Mapping[str, str] | None = None) -> Iterator[Region]:
    """Make a region in `directory`, start it, stop it at the end.

    Args:
        sync: `synced` or `written`: what an audit entry waits for.
        settings: more settings, as environment variables KEYSTEAD_<SECTION>_<NAME>.
    """
    directory.mkdir(mode=0o711, parents=True)
    state, credentials = directory / "state", directory / "credentials.json"
    port = free_port()
    environment = _environment(
        {
            "KEYSTEAD_LISTEN_PORT": str(port),
            "KEYSTEAD_LISTEN_TLS": "false",
            "KEYSTEAD_AUDIT_SYNC": sync,
            "KEYSTEAD_DATABASES_ENDPOINT_PORT": str(free_port()),
            "KEYSTEAD_DATABASES_PORTS": free_ports(20),
            **(settings or {}),
        }
    )
    made = ["--state", str(state), "--key-file", str(directory / "root.key"), "--credentials-file", str(credentials)]
    run_quietly([_PROGRAM, "init", *made], environment, cwd=ROOT)
    log = directory / "keystead.log"
    with child([_PROGRAM, "up", "--state", str(state)], log, environment) as process:
        nobody = Api(port, {})
        wait_until(lambda: nobody.call("GET", f"{API}/health") is not None, "keystead", process, log)
        shown: Any = json.loads(credentials.read_text())
        first = _sign_in(port, shown["tenancy"], shown["user"], shown["password"])
        yield Region(port, shown["tenancy"], shown["tenancy_id"], first)


def unwrap_target(region: Region, plaintext: bytes) -> Target:
    """Make vault, key, user and policy, wrap `plaintext`; the request that unwraps it, under that user's token."""
    first, root = region.administrator, region.tenancy_id

    def made(path: str, body: Mapping[str, object]) -> Any:
        return first.call("POST", API + path, body)

    place = made("/compartments", {"parent_id": root, "name": "bench"})["id"]
    vault = made("/vaults", {"compartment_id": place, "name": "bench"})["id"]
    key = made("/keys", {"compartment_id": place, "vault_id": vault, "name": "bench"})["id"]
    user = made("/users", {"name": "bench-app"})
    group = made("/groups", {"name": "bench-apps"})["id"]
    first.call("PUT", f"{API}/groups/{group}/members/{user['id']}", {})
    statement = "Allow group bench-apps to use keys in compartment bench"
    made("/policies", {"compartment_id": root, "name": "bench", "statements": [statement]})
    application = region.sign_in("bench-app", user["password"])
    encoded = base64.b64encode(plaintext).decode()
    wrapped: Any = application.call("POST", f"{API}/keys/{key}/actions/wrap", {"key_material": encoded})
    target = Target(
        "keystead",
        region.port,
        f"{API}/keys/{key}/actions/unwrap",
        application.headers,
        {"ciphertext": wrapped["ciphertext"]},
        lambda answer: isinstance(answer, dict) and answer["key_material"] == encoded,
    )
    target.check()
    return target
