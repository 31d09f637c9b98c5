"""A root key that a token or another KMS opens: slots made, migrated between any two kinds, and a start by itself."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance import bao, tokens
from tests.live.test_up import Place, place

from keystead.server.sealing import warden
from keystead.server.settings import load

__all__ = ["place"]
pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
KINDS = ("key-file", "passphrase", "shares", "recipient", "pkcs11", "external")


@pytest.fixture(scope="module")
def uris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A SoftHSM2 token and an OpenBao of this run."""
    if not tokens.available() or not bao.binary():
        pytest.skip("SoftHSM2 or OpenBao is not installed")
    token = str(tokens.make_token(tmp_path_factory.mktemp("softhsm"))).replace("?", ";object=root?")
    with bao.start(tmp_path_factory.mktemp("openbao")) as server:
        address = f"openbao+{server.url}/transit/keystead-root?token-file={server.token_file}"
        yield {"pkcs11": token, "external": address}


@pytest.fixture(autouse=True)
def token_is_found(uris: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """SoftHSM2 finds its tokens by a variable."""
    plain = Place.environment
    conf = os.environ["SOFTHSM2_CONF"]
    monkeypatch.setattr(Place, "environment", lambda self: {**plain(self), "SOFTHSM2_CONF": conf})


class Seal:
    """The seal of a region, by the console script."""

    def __init__(self, place: Place, uris: dict[str, str]) -> None:
        self.place, self.uris = place, uris
        self.shares: list[str] = []
        self.passphrase = json.loads((place.directory / "credentials.json").read_text())["passphrase"]
        self.made = itertools.count()
        self.file = place.directory / "outside/root.key"
        self.keys: set[str] = set()

    def run(self, *words: str, stdin: str = "") -> dict:
        done = self.place.run(*words, "--state", str(self.place.state), "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def how(self, kind: str) -> tuple[list[str], str]:
        """Options that open with `kind`, and what they read."""
        identity = self.place.directory / "safe.key"
        match kind:
            case "key-file":
                return ["--with", f"key-file:{self.file}"], ""
            case "passphrase":
                return ["--with", "passphrase", "--stdin"], self.passphrase + "\n"
            case "shares":
                return ["--with", "shares", "--stdin"], "\n".join(self.shares[:2]) + "\n"
            case "recipient":
                return ["--with", f"identity:{identity}"], ""
            case _:
                return ["--with", kind], ""

    def wish(self, kind: str) -> list[str]:
        """Options that ask for a slot of `kind`."""
        recipient, identity = self.place.directory / "safe.pub", self.place.directory / "safe.key"
        match kind:
            case "key-file":
                self.file = self.place.directory / f"outside/{next(self.made)}.key"
                return ["--to", str(self.file)]
            case "shares":
                return ["--shares", "2/3"]
            case "recipient":
                if not identity.exists():
                    assert self.place.run("recovery", "keygen", str(identity), str(recipient)).returncode == 0
                return ["--to", str(recipient), "--proof", str(identity)]
            case "pkcs11" | "external":
                fresh = kind not in self.keys
                self.keys.add(kind)
                return ["--to", self.uris[kind], *(["--make-key"] if fresh else [])]
            case _:
                return []

    def slots(self) -> dict[str, str]:
        return {slot["kind"]: slot["id"] for slot in self.run("seal", "list")["slots"]}

    def migrate(self, old: str, new: str) -> None:
        options, stdin = self.how(old)
        found = self.run("seal", "migrate", self.slots()[old], new, *options, *self.wish(new), stdin=stdin)
        self.shares = found.get("shares", self.shares)
        self.passphrase = found.get("passphrase", self.passphrase)

    def drill(self, kind: str) -> None:
        options, stdin = self.how(kind)
        assert self.run("recovery", "drill", *options, stdin=stdin)["passed"]


def test_between_any_two_while_it_runs(place: Place, uris: dict[str, str]) -> None:
    seal = Seal(place, uris)
    place.up()
    try:
        token = place.sign_in()
        seal.run("seal", "remove", seal.slots()["passphrase"])
        path = [*KINDS, "key-file"]
        for old, new in itertools.pairwise(path):
            seal.migrate(old, new)
            assert set(seal.slots()) == {new}
            seal.drill(new)
            assert place.call("/auth/whoami", token=token)["name"], "what runs is not touched"
    finally:
        place.down()
    place.up()
    place.down()


@pytest.mark.parametrize("kind", ["pkcs11", "external"])
def test_it_starts_by_itself(place: Place, uris: dict[str, str], kind: str) -> None:
    seal = Seal(place, uris)
    if kind in uris:
        uris = {**uris, kind: uris[kind].replace("root", "start", 1)}
        seal.uris = uris
    seal.migrate("key-file", kind)
    seal.file.unlink()
    assert load(state=place.state, environment={}).key_file is None
    place.up()
    try:
        assert place.call("/health")["status"] == "ok"
    finally:
        place.down()


def test_a_kms_that_is_away_at_the_start_opens_it_later(place: Place, tmp_path: Path) -> None:
    if not bao.binary():
        pytest.skip("OpenBao is not installed")
    home = tmp_path / "bao"
    home.mkdir()
    with bao.start(home) as server:
        address = f"openbao+{server.url}/transit/keystead-root?token-file={server.token_file}"
        seal = Seal(place, {"external": address})
        seal.migrate("key-file", "external")
        server.seal()
        place.up()
        try:
            runtime = load(state=place.state, environment={}).runtime
            assert warden.ask(runtime, do="status")["sealed"]
            server.unseal()
            program = (
                "import sys, time\nfrom pathlib import Path\nfrom keystead.server.sealing import warden\n"
                f"while warden.ask(Path({str(runtime)!r}), do='status')['sealed']: time.sleep(0.2)\n"
            )
            subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
        finally:
            place.down()
