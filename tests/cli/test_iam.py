"""Compartments, users, groups, policies; and how names are resolved."""

from pathlib import Path

import pytest
from tests.cli.conftest import Keystead
from tests.fakes.region import Region


@pytest.fixture
def nested(signed_in: Keystead) -> Keystead:
    """acme/prod/finance with a vault `main` in both."""
    for arguments in (
        ("compartment", "create", "prod"),
        ("compartment", "create", "finance", "--parent", "prod"),
        ("vault", "create", "main", "-c", "prod"),
        ("vault", "create", "main", "-c", "prod/finance"),
    ):
        assert signed_in(*arguments).code == 0
    return signed_in


def test_compartments_by_path_and_id(nested: Keystead, region: Region) -> None:
    finance = nested("compartment", "show", "prod/finance", "--json").json
    assert finance["name"] == "finance"
    assert nested("compartment", "show", "prod:finance", "--json").json == finance
    assert nested("compartment", "show", "/prod/finance/", "--json").json == finance
    assert nested("compartment", "show", finance["id"], "--json").json == finance
    assert nested("compartment", "show", "/", "--json").json["id"] == region.tenancy
    assert [it["name"] for it in nested("compartment", "list", "--json").json] == ["prod"]
    assert [it["name"] for it in nested("compartment", "list", "-p", "prod", "--json").json] == ["finance"]


def test_a_compartment_that_is_not_there(nested: Keystead) -> None:
    ran = nested("vault", "list", "-c", "prod/marketing")
    assert ran.code == 4
    assert "compartment 'prod/marketing' does not exist, or you may not see it" in ran.err


def test_names_within_compartments(nested: Keystead) -> None:
    upper = nested("vault", "show", "main", "-c", "prod", "--json").json
    lower = nested("vault", "show", "main", "-c", "prod/finance", "--json").json
    assert upper["id"] != lower["id"]
    assert nested("vault", "show", "prod/main", "--json").json == upper
    assert nested("vault", "show", "prod:finance:main", "--json").json == lower
    assert nested("vault", "show", lower["id"], "--json").json == lower
    ran = nested("vault", "show", "main")
    assert ran.code == 4
    assert "vault 'main' does not exist, or you may not see it" in ran.err


def test_the_profile_has_a_default_compartment(nested: Keystead, home: Path) -> None:
    with (home / "config.toml").open("a") as config:
        config.write('compartment = "prod/finance"\n')
    assert nested("vault", "list", "--json").json[0]["name"] == "main"
    ran = nested("vault", "show", "other")
    assert "in compartment prod/finance" in ran.err
    assert nested("vault", "list", "-c", "/", "--json").json == []


def test_an_id_of_another_kind_is_wrong_usage(nested: Keystead) -> None:
    vault = nested("vault", "show", "prod/main", "--json").json["id"]
    assert nested("key", "show", vault).code == 2
    assert nested("compartment", "show", vault).code == 2


def test_two_of_one_name_must_be_told_apart(nested: Keystead, region: Region) -> None:
    for _ in range(2):
        region.keep("user", name="twin", state="ACTIVE", description="")
    ran = nested("user", "show", "twin")
    assert ran.code == 2
    assert ran.err.count("ks1.user.") == 2


def test_the_living_are_found_before_the_deleted(nested: Keystead, region: Region) -> None:
    region.keep("user", name="ada", state="DELETED", description="")
    assert nested("user", "create", "ada").code == 0
    assert nested("user", "show", "ada", "--json").json["state"] == "ACTIVE"


def test_a_new_password_is_shown_once_and_marked(signed_in: Keystead) -> None:
    ran = signed_in("user", "create", "ada", "--description", "analyst")
    assert ran.out.endswith("password of ada (shown once, keep it now): example-password-1\n")
    assert ran.out.count("example-password-1") == 1
    ran = signed_in("user", "reset-password", "ada")
    assert ran.out == "password of ada (shown once, keep it now): example-password-2\n"


def test_an_auth_token_is_shown_once_and_deleted_by_its_name(signed_in: Keystead) -> None:
    signed_in("user", "create", "ada")
    made = signed_in("user", "auth-token-create", "ada", "app", "--days", "30")
    assert made.out.endswith("auth token app of ada (shown once, keep it now): example-auth-token\n")
    assert made.out.count("example-auth-token") == 1
    assert [it["name"] for it in signed_in("user", "auth-token-list", "ada", "--json").json] == ["app"]
    assert signed_in("user", "auth-token-delete", "ada", "app").out == "the auth token app is deleted\n"
    gone = signed_in("user", "auth-token-delete", "ada", "app")
    assert (gone.code, "no auth token" in gone.err) == (4, True)


def test_a_replayed_creation_says_that_the_password_was_shown(signed_in: Keystead, region: Region) -> None:
    body = b'{"id":"x","name":"ada","password":null,"already_shown":true}'
    region.plan_raw("POST", "/users", 201, body)
    assert "password of ada: already shown once, and not kept anywhere" in signed_in("user", "create", "ada").out


def test_creations_carry_an_idempotency_key_each(signed_in: Keystead, region: Region) -> None:
    signed_in("user", "create", "ada")
    signed_in("user", "create", "bob")
    sent = [it.headers["Idempotency-Key"] for it in region.exchanges if it.method == "POST" and it.template == "/users"]
    assert len(set(sent)) == 2
    assert region.last("POST", "/users").body == {"name": "bob"}


