"""Policies, what is asked of them, and what their statements speak of."""

from tests.fakes.region.routes import Request, named, no_clash, route, rows
from tests.fakes.region.state import Json

rows("policy", "/policies/{policy_id}", delete=True)
rows("dynamicgroup", "/dynamic-groups/{dynamic_group_id}", change="PUT", delete=True)
rows("networksource", "/network-sources/{network_source_id}", change="PUT", delete=True)
named("dynamicgroup", "/dynamic-groups", description="")
named("networksource", "/network-sources", description="")


@route("POST", "/policies")
def create_policy(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "policy", ask.body["name"], compartment_id=ask.body["compartment_id"])
    return 201, ask.region.keep("policy", **{"description": "", **ask.body})


@route("PUT", "/policies/{policy_id}")
def update_policy(ask: Request, policy_id: str) -> Json:
    return {**ask.change("policy", policy_id, **ask.body), "warnings": []}


SOMEBODY: Json = {"id": "somebody", "type": "user", "name": "ada"}
STATEMENT: Json = {"policy_id": "p", "number": 1, "text": "Allow group Dba to use keys in tenancy"}


@route("POST", "/policies/actions/explain")
def explain_policy(ask: Request) -> Json:
    told = {**STATEMENT, "effect": "allow", "denies": False, "applies": True, "why": ""}
    return {"allowed": True, "depends": False, "statement": STATEMENT, "reasons": [], "considered": [told]}


@route("POST", "/policies/actions/who-can")
def who_can(ask: Request) -> Json:
    return {"items": [{"principal": SOMEBODY, "statement": STATEMENT, "depends": False}]}


@route("POST", "/policies/actions/simulate")
def simulate_policy(ask: Request) -> Json:
    on = {"resource_type": "keys", "resource_id": "k", "resource_name": "finance"}
    opened = {"opens": True, "statement_now": None, "statement_then": {**STATEMENT, "policy_id": ""}}
    closed = {"opens": False, "statement_now": STATEMENT, "statement_then": None}
    crossing = {"effect": "admit", "statement": "Admit any-user of any-tenancy to read keys in tenancy", "opens": True}
    return {
        "items": [
            {"principal": SOMEBODY, "permission": "KEY_DECRYPT", **on, **opened},
            {"principal": SOMEBODY, "permission": "KEY_READ", **on, **closed},
        ],
        "examined": 12,
        "crossings": [crossing],
    }


@route("GET", "/policies/actions/unused")
def unused_grants(ask: Request) -> Json:
    return {"items": [{"statement": STATEMENT, "used": ["KEY_READ"], "unused": ["KEY_DECRYPT"]}]}


@route("GET", "/policies/actions/duties")
def mixed_duties(ask: Request) -> Json:
    keys = {"key_permission": "KEY_DECRYPT", "key_place": "prod", "key_statement": STATEMENT}
    databases = {"database_permission": "MYSQL_INSTANCE_CREATE", "database_place": "prod", "database_statement": None}
    return {"items": [{"principal": SOMEBODY, **keys, **databases}]}
