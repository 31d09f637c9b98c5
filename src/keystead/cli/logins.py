"""Logging in to databases with a security token: who may, and with what a client is started.

A token never comes onto a command line: clients get it from their environment, or from a file of mode 0600.
"""

import base64
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from keystead.cli.command import InCompartment, Reference, command
from keystead.cli.connect import keep_ca
from keystead.cli.console import Column
from keystead.cli.exits import CliError, usage
from keystead.cli.files import write_new
from keystead.cli.kinds import DYNAMIC_GROUP, GROUP, SYSTEM, USER
from keystead.cli.session import Session
from keystead.cli.wire import Json

Recipe = Literal["mariadb", "mysql", "pymysql", "connector", "sqlalchemy"]
Client = Literal["token", "oci", "openid"]
Roles = Annotated[
    list[str] | None, typer.Option("--role", metavar="NAME", help="A role; made when missing. Repeatable.")
]
Grants = Annotated[
    list[str] | None, typer.Option("--grant", metavar="GRANT", help="Such as 'SELECT ON shop.*'. Repeatable.")
]
As = Annotated[str, typer.Option("--as", metavar="ACCOUNT", help="The account's name in the database.")]
For = Annotated[Client, typer.Option("--client", help="Which clients: as a password, OCI's plugin, or OpenID's.")]
Waits = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the account is there.")]

ACCOUNT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Way:
    """How those who are mapped come in."""

    account: As = ""
    role: Roles = None
    grant: Grants = None
    client: For = "token"
    compartment: InCompartment = None
    wait: Waits = True

    @property
    def body(self) -> Json:
        """As the API takes it."""
        return {"account": self.account, "grants": self.grant or [], "roles": self.role or [], "client": self.client}


_MAPPINGS: list[Column] = [
    ("kind", "kind"),
    ("who", "subject_name"),
    ("account", "account"),
    ("client", "client"),
    ("roles", lambda it: ", ".join(it["roles"])),
    ("grants", lambda it: "; ".join(it["grants"])),
    ("precedence", lambda it: it["precedence"] if it["kind"] == "group" else None),
    ("state", "state"),
    ("id", "id"),
]
RECIPES: dict[Recipe, str] = {
    "mariadb": """MYSQL_PWD="$(keystead db token)" mariadb --protocol=tcp --host={host} --port={port} --user={user} \\
    --ssl-ca={ca} --ssl-verify-server-cert""",
    "mysql": """MYSQL_PWD="$(keystead db token)" mysql --host={host} --port={port} --user={user} \\
    --enable-cleartext-plugin --ssl-mode=VERIFY_IDENTITY --ssl-ca={ca}""",
    "pymysql": """import os, pymysql  # started with: KEYSTEAD_DB_TOKEN="$(keystead db token)"
connection = pymysql.connect(
    host="{host}", port={port}, user="{user}", password=os.environ["KEYSTEAD_DB_TOKEN"],
    ssl_ca="{ca}", ssl_verify_cert=True, ssl_verify_identity=True,
)""",
    "connector": """import os, mysql.connector  # started with: KEYSTEAD_DB_TOKEN="$(keystead db token)"
connection = mysql.connector.connect(
    host="{host}", port={port}, user="{user}", password=os.environ["KEYSTEAD_DB_TOKEN"],
    auth_plugin="mysql_clear_password", ssl_ca="{ca}", ssl_verify_cert=True, ssl_verify_identity=True,
)""",
    "sqlalchemy": """import os, sqlalchemy  # started with: KEYSTEAD_DB_TOKEN="$(keystead db token)"
engine = sqlalchemy.create_engine(
    sqlalchemy.URL.create("mysql+pymysql", "{user}", os.environ["KEYSTEAD_DB_TOKEN"], "{host}", {port}),
    connect_args={{"ssl_ca": "{ca}", "ssl_verify_cert": True, "ssl_verify_identity": True}},
)""",
}


def add_to(systems: typer.Typer) -> None:
    """Add these commands to those of database systems."""
    command(systems, "map-user")(map_user)
    command(systems, "map-group")(map_group)
    command(systems, "mappings")(mappings)
    command(systems, "unmap")(unmap)
    command(systems, "doctor")(doctor)
    command(systems, "token")(token)


def map_user(
    session: Session,
    name: Reference,
    user: Annotated[str, typer.Argument(metavar="USER", help="Name or id of the user.")],
    way: Way,
) -> None:
    """Let one person log in with a token, to an account of their own."""
    _map(session, name, way, {"kind": "user", "subject_id": session.resolve(USER, user)})


def map_group(
    session: Session,
    name: Reference,
    members: Annotated[str, typer.Argument(metavar="GROUP", help="Name or id of the group.")],
    way: Way,
    precedence: Annotated[
        int, typer.Option("--precedence", metavar="N", help="Among several groups of a person the lowest holds.")
    ] = 100,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="GROUP is a dynamic group: its members are workloads.")] = (
        False
    ),
) -> None:
    """Let a group's members log in with tokens, each under their own name, with the rights of one proxy account."""
    subject = session.resolve(DYNAMIC_GROUP if dynamic else GROUP, members)
    _map(session, name, way, {"kind": "group", "subject_id": subject, "precedence": precedence})


def mappings(session: Session, name: Reference, compartment: InCompartment = None) -> None:
    """List who may log in with tokens, and as whom."""
    found = session.client.get(session.path(SYSTEM, name, compartment) + "/login-mappings").data
    session.console.table(found["items"], _MAPPINGS, "nobody is mapped")


