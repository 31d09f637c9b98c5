"""Compartment names in statements: relative to where the policy is attached, or that compartment's own."""

from datetime import UTC, datetime

import pytest

from keystead.core.ids import CompartmentId, TenancyId
from keystead.iam.directory import Directory, TenancyNames
from keystead.iam.model import Compartment
from keystead.iam.policy.compile import PolicySource, compile_policies
from keystead.iam.policy.question import Question
from keystead.iam.ports import IdentityChanges

TENANCY = TenancyId("root")
TREE = {
    "root": ("acme", None),
    "prod": ("Prod", "root"),
    "keys": ("Keys", "prod"),
    "prod2": ("Prod", "prod"),
    "dev": ("Dev", "root"),
}


def path(of: str) -> tuple[CompartmentId, ...]:
    parent = TREE[of][1]
    return (*(path(parent) if parent else ()), CompartmentId(of))


@pytest.fixture
def names() -> TenancyNames:
    compartments = [
        Compartment(
            CompartmentId(id_),
            TENANCY,
            name,
            CompartmentId(parent) if parent else None,
            path(id_),
            "",
            datetime.now(UTC),
        )
        for id_, (name, parent) in TREE.items()
    ]
    directory = Directory()
    directory.apply(IdentityChanges(compartments=compartments))
    return TenancyNames(directory, "root")


@pytest.mark.parametrize(
    ("attached", "written", "meant"),
    [
        ("root", "Prod", "prod"),
        ("root", "prod:KEYS", "keys"),
        ("root", "Keys", None),
        ("root", "Prod:Prod", "prod2"),
        ("prod", "Keys", "keys"),
        ("prod", "Prod", "prod2"),
        ("prod", "Prod:Keys", "keys"),
        ("keys", "Keys", "keys"),
        ("keys", "Prod", None),
        ("dev", "Dev", "dev"),
        ("dev", "Dev:Dev", None),
        ("dev", "Prod", None),
        ("root", "Acme:Dev", "dev"),
    ],
)
def test_what_a_path_means(names: TenancyNames, attached: str, written: str, meant: str | None) -> None:
    assert names.compartment(attached, tuple(written.split(":"))) == meant
    source = PolicySource("p", attached, (f"Allow any-user to use keys in compartment {written}",))
    policies = compile_policies([source], names)
    for target in TREE:
        question = Question("id", "user", "joe", frozenset(), "KEY_READ", path(target), {}.get)
        assert policies.decide(question).allowed is (meant is not None and meant in path(target))
