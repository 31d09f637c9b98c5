"""Steps 1 and 2: a region comes to be; duties are kept apart."""

import base64
import json
import ssl
import urllib.error
import urllib.request

from demo.commands import Unexpected
from demo.show import megabytes, milliseconds
from demo.stage import ADMIN, AUDITOR, COMPARTMENT, DBA, OFFICER, Stage

_GROUPS = {OFFICER: "Officers", DBA: "DBAs", AUDITOR: "Auditors"}
_DUTIES = (
    "Allow group Officers, DBAs to inspect compartments in tenancy",
    "Allow group Officers to manage key-family in compartment prod",
    "Allow group Officers to inspect mysql-family in compartment prod",
    "Allow group Officers to manage policies in compartment prod",
    "Allow group DBAs to manage mysql-family in compartment prod",
    "Allow group DBAs to inspect keys in compartment prod",
    "Allow group Auditors to read audit-events in tenancy",
)


def create_region(stage: Stage) -> None:
    """Step 1: state, root key in two slots, own CA, first administrator; the three processes."""
    place, show = stage.place, stage.show
    options = ["--state", str(place.state), "--key-file", str(place.key_file)]
    credentials = place.directory / "first.json"
    said = stage.run("root", "init", *options, "--credentials-file", str(credentials), *place.settings(), profile=False)
    stage.region = json.loads(credentials.read_text())
    credentials.unlink()
    stage.state = place.state
    place.keep(**{"url": stage.region["url"], "passphrase of the region": stage.region["passphrase"]})
    place.keep(admin=stage.region["password"])
    show.did(
        f"state directory, root key, certificate authority, administrator: {milliseconds(said.seconds)}\n"
        f"the password and the region's passphrase are shown once; here they are kept in {place.credentials_file.name}"
    )
    _prove_root_key(stage)
    start(stage)
    _prove_listening(stage)
    login(stage, ADMIN)


def start(stage: Stage) -> None:
    """Start the region that lies in `stage.state`."""
    said = stage.run("root", "up", "--detach", "--state", str(stage.state), profile=False)
    stage.place.record()
    running = sorted(
        str(json.loads(path.read_text())["what"])
        for path in (stage.state / "run").glob("*.lock")
        if path.stat().st_size
    )
    roles = {"serve http", "work", "host"}
    stage.show.prove("serve, work and host are running", roles <= set(running), f"up in {milliseconds(said.seconds)}")


def login(stage: Stage, *people: str) -> None:
    """Sign in; passwords go through standard input."""
    stage.together([[(who, _login(stage, who), f"{stage.password(who)}\n")] for who in people])


def _login(stage: Stage, who: str) -> list[str]:
    url, ca = stage.region["url"], str(stage.state / "ca.pem")
    within = ["-c", COMPARTMENT] if who != ADMIN else []
    words = ["login", "--url", url, "--ca", ca, "--tenancy", stage.region["tenancy"], "--user", who, *within]
    return [*words, "--password-stdin"]


def _prove_root_key(stage: Stage) -> None:
    place, show = stage.place, stage.show
    mode = place.key_file.stat().st_mode & 0o777
    show.prove("the key file lies outside the state directory, mode 0400", mode == 0o400, str(place.key_file))
    slots = [slot["kind"] for slot in json.loads((place.state / "seal.json").read_bytes())["slots"]]
    show.prove("the root key is sealed in two slots", sorted(slots) == ["key-file", "passphrase"], ", ".join(slots))
    read, found = 0, []
    key = place.key_file.read_bytes().split()[-1]  # base64
    shown_once = [value.encode() for name, value in place.credentials.items() if name != "url"]
    secrets = [key, base64.b64decode(key), *shown_once]
    for path in sorted(place.state.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            read += len(content)
            found += [path.name for secret in secrets if secret in content]
    show.prove(
        "nothing in the state directory holds the key file's key, the passphrase or the password",
        not found and read > 0,
        f"{megabytes(read)} searched: {found or 'none found'}",
    )


def _prove_listening(stage: Stage) -> None:
    show, url = stage.show, f"{stage.region['url']}/keystead/v1/health"
    context = ssl.create_default_context(cafile=str(stage.state / "ca.pem"))
    with urllib.request.urlopen(url, context=context, timeout=10) as answer:
        health = json.loads(answer.read())
    show.prove("it answers over TLS that its own CA vouches for", health["status"] == "ok", stage.region["url"])
    try:
        with urllib.request.urlopen(url, timeout=10):
            refused = ""
    except urllib.error.URLError as error:
        refused = str(error.reason)
    show.prove("a client that does not know this CA refuses to talk to it", "certificate" in refused, refused[:90])


def separate_duties(stage: Stage) -> None:
    """Step 2: an officer holds keys, a DBA runs databases, and policy says how they meet."""
    show = stage.show
    _people(stage)
    stage.run(OFFICER, "vault", "create", "prod")
    names = ("finance", "ledger", "backups")
    options = ["--vault", "prod", "--algorithm", "AES-256"]
    for answers in stage.together([[(OFFICER, ["key", "create", name, *options], "")] for name in names]):
        stage.known[f"key {answers[0].data['name']}"] = answers[0].data["id"]
    refused = stage.run(DBA, "db", "create", "flights", "--key", "finance", "--memory", "512", fine=(1,))
    show.did(f"refused: {refused.error['message']}\nhint:    {refused.error['hint']}")
    named = "KEY_ASSOCIATE" in refused.error["message"]
    show.prove("the refusal names the missing permission", named, refused.error["code"])
    statement = str(refused.error["hint"]).partition("this statement would grant it: ")[2]
    show.prove("it prints the statement that would grant it", statement.startswith("Allow group DBAs to"), statement)
    if not statement:
        raise Unexpected("there is no statement to add")
    own = (
        "Allow any-user to use key-delegate in compartment prod where all {request.principal.type = 'mysqldbsystem', "
        f"request.resource.compartment.id = '{stage.known['compartment']}'}}"
    )
    stage.run(OFFICER, "policy", "create", "database-keys", "--compartment", COMPARTMENT, "-s", statement, "-s", own)
    made = stage.run(DBA, "db", "create", "flights", "--key", "finance", "--memory", "512")
    remember(stage, made.data)
    show.prove(
        "with the officer's statements the same command makes it",
        made.data["db_system"]["state"] == "ACTIVE",
        f"{made.data['db_system']['state']} after {milliseconds(made.seconds)}",
    )
    stage.place.record()


def remember(stage: Stage, made: dict) -> None:  # type: ignore[type-arg]  # a JSON document
    """A new database system, and its password that is shown once."""
    system = made["db_system"]
    stage.systems[system["name"]] = system
    stage.place.keep(**{f"{system['admin_username']}@{system['name']}": made["admin_password"]})


def _people(stage: Stage) -> None:
    compartment = stage.run(ADMIN, "compartment", "create", COMPARTMENT).data
    stage.known["compartment"] = compartment["id"]
    made = stage.together([
        [
            (ADMIN, ["user", "create", who], ""),
            (ADMIN, ["group", "create", group], ""),
            (ADMIN, ["group", "add-member", group, who], ""),
        ]
        for who, group in _GROUPS.items()
    ])  # fmt: skip
    stage.place.keep(**{who: answers[0].data["password"] for who, answers in zip(_GROUPS, made, strict=True)})
    stage.run(ADMIN, "policy", "create", "duties", *(word for each in _DUTIES for word in ("-s", each)))
    login(stage, *_GROUPS)
    stage.show.did("olivia is security officer, david DBA, ada auditor; policy keeps their duties apart")
