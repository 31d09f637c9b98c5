"""Known devices: seen, and forgotten."""

import base64

import pytest
from tests.fakes.domain import PASSWORD, DomainRegion

from keystead.core.errors import Refusal
from keystead.core.ids import looks_like_id
from keystead.core.secret import Secret

RIGHT, WRONG = Secret(PASSWORD), Secret(b"wrong")
HERE, ELSEWHERE = "192.0.2.1", "203.0.113.9"


def sign_in(region: DomainRegion, password: Secret, device: str, source: str = HERE) -> str:
    return region.iam.sign_in("acme", "admin", password, source, "r", device).device


def test_a_device_is_listed_by_what_is_no_use_to_anybody_else(region: DomainRegion) -> None:
    first = sign_in(region, RIGHT, "")
    region.clock.advance(60)
    second = sign_in(region, RIGHT, "")
    region.clock.advance(60)
    sign_in(region, RIGHT, first)
    me = region.admin.principal.id
    found = region.iam.list_devices(region.admin, me)
    assert [(each.last_at - each.first_at).total_seconds() for each in found] == [120.0, 0.0]
    for each in found:
        assert looks_like_id(each.id, "device") and each.id.rpartition(".")[2] not in first + second


def test_a_forgotten_device_is_as_any_other(region: DomainRegion) -> None:
    """Its own budget is gone: what others try from its network holds it up again."""
    device = sign_in(region, RIGHT, "")
    for _ in range(6):
        with pytest.raises(Refusal):
            sign_in(region, WRONG, "")
    assert sign_in(region, RIGHT, device) == "", "a known device is not held up, and given no other"
    me = region.admin.principal.id
    [found] = region.iam.list_devices(region.admin, me)
    region.iam.forget_device(region.admin, me, found.id)
    assert region.iam.list_devices(region.admin, me) == []
    with pytest.raises(Refusal) as caught:
        sign_in(region, RIGHT, device)
    assert caught.value.code == "TooManyAttempts"
    region.clock.advance(3700)
    assert sign_in(region, RIGHT, device) not in ("", device), "it is given a new one"


def test_one_is_forgotten_and_the_others_stay(region: DomainRegion) -> None:
    first, me = sign_in(region, RIGHT, ""), region.admin.principal.id
    region.clock.advance(60)
    second = sign_in(region, RIGHT, "")
    newest, oldest = region.iam.list_devices(region.admin, me)
    region.iam.forget_device(region.admin, me, oldest.id)
    assert region.iam.list_devices(region.admin, me) == [newest]
    assert sign_in(region, RIGHT, second) == "", "it is known as before"
    assert sign_in(region, RIGHT, first) not in ("", first)
    with pytest.raises(Refusal) as caught:
        region.iam.forget_device(region.admin, me, oldest.id)
    assert caught.value.code == "NotFound"


def test_another_users_devices_take_a_permission_each_and_are_not_ones_own(region: DomainRegion) -> None:
    sign_in(region, RIGHT, "")
    admin = region.admin.principal.id
    [device] = region.iam.list_devices(region.admin, admin)
    ann = region.user("ann", "Helpers")
    assert region.iam.list_devices(ann, ann.principal.id) == [], "her own, which takes no permission"
    with pytest.raises(Refusal) as caught:
        region.iam.forget_device(ann, ann.principal.id, device.id)
    assert caught.value.code == "NotFound", "not hers"
    for act in (region.iam.list_devices, lambda who, user: region.iam.forget_device(who, user, device.id)):
        with pytest.raises(Refusal) as caught:
            act(ann, admin)
        assert caught.value.recorded
    region.allow("Allow group Helpers to read users in tenancy")
    assert region.iam.list_devices(ann, admin) == [device]
    with pytest.raises(Refusal) as caught:
        region.iam.forget_device(ann, admin, device.id)
    assert "USER_UPDATE" in caught.value.message
    region.allow("Allow group Helpers to use users in tenancy")
    region.iam.forget_device(ann, admin, device.id)
    assert region.iam.list_devices(region.admin, admin) == []
    told = [each for each in region.entries() if each.operation == "ForgetDevice" and each.outcome == "allowed"]
    assert [(each.resource_id, each.detail["device_id"]) for each in told] == [(admin, device.id)]


def test_what_is_not_a_device_cannot_be_forgotten(region: DomainRegion) -> None:
    """Networks and hours are remembered beside them."""
    sign_in(region, RIGHT, "")
    me = region.admin.principal.id
    with region.store.read() as tx:
        others = [each.mark for each in tx.factors.seen(region.admin.principal.tenancy, me) if each.kind != "device"]
    assert others
    begin = "ks1.device.main.home."
    unique = ["a" * 32, *(base64.b32encode(each[:20]).decode().lower() for each in others if len(each) > 20)]
    assert len(unique) > 1
    for wrong in ("", "x", *(begin + each for each in unique)):
        with pytest.raises(Refusal) as caught:
            region.iam.forget_device(region.admin, me, wrong)
        assert caught.value.code == ("NotFound" if wrong.startswith(begin) else "InvalidId")
    with region.store.read() as tx:
        left = [each.mark for each in tx.factors.seen(region.admin.principal.tenancy, me) if each.kind != "device"]
    assert left == others
