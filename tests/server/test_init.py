"""`init`: a region whole or not at all, whatever happens in between."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.server.conftest import administrator, make

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.server import init as making
from keystead.server import settings
from keystead.server.init import Made, Wanted
from keystead.server.sealing.unseal import open_root
from keystead.server.state import building
from keystead.server.wiring import Region, open_region

pytestmark = pytest.mark.usefixtures("cheap")


def test_a_region_opens_with_its_key_file_and_with_its_passphrase(template: Made) -> None:
    found = template.effective
    open_root(found)
    open_root(found, template.passphrase)


def test_who_may_read_what(template: Made) -> None:
    state = template.effective.state
    assert template.effective.key_file is not None
    assert stat.S_IMODE(template.effective.key_file.stat().st_mode) == 0o400
    assert stat.S_IMODE(state.stat().st_mode) == 0o711
    assert stat.S_IMODE((state / "data").stat().st_mode) == 0o711
    assert stat.S_IMODE((state / "host/machine.key").stat().st_mode) == 0o400
    open_to_all = {path.name for path in state.rglob("*") if path.is_file() and path.stat().st_mode & 0o077}
    assert open_to_all == {"ca.pem", "databases-ca.pem"}
    assert {path.name for path in state.iterdir() if path.is_dir() and path.stat().st_mode & 0o077} == {"data"}


def test_who_may_read_what_while_it_is_open(opened: Region, region: settings.Effective, template: Made) -> None:
    opened.iam.create_user(administrator(opened, template), "dora")
    files = {path.name: path.stat().st_mode & 0o077 for path in region.state.rglob("*") if path.is_file()}
    assert {"state.db-wal", "audit.db"} <= set(files)
    assert {name for name, others in files.items() if others} == {"ca.pem", "databases-ca.pem"}


def test_no_secret_lies_in_the_state_directory(template: Made) -> None:
    assert template.key_file is not None
    secrets = [template.password, template.passphrase, template.key_file]
    for path in template.effective.state.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret.reveal().strip() in content for secret in secrets), path


def test_the_first_administrator_may_do_everything(template: Made, region: settings.Effective) -> None:
    opened = open_region(region, open_root(region), "test")
    try:
        caller = administrator(opened, template)
        opened.vaults.create_vault(caller, template.tenancy_id, "prod")
        opened.iam.create_user(caller, "dora")
    finally:
        opened.close()


def test_a_second_init_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    make(tmp_path / "state", tmp_path / "k1")
    before = _tree(tmp_path)
    with pytest.raises(Refusal) as caught:
        make(tmp_path / "state", tmp_path / "k2")
    assert caught.value.code == "RegionExists"
    assert "keystead up" in caught.value.hint
    assert _tree(tmp_path) == before


def test_a_key_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("another region's only key")
    with pytest.raises(Refusal) as caught:
        make(tmp_path / "state", tmp_path / "key")
    assert caught.value.code == "KeyFileExists"
    assert _tree(tmp_path) == {"key": b"another region's only key"}


def test_a_directory_with_something_in_it_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/mine").write_text("x")
    with pytest.raises(Refusal, match="not an empty directory"):
        make(tmp_path / "state", None)
    make_into = tmp_path / "empty"
    make_into.mkdir()
    make(make_into, None)


def test_a_bad_name_leaves_nothing(tmp_path: Path) -> None:
    wanted = Wanted(tmp_path / "state", settings.build({}), "no/slashes please", "olivia")
    with pytest.raises(Refusal):
        making.init(wanted, lambda _made: None)
    assert _tree(tmp_path) == {}


def test_an_interrupt_while_the_secrets_are_shown_leaves_nothing(tmp_path: Path) -> None:
    tables = {"unseal": {"key_file": str(tmp_path / "key")}}
    wanted = Wanted(tmp_path / "state", settings.build(tables), "acme", "olivia", tmp_path / "credentials.json")

    def interrupted(_made: Made) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        making.init(wanted, interrupted)
    assert _tree(tmp_path) == {}


@pytest.mark.slow
def test_killed_after_any_step_it_can_be_done_again(tmp_path: Path) -> None:
    """kill -9 after step n, for every n: there is no region, or a whole one; the next init works and tidies up."""
    step = 0
    while not _killed_after(step, tmp_path / str(step)):
        step += 1
    assert step > 15  # there are that many durable steps, and each was died after


def _killed_after(step: int, place: Path) -> bool:
    """Run init in a child that dies after durable step `step`; whether it came to its end before."""
    place.mkdir()
    child = os.fork()
    if not child:
        try:
            _die_after(step)
            _init_with_credentials(place)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    whole = (place / "state/keystead.toml").exists()
    if whole:
        open_root(settings.load(state=place / "state", environment={}))
    else:
        _init_with_credentials(place)
    names = {path.name for path in place.iterdir()}
    assert names <= {"state", "key", "credentials.json", ".state.lock"}
    assert names >= {"state", "key", "credentials.json"}
    return code == 0


def _init_with_credentials(place: Path) -> None:
    make(place / "state", place / "key", credentials_file=place / "credentials.json")


def _die_after(step: int) -> None:
    left = [step]

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **named: object) -> object:
            result = function(*arguments, **named)
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            return result

        return run

    building.write = counted(building.write)  # type: ignore[assignment]
    making.write = building.write
    for name in ("link", "rename", "unlink", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))


def _tree(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and path.name != ".state.lock"
    }


def test_secrets_do_not_show_in_a_repr(template: Made) -> None:
    assert isinstance(template.password, Secret)
    assert template.password.reveal().decode() not in repr(template)
