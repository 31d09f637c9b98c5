"""What provisioning clients say: filters, and changes to a resource by paths that have filters in them."""

import json
from collections.abc import Iterator

from tests.fakes.scim import RESOURCE, written
from tests.fuzz.target import fine

from keystead.iam.federation import scim_filter, scim_patch


def scim(data: bytes) -> None:
    text, before = data.decode("utf-8", "replace"), json.dumps(RESOURCE)
    with fine():
        found = scim_filter.parse(text)
        assert scim_filter.parse(written(found)) == found, "written anew it is another filter"
        scim_filter.matches(found, RESOURCE)
    with fine():
        scim_patch.apply(RESOURCE, [{"op": "replace", "path": text, "value": "x"}, {"op": "remove", "path": text}])
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = []
    with fine():
        scim_patch.apply(RESOURCE, said if isinstance(said, list) else [said])
    assert json.dumps(RESOURCE) == before, "it was changed in place"


def scim_seeds() -> Iterator[bytes]:
    yield b'userName eq "ada" and (emails[type eq "work" and value co "@corp"] or not (active eq true))'
    yield b'urn:ietf:params:scim:schemas:core:2.0:User:name.familyName sw "L\\u00e9" or age ge -1.5 or title pr'
    yield b'emails[type eq "work"].value'
    yield b'[{"op": "Add", "path": "emails", "value": [{"value": "a@b"}]}, {"op": "replace", "value": {"x": 1}}]'
    yield b'{"op": "remove", "path": "emails[value eq \\"a@home\\"]"}'
