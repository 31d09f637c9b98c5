"""Tags of compartments and groups: names and values that policies may read.

    Ops.Team = dba   in a namespace: read as `target.resource.compartment.tag.ops.team` or, of a group, as
                     `request.principal.group.tag.ops.team`; of either, as a target, `target.resource.tag.ops.team`
    note = ours      without a dot: for people alone

A tag may open what a statement says, without the statement being changed. So it takes TAG_NAMESPACE_USE of the whole
tenancy besides the right to change the thing itself: who looks after one group is not thereby who decides what its
tags open. Both are recorded with what was changed from what to what, and with the statements that read it. A
change holds from the next request on.

A rule of approval that covers a change of a policy covers one of the tags that the policy's statements read, wherever
what has the tags lies: it is where the policy is attached that counts.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from itertools import accumulate

from keystead.audit.model import Entry
from keystead.core.errors import Refusal, check_version, stale
from keystead.core.ids import TenancyId
from keystead.iam.base import Base
from keystead.iam.model import Caller, Compartment, Group, Target
from keystead.iam.policy.question import StatementRef
from keystead.iam.policy.variables import tag_values

MAX_TAGS, MAX_TAG_TEXT = 50, 256
# As much as an entry of the audit trail is to carry of them.
SHOWN, SHOWN_STATEMENTS = 4000, 20


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
        permission: str,
        target: Target,
        operation: str,
        before: Mapping[str, str],
        after: Mapping[str, str],
    ) -> Entry:
        self._guard.require(caller, "TAG_NAMESPACE_USE", self._in_root(caller, "tag-namespaces"), operation)
        detail = _changes(before, after)
        refs = list(self._reading(caller.principal.tenancy, set(_differing(before, after))))
        if refs:
            reading = [f"statement {ref.number} of {ref.policy_id}" for ref in refs]
            more = len(reading) - SHOWN_STATEMENTS
            shown = ", ".join(reading[:SHOWN_STATEMENTS])
            detail["read_by"] = f"{shown} and {more} more" if more > 0 else shown
        also = list(self._policies_of(caller.principal.tenancy, {ref.policy_id for ref in refs}))
        return self._guard.permit_change(caller, permission, target, operation, detail, also=also)

    def _reading(self, tenancy: str, names: set[str]) -> Iterator[StatementRef]:
        """The statements of the tenancy that read a tag of one of these names."""
        for ref, tags in self._directory.policies(tenancy).tags_read():
            if not names.isdisjoint(tags):
                yield ref

    def _policies_of(self, tenancy: TenancyId, ids: set[str]) -> Iterator[Target]:
        """Those policies of the tenancy, where they are attached."""
        for source in self._directory.sources(tenancy) if ids else ():
            place = self._directory.compartment(tenancy, source.compartment_id)
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
