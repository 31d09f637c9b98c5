"""The unmodified mysql-connector-python, in Python and in C, by each of its ways to send a token.

It runs in an environment of its own: `make .connector-venv/.locked`.
"""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live.logins_region import STATEMENT, LoginRegion, Person
from tests.live.test_logins import opened

from keystead.adapters.mariadb.plugins import login_plugin

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".connector-venv" / "bin" / "python"
PROGRAM = Path(__file__).with_name("connector_client.py")
PURE = pytest.mark.parametrize("pure", [True, False], ids=["python", "c"])

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(300),
    pytest.mark.skipif(login_plugin() is None, reason="the login plugin is not built: make native"),
    pytest.mark.skipif(not PYTHON.exists(), reason="run `make .connector-venv/.locked`"),
]


@pytest.fixture(scope="module")
def region() -> Iterator[LoginRegion]:
    with opened(furnish=False) as found:
        found.policy("login", STATEMENT)
        found.policy("use", "ALLOW any-user TO use mysql-instances IN TENANCY where request.principal.type = 'user'")
        for client in ("token", "oci", "openid"):
            found.map("user", found.person(f"{client}-user").id, client=client)
        yield found


@pytest.fixture
def bound(region: LoginRegion, tmp_path: Path) -> Path:
    """What `keystead db token --bound` writes for the person of OCI's client."""
    return write_bound(region, region.people["oci-user"], tmp_path)


def write_bound(region: LoginRegion, person: Person, directory: Path) -> Path:
    shown = json.loads((region.place.directory / "credentials.json").read_text())
    where = ("--url", f"https://127.0.0.1:{region.place.port}", "--ca", str(region.place.state / "ca.pem"))
    who = ("--tenancy", shown["tenancy"], "--user", person.name, "--password-stdin")
    signed_in = region.place.run("login", *where, *who, stdin=person.password)
    assert signed_in.returncode == 0, signed_in.stderr
    made = region.place.run("--json", "db", "token", "--bound", str(directory / "bound"))
    assert made.returncode == 0, made.stderr
    return Path(json.loads(made.stdout)["config"])


def log_in(region: LoginRegion, user: str, pure: bool, **given: Any) -> dict[str, str]:
    asked = {
        "host": "127.0.0.1", "port": region.port, "user": user, "use_pure": pure, "connection_timeout": 10,
        "ssl_ca": str(region.ca), "ssl_verify_cert": True, "ssl_verify_identity": True, **given,
    }  # fmt: skip
    done = subprocess.run(
        [str(PYTHON), str(PROGRAM)], input=json.dumps(asked), text=True, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def let_in(found: dict[str, str], user: str) -> bool:
    return found.get("user", "").startswith(f"{user}@") and found["account"].startswith(user) and bool(found["cipher"])


def refused(found: dict[str, str]) -> bool:
    return "1045" in found.get("error", "")


@PURE
def test_a_token_in_place_of_a_password(region: LoginRegion, pure: bool) -> None:
    token = region.people["token-user"].database_token()
    way = {"auth_plugin": "mysql_clear_password"}
    assert let_in(log_in(region, "token-user", pure, password=token, **way), "token-user")
    assert refused(log_in(region, "token-user", pure, password=token[:-4] + "AAAA", **way))
    assert not let_in(log_in(region, "openid-user", pure, password=token, **way), "openid-user")


def as_oci(pure: bool, config: Path) -> dict[str, Any]:
    named = {"oci_config_file": str(config), "oci_config_profile": "DEFAULT"}
    return named if pure else {**named, "auth_plugin": "authentication_oci_client"}


@PURE
def test_a_token_bound_to_a_key_by_ocis_plugin(region: LoginRegion, bound: Path, pure: bool) -> None:
    assert let_in(log_in(region, "oci-user", pure, **as_oci(pure, bound)), "oci-user")


@PURE
def test_a_stolen_bound_token_opens_nothing(region: LoginRegion, bound: Path, tmp_path: Path, pure: bool) -> None:
    token = (bound.parent / "token").read_text()
    way = {"auth_plugin": "mysql_clear_password"}
    assert not let_in(log_in(region, "oci-user", pure, password=token, **way), "oci-user")
    (tmp_path / "thief").mkdir()
    thief = write_bound(region, region.people["token-user"], tmp_path / "thief")
    (thief.parent / "token").write_text(token)
    assert refused(log_in(region, "oci-user", pure, **as_oci(pure, thief)))


@PURE
def test_a_token_by_the_openid_plugin(region: LoginRegion, tmp_path: Path, pure: bool) -> None:
    file = tmp_path / "token.jwt"
    way = {"auth_plugin": "authentication_openid_connect_client", "openid_token_file": str(file)}
    file.write_text(region.people["openid-user"].database_token())
    assert let_in(log_in(region, "openid-user", pure, **way), "openid-user")
    head, claims, signature = file.read_text().split(".")
    told = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"sub": region.people["token-user"].id}
    forged = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")
    file.write_text(f"{head}.{forged}.{signature}")
    assert refused(log_in(region, "openid-user", pure, **way))
