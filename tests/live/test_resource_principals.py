"""A real database system's own identity on its machine, used by OCI's unmodified SDK under the system's uid.

The SDK runs in an environment of its own: `make .connector-venv/.locked`.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live.logins_region import LoginRegion
from tests.live.test_up import wait_for

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".connector-venv" / "bin" / "python"
STRANGER = 65533
pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PYTHON.exists(), reason="run `make .connector-venv/.locked`"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root gives out uids"),
]


@pytest.fixture(scope="module")
def region() -> Iterator[LoginRegion]:
    directory = Path(tempfile.mkdtemp(prefix="ks-identity-"))  # pytest closes its own to the systems' uids
    directory.chmod(0o711)
    found = LoginRegion.open(directory)
    try:
        yield found
    finally:
        found.close()
        shutil.rmtree(directory, ignore_errors=True)


def files_of(region: LoginRegion) -> Path:
    """Where the system's server has its temporary files, on the tmpfs, its identity lies beside them."""
    with region.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SELECT @@tmpdir")
        found: Any = cursor.fetchone()
    return Path(found[0]).parent / "identity"


def environment(files: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (files / "environment").read_text().splitlines())


def uid_of(region: LoginRegion) -> int:
    return files_of(region).stat().st_gid


def workload(region: LoginRegion, uid: int, *paths: str) -> dict[str, Any]:
    """What the SDK is told when somebody of that uid, and nothing else, asks for each path."""
    files = files_of(region)
    ca = region.place.directory / "ca-for-everybody.pem"
    ca.write_bytes((region.place.state / "ca.pem").read_bytes())
    ca.chmod(0o644)
    client, base = ROOT / "tests/live/identity_client.py", f"https://127.0.0.1:{region.place.port}/keystead/v1"
    done = subprocess.run(
        [str(PYTHON), str(client), str(uid), base, str(ca), *paths],
        capture_output=True, text=True, timeout=100, cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/", **environment(files)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_it_is_allowed_what_statements_grant_it_and_nothing_else(region: LoginRegion) -> None:
    files = files_of(region)
    wait_for((files / "environment").exists, 20)
    uid = uid_of(region)
    told = workload(region, uid, "/groups", "/users", region.path)
    assert told["whoami"]["id"] == region.system["id"]
    assert (told["uid"], told["tenancy"]) == (uid, region.root)
    assert told["statuses"] == [403, 403, 403]
    policy = region.policy(
        "resource", "Allow any-user to inspect groups in tenancy where request.principal.type = 'mysqldbsystem'"
    )
    assert workload(region, uid, "/groups", "/users", region.path)["statuses"] == [200, 403, 403]
    region.call("DELETE", f"/policies/{policy}")
    assert workload(region, uid, "/groups")["statuses"] == [403]


def test_nobody_else_reads_it_and_its_own_uid_cannot_change_it(region: LoginRegion) -> None:
    files = files_of(region)
    wait_for((files / "environment").exists, 20)

    def tried(uid: int, command: str) -> int:
        return subprocess.run(
            ["/bin/sh", "-c", command, "sh", str(files)], user=uid, group=uid, extra_groups=[], capture_output=True
        ).returncode

    uid = uid_of(region)
    for name in ("rpst", "private.pem", "environment"):
        assert tried(uid, f'cat "$1/{name}"') == 0
        assert tried(STRANGER, f'cat "$1/{name}"') != 0
        assert tried(uid, f'echo x >> "$1/{name}"') != 0
    assert tried(STRANGER, 'ls "$1"') != 0
    assert tried(uid, 'mv "$1/rpst" "$1/other"') != 0
    assert tried(uid, 'mv "$1" "$1.other"') != 0
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(files)], capture_output=True, text=True, check=True)
    assert kind.stdout.strip() == "tmpfs"


def test_a_revoked_token_is_replaced_and_the_workload_goes_on(region: LoginRegion) -> None:
    files = files_of(region)
    wait_for((files / "rpst").exists, 20)
    before, key = (files / "rpst").read_text(), (files / "private.pem").read_bytes()
    region.call("POST", f"{region.path}/actions/revoke-tokens")
    wait_for(lambda: (files / "rpst").read_text() != before, 20)
    told = workload(region, uid_of(region))
    assert (told["whoami"]["id"], told["token"]) == (region.system["id"], (files / "rpst").read_text())
    assert (files / "private.pem").read_bytes() == key


def test_new_keys_that_sign_void_what_was_issued_and_everybody_goes_on(region: LoginRegion) -> None:
    files = files_of(region)
    wait_for((files / "environment").exists, 20)
    before, old = region.token, published(region)
    done = region.call("POST", "/auth/token-keys/actions/rotate", {})
    assert published(region) == old | set(done["kids"])
    region.token = region.place.sign_in()
    for token in (before, region.token):
        assert region.call("GET", "/auth/whoami", token=token)["type"] == "user"
    assert workload(region, uid_of(region))["whoami"]["id"] == region.system["id"]
    own = (files / "rpst").read_text()
    done = region.call("POST", "/auth/token-keys/actions/rotate", {"at_once": True})
    with pytest.raises(AssertionError, match="401"):
        region.call("GET", "/auth/whoami")
    region.token = region.place.sign_in()
    assert published(region) == set(done["kids"])
    wait_for(lambda: (files / "rpst").read_text() != own, 20)
    assert workload(region, uid_of(region))["whoami"]["id"] == region.system["id"]


def published(region: LoginRegion) -> set[str]:
    return {key["kid"] for key in region.call("GET", "/auth/jwks")["keys"]}


def test_a_removed_identity_takes_it_away_and_a_restored_one_brings_it_back(region: LoginRegion) -> None:
    files = files_of(region)
    wait_for((files / "rpst").exists, 20)
    region.call("POST", f"{region.path}/actions/delete-identity")
    region.await_state("INACCESSIBLE")
    assert not files.exists()
    region.call("POST", f"{region.path}/actions/restore-identity")
    region.await_state("ACTIVE")
    wait_for((files / "environment").exists, 20)
    assert workload(region, uid_of(region))["whoami"]["id"] == region.system["id"]


def test_with_the_system_it_is_gone(region: LoginRegion) -> None:
    files = files_of(region)
    wait_for((files / "rpst").exists, 20)
    region.call("DELETE", region.path)
    wait_for(lambda: not files.exists(), 40)
