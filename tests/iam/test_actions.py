"""The action catalogue is one, whole, and unambiguous."""

from itertools import pairwise
from typing import get_args

import pytest

from keystead.core.errors import Fault
from keystead.iam.actions import (
    ALIASES,
    COVERING,
    FAMILIES,
    GRANTABLE,
    SERVICE_GRANTS,
    SERVICE_ONLY,
    TYPE_BY_NAME,
    TYPES,
    VERBS,
    action_key,
    granting,
    inspect_permission,
    kind_of,
    permissions_of,
)
from keystead.iam.permissions import Permission


def test_the_type_names_exactly_the_permissions_of_the_catalogue() -> None:
    names = get_args(Permission)
    assert len(names) == len(set(names))
    assert set(names) == GRANTABLE | set(SERVICE_ONLY)
    assert not GRANTABLE & set(SERVICE_ONLY)


def test_each_permission_belongs_to_one_verb_of_one_type() -> None:
    added = [permission for each in TYPES for verb in VERBS for permission in each.adds[verb]]
    assert len(added) == len(set(added))
    assert len(TYPE_BY_NAME) == len(TYPES)


def test_verbs_are_cumulative() -> None:
    for each in TYPES:
        for smaller, larger in pairwise(VERBS):
            assert set(each.permissions(smaller)) <= set(each.permissions(larger))
    assert permissions_of("use", "keys") == {
        "KEY_INSPECT", "KEY_READ", "KEY_ENCRYPT", "KEY_DECRYPT", "KEY_EXPORT", "KEY_SIGN", "KEY_VERIFY",
    }  # fmt: skip


def test_families_and_older_names() -> None:
    for members in FAMILIES.values():
        assert set(members) <= set(TYPE_BY_NAME)
    assert permissions_of("manage", "all-resources") == GRANTABLE
    assert permissions_of("read", "mysql-analytics") == permissions_of("read", "mysql-heatwave")
    assert not set(ALIASES) & set(TYPE_BY_NAME)
    assert "KEY_ASSOCIATE" not in permissions_of("manage", "keys")


def test_the_smallest_statement_grants_and_a_smaller_verb_does_not() -> None:
    for permission in GRANTABLE:
        found = granting(permission)
        assert found is not None and kind_of(permission) == found.type
        assert permission in permissions_of(found.verb, found.type)
        below = VERBS.index(found.verb)
        assert not below or permission not in permissions_of(VERBS[below - 1], found.type)


def test_covering_is_every_action_that_includes_the_permission() -> None:
    for permission in GRANTABLE:
        including = {
            action_key(verb, word)
            for word in (*TYPE_BY_NAME, *FAMILIES)
            for verb in VERBS
            if permission in permissions_of(verb, word)
        }
        assert set(COVERING[permission]) == {permission} | including


def test_services_hold_what_no_policy_grants() -> None:
    assert frozenset().union(*SERVICE_GRANTS.values()) == set(SERVICE_ONLY)
    for permission in SERVICE_ONLY:
        assert granting(permission) is None and permission not in COVERING
        assert kind_of(permission) in TYPE_BY_NAME


def test_what_lets_a_thing_be_seen() -> None:
    assert inspect_permission("keys") == "KEY_INSPECT"
    assert inspect_permission("key-delegate") == "KEY_INSPECT"
    assert inspect_permission("policies") == "POLICY_READ"
    assert inspect_permission("audit-events") is None
    assert inspect_permission("nonsense") is None


def test_asking_for_an_unknown_permission_is_a_bug() -> None:
    with pytest.raises(Fault):
        kind_of("KEY_DECRPYT")
