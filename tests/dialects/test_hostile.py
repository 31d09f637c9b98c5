"""What a stranger sends the dialect costs no more than its length, and never breaks it."""

from pathlib import Path

import pytest
from tests.web.region import Region, open_region

from keystead.core.errors import Refusal
from keystead.web.dialects.vault import DEPTH, VaultFace
from keystead.web.dialects.vault_keys import _days
from keystead.web.exchange import Exchange
from keystead.web.operations import Found, Router
from keystead.web.refusals import HttpRefusal


class Counting(Router):
    """Counts what is looked up."""

    looked = 0

    def find(self, method: str, raw_path: str) -> Found | None:
        self.looked += 1
        return super().find(method, raw_path)


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return open_region(Path(tmp_path_factory.mktemp("region")))


def test_a_long_path_is_looked_up_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keystead.web.dialects.vault.Router", Counting)
    face = VaultFace()
    exchange = Exchange("POST", b"/v1" + b"/a" * 4000, "", "r")
    with pytest.raises(HttpRefusal):
        face.route(exchange)
    assert face._mounted.looked == DEPTH  # type: ignore[attr-defined]
    deep = Exchange("POST", b"/v1" + b"/a" * 20 + b"/keys/k/rotate", "", "r")
    assert face.route(deep).name == "VaultRotateKey"
    assert deep.parameters == {"key": "k", "mount": "/".join("a" * 20)}


@pytest.mark.parametrize("wanted", ["%C2%B2%C2%B2%C2%B2", "02001", "20000", "0300", "-299", "x"])
def test_a_status_that_is_none_is_not_answered_with(region: Region, wanted: str) -> None:
    assert region.client("").get(f"./v1/sys/health?activecode={wanted}").status == 200
    assert region.client("").get("./v1/sys/health?activecode=299").status == 299


@pytest.mark.parametrize("period", ["²", "9" * 5000 + "h", "9" * 5000])
def test_a_period_that_is_no_number_is_refused(period: str) -> None:
    with pytest.raises(Refusal):
        _days(period)
