"""Resource ids: `<label>.<type>.<realm>.<region>.<unique>`.

Five dot-separated parts, the shape that OCI's clients check for. The unique part is 160 random bits in lower-case
base32, so an id says what it names and where, and cannot be guessed or counted.

    ks1.key.main.home.q3v7w6ysn2d5k4cmf2r7tjx3hpl5a6be
"""

import itertools
import re
import secrets
from dataclasses import dataclass
from typing import Literal, NewType, get_args

from keystead.core.errors import Refusal

LABEL = "ks1"
REALM = "main"

TenancyId = NewType("TenancyId", str)
CompartmentId = NewType("CompartmentId", str)
PrincipalId = NewType("PrincipalId", str)
UserId = NewType("UserId", str)
AuthTokenId = NewType("AuthTokenId", str)
GroupId = NewType("GroupId", str)
BreakGlassId = NewType("BreakGlassId", str)
ApprovalRuleId = NewType("ApprovalRuleId", str)
ApprovalId = NewType("ApprovalId", str)
DynamicGroupId = NewType("DynamicGroupId", str)
NetworkSourceId = NewType("NetworkSourceId", str)
PolicyId = NewType("PolicyId", str)
VaultId = NewType("VaultId", str)
KeyId = NewType("KeyId", str)
KeyVersionId = NewType("KeyVersionId", str)
WrappingKeyId = NewType("WrappingKeyId", str)
DbSystemId = NewType("DbSystemId", str)
NodeId = NewType("NodeId", str)
BackupId = NewType("BackupId", str)
JobId = NewType("JobId", str)
IdentityProviderId = NewType("IdentityProviderId", str)
MachineId = NewType("MachineId", str)
LoginMappingId = NewType("LoginMappingId", str)
FactorId = NewType("FactorId", str)
SignInId = NewType("SignInId", str)

ResourceType = Literal[
    "tenancy",
    "compartment",
    "user",
    "authtoken",
    "group",
    "breakglass",
    "approvalrule",
    "approval",
    "dynamicgroup",
    "networksource",
    "policy",
    "vault",
    "key",
    "keyversion",
    "wrappingkey",
    "mysqldbsystem",
    "mysqlnode",
    "mysqlbackup",
    "job",
    "machine",
    "loginmapping",
    "identityprovider",
    "token",
    "session",
    "apikey",
    "entry",
    "request",
    "factor",
    "signin",
    "device",
]
TYPES: frozenset[str] = frozenset(get_args(ResourceType))

# Five bits of each random byte choose a letter: as random as encoding 20 bytes, and far quicker.
_BASE32 = (b"abcdefghijklmnopqrstuvwxyz234567") * 8
_ID = re.compile(r"ks1\.([a-z]+)\.([a-z0-9]+)\.([a-z0-9-]{1,32})\.([a-z2-7]{32})")


@dataclass(frozen=True, slots=True)
class ParsedId:
    """The parts of an id."""

    type: ResourceType
    realm: str
    region: str
    unique: str


def new_id(kind: ResourceType, region: str) -> str:
    """A fresh id of `kind` in `region`."""
    unique = secrets.token_bytes(32).translate(_BASE32).decode("ascii")
    return f"{LABEL}.{kind}.{REALM}.{region}.{unique}"


class IdSeries:
    """Fresh ids of one kind without a system call for each: 100 random bits of the series and a count of 36 bits.

    For what is numerous and only named by its id, such as audit entries: within a series the ids can be counted. Make
    the series in the process that uses it, after any fork. Safe from every thread.
    """

    __slots__ = ("_count", "_prefix")

    _DIGITS = str.maketrans("01234567", "abcdefgh")

    def __init__(self, kind: ResourceType, region: str) -> None:
        self._prefix = new_id(kind, region)[:-12]
        self._count = itertools.count()

    def next(self) -> str:
        """One that was not given before."""
        return self._prefix + format(next(self._count), "012o").translate(self._DIGITS)


def looks_like_id(text: str, kind: ResourceType | None = None) -> bool:
    """Whether `text` has the shape of an id (of any type, or of `kind`)."""
    found = _ID.fullmatch(text)
    return found is not None and kind in (None, found[1])


def check_region(text: str, region: str) -> None:
    """For what was not found: whether it could have been here at all.

    Raises:
        Refusal: `WrongRegion`, `text` is the id of something in another region, which it says itself.
    """
    found = _ID.fullmatch(text)
    if found is not None and found[3] != region:
        raise Refusal(
            "WrongRegion",
            f"this is the id of a {found[1]} in region {found[3]!r}; you are asking region {region!r}",
            hint=f"ask region {found[3]} (on the command line: --profile), or look for it here by name",
            kind="not_found",
        )


def parse_id(text: str, kind: ResourceType | None = None) -> ParsedId:
    """Parse `text`; with `kind`, also check its type.

    Raises:
        Refusal: `InvalidId` when the shape or the type is wrong.
    """
    found = _ID.fullmatch(text)
    if found is None or found[1] not in TYPES or (kind is not None and found[1] != kind):
        wanted = kind or "<type>"
        raise Refusal(
            "InvalidId",
            f"not the id of a {kind or 'resource'}",
            hint=f"an id looks like {LABEL}.{wanted}.{REALM}.<region>.<32 letters>",
        )
    return ParsedId(found[1], found[2], found[3], found[4])  # type: ignore[arg-type]  # checked against TYPES
