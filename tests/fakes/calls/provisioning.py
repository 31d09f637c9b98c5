"""Calls of a provisioning client."""

from collections.abc import Mapping
from typing import Any

from tests.fakes.calls.call import Call, fresh, read
from tests.fakes.calls.things import Things


def _user(**more: Any) -> dict[str, Any]:
    return {"userName": fresh(), "active": False} | more


def _group(t: Things) -> dict[str, Any]:
    return {"displayName": fresh(), "members": [{"value": t.user}]}


_BLOCK = ({"op": "replace", "path": "active", "value": False},)


def _join(t: Things) -> tuple[dict[str, Any]]:
    return ({"op": "add", "path": "members", "value": [{"value": t.user}]},)


PROVISIONING: Mapping[str, Call] = {
    "create_user": Call(lambda r, c, t: r.provisioning.create_user(c, _user())),
    "get_user": read(lambda r, c, t: r.provisioning.get_user(c, t.user), "user"),
    "list_users": read(lambda r, c, t: r.provisioning.list_users(c)),
    "replace_user": Call(lambda r, c, t: r.provisioning.replace_user(c, t.user, _user()), ("user",)),
    "patch_user": Call(lambda r, c, t: r.provisioning.patch_user(c, t.user, _BLOCK), ("user",)),
    "delete_user": Call(lambda r, c, t: r.provisioning.delete_user(c, t.user), ("user",)),
    "create_group": Call(lambda r, c, t: r.provisioning.create_group(c, {"displayName": fresh()})),
    "get_group": read(lambda r, c, t: r.provisioning.get_group(c, t.group), "group"),
    "list_groups": read(lambda r, c, t: r.provisioning.list_groups(c)),
    "replace_group": Call(lambda r, c, t: r.provisioning.replace_group(c, t.group, _group(t)), ("group",)),
    "patch_group": Call(lambda r, c, t: r.provisioning.patch_group(c, t.group, _join(t)), ("group",)),
    "delete_group": Call(lambda r, c, t: r.provisioning.delete_group(c, t.group), ("group",)),
}
