"""Break glass ends by itself whatever is down at that moment, and is told of once at both ends."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.faults.machine import eventually, stop_and_go
from tests.faults.region import Refused, Region

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]
SECONDS = 6


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    with Region.made() as found:
        yield found


def alerts(region: Region, operation: str) -> list[Any]:
    return list(region.get(f"/audit/entries?action={operation}&limit=100")["items"])


def test_it_ends_while_those_who_tidy_up_or_all_are_dead(region: Region) -> None:
    made = region.post("/users", {"name": "olivia"})
    region.learn("password of olivia", made["password"])
    group = region.post("/groups", {"name": "Emergency"})["id"]
    asked = {"compartment_id": region.root_compartment, "name": "emergency"}
    region.post("/policies", asked | {"statements": ["Allow group Emergency to inspect users in tenancy"]})
    signed = {"tenancy": region.tenancy, "user": "olivia", "password": made["password"]}
    token = region.call("POST", "/auth/tokens", signed, token=False)["token"]
    region.learn("token of olivia", token)

    def sees_users() -> bool:
        try:
            return bool(region.call("GET", "/users", token=token)["items"])
        except Refused as refused:
            assert refused.status == 404
            return False

    assert not sees_users()
    body = {"user_id": made["id"], "reason": "the payment system is down"}
    region.post(f"/groups/{group}/break-glass", body | {"seconds": 3})
    assert sees_users()
    with stop_and_go(region.process("work")):  # who tidies up is away: the end itself needs nobody
        eventually("it is over", lambda: not sees_users(), 10)
        assert not alerts(region, "BreakGlassEnded")
    eventually("the end is told", lambda: alerts(region, "BreakGlassEnded"), 20)
    region.post(f"/groups/{group}/break-glass", body | {"seconds": SECONDS})
    begun = time.monotonic()
    assert sees_users()
    region.kill_up()  # and all it runs, by SIGKILL: nobody is there at the moment of the end
    time.sleep(max(0.0, SECONDS + 0.5 - (time.monotonic() - begun)))
    region.up()
    assert not sees_users(), "what is over is over before anybody has tidied up"
    assert not region.get(f"/groups/{group}/members")["items"]
    eventually("the end is told", lambda: len(alerts(region, "BreakGlassEnded")) == 2, 20)
    began, ended = alerts(region, "BreakGlassBegan"), alerts(region, "BreakGlassEnded")
    assert len(began) == 2
    for entry in (*began, *ended):
        assert entry["detail"]["kind"] == "alert" and entry["detail"]["user"] == "olivia"
        assert entry["reason"] == "the payment system is down"
    assert {entry["detail"]["how"] for entry in ended} == {"time"}
    region.kill_up()
    region.up()
    assert len(alerts(region, "BreakGlassEnded")) == 2, "each once"
