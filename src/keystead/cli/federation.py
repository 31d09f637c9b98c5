"""Identity providers: whose people may sign in by way of them, and into which groups they come."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from keystead.cli.command import Description, IfMatch, Limit, NewName, Reference, command, group
from keystead.cli.console import Column
from keystead.cli.exits import NOT_FOUND, CliError, usage
from keystead.cli.files import read_text
from keystead.cli.kinds import GROUP, IDENTITY_PROVIDER, USER
from keystead.cli.session import Session
from keystead.cli.standard import deletes, lists, shows
from keystead.cli.wire import Call, Json

providers = group("Identity providers (OpenID Connect): sign in elsewhere, work here.")

Issuer = Annotated[
    str, typer.Option("--issuer", metavar="URL", help="As the provider writes it in its tokens.", show_default=False)
]
NewClientId = Annotated[
    str, typer.Option("--client-id", metavar="ID", help="What the provider calls this region.", show_default=False)
]
ClientId = Annotated[str | None, typer.Option("--client-id", metavar="ID", help="What it calls this region.")]
SecretFile = Annotated[
    Path | None, typer.Option("--client-secret-file", metavar="FILE", help="File with the client secret; - is stdin.")
]
Scopes = Annotated[str | None, typer.Option("--scopes", metavar="LIST", help="Scopes to ask for: openid,groups,...")]
Origins = Annotated[
    list[str] | None, typer.Option("--origin", metavar="URL", help="Another origin its endpoints have; repeatable.")
]
CaFile = Annotated[Path | None, typer.Option("--ca-file", metavar="FILE", help="PEM of the CAs that vouch for it.")]
SubjectClaim = Annotated[str | None, typer.Option("--subject-claim", metavar="NAME", help="Who it is; usually sub.")]
NameClaim = Annotated[
    str | None, typer.Option("--name-claim", metavar="NAME", help="Name for users made here; preferred_username.")
]
GroupsClaim = Annotated[
    str | None, typer.Option("--groups-claim", metavar="NAME", help="Their groups; a path goes into objects: a.b.")
]
JustInTime = Annotated[
    bool | None, typer.Option("--just-in-time/--linked-only", help="Make a user for whoever is not linked.")
]
LinksProvisioned = Annotated[
    bool | None,
    typer.Option("--link-provisioned/--no-link-provisioned", help="Link users provisioned with the same external id."),
]
TrustsFactors = Annotated[
    bool | None, typer.Option("--trust-factors/--no-trust-factors", help="Second factors used there count here.")
]
Choice = Annotated[
    str | None, typer.Option("--group-choice", metavar="WHICH", help="Mappings that apply: all, or the first alone.")
]
Value = Annotated[str, typer.Argument(metavar="VALUE", help="The group as the provider calls it.", show_default=False)]
OurGroup = Annotated[str, typer.Argument(metavar="GROUP", help="Our group: name or id.", show_default=False)]
Precedence = Annotated[int, typer.Option("--precedence", metavar="N", help="Smaller goes first.")]
Person = Annotated[str, typer.Argument(metavar="USER", help="User: name or id.", show_default=False)]
Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="Who it is at the provider.", show_default=False)]

_PROVIDERS: list[Column] = [("name", "name"), ("state", "state"), ("issuer", "issuer"), ("id", "id")]
_LINKS: list[Column] = [("user", "user_name"), ("subject", "subject"), ("since", "created_at"), ("user id", "user_id")]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is decided about a provider."""

    client_secret_file: SecretFile = None
    scopes: Scopes = None
    origin: Origins = None
    ca_file: CaFile = None
    subject_claim: SubjectClaim = None
    name_claim: NameClaim = None
    groups_claim: GroupsClaim = None
    just_in_time: JustInTime = None
    link_provisioned: LinksProvisioned = None
    trust_factors: TrustsFactors = None
    group_choice: Choice = None
    description: Description = None

    def body(self) -> Json:
        """What was given, under the API's names."""
        if self.group_choice not in (None, "all", "first"):
            raise usage("--group-choice is all or first")
        said: Json = {
            "client_secret": None if self.client_secret_file is None else read_text(self.client_secret_file).strip(),
            "scopes": None if self.scopes is None else [each.strip() for each in self.scopes.split(",")],
            "origins": None if not self.origin else [each for each in self.origin if each],
            "ca": None if self.ca_file is None else read_text(self.ca_file),
            "subject_claim": self.subject_claim,
            "name_claim": self.name_claim,
            "groups_claim": self.groups_claim,
            "just_in_time": self.just_in_time,
            "links_provisioned": self.link_provisioned,
            "trusts_factors": self.trust_factors,
            "group_choice": self.group_choice,
            "description": self.description,
        }
        return {key: value for key, value in said.items() if value is not None}


