"""The bodies of requests, through the whole pipeline: no bytes bring a 5xx, our own API or a dialect.

The first byte chooses the operation, what follows is its body. Nothing here takes a key or a session away, so that
every input meets the same region; where a name is taken by an input before, that is an answer like another.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.dialects import test_every_operation as foreign
from tests.fuzz.target import Target
from tests.web.asgi import Client
from tests.web.region import Region, open_region
from tests.web.samples import OPERATIONS, body_of, target_of

OURS = (
    "CreateVault", "CreateKey", "CreatePolicy", "CreateCompartment", "CreateUser", "CreateGroup", "CreateAuthToken",
    "Encrypt", "Decrypt", "Wrap", "Unwrap", "Rewrap", "GenerateDataKey", "Sign", "Verify", "GenerateRandom",
    "EncryptBatch", "DecryptBatch", "WrapBatch", "UnwrapBatch", "RewrapBatch", "SignBatch", "VerifyBatch",
    "ImportKey", "ImportKeyVersion", "RestoreKey", "RestoreVault", "SignIn", "CreateWrappingKey",
)  # fmt: skip
FOREIGN = tuple(
    name
    for name in sorted([*foreign.WITH_BODY, *foreign.LOGINS])
    if not name.startswith(("VaultRevoke", "VaultDelete", "VaultRotate", "VaultConfigure", "VaultTrim"))
)


@cache
def opened() -> tuple[Region, Client]:
    region = open_region(Path(tempfile.mkdtemp(prefix="ks-fuzz-")))
    return region, region.client("root")


@cache
def _target(name: str) -> str:
    return target_of(opened()[0], OPERATIONS[name])


def ours(data: bytes) -> None:
    region, client = opened()
    operation = OPERATIONS[OURS[data[0] % len(OURS)] if data else OURS[0]]
    reply = client.call(
        operation.method, _target(operation.name), raw=data[1:], headers={"content-type": "application/json"}
    )
    assert reply.status < 500, (operation.name, reply.status, reply.body)
    if reply.status >= 300:
        assert set(reply.json) == {"code", "message", "hint", "request_id"}
    region.log.entries.clear()


def our_seeds() -> Iterator[bytes]:
    region, _ = opened()
    for index, name in enumerate(OURS):
        yield bytes([index]) + json.dumps(body_of(region, name)).encode()


def theirs(data: bytes) -> None:
    region, client = opened()
    name = FOREIGN[data[0] % len(FOREIGN)] if data else FOREIGN[0]
    reply = foreign.ask(region, client, name, region.tokens["root"], raw=data[1:])
    assert reply.status < 500, (name, reply.status, reply.body)
    region.log.entries.clear()


def their_seeds() -> Iterator[bytes]:
    region, _ = opened()
    for index, name in enumerate(FOREIGN):
        yield bytes([index]) + json.dumps(foreign.body_of(region, name)).encode()


WORDS = (b'{"', b'":', b'","', b"null", b"[]", b"{}", b"-1", b"0001-01-01T00:00:00+14:00", b"\\u0000", b"\\ud800")
FACES: Mapping[str, Target] = {
    "api": Target(ours, our_seeds, WORDS),
    "vault-dialect": Target(theirs, their_seeds, (*WORDS, b"batch_input", b"vault:v1:", b"key_version")),
}
