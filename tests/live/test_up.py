"""A whole region under `up`: started, refused, killed in parts, stopped, brought back."""

import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_block

from keystead.server.settings import load

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
PROGRAM = str(Path(sys.executable).with_name("keystead"))
PATIENCE = 90.0


@dataclass
class Place:
    """A region in a directory of its own."""

    directory: Path
    port: int
    endpoint: int

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def memory(self) -> Path:
        return load(state=self.state, environment={}).memory

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [PROGRAM, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**self.environment(), **environment},
        )

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**kept, "KEYSTEAD_HOME": str(self.directory / "client")}

    def up(self, *arguments: str, stdin: str = "") -> None:
        found = self.run("up", "--detach", "--state", str(self.state), *arguments, stdin=stdin)
        assert found.returncode == 0, found.stderr

    def refused(self, *arguments: str) -> str:
        before = self.files()
        found = self.run("up", "--state", str(self.state), *arguments)
        assert found.returncode == 1, found
        assert self.files() == before
        return found.stderr

    def files(self) -> dict[str, int]:
        """What is in the state, and when it last changed; locks and the like aside."""
        names = [path for path in self.state.rglob("*") if path.is_file()]
        passing = ("run", "log", "audit.db")
        return {
            str(path): path.stat().st_mtime_ns
            for path in names
            if not path.relative_to(self.state).parts[0].startswith(passing) and "-" not in path.name.split(".db")[-1]
        }

    def down(self) -> None:
        assert self.run("down", "--state", str(self.state)).returncode == 0

    def call(self, path: str, body: object = None, token: str = "") -> Any:
        context = ssl.create_default_context(cafile=str(self.state / "ca.pem"))
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}/keystead/v1{path}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return json.loads(answer.read())

    def sign_in(self) -> str:
        shown = json.loads((self.directory / "credentials.json").read_text())
        asked = {name: shown[name] for name in ("tenancy", "user", "password")}
        return str(self.call("/auth/tokens", asked)["token"])

    def pid(self, role: str) -> int:
        return int(json.loads((self.state / f"run/{role}.lock").read_text())["pid"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    port, endpoint = free_block(2)
    found = Place(tmp_path, port, endpoint)
    made = found.run(
        "init",
        *("--state", str(found.state), "--key-file", str(tmp_path / "outside/root.key")),
        *("--credentials-file", str(tmp_path / "credentials.json"), "--port", str(port)),
        *("--set", f"databases.endpoint_port={endpoint}", "--json"),
    )
    assert made.returncode == 0, made.stderr
    yield found
    found.run("down", "--state", str(found.state))


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (OSError, ValueError):
            pass
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether it runs; one that only waits for its new parent to notice its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def end_of(pid: int) -> int:
    return os.pidfd_open(pid)


def ended(pidfd: int, seconds: float) -> bool:
    return bool(select.select([pidfd], [], [], seconds)[0])


def test_up_work_down(place: Place) -> None:
    place.up()
    assert place.call("/health")["status"] == "ok"
    token = place.sign_in()
    who = place.call("/auth/whoami", token=token)
    assert who["name"] == "admin"
    second = place.run("up", "--detach", "--state", str(place.state))
    assert second.returncode == 1
    assert "already running" in second.stderr
    assert "keystead down" in second.stderr
    for command in ("serve", "work", "host"):
        found = place.run(command, "--state", str(place.state))
        assert found.returncode == 1, (command, found)
        assert "already" in found.stderr
    pids = [place.pid(role) for role in ("http", "local", "work", "host", "up")]
    for pid in pids:
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        key = (place.directory / "outside/root.key").read_bytes().split()[1]
        assert key not in arguments + environment
    place.down()
    assert not any(alive(pid) for pid in pids)
    assert not place.memory.exists()
    again = place.run("down", "--state", str(place.state))
    assert again.returncode == 1
    assert "no region is running" in again.stderr


def test_each_part_is_back_within_a_second(place: Place) -> None:
    place.up()
    for role in ("host", "work", "http", "local"):
        old = place.pid(role)
        os.kill(old, signal.SIGKILL)
        killed = time.monotonic()
        wait_for(lambda role=role, old=old: place.pid(role) != old)  # type: ignore[misc]
        assert time.monotonic() - killed < 2.0, role  # one second, and one for a busy machine
    wait_for(lambda: place.call("/health")["status"] == "ok")
    token = place.sign_in()
    assert place.call("/audit/verification", token=token)["intact"]


def test_killed_up_takes_its_children_along(place: Place) -> None:
    place.up()
    pidfds = [end_of(place.pid(role)) for role in ("http", "local", "work", "host")]
    os.kill(place.pid("up"), signal.SIGKILL)
    assert all(ended(pidfd, 15) for pidfd in pidfds)
    place.up()
    assert place.call("/health")["status"] == "ok"


@pytest.mark.parametrize("which", ["port", "endpoint"])
def test_a_taken_port(place: Place, which: str) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as another server like ours would
        taken.bind(("127.0.0.1", getattr(place, which)))
        taken.listen()
        said = place.refused()
    assert f"something else listens on 127.0.0.1:{getattr(place, which)}" in said
    assert "endpoint_port" in said or which == "port"
    place.up()


def test_the_wrong_root_key(place: Place) -> None:
    key_file = place.directory / "outside/root.key"
    right = key_file.read_bytes()
    key_file.chmod(0o600)
    key_file.write_bytes(b"keystead-key-file-1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
    assert "does not open this region" in place.refused()
    key_file.unlink()
    assert "cannot be read" in place.refused()
    shown = json.loads((place.directory / "credentials.json").read_text())
    place.up("--passphrase-stdin", stdin=shown["passphrase"] + "\n")
    place.down()
    wrong = place.run("up", "--detach", "--state", str(place.state), "--passphrase-stdin", stdin="wrong wrong wrong\n")
    assert wrong.returncode == 1
    assert "does not open this region" in wrong.stderr
    key_file.write_bytes(right)
    key_file.chmod(0o400)
    place.up()


def test_yesterdays_state(place: Place) -> None:
    yesterday = (place.state / "state.db").read_bytes()
    place.up()
    token = place.sign_in()
    root = place.call("/auth/whoami", token=token)["tenancy_id"]
    place.call("/vaults", {"compartment_id": root, "name": "prod"}, token)
    wait_for(lambda: place.call("/audit/entries?action=CreateVault", token=token)["items"])
    place.down()
    for path in place.state.glob("state.db*"):
        path.unlink()
    (place.state / "state.db").write_bytes(yesterday)
    said = place.refused()
    assert "the state is an older copy" in said
    assert "--accept-rollback" in said
    place.up("--accept-rollback")
    token = place.sign_in()
    wait_for(lambda: place.call("/audit/entries?action=AcceptRollback", token=token)["items"])
    place.down()
    place.up()


def test_state_backup_and_restore(place: Place) -> None:
    place.up()
    token = place.sign_in()
    root = place.call("/auth/whoami", token=token)["tenancy_id"]
    place.call("/vaults", {"compartment_id": root, "name": "prod"}, token)
    context = ssl.create_default_context(cafile=str(place.state / "ca.pem"))
    request = urllib.request.Request(f"https://127.0.0.1:{place.port}/keystead/v1/state/actions/backup", method="POST")
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        content = answer.read()
    backup = place.directory / "region.ksb"
    backup.write_bytes(content)
    place.down()
    into = place.directory / "back"
    key_file = str(place.directory / "outside/root.key")
    backup.write_bytes(content[:-1])
    cut = place.run("state", "restore", str(backup), "--into", str(into), "--key-file", key_file)
    assert cut.returncode == 1
    assert not into.exists()
    backup.write_bytes(content)
    found = place.run("state", "restore", str(backup), "--into", str(into), "--key-file", key_file, "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["region"] == "home"
    place.state.rename(place.directory / "before")
    into.rename(place.state)
    place.up()
    token = place.sign_in()
    assert [item["name"] for item in place.call(f"/vaults?compartment_id={root}", token=token)["items"]] == ["prod"]
    wait_for(lambda: place.call("/audit/entries?action=RestoreState", token=token)["items"])


def test_a_new_root_key(place: Place) -> None:
    place.up()
    token = place.sign_in()
    root = place.call("/auth/whoami", token=token)["tenancy_id"]
    vault = place.call("/vaults", {"compartment_id": root, "name": "prod"}, token)["id"]
    key = place.call("/keys", {"compartment_id": root, "vault_id": vault, "name": "gold"}, token)["id"]
    wrapped = place.call(f"/keys/{key}/actions/wrap", {"key_material": "c2VjcmV0"}, token)["ciphertext"]
    refused = place.run("seal", "rotate", "--state", str(place.state))
    assert refused.returncode == 1 and "already running" in refused.stderr
    place.down()
    passphrase = json.loads((place.directory / "credentials.json").read_text())["passphrase"]
    done = place.run("seal", "rotate", "--stdin", "--json", "--state", str(place.state), stdin=f"{passphrase}\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["wrapped"]["key versions"] >= 1
    place.up()
    with pytest.raises(urllib.error.HTTPError):
        place.call("/auth/whoami", token=token)  # tokens are void
    found = place.call(f"/keys/{key}/actions/unwrap", {"ciphertext": wrapped}, place.sign_in())
    assert found["key_material"] == "c2VjcmV0"


def test_no_secret_in_what_was_written(place: Place) -> None:
    place.up()
    token = place.sign_in()
    place.down()
    shown = json.loads((place.directory / "credentials.json").read_text())
    key = (place.directory / "outside/root.key").read_bytes().split()[1]
    secrets = [token.encode(), shown["password"].encode(), shown["passphrase"].encode(), key]
    for path in place.state.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path
