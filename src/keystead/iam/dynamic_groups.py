"""Dynamic groups: resources that a rule describes, granted things together. See policy/matching."""

from dataclasses import replace

from keystead.core.errors import check_version, required, stale, taken
from keystead.core.ids import CompartmentId, DynamicGroupId, new_id, parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.iam.base import Base
from keystead.iam.model import Caller, DynamicGroup, Target
from keystead.iam.names import check_description, check_name
from keystead.iam.policy.matching import check_matching


class DynamicGroupActs(Base):
    """Changes hold from the next request on."""

    def create_dynamic_group(
        self, caller: Caller, name: str, matching_rule: str, description: str = ""
    ) -> DynamicGroup:
        """Resources by rule. Raises: Refusal with the place of an error in the rule."""
        check_name(name, "dynamic group")
        check_description(description)
        new = DynamicGroupId(new_id("dynamicgroup", self._region))
        tenancy = caller.principal.tenancy
        group = DynamicGroup(new, tenancy, name, matching_rule, description, self._clock.now())
        target = _at_dynamic_group(group)
        detail = {"matching_rule": matching_rule[:500]}
        entry = self._guard.permit_change(caller, "DYNAMIC_GROUP_CREATE", target, "CreateDynamicGroup", detail)
        check_matching(matching_rule)
        with self._store.write(entry) as tx:
            if tx.dynamic_groups.page(tenancy, PageRequest(1), name):
                raise taken("dynamic group", name)
            tx.dynamic_groups.add(group)
        return group

    def get_dynamic_group(self, caller: Caller, group_id: str) -> DynamicGroup:
        group = self._dynamic_group(caller, group_id)
        self._guard.permit(caller, "DYNAMIC_GROUP_INSPECT", _at_dynamic_group(group), "GetDynamicGroup")
        return group

    def list_dynamic_groups(self, caller: Caller, page: PageRequest, name: str | None = None) -> Page[DynamicGroup]:
        target = self._in_root(caller, "dynamic-groups")
        self._guard.permit(caller, "DYNAMIC_GROUP_INSPECT", target, "ListDynamicGroups")
        with self._store.read() as tx:
            found = tx.dynamic_groups.page(caller.principal.tenancy, page, name)
            return cut(found, page.limit, lambda item: item.name)

    def update_dynamic_group(
        self, caller: Caller, group_id: str, matching_rule: str, if_match: int | None = None
    ) -> DynamicGroup:
        """Another rule: who is in it no longer loses at once what it grants."""
        group = self._dynamic_group(caller, group_id)
        detail = {"matching_rule": matching_rule[:500]}
        target = _at_dynamic_group(group)
        entry = self._guard.permit_change(caller, "DYNAMIC_GROUP_UPDATE", target, "UpdateDynamicGroup", detail)
        check_version(group.version, if_match)
        check_matching(matching_rule)
        changed = replace(group, matching_rule=matching_rule, version=group.version + 1)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.dynamic_groups.set(changed, group.version):
                raise stale()
        return changed

    def delete_dynamic_group(self, caller: Caller, group_id: str, if_match: int | None = None) -> None:
        group = self._dynamic_group(caller, group_id)
        target = _at_dynamic_group(group)
        entry = self._guard.permit_change(caller, "DYNAMIC_GROUP_DELETE", target, "DeleteDynamicGroup")
        check_version(group.version, if_match)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.dynamic_groups.set(replace(group, version=group.version + 1), group.version, deleted=True):
                raise stale()

    def _dynamic_group(self, caller: Caller, group_id: str) -> DynamicGroup:
        parse_id(group_id, "dynamicgroup")
        with self._store.read() as tx:
            return required(tx.dynamic_groups.one(caller.principal.tenancy, group_id), "dynamic group")


def _at_dynamic_group(group: DynamicGroup) -> Target:
    attributes = {"dynamicgroup.id": group.id, "dynamicgroup.name": group.name}
    return Target("dynamic-groups", group.id, group.name, group.tenancy, (CompartmentId(group.tenancy),), attributes)