def unmap(
    session: Session,
    name: Reference,
    who: Annotated[str, typer.Argument(metavar="WHO", help="The user, group or account, or the mapping's id.")],
    compartment: InCompartment = None,
) -> None:
    """Take a mapping away. Who came in by it is put out within seconds."""
    path = session.path(SYSTEM, name, compartment)
    items = session.client.get(f"{path}/login-mappings").data["items"]
    found = [it for it in items if who in (it["id"], it["account"], it["subject_name"], it["subject_id"])]
    if len(found) != 1:
        raise CliError(
            f"{who} is mapped {len(found) or 'nowhere'}{' times' if found else ''} here", code="NotFound",
            hint=f"see keystead db mappings {name}",
        )  # fmt: skip
    session.client.delete(f"{path}/login-mappings/{found[0]['id']}")
    session.console.say(f"{found[0]['subject_name']} is not mapped any more")


def doctor(session: Session, name: Reference, compartment: InCompartment = None) -> None:
    """Show what stands in the way of logins with tokens. Exit code 1 when something does."""
    found = session.client.get(session.path(SYSTEM, name, compartment) + "/login-readiness").data
    if session.console.json:
        session.console.document(found)
    elif found["ready"]:
        session.console.say("people who are mapped can log in with their tokens")
    else:
        for reason in found["reasons"]:
            session.console.say(f"- {reason}")
    if not found["ready"]:
        raise typer.Exit(1)


def token(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The system to connect to, with --for.")] = "",
    recipe: Annotated[Recipe | None, typer.Option("--for", help="Print how to connect with this client.")] = None,
    bound: Annotated[
        Path | None,
        typer.Option("--bound", metavar="DIRECTORY", help="Bind it to a new key; both go into files there."),
    ] = None,
    compartment: InCompartment = None,
) -> None:
    """Print a token that logs in to every database you are mapped on, for as long as you are signed in.

    With --for and a system, a ready command or program with full verification of the server; without the token, which
    it takes from the environment. With --bound, what clients of authentication_oci_client need: whoever steals the
    token has no use for it without the key.
    """
    if recipe is not None:
        _show_recipe(session, recipe, name, compartment)
    elif bound is not None:
        _write_bound(session, bound)
    else:
        answer = session.client.post("/auth/tokens/exchange", {"audience": "databases"}).data
        session.console.result(answer, answer["token"])


def _show_recipe(session: Session, recipe: Recipe, name: str, compartment: str | None) -> None:
    if not name:
        raise usage("say which system", "keystead db token NAME --for CLIENT")
    endpoint = session.client.get(session.path(SYSTEM, name, compartment) + "/endpoint").data
    user = session.client.get("/auth/whoami").data["name"]
    told = {"host": endpoint["host"], "port": endpoint["port"], "user": user, "ca": str(keep_ca(endpoint["ca_pem"]))}
    text = RECIPES[recipe].format(**told)
    session.console.result(told | {"recipe": text}, text)


def _write_bound(session: Session, directory: Path) -> None:
    """A key, a token bound to it, and the configuration that OCI's clients read."""
    from keystead.crypto import asymmetric
    from keystead.crypto.proofkey import PublicJwk
    from keystead.crypto.suites import suite_of

    suite = suite_of("RSA-2048")
    material = asymmetric.generate(suite)
    private = asymmetric.PrivateKey(suite, material)
    public = PublicJwk.from_pem(_pem("PUBLIC KEY", private.public.spki).decode())
    answer = session.client.post("/auth/tokens/exchange", {"audience": "databases", "public_key": public.text}).data
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = directory.resolve()
    key_file, token_file = directory / "key.pem", directory / "token"
    write_new(key_file, _pem("PRIVATE KEY", material.reveal()))
    write_new(token_file, str(answer["token"]).encode())
    config = (
        f"[DEFAULT]\nfingerprint={public.fingerprint}\nkey_file={key_file}\nsecurity_token_file={token_file}\n"
        f"region=home\ntenancy={session.client.get('/auth/whoami').data['tenancy_id']}\n"
    )
    write_new(directory / "config", config.encode())
    material.wipe()
    told = {"config": str(directory / "config"), "expires_at": answer["expires_at"]}
    session.console.result(told, f"{told['config']}: use it as oci_config_file (or --oci-config-file)")


def _pem(label: str, der: bytes) -> bytes:
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def _map(session: Session, name: str, way: Way, subject: Json) -> None:
    path = session.path(SYSTEM, name, way.compartment)
    made = session.client.create(f"{path}/login-mappings", subject | way.body).data
    if way.wait:
        made = _await_account(session, path, made)
    session.console.result(made, f"{made['subject_name']} is mapped to {made['account']} ({made['state']})")


def _await_account(session: Session, path: str, made: Json) -> Json:
    end = time.monotonic() + ACCOUNT_SECONDS
    while time.monotonic() < end:
        items = session.client.get(f"{path}/login-mappings").data["items"]
        found = next((it for it in items if it["id"] == made["id"]), None)
        if found is None:
            raise CliError("the mapping was taken away meanwhile", code="NotFound")
        if found["state"] == "FAILED":
            raise CliError(f"the account could not be made: {found['reason_text']}", code="MappingFailed")
        if found["state"] == "ACTIVE":
            return dict(found)
        time.sleep(0.1)
    session.console.remark("its account is not there yet: it follows when the system runs")
    return made
