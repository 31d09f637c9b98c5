"""Matching rules of dynamic groups: which resources are in one.

    ALL {resource.type = 'mysqldbsystem', resource.compartment.id = 'ks1.compartment...'}
    ANY {resource.id = 'ks1.mysqldbsystem...', resource.id = 'ks1.mysqldbsystem...'}
    tag.ops.env.value = 'prod'

A comparison with something that a resource does not have is false, whatever the operator.
"""

from keystead.iam.model import Principal
from keystead.iam.policy.conditions import compile_condition, variables_of
from keystead.iam.policy.model import condition_text
from keystead.iam.policy.parse import parse_matching
from keystead.iam.policy.variables import tag_values

_TAG, _VALUE = "tag.", ".value"


def check_matching(rule: str) -> None:
    """Raises: Refusal: it cannot be read, with the place of the error."""
    parse_matching(rule)


def canonical(rule: str) -> str:
    """The rule in its one spelling."""
    return condition_text(parse_matching(rule))


def tags_read(rule: str) -> frozenset[str]:
    """Names of the tags that it reads (NAMESPACE.KEY, in lower case)."""
    read = variables_of(parse_matching(rule))
    return frozenset(name.removeprefix(_TAG).removesuffix(_VALUE) for name in read if name.startswith(_TAG))


def matches(rule: str, principal: Principal) -> bool:
    """Whether a resource's identity is in the group of that rule."""
    known = {
        "resource.type": principal.type,
        "resource.id": principal.id,
        "resource.name": principal.name,
        "resource.compartment.id": principal.compartment,
    }
    known |= {f"{_TAG}{name}{_VALUE}": value for name, value in tag_values(principal.tags).items()}
    return compile_condition(parse_matching(rule)).test(known.get)
