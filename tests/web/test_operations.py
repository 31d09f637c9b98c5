"""Routing on the raw path."""

from typing import Any

import pytest
from tests.web.fakes import an_id

from keystead.core.errors import Refusal
from keystead.web.api import TABLE
from keystead.web.operations import ROOT, Operation, Router, read_parameters


def handler(*_: Any) -> None:
    return None


def operation(name: str, method: str, path: str) -> Operation:
    return Operation(name, method, path, "does it", handler, "t")


ROUTER = Router(
    [
        operation("List", "LIST", "/keys"),
        operation("Get", "GET", "/keys/{key_id}"),
        operation("Mine", "GET", "/keys/mine"),
        operation("Act", "POST", "/keys/{key_id}/actions/go"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "name", "values"),
    [
        ("LIST", "/keys", "List", ()),
        ("GET", "/keys/abc", "Get", ("abc",)),
        ("HEAD", "/keys/abc", "Get", ("abc",)),
        ("GET", "/keys/mine", "Mine", ()),
        ("GET", "/keys/a%2Fb", "Get", ("a%2Fb",)),
        ("GET", "/keys/..", "Get", ("..",)),
        ("POST", "/keys/abc/actions/go", "Act", ("abc",)),
    ],
)
def test_found(method: str, path: str, name: str, values: tuple[str, ...]) -> None:
    found = ROUTER.find(method, ROOT + path)
    assert found is not None and found.operation is not None
    assert (found.operation.name, found.values) == (name, values)


@pytest.mark.parametrize(
    "path",
    ["", "/", "keys", ROOT, f"{ROOT}/", f"{ROOT}//keys", f"{ROOT}/keys/", f"{ROOT}/keys//actions/go", "/v1/keys"],
)
def test_not_found(path: str) -> None:
    assert ROUTER.find("GET", path) is None


def test_wrong_method() -> None:
    found = ROUTER.find("PATCH", f"{ROOT}/keys")
    assert found is not None and found.operation is None and found.allowed == ("LIST",)
    head = ROUTER.find("HEAD", f"{ROOT}/keys")
    assert head is not None and head.operation is None


def test_the_table_may_not_hold_one_thing_twice() -> None:
    for other in (operation("Get", "GET", "/other"), operation("Other", "GET", "/keys/{group_id}")):
        with pytest.raises(ValueError, match="twice"):
            Router([operation("Get", "GET", "/keys/{key_id}"), other])


def test_parameters_are_checked_and_decoded() -> None:
    get = operation("Get", "GET", "/keys/{key_id}")
    assert read_parameters(get, (an_id("key"),)) == {"key_id": an_id("key")}
    assert read_parameters(get, (an_id("key").replace(".", "%2e"),)) == {"key_id": an_id("key")}
    for bad in (an_id("vault"), "x", "%", "%ff", an_id("key") + "%0a", an_id("key") + "\n"):
        with pytest.raises(Refusal) as refused:
            read_parameters(get, (bad,))
        assert refused.value.code == "InvalidId"


def test_a_tenancy_names_its_root_compartment() -> None:
    get = operation("Get", "GET", "/compartments/{compartment_id}")
    for kind in ("compartment", "tenancy"):
        assert read_parameters(get, (an_id(kind),)) == {"compartment_id": an_id(kind)}


def test_every_operation_of_ours_is_found_at_its_own_path() -> None:
    router = Router(TABLE)
    for one in TABLE:
        found = router.find(one.method, one.template)
        assert found is not None and found.operation is one