def test_blocking_and_deleting_a_user(signed_in: Keystead, region: Region) -> None:
    signed_in("user", "create", "ada")
    assert signed_in("user", "block", "ada").out == "user ada is BLOCKED\n"
    assert signed_in("user", "unblock", "ada", "--if-match", "2").out == "user ada is ACTIVE\n"
    stale = signed_in("user", "block", "ada", "--if-match", "2")
    assert (stale.code, region.last("PATCH", "/users/{user_id}").headers["If-Match"]) == (5, '"2"')
    assert signed_in("user", "revoke-tokens", "ada").out == "every token of ada is void\n"
    refused = signed_in("user", "delete", "ada")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert signed_in("user", "delete", "ada", "--yes").out == "user ada is deleted\n"


def test_groups_and_members(signed_in: Keystead) -> None:
    signed_in("user", "create", "ada")
    assert signed_in("group", "create", "dbas").code == 0
    assert signed_in("group", "add-member", "dbas", "ada").out == "ada is now a member of dbas\n"
    assert [it["name"] for it in signed_in("group", "members", "dbas", "--json").json] == ["ada"]
    assert signed_in("group", "remove-member", "dbas", "ada").out == "ada is no longer a member of dbas\n"
    assert signed_in("group", "members", "dbas").err == "(no members)\n"
    assert [it["name"] for it in signed_in("group", "list", "--json").json] == ["dbas"]
    assert signed_in("group", "show", "dbas").code == 0
    assert signed_in("group", "delete", "dbas", "-y").out == "group dbas is deleted\n"


def test_policies_from_options_and_files(signed_in: Keystead, tmp_path: Path) -> None:
    file = tmp_path / "statements"
    file.write_text("# for the DBAs\nAllow group dbas to read vaults in tenancy\n\n")
    ran = signed_in("policy", "create", "p", "-s", "Allow group dbas to use keys in tenancy", "-f", str(file), "--json")
    assert ran.json["statements"] == [
        "Allow group dbas to use keys in tenancy",
        "Allow group dbas to read vaults in tenancy",
    ]
    ran = signed_in("policy", "update", "p", "-f", "-", "--json", stdin="Allow group dbas to inspect keys in tenancy\n")
    assert ran.json["statements"] == ["Allow group dbas to inspect keys in tenancy"]
    assert signed_in("policy", "update", "p").code == 2
    assert "1" in signed_in("policy", "list").out
    assert signed_in("policy", "delete", "p", "-y").out == "policy p is deleted\n"


def test_adding_a_statement_keeps_the_others_and_survives_a_race(signed_in: Keystead, region: Region) -> None:
    signed_in("policy", "create", "p", "-s", "first")
    region.plan("PUT", "/policies/.*", 412, "Stale", "it was changed meanwhile")
    ran = signed_in("policy", "add-statement", "p", "second", "--json")
    assert ran.json["statements"] == ["first", "second"]
    assert region.last("PUT", "/policies/{policy_id}").headers["If-Match"] == '"1"'


def test_a_refusal_prints_sentence_hint_and_request_id(signed_in: Keystead, region: Region) -> None:
    hint = "you need KEY_CREATE; this would grant it:\nAllow group dbas to manage keys in compartment prod"
    region.plan("GET", "/vaults", 403, "NotAuthorized", "you may not list vaults", hint)
    ran = signed_in("vault", "list")
    assert ran.code == 1
    assert ran.err.splitlines() == [
        "error: you may not list vaults [NotAuthorized]",
        "hint:  you need KEY_CREATE; this would grant it:",
        "       Allow group dbas to manage keys in compartment prod",
        "request id: ks1.request.main.home.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
    ]
    assert ran.out == ""


def test_lists_are_read_to_the_end_or_to_the_limit(signed_in: Keystead, region: Region) -> None:
    for number in range(450):
        region.keep("group", name=f"g{number}", description="")
    assert len(signed_in("group", "list", "--json").json) == 450
    region.exchanges.clear()
    assert len(signed_in("group", "list", "--json", "--limit", "205").json) == 205
    assert [it.target.split("?")[1] for it in region.exchanges] == ["limit=200", "limit=5&page=200"]


def test_a_simulation_is_printed_whole(signed_in: Keystead) -> None:
    whole = signed_in("policy", "simulate", "-s", "x", "--json").json
    assert set(whole) == {"items", "examined", "crossings"}
    opened, closed = whole["items"]
    assert opened["opens"] and opened["statement_now"] is None and opened["statement_then"]["policy_id"] == ""
    assert not closed["opens"] and closed["statement_then"] is None and closed["statement_now"]["policy_id"]
    assert whole["crossings"][0]["effect"] == "admit" and whole["examined"] == 12
    shown = signed_in("policy", "simulate", "-s", "x").out
    told = [line.split() for line in shown.splitlines()]
    assert [line[0] for line in told[1:3]] == ["opens", "closes"]
    assert all("Allow group Dba to use keys" in line for line in shown.splitlines()[1:3])
    assert "opens, if the other tenancy lets it: Admit any-user" in shown
