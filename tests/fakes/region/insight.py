"""What needs a key, what follows from an act, and who used it."""

from tests.fakes.region.routes import Request, route
from tests.fakes.region.state import LATER, MOMENT, Json

NEED = {
    "kind": "dbsystem", "id": "s", "name": "flights", "compartment_id": "c", "key_versions": [1, 2],
    "read_from": "envelope", "state": "ACTIVE", "running": True, "part_of": "", "problem": "",
}  # fmt: skip
HIDDEN = {**NEED, "kind": "backup", "id": "", "name": "", "compartment_id": "", "read_from": "header", "state": ""}


@route("GET", "/keys/{key_id}/inventory")
def key_inventory(ask: Request, key_id: str) -> Json:
    ask.region.get("key", key_id)
    copies = [{"kind": "state-backup", "count": 3, "last_at": MOMENT, "last_by": "olivia"}]
    versions = [{"key_version": 1, "count": 2}]
    return {"needs": [NEED, HIDDEN], "needed_by": 2, "versions": versions, "copies": copies, "at": MOMENT}


@route("GET", "/keys/{key_id}/impact")
def key_impact(ask: Request, key_id: str) -> Json:
    key = ask.region.get("key", key_id)
    seen = {"kind": "dbsystem", "id": "s", "name": "flights"}
    effects: list[Json] = [{**seen, "when": "at_once", "at": None, "text": "is fenced within a second"}]
    if ask.query["if"] == "delete":
        effects.append({**seen, "when": "later", "at": LATER, "text": "can never be opened again"})
    return {
        "if": ask.query["if"], "key_version": int(ask.query.get("version", "0")), "effects": effects, "needed_by": 2,
        "undo": f"keystead key enable {key['name']}", "final_at": LATER if len(effects) > 1 else None,
        "approvers": ["ada", "grace"], "more_approvers": 0,
        "quorums": [{"rule": "two-officers", "needed": 2, "approvers": ["ada", "bob", "grace"]}],
    }  # fmt: skip


@route("GET", "/keys/{key_id}/usage")
def key_usage(ask: Request, key_id: str) -> Json:
    ask.region.get("key", key_id)
    use = {
        "principal_id": "u", "principal_type": "user", "principal_name": "ada", "operation": "Encrypt",
        "outcome": "allowed", "calls": 7, "first_at": MOMENT, "last_at": MOMENT,
    }  # fmt: skip
    return {"since": MOMENT, "calls": 7, "uses": [use]}


@route("GET", "/vaults/{vault_id}/inventory")
def vault_inventory(ask: Request, vault_id: str) -> Json:
    ask.region.get("vault", vault_id)
    key = {"key_id": "k", "key_name": "finance", "state": "ENABLED", "needs": [NEED]}
    return {"keys": [key], "needed_by": 1}
