"""Tags of compartments, groups and database systems: names and values that policies may read.

    Ops.Team = dba   in a namespace: read as `target.resource.compartment.tag.ops.team` or, of a group, as
                     `request.principal.group.tag.ops.team`; of each, as a target, `target.resource.tag.ops.team`;
                       of a system, in the rules of dynamic groups, `tag.ops.team.value`
    note = ours      without a dot: for people alone

A tag may open what a statement says, without the statement being changed. So it takes TAG_NAMESPACE_USE of the whole
tenancy besides the right to change the thing itself: who looks after one group is not thereby who decides what its
tags open. Both are recorded with what was changed from what to what, and with the statements that read it. A
change holds from the next request on.

A rule of approval that covers a change of a policy covers one of the tags that the policy's statements read, wherever
what has the tags lies: it is where the policy is attached that counts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import accumulate

from keystead.audit.model import Entry
from keystead.core.errors import Refusal, check_version, stale
from keystead.core.ids import CompartmentId, TenancyId
from keystead.iam.base import Base
from keystead.iam.directory import Directory
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Compartment, DynamicGroup, Group, Target
from keystead.iam.permissions import Permission
from keystead.iam.policy.matching import tags_read
from keystead.iam.policy.question import StatementRef
from keystead.iam.policy.variables import tag_values

MAX_TAGS, MAX_TAG_TEXT = 50, 256
# As much as an entry of the audit trail is to carry of them.
SHOWN, SHOWN_READERS = 4000, 20


def check_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """`tags` themselves when something may have them.

    Raises:
        Refusal: `InvalidParameter`; too many, too long, or two of one name.
    """
    sizes = [len(text) for pair in tags.items() for text in pair]
    if len(tags) > MAX_TAGS or any(size > MAX_TAG_TEXT for size in sizes) or "" in tags:
        raise Refusal(
            "InvalidParameter",
            f"there are at most {MAX_TAGS} tags, with names and values of at most {MAX_TAG_TEXT} characters",
        )
    seen: dict[str, str] = {}
    for name in tags:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise Refusal(
                "InvalidParameter",
                f"{other!r} and {name!r} are one name",
                hint="policies read names of tags without regard to case",
            )
    return dict(tags)


def permit_tagging(
    guard: Guard,
    directory: Directory,
    caller: Caller,
    permission: Permission,
    target: Target,
    operation: str,
    before: Mapping[str, str],
    after: Mapping[str, str],
) -> Entry:
    """The entry of a change of tags. Raises: Refusal (not permitted)."""
    tenancy = caller.principal.tenancy
    root = Target("tag-namespaces", tenancy, "tenancy", tenancy, (CompartmentId(tenancy),))
    guard.require(caller, "TAG_NAMESPACE_USE", root, operation)
    detail, names = _changes(before, after), set(_differing(before, after))
    refs = [ref for ref, tags in directory.policies(tenancy).tags_read() if not names.isdisjoint(tags)]
    reading = [f"statement {ref.number} of {ref.policy_id}" for ref in refs]
    if target.type == "mysql-instances":
        reading += [f"dynamic group {group.name}" for group in _groups_reading(directory, tenancy, names)]
    if reading:
        more = len(reading) - SHOWN_READERS
        shown = ", ".join(reading[:SHOWN_READERS])
        detail["read_by"] = f"{shown} and {more} more" if more > 0 else shown
    also = list(_policies_of(directory, tenancy, refs))
    return guard.permit_change(caller, permission, target, operation, detail, also=also)


class TagActs(Base):
    """Replaces the tags of things that are identity's own."""

    def tag_compartment(
        self, caller: Caller, compartment_id: str, tags: Mapping[str, str], if_match: int | None = None
    ) -> Compartment:
        """All its tags, in place of those it had. Raises: Refusal (not permitted, not such tags, changed meanwhile)."""
        self._guard.refresh()
        found = self._compartment(caller, compartment_id)
        entry = self._permitted(caller, "COMPARTMENT_UPDATE", self._at(found), "TagCompartment", found.tags, tags)
        check_version(found.version, if_match)
        changed = replace(found, tags=check_tags(tags), version=found.version + 1)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.iam.set_compartment(found, changed):
                raise stale()
        return changed

    def tag_group(self, caller: Caller, group_id: str, tags: Mapping[str, str], if_match: int | None = None) -> Group:
        """All its tags, in place of those it had. Raises: Refusal (not permitted, not such tags, changed meanwhile)."""
        found = self._group(caller, group_id)
        entry = self._permitted(caller, "GROUP_UPDATE", self._at_group(found), "TagGroup", found.tags, tags)
        check_version(found.version, if_match)
        changed = replace(found, tags=check_tags(tags), version=found.version + 1)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.iam.set_group(found, changed):
                raise stale()
        return changed

    def _permitted(
        self,
        caller: Caller,
        permission: Permission,
        target: Target,
        operation: str,
        before: Mapping[str, str],
        after: Mapping[str, str],
    ) -> Entry:
        return permit_tagging(self._guard, self._directory, caller, permission, target, operation, before, after)


def _groups_reading(directory: Directory, tenancy: TenancyId, names: set[str]) -> Iterator[DynamicGroup]:
    """The dynamic groups of the tenancy whose rules read a tag of one of these names."""
    for group in directory.dynamic_groups_in(tenancy):
        if not names.isdisjoint(tags_read(group.matching_rule)):
            yield group


def _policies_of(directory: Directory, tenancy: TenancyId, refs: Sequence[StatementRef]) -> Iterator[Target]:
    """The policies that these statements are of, where they are attached."""
    ids = {ref.policy_id for ref in refs}
    for source in directory.sources(tenancy) if ids else ():
        place = directory.compartment(tenancy, source.compartment_id)
        if source.policy_id in ids and place is not None:
            yield Target("policies", source.policy_id, "", tenancy, place.path)


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    then, now = tag_values(before), tag_values(after)
    return (name for name in {*then, *now} if then.get(name) != now.get(name))


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """What an entry says of a change: a list of [name, value before, value after] in JSON, what policies read first.

    One too long for an entry is cut at whole items; then their number, and a SHA-256 of the whole, say that it was.
    """
    names = sorted({*before, *after}, key=lambda name: (not tag_values({name: ""}), name))
    items = [[name, before.get(name), after.get(name)] for name in names if before.get(name) != after.get(name)]
    texts = [json.dumps(item, ensure_ascii=False) for item in items]
    ends = accumulate(len(text) + 2 for text in texts)
    shown = [text for text, end in zip(texts, ends, strict=True) if end <= SHOWN]
    detail = {"changes": f"[{', '.join(shown)}]"}
    if len(shown) < len(items):
        whole = f"[{', '.join(texts)}]".encode()
        detail |= {"changes_in_all": str(len(items)), "changes_sha256": sha256(whole).hexdigest()}
    return detail
