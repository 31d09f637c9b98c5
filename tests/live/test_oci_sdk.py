"""OCI's Python SDK, unmodified, signs requests that the region takes: with an API key, a session token, as a resource.

And PyJWT, unmodified, verifies the region's tokens by the keys that it publishes.

It runs in an environment of its own: `make .connector-venv/.locked`.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".connector-venv" / "bin" / "python"
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not PYTHON.exists(), reason="run `make .connector-venv/.locked`"),
]

SERVED = """
import asyncio, datetime, json, os, pathlib, socket, uvloop
from cryptography.hazmat.primitives import serialization as how
from keystead.web.app import make_app
from keystead.web.listener import Listener
from keystead.web.pipeline import Limits
from tests.web.proving import Key, rsa_key
from tests.web.region import open_region

state = pathlib.Path(os.environ["STATE"])
region = open_region(state)
region.clock.advance((datetime.datetime.now(datetime.UTC) - region.clock.now()).total_seconds())
iam, caller = region.services.iam, region.caller_again()
host = iam.authenticate(region.host_token(), "here", "r")
told = {}
for number, name in enumerate(("api", "session", "resource")):
    private = rsa_key(number)
    text = private.private_bytes(how.Encoding.PEM, how.PrivateFormat.PKCS8, how.NoEncryption())
    (state / f"{name}.pem").write_bytes(text)
    told[name] = Key(private).public
key = iam.create_api_key(caller, caller.principal.id, "sdk", told["api"].pem())
issued = region.services.login_desk.issue_session(host, region.ids["db_system_id"], told["resource"].pem())
(state / "rpst").write_text(issued.token)
(state / "info.json").write_text(json.dumps({
    "tenancy": caller.principal.tenancy, "user": caller.principal.id, "fingerprint": key.fingerprint,
    "system": region.ids["db_system_id"],
    "token": iam.exchange_token(caller, public_key=told["session"].pem()).token,
}))


async def serve():
    listener = Listener(make_app(region.services, Limits()))
    listener.listen(socket.create_server(("127.0.0.1", int(os.environ["PORT"]))))
    await asyncio.Event().wait()


uvloop.run(serve())
"""

ASKED = """
import json, os, pathlib, sys
import jwt
import oci
from oci._vendor import requests

state, base = pathlib.Path(os.environ["STATE"]), os.environ["BASE"]
info = json.loads((state / "info.json").read_text())
signers = {
    "api": oci.signer.Signer(info["tenancy"], info["user"], info["fingerprint"], str(state / "api.pem")),
    "session": oci.auth.signers.SecurityTokenSigner(
        info["token"], oci.signer.load_private_key_from_file(str(state / "session.pem"))
    ),
    "resource": oci.auth.signers.get_resource_principals_signer(),
    "stolen": oci.auth.signers.SecurityTokenSigner(
        info["token"], oci.signer.load_private_key_from_file(str(state / "api.pem"))
    ),
}
told = {"system": info["system"], "user": info["user"], "version": oci.__version__}
for name, signer in signers.items():
    who = requests.get(base + "/auth/whoami", auth=signer)
    done = requests.post(base + "/auth/tokens/exchange", json={"audience": "databases", "minutes": 5}, auth=signer)
    changed = requests.Request("POST", base + "/auth/tokens/exchange", json={"minutes": 5}, auth=signer).prepare()
    changed.body = changed.body.replace(b"5", b"6")
    told[name] = [who.status_code, who.json().get("id"), done.status_code, requests.Session().send(changed).status_code]
own = requests.post(base + "/auth/tokens/exchange", json={"algorithm": "RS256"}, auth=signers["api"]).json()["token"]
finder = jwt.PyJWKClient(base.removesuffix("/keystead/v1") + "/.well-known/jwks.json")
told["verified"] = []
for token, algorithm in ((own, "RS256"), (info["token"], "EdDSA")):
    try:
        key = finder.get_signing_key_from_jwt(token)
        claims = jwt.decode(token, key, algorithms=[algorithm], issuer="home", audience="keystead:home:api")
        told["verified"].append(claims["sub"])
    except (jwt.InvalidAlgorithmError, jwt.PyJWKClientError):
        told["verified"].append("unknown algorithm")
try:
    finder.get_signing_key_from_jwt(jwt.encode({}, "x" * 32, headers={"kid": "another"}))
except jwt.PyJWKClientError:
    told["verified"].append("no such key")
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    state = tmp_path_factory.mktemp("sdk")
    for name, text in (("served.py", SERVED), ("asked.py", ASKED)):
        (state / name).write_text(text)
    port = free_port()
    usual = {"PATH": os.environ["PATH"], "STATE": str(state)}
    paths = os.pathsep.join(str(path) for path in (state, ROOT, ROOT / "src"))
    child = subprocess.Popen(
        [sys.executable, str(state / "served.py")], env={**usual, "PYTHONPATH": paths, "PORT": str(port)},
        stdout=(state / "log").open("wb"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        _wait(state, port, child)
        as_resource = {
            "OCI_RESOURCE_PRINCIPAL_VERSION": "2.2",
            "OCI_RESOURCE_PRINCIPAL_RPST": str(state / "rpst"),
            "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM": str(state / "resource.pem"),
            "OCI_RESOURCE_PRINCIPAL_REGION": "eu-frankfurt-1",
        }
        asked = subprocess.run(
            [str(PYTHON), str(state / "asked.py")], capture_output=True, text=True, timeout=100,
            env={**usual, **as_resource, "BASE": f"http://127.0.0.1:{port}/keystead/v1", "HOME": str(state)},
        )  # fmt: skip
        assert asked.returncode == 0, asked.stderr
        yield json.loads(asked.stdout)
    finally:
        child.terminate()
        child.wait(10)


def _wait(state: Path, port: int, child: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        assert child.poll() is None, (state / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)  # nothing tells when another process listens
    raise AssertionError((state / "log").read_text())


def test_requests_signed_with_an_api_key_are_taken_and_changed_ones_are_not(answers: dict[str, Any]) -> None:
    assert answers["api"] == [200, answers["user"], 201, 401]


def test_a_session_token_is_signed_with_its_key(answers: dict[str, Any]) -> None:
    assert answers["session"] == [200, answers["user"], 201, 401]


def test_a_database_system_is_a_resource_principal(answers: dict[str, Any]) -> None:
    assert answers["resource"] == [200, answers["system"], 201, 401]


def test_a_session_token_with_another_key_is_nobodys(answers: dict[str, Any]) -> None:
    assert answers["stolen"] == [401, None, 401, 401]


def test_a_standard_library_verifies_tokens_by_the_keys_that_are_published(answers: dict[str, Any]) -> None:
    # PyJWT knows Ed25519 as EdDSA, and not by the name of RFC 9864 that our tokens' headers have.
    assert answers["verified"] == [answers["user"], "unknown algorithm", "no such key"]
