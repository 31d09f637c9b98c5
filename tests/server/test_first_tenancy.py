"""What concerns the region as a whole is for the people of its first tenancy: the administrators of others may not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.server.conftest import administrator
from tests.web.region import open_region

from keystead.core.clock import SystemClock
from keystead.core.errors import Refusal
from keystead.iam.model import Caller
from keystead.server.init import Made
from keystead.server.sealing.door import OpenSealDoor
from keystead.server.state.backup import StateBackup
from keystead.server.wiring import Region

ACTS: dict[str, Callable[[Region, Caller], object]] = {
    "SealRegion": lambda region, caller: door(region).seal(caller),
    "BackUpState": lambda region, caller: list(
        StateBackup(region.guard, region.effective, region.backup_key, SystemClock()).backup(caller)
    ),
    "RotateTokenKeys": lambda region, caller: region.iam.rotate_token_keys(caller),
}


def door(region: Region) -> OpenSealDoor:
    return OpenSealDoor(
        region.effective.runtime, region.guard, region.store, region.log, SystemClock(),
        region.effective.settings.region.name,
    )  # fmt: skip


def test_the_first_stays_the_first_when_the_clock_is_set_back(tmp_path: Path) -> None:
    region = open_region(tmp_path)
    client, first = region.client("root"), region.ids["tenancy"]
    for number, back in enumerate((0.0, 5.0, 5.0)):
        region.clock.set_back(back)
        made = client.call("POST", "/tenancies", {"name": f"other-{number}", "admin": "gina"})
        assert made.status == 201, made.body
        assert region.services.state._guard.region_itself().tenancy == first  # type: ignore[attr-defined]  # its guard's


@pytest.mark.parametrize("operation", ACTS)
def test_an_administrator_of_another_tenancy_may_not(operation: str, opened: Region, template: Made) -> None:
    operator = administrator(opened, template)
    founded = opened.iam.create_tenancy(operator, "globex", "gina")
    issued = opened.iam.sign_in("globex", "gina", founded.password, "", "r")
    gina = opened.iam.authenticate(issued.token, "", "r")
    with pytest.raises(Refusal) as caught:
        ACTS[operation](opened, gina)
    assert caught.value.code == "NotFound"
