"""Our side of a benchmark: a region of its own, made, started and filled through the same doors a customer uses.

One vault, one key, and a user in a group whose only statement is `use keys` in that compartment. Plain HTTP on
loopback, as the peer has it; everything else is the default, but for what the benchmark varies (`[audit] sync`).
"""

import base64
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
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
    pid: int

    def sign_in(self, user: str, password: str) -> Api:
        """A client with a fresh token for `user`."""
        return _sign_in(self.port, self.tenancy, user, password)


def _sign_in(port: int, tenancy: str, user: str, password: str) -> Api:
    asked = {"tenancy": tenancy, "user": user, "password": password}
    issued: Any = Api(port, {}).call("POST", f"{API}/auth/tokens", asked)
    return Api(port, {"Authorization": f"Bearer {issued['token']}"})


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    return {**kept, **settings}


@dataclass(frozen=True, slots=True)
class Made:
    """A region that has been made and does not run."""

    directory: Path
    port: int
    environment: Mapping[str, str]

    @property
    def state(self) -> Path:
        """Its state directory."""
        return self.directory / "state"

    @contextlib.contextmanager
    def run(self) -> Iterator[Region]:
        """Start it, stop it at the end."""
        log = self.directory / "keystead.log"
        with child([_PROGRAM, "up", "--state", str(self.state)], log, self.environment) as process:
            nobody = Api(self.port, {})
            wait_until(lambda: nobody.call("GET", f"{API}/health") is not None, "keystead", process, log)
            shown: Any = json.loads((self.directory / "credentials.json").read_text())
            first = _sign_in(self.port, shown["tenancy"], shown["user"], shown["password"])
            yield Region(self.port, shown["tenancy"], shown["tenancy_id"], first, process.pid)


def make(directory: Path, sync: str = "synced", settings: Mapping[str, str] | None = None) -> Made:
    """Make a region in `directory`.

    Args:
        sync: `synced` or `written`: what an audit entry waits for.
        settings: more settings, as environment variables KEYSTEAD_<SECTION>_<NAME>.
    """
    directory.mkdir(mode=0o711, parents=True)
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
    made = Made(directory, port, environment)
    files = ["--key-file", str(directory / "root.key"), "--credentials-file", str(directory / "credentials.json")]
    run_quietly([_PROGRAM, "init", "--state", str(made.state), *files], environment, cwd=ROOT)
    return made


@contextlib.contextmanager
def start(directory: Path, sync: str = "synced", settings: Mapping[str, str] | None = None) -> Iterator[Region]:
    """Make a region in `directory` (see `make`), start it, stop it at the end."""
    with make(directory, sync, settings).run() as region:
        yield region


@dataclass(frozen=True, slots=True)
class Bench:
    """A compartment with a vault, and the client of a user who may use keys there and nothing else."""

    region: Region
    compartment: str
    vault: str
    application: Api

    def key(self, name: str, algorithm: str = "AES-256") -> str:
        """A new key; its id."""
        body = {"compartment_id": self.compartment, "vault_id": self.vault, "name": name, "algorithm": algorithm}
        made: Any = self.region.administrator.call("POST", f"{API}/keys", body)
        return str(made["id"])

    def request(self, key: str, plaintext: bytes) -> tuple[str, dict[str, object]]:
        """Path and body of the request that unwraps `plaintext`, wrapped by `key`."""
        encoded = base64.b64encode(plaintext).decode()
        sealed: Any = self.application.call("POST", f"{API}/keys/{key}/actions/wrap", {"key_material": encoded})
        return f"{API}/keys/{key}/actions/unwrap", {"ciphertext": sealed["ciphertext"]}

    def target(self, key: str, plaintext: bytes, items: int = 0, others: Sequence[str] = ()) -> Target:
        """The request that unwraps; `items`: a batch of so many; `others`: spread over these keys, too."""
        path, body = self.request(key, plaintext)
        encoded = base64.b64encode(plaintext).decode()

        def is_right(answer: Any) -> bool:
            return all(each["key_material"] == encoded for each in (answer["items"] if items else [answer]))

        if items:
            path, body = f"{path}-batch", {"items": [body] * items}
        more = [self.request(other, plaintext) for other in others]
        target = Target("keystead", self.region.port, path, self.application.headers, body, is_right, more)
        target.check()
        return target


def prepare(region: Region) -> Bench:
    """Make compartment, vault, user, group and policy."""
    first, root = region.administrator, region.tenancy_id

    def made(path: str, body: Mapping[str, object]) -> Any:
        return first.call("POST", API + path, body)

    place = made("/compartments", {"parent_id": root, "name": "bench"})["id"]
    vault = made("/vaults", {"compartment_id": place, "name": "bench"})["id"]
    user = made("/users", {"name": "bench-app"})
    group = made("/groups", {"name": "bench-apps"})["id"]
    first.call("PUT", f"{API}/groups/{group}/members/{user['id']}", {})
    statement = "Allow group bench-apps to use keys in compartment bench"
    made("/policies", {"compartment_id": root, "name": "bench", "statements": [statement]})
    return Bench(region, place, vault, region.sign_in("bench-app", user["password"]))


def unwrap_target(region: Region, plaintext: bytes) -> Target:
    """Make what it takes; the request that unwraps `plaintext`, under the token of a user who may do just that."""
    bench = prepare(region)
    return bench.target(bench.key("bench"), plaintext)
