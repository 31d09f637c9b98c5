"""The root of the command line.

`app` is the client: it needs a region to talk to. The console script adds the commands that run or repair a region to
it (`groups` holds the groups that it extends, such as `state`).
"""

from typing import Annotated

import typer

from keystead.cli import (
    approvals,
    audit,
    auth,
    backups,
    cryptography,
    databases,
    dynamic_groups,
    factors,
    federation,
    iam,
    insight,
    inventory,
    jobs,
    known_devices,
    logins,
    network_sources,
    seal,
    sessions,
    state,
    tenancies,
    token_keys,
)
from keystead.cli.exits import MEANINGS
from keystead.cli.session import Session

app = typer.Typer(
    name="keystead",
    help="Customer-managed keys for the MySQL databases you run yourself.",
    epilog="Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in MEANINGS.items()) + ".",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

groups = {
    "compartment": iam.compartments,
    "user": iam.users,
    "group": iam.groups,
    "factor": factors.factors,
    "device": known_devices.devices,
    "policy": insight.policies,
    "dynamic-group": dynamic_groups.dynamic_groups,
    "network-source": network_sources.network_sources,
    "tenancy": tenancies.tenancies,
    "identity-provider": federation.providers,
    "approval": approvals.approvals,
    "vault": inventory.vaults,
    "key": inventory.keys,
    "db": databases.systems,
    "backup": backups.backups,
    "job": jobs.jobs,
    "audit": audit.trail,
    "state": state.state,
    "seal": seal.seal,
    "session": sessions.sessions,
    "token-key": token_keys.token_keys,
}


def _version(wanted: bool) -> None:
    if wanted:
        from keystead import __version__

        typer.echo(f"keystead {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="NAME", help="Which region, as whom; $KEYSTEAD_PROFILE.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Customer-managed keys for the MySQL databases you run yourself."""
    session = Session(profile)
    session.console.json = json_output
    ctx.obj = session


logins.add_to(databases.systems)
auth.add_to(app)
cryptography.add_to(app)
seal.add_to(app)
for _name, _group in groups.items():
    app.add_typer(_group, name=_name)
