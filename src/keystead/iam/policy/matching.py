"""Matching rules of dynamic groups: which resources are in one.

    ALL {resource.type = 'mysqldbsystem', resource.compartment.id = 'ks1.compartment...'}
    ANY {resource.id = 'ks1.mysqldbsystem...', resource.id = 'ks1.mysqldbsystem...'}

A comparison with something that a resource does not have is false, whatever the operator.
"""

from keystead.iam.model import Principal
from keystead.iam.policy.conditions import compile_condition
from keystead.iam.policy.model import condition_text
from keystead.iam.policy.parse import parse_matching


def check_matching(rule: str) -> None:
    """Raises: Refusal: it cannot be read, with the place of the error."""
    parse_matching(rule)


def canonical(rule: str) -> str:
    """The rule in its one spelling."""
    return condition_text(parse_matching(rule))


def matches(rule: str, principal: Principal) -> bool:
    """Whether a resource's identity is in the group of that rule."""
    known = {
        "resource.type": principal.type,
        "resource.id": principal.id,
        "resource.name": principal.name,
        "resource.compartment.id": principal.compartment,
    }
    return compile_condition(parse_matching(rule)).test(known.get)