@command(providers, "create")
def create(session: Session, name: NewName, issuer: Issuer, client_id: NewClientId, settings: Settings) -> None:
    """Create an identity provider. Tell the provider the redirect URI that is shown."""
    body = {"name": name, "issuer": issuer, "client_id": client_id} | settings.body()
    _show(session, session.client.create(IDENTITY_PROVIDER.path, body).data)


lists(providers, IDENTITY_PROVIDER, _PROVIDERS, "List the identity providers of the tenancy.", "no identity providers")
shows(providers, IDENTITY_PROVIDER, "Show one identity provider.", hide=("ca",))


@command(providers, "update")
def update(
    session: Session, name: Reference, client_id: ClientId = None, *, settings: Settings, if_match: IfMatch = None
) -> None:
    """Change an identity provider; what is not given stays."""
    body = ({} if client_id is None else {"client_id": client_id}) | settings.body()
    _show(session, _change(session, session.find(IDENTITY_PROVIDER, name), body, if_match))


@command(providers, "enable")
def enable(session: Session, name: Reference) -> None:
    """Let people sign in by way of it again."""
    _show(session, _change(session, session.find(IDENTITY_PROVIDER, name), {"state": "ENABLED"}, None))


@command(providers, "disable")
def disable(session: Session, name: Reference) -> None:
    """Let nobody sign in by way of it; every token that it led to is void at once."""
    _show(session, _change(session, session.find(IDENTITY_PROVIDER, name), {"state": "DISABLED"}, None))


deletes(
    providers, IDENTITY_PROVIDER, "Delete an identity provider, with the memberships and tokens that it brought about."
)


@command(providers, "map-group")
def map_group(session: Session, name: Reference, value: Value, into: OurGroup, precedence: Precedence = 100) -> None:
    """Put whoever has a group at the provider into a group of ours, at each sign-in."""
    found, group_id = session.find(IDENTITY_PROVIDER, name), session.resolve(GROUP, into)
    kept = [each for each in found["group_mappings"] if (each["value"], each["group_id"]) != (value, group_id)]
    new = {"value": value, "group_id": group_id, "precedence": precedence}
    _show(session, _change(session, found, {"group_mappings": [*kept, new]}, str(found["version"])))


@command(providers, "unmap-group")
def unmap_group(session: Session, name: Reference, value: Value, into: OurGroup) -> None:
    """Take a group mapping away; it holds from each person's next sign-in."""
    found, group_id = session.find(IDENTITY_PROVIDER, name), session.resolve(GROUP, into)
    kept = [each for each in found["group_mappings"] if (each["value"], each["group_id"]) != (value, group_id)]
    if len(kept) == len(found["group_mappings"]):
        raise CliError("there is no such mapping", code="NotFound", exit_code=NOT_FOUND)
    _show(session, _change(session, found, {"group_mappings": kept}, str(found["version"])))


@command(providers, "link")
def link(session: Session, name: Reference, user: Person, subject: Subject) -> None:
    """Let a subject at the provider sign in as a user."""
    path = f"{session.path(IDENTITY_PROVIDER, name)}/users/{session.resolve(USER, user)}"
    session.console.show(session.client.send(Call("PUT", path, body={"subject": subject})).data)


@command(providers, "links")
def links(session: Session, name: Reference, limit: Limit = None) -> None:
    """List whom the provider's subjects stand for."""
    path = session.path(IDENTITY_PROVIDER, name) + "/users"
    session.console.table(list(session.client.items(path, limit)), _LINKS, "nobody is linked")


@command(providers, "unlink")
def unlink(session: Session, name: Reference, user: Person) -> None:
    """Let the subject sign in as nobody any more; what it brought about for the user is void."""
    found, user_id = session.find(IDENTITY_PROVIDER, name), session.resolve(USER, user)
    session.client.delete(f"{IDENTITY_PROVIDER.path}/{found['id']}/users/{user_id}")
    session.console.say(f"{user} is not linked to {found['name']} any more")


def _change(session: Session, found: Json, body: Json, if_match: str | None) -> Json:
    return session.client.send(
        Call("PATCH", f"{IDENTITY_PROVIDER.path}/{found['id']}", body=body, if_match=if_match)
    ).data


def _show(session: Session, found: Json) -> None:
    session.console.show(found, hide=("ca",))
