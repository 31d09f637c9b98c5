"""Calls of identity."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from tests.fakes.calls.call import Call, fresh, read
from tests.fakes.calls.things import NETWORKS, PAGE, RULE, Things, fresh_key
from tests.fakes.domain import REGION, DomainRegion

from keystead.adapters.sql import schema_approvals
from keystead.core.ids import ApprovalId, UserId, new_id
from keystead.iam.approvals.acts import RuleTerms
from keystead.iam.approvals.model import Approval, Term, Vote
from keystead.iam.factors.model import SignInSettings
from keystead.iam.model import Asked, Caller, Target
from keystead.iam.ports import Membership


def approved(region: DomainRegion, caller: Caller, t: Things) -> Caller:
    """The caller with a request about the rule that a member of its group has approved of."""
    who, now, named = caller.principal, region.clock.now(), new_id("approval", REGION)
    with region.store.note() as tx:
        rule = tx.approvals.rule(who.tenancy, t.rule)
        if rule is None:
            return caller
        user, name = tx.approvals.approvers(who.tenancy, rule.group_id)[0]
        made = Approval(
            ApprovalId(named), who.tenancy, rule.compartment, "x", "approval-rules", rule.id, rule.name, rule.version,
            who.id, who.name, "digest", "{}", (Term(rule.id, "two", rule.version, rule.group_id, 1, (user,)),),
            "PENDING", now, now + timedelta(hours=24),
        )  # fmt: skip
        tx.approvals.add_approval(made)
        tx.approvals.add_vote(made, Vote(UserId(user), name, "approve", "", now))
    return replace(caller, asked=Asked("x", "digest", "{}", named))


def _everybody_approves(region: DomainRegion, t: Things) -> None:
    """Everybody there is has been in the group since the request was made."""
    region.snapshot.refresh()
    everybody = [user.id for user in region.snapshot.directory.users_in(region.tenancy)]
    entry = region.guard.entry(region.admin, "", Target("groups", "", "", region.tenancy, ()), "Prepare", "allowed")
    with region.store.write(entry) as tx:
        rule = tx.approvals.rule(region.tenancy, t.rule)
        assert rule is not None
        for user in everybody:
            tx.iam.set_membership(Membership(region.tenancy, rule.group_id, user, deleted=False))
        terms = [
            {"rule": t.rule, "name": "two", "version": 1, "group": rule.group_id, "needed": 1, "members": everybody}
        ]
        tx.connection.execute(schema_approvals.approvals.update().values(terms=terms))


_compartment = ("compartment",)
_dynamic, _source = ("dynamic_group",), ("network_source",)

IAM: Mapping[str, Call] = {
    "create_compartment": Call(lambda r, c, t: r.iam.create_compartment(c, t.compartment, fresh()), _compartment),
    "get_compartment": read(lambda r, c, t: r.iam.get_compartment(c, t.compartment), "compartment"),
    "tag_compartment": Call(
        lambda r, c, t: r.iam.tag_compartment(c, t.compartment, {"ops.env": fresh()}), _compartment
    ),
    "list_compartments": read(lambda r, c, t: r.iam.list_compartments(c, t.compartment, PAGE), "compartment"),
    "create_user": Call(lambda r, c, t: r.iam.create_user(c, fresh())),
    "get_user": read(lambda r, c, t: r.iam.get_user(c, t.user), "user"),
    "list_users": read(lambda r, c, t: r.iam.list_users(c, PAGE)),
    "update_user": Call(lambda r, c, t: r.iam.update_user(c, t.user, "BLOCKED"), ("user",)),
    "delete_user": Call(lambda r, c, t: r.iam.delete_user(c, t.user), ("user",)),
    "reset_password": Call(lambda r, c, t: r.iam.reset_password(c, t.user), ("user",)),
    "revoke_user_tokens": Call(lambda r, c, t: r.iam.revoke_user_tokens(c, t.user), ("user",)),
    "create_auth_token": Call(lambda r, c, t: r.iam.create_auth_token(c, t.user, fresh()), ("user",)),
    "list_auth_tokens": read(lambda r, c, t: r.iam.list_auth_tokens(c, t.user, PAGE), "user"),
    "delete_auth_token": Call(lambda r, c, t: r.iam.delete_auth_token(c, t.user, t.auth_token), ("user", "auth_token")),
    "create_api_key": Call(lambda r, c, t: r.iam.create_api_key(c, t.user, fresh(), fresh_key()), ("user",)),
    "list_api_keys": read(lambda r, c, t: r.iam.list_api_keys(c, t.user, PAGE), "user"),
    "delete_api_key": Call(lambda r, c, t: r.iam.delete_api_key(c, t.user, t.api_key), ("user", "api_key")),
    "create_group": Call(lambda r, c, t: r.iam.create_group(c, fresh())),
    "get_group": read(lambda r, c, t: r.iam.get_group(c, t.group), "group"),
    "list_groups": read(lambda r, c, t: r.iam.list_groups(c, PAGE)),
    "tag_group": Call(lambda r, c, t: r.iam.tag_group(c, t.group, {"ops.team": fresh()}), ("group",)),
    "delete_group": Call(lambda r, c, t: r.iam.delete_group(c, t.group), ("group",)),
    "list_factors": read(lambda r, c, t: r.iam.list_factors(c, t.user), "user"),
    "remove_factor": Call(lambda r, c, t: r.iam.remove_factor(c, t.user, t.factor), ("user", "factor")),
    "list_devices": read(lambda r, c, t: r.iam.list_devices(c, t.user), "user"),
    "forget_device": Call(lambda r, c, t: r.iam.forget_device(c, t.user, t.device), ("user", "device")),
    "get_sign_in_settings": read(lambda r, c, t: r.iam.get_sign_in_settings(c)),
    "update_sign_in_settings": Call(lambda r, c, t: r.iam.update_sign_in_settings(c, SignInSettings("medium"))),
    "update_group": Call(lambda r, c, t: r.iam.update_group(c, t.group, "new"), ("group",)),
    "begin_break_glass": Call(
        lambda r, c, t: r.iam.begin_break_glass(c, t.group, t.user, 60, "why"),
        ("group", "user"),
        lambda r, t: r.iam.remove_member(r.admin, t.group, t.user),
    ),
    "create_approval_rule": Call(
        lambda r, c, t: r.iam.create_approval_rule(c, t.compartment, fresh(), RuleTerms(("export",), t.group, 1)),
        ("compartment", "group"),
    ),
    "get_approval_rule": read(lambda r, c, t: r.iam.get_approval_rule(c, t.rule), "rule"),
    "list_approval_rules": read(lambda r, c, t: r.iam.list_approval_rules(c, t.compartment, PAGE), "compartment"),
    "update_approval_rule": Call(
        lambda r, c, t: r.iam.update_approval_rule(approved(r, c, t), t.rule, RuleTerms(("export",), t.group, 1)),
        ("rule", "group"),
    ),
    "delete_approval_rule": Call(lambda r, c, t: r.iam.delete_approval_rule(approved(r, c, t), t.rule), ("rule",)),
    "list_approvals": read(lambda r, c, t: r.iam.list_approvals(c, PAGE)),
    "get_approval": read(lambda r, c, t: r.iam.get_approval(c, t.approval), "approval"),
    "approve": Call(lambda r, c, t: r.iam.approve(c, t.approval), ("approval",), _everybody_approves),
    "reject": Call(lambda r, c, t: r.iam.reject(c, t.approval), ("approval",), _everybody_approves),
    "withdraw_approval": Call(lambda r, c, t: r.iam.withdraw_approval(c, t.approval), ("approval",)),
    "list_break_glass": read(lambda r, c, t: r.iam.list_break_glass(c, PAGE, t.group), "group"),
    "end_break_glass": Call(lambda r, c, t: r.iam.end_break_glass(c, t.break_glass), ("break_glass",)),
    "add_member": Call(lambda r, c, t: r.iam.add_member(c, t.group, t.user), ("group", "user")),
    "remove_member": Call(lambda r, c, t: r.iam.remove_member(c, t.group, t.user), ("group", "user")),
    "list_members": read(lambda r, c, t: r.iam.list_members(c, t.group, PAGE), "group"),
    "create_dynamic_group": Call(lambda r, c, t: r.iam.create_dynamic_group(c, fresh(), RULE)),
    "get_dynamic_group": read(lambda r, c, t: r.iam.get_dynamic_group(c, t.dynamic_group), "dynamic_group"),
    "list_dynamic_groups": read(lambda r, c, t: r.iam.list_dynamic_groups(c, PAGE)),
    "update_dynamic_group": Call(lambda r, c, t: r.iam.update_dynamic_group(c, t.dynamic_group, RULE), _dynamic),
    "delete_dynamic_group": Call(lambda r, c, t: r.iam.delete_dynamic_group(c, t.dynamic_group), _dynamic),
    "create_network_source": Call(lambda r, c, t: r.iam.create_network_source(c, fresh(), NETWORKS)),
    "get_network_source": read(lambda r, c, t: r.iam.get_network_source(c, t.network_source), "network_source"),
    "list_network_sources": read(lambda r, c, t: r.iam.list_network_sources(c, PAGE)),
    "update_network_source": Call(lambda r, c, t: r.iam.update_network_source(c, t.network_source, NETWORKS), _source),
    "delete_network_source": Call(lambda r, c, t: r.iam.delete_network_source(c, t.network_source), _source),
    "create_tenancy": Call(lambda r, c, t: r.iam.create_tenancy(c, fresh())),
    "rotate_token_keys": Call(lambda r, c, t: r.iam.rotate_token_keys(c)),
    "get_tenancy": read(lambda r, c, t: r.iam.get_tenancy(c, t.tenancy), "tenancy"),
    "list_tenancies": read(lambda r, c, t: r.iam.list_tenancies(c, PAGE)),
    "create_policy": Call(
        lambda r, c, t: r.iam.create_policy(
            c, t.compartment, fresh(), (f"Allow group Some to inspect keys in compartment id {t.compartment}",)
        ),
        _compartment,
    ),
    "get_policy": read(lambda r, c, t: r.iam.get_policy(c, t.policy), "policy"),
    "list_policies": read(lambda r, c, t: r.iam.list_policies(c, t.compartment, PAGE), "compartment"),
    "update_policy": Call(
        lambda r, c, t: r.iam.update_policy(
            c, t.policy, (f"Allow group Some to inspect keys in compartment id {t.compartment}",)
        ),
        ("policy",),
    ),
    "delete_policy": Call(lambda r, c, t: r.iam.delete_policy(c, t.policy), ("policy",)),
}


INSIGHT: Mapping[str, Call] = {
    "explain": read(lambda r, c, t: r.insight.explain(c, c.principal.id, "KEY_DECRYPT", t.compartment), "compartment"),
    "who_can": read(lambda r, c, t: r.insight.who_can(c, "use keys", t.key), "key"),
    "simulate": read(
        lambda r, c, t: r.insight.simulate(
            c, t.compartment, (f"Allow group Some to use keys in compartment id {t.compartment}",)
        ),
        "compartment",
    ),
    "unused": read(lambda r, c, t: r.insight.unused(c, 30)),
    "duties": read(lambda r, c, t: r.insight.duties(c)),
}
