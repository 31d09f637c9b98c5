"""A region on disk, made once and copied for each test. Argon2id at its smallest cost, small audit segments."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from keystead.core.clock import SystemClock
from keystead.core.secret import Secret
from keystead.crypto import passwords
from keystead.crypto.kdf import Cost
from keystead.iam.model import Caller
from keystead.seal.openers import Passphrase
from keystead.server import init as making
from keystead.server import settings, wiring
from keystead.server.init import Made, Wanted
from keystead.server.sealing.unseal import open_root
from keystead.server.settings import Effective
from keystead.server.wiring import Region

CHEAP = Cost(8 * 1024, 1, 1)


class CheapPassphrase(Passphrase):
    """One that costs little to guess, and so to test."""

    @classmethod
    def generate(cls, label: str = "passphrase", cost: Cost | None = None) -> tuple[Passphrase, Secret]:
        return super().generate(label, CHEAP)


@contextmanager
def cheaply() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "Passphrase", CheapPassphrase)
        patch.setattr(passwords, "MEMORY_KIB", 8 * 1024)
        patch.setattr(passwords, "ITERATIONS", 1)
        small = partial(wiring.open_journal, segment_bytes=256 * 1024, reserve_bytes=64 * 1024)
        patch.setattr(wiring, "open_journal", small)
        # Nothing of the machine's own configuration, and nothing that another test set.
        for name in [name for name in os.environ if name.startswith("KEYSTEAD_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")  # no wider: the next file that this process runs may want the real cost
def cheap() -> Iterator[None]:
    with cheaply():
        yield


def make(state: Path, key_file: Path | None, **changes: Path) -> Made:
    """`init` in `state`."""
    tables = {"unseal": {"key_file": str(key_file)}} if key_file else {}
    wanted = Wanted(state, settings.build(tables), "acme", "olivia", **changes)
    return making.init(wanted, lambda _made: None)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A region that nobody has started."""
    place = tmp_path_factory.mktemp("template")
    with cheaply():
        return make(place / "state", place / "outside" / "root.key")


@pytest.fixture
def region(cheap: None, template: Made, tmp_path: Path) -> Effective:
    """A region of the test's own. Its key file is the template's."""
    shutil.copytree(template.effective.state, tmp_path / "state")
    return settings.load(state=tmp_path / "state", environment={})


@pytest.fixture
def opened(region: Effective) -> Iterator[Region]:
    """The same, open in this process."""
    found = wiring.open_region(region, open_root(region), "test")
    yield found
    found.close()


def administrator(found: Region, made: Made) -> Caller:
    """The first administrator, signed in."""
    issued = found.iam.sign_in("acme", "olivia", made.password, "127.0.0.1", "r-1")
    return found.iam.authenticate(issued.token, "127.0.0.1", "r-2")


def now() -> str:
    return SystemClock().now().isoformat()
