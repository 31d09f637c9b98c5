"""What the console script's own commands do, apart from `up`, `down` and `doctor`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keystead.core.clock import SystemClock
from keystead.core.errors import Refusal
from keystead.seal.service import RootKey
from keystead.server import init as making
from keystead.server import settings
from keystead.server.process import confine
from keystead.server.sealing import mark
from keystead.server.sealing.commands import Opening, given_for, read_counts, tell_shares
from keystead.server.sealing.newroot import settle
from keystead.server.sealing.unseal import ask_passphrase, open_by_itself, open_root
from keystead.server.sections import SECTIONS, Settings
from keystead.server.settings import Effective

if TYPE_CHECKING:
    from keystead.cli.console import Console


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of `init`."""

    state: Path | None
    region: str
    tenancy: str
    admin: str
    key_file: Path | None
    passphrase_only: bool
    credentials_file: Path | None
    port: int | None
    settings: Sequence[str] | None
    recovery_shares: str = ""
    recovery_recipients: Sequence[Path] | None = None


def init(console: "Console", asked: Asked) -> None:
    """Make a region and show its secrets once."""
    confine.confine()
    state = (asked.state or settings.find_file(None, None).parent).absolute()
    shares = read_counts(asked.recovery_shares) if asked.recovery_shares else None
    recipients = tuple(asked.recovery_recipients or ())
    wanted = making.Wanted(
        state, _settings(asked, state), asked.tenancy, asked.admin, asked.credentials_file, shares, recipients
    )

    def show(made: making.Made) -> None:
        if console.json:
            words = [share.text.reveal().decode() for share in made.shares.shares] if made.shares else []
            console.document({**made.credentials(), **({"shares": words} if words else {})})
        else:
            _tell(console, made)
        sys.stdout.flush()

    making.init(wanted, show)
    console.say(f"\nThe region is made. Start it with: keystead up --state {state}")


def process(name: str, config: Path | None, state: Path | None, *, from_stdin: bool) -> None:
    """One of the processes of a region, by itself: under systemd, or in another container."""
    confine.confine()
    effective = settings.load(config, state)
    if name == "host":
        from keystead.server.host import host

        host(effective)
        return
    from keystead.server.state.rollback import check

    root = None if mark.read(effective.state) else _root(effective, from_stdin)
    check(effective, accept=False)
    if name == "serve":
        from keystead.server.serve import serve

        serve(effective, root)
        return
    from keystead.server.work import work

    if root is None:
        raise Refusal(
            "Sealed",
            "this region is opened by people, and `work` alone asks nobody",
            hint="run it under `keystead up`, or give --passphrase-stdin",
            kind="unavailable",
        )
    work(effective, root)


def _root(effective: Effective, from_stdin: bool) -> RootKey | None:
    """The root key; None: the region starts sealed."""
    settle(effective)
    if from_stdin:
        return open_root(effective, ask_passphrase(from_stdin=True))
    return open_by_itself(effective)


def migrate(console: "Console", config: Path | None, state: Path | None) -> None:
    """Bring the state to this program's schema, while nothing runs on it."""
    from keystead.adapters.sql import migrations
    from keystead.adapters.sql.engine import sqlite_engine
    from keystead.server.state.opening import STATE_FILE
    from keystead.server.up import quiet

    confine.confine()
    effective = settings.load(config, state)
    with quiet(effective, "migrate"):
        engine = sqlite_engine(effective.state / STATE_FILE)
        before, after = migrations.upgrade(engine)
        engine.dispose()
    if console.json:
        console.document({"before": before, "after": after})
    else:
        console.say(f"schema {after}" if before == after else f"schema {before or 'none'} -> {after}")


def restore(
    console: "Console", file: Path, into: Path, key_file: Path | None, *, from_stdin: bool, how: str = ""
) -> None:
    """Bring a state backup back into `into`."""
    from keystead.server.state import backup as keeping

    confine.confine()
    passphrase = None
    opening = Opening(how, from_stdin)
    giving: keeping.Giving | None = (lambda seal: given_for(seal, opening)) if how else None
    if giving is None and key_file is None:
        passphrase = ask_passphrase(from_stdin=from_stdin)
    found = keeping.restore(file, into.absolute(), key_file, passphrase, SystemClock(), giving)
    if console.json:
        console.document(found.summary())
        return
    console.say(f"The region {found.region!r} is back in {into}, as of {found.created_at}.")
    for problem in found.problems:
        console.remark(f"audit trail: {problem}")
    console.say(f"{found.systems} database systems stay fenced until they are confirmed: keystead db confirm NAME")
    console.say(f"{found.keys} keys are disabled until somebody enables them: keystead key enable NAME")
    console.say(f"Start it with: keystead up --state {into}")


def _settings(asked: Asked, state: Path) -> Settings:
    chosen: dict[str, dict[str, Any]] = {"region": {"name": asked.region}, "unseal": {}}
    if not asked.passphrase_only:
        chosen["unseal"]["key_file"] = str((asked.key_file or settings.default_key_file()).absolute())
    if asked.port is not None:
        chosen["listen"] = {"port": asked.port}
    environment = {}
    for given in asked.settings or ():
        name, separator, value = given.partition("=")
        section, dot, field = name.partition(".")
        if not separator or not dot:
            raise Refusal("InvalidSettings", f"not a setting: {given!r}", hint="like --set listen.workers=1")
        if section not in SECTIONS:
            hint = f"sections: {', '.join(SECTIONS)}"
            raise Refusal("InvalidSettings", f"there is no section [{section}]", hint=hint)
        environment[f"KEYSTEAD_{section}_{field}".upper()] = value
    text = settings.render(settings.build(chosen)).encode()
    return settings.parse(text, state / settings.FILE_NAME, environment).settings


def _tell(console: "Console", made: making.Made) -> None:
    found = made.credentials()
    console.say(f"Region {found['region']} in {found['state']}")
    console.say(f"  URL        {found['url']}")
    console.say(f"  CA         {found['ca']}")
    if found["key_file"]:
        console.say(f"  key file   {found['key_file']} (mode 0400; back it up apart from the state)")
    console.say(f"  tenancy    {found['tenancy']}")
    console.say(f"  user       {found['user']}")
    console.secret("  password", found["password"])
    console.secret("  passphrase of the region", found["passphrase"])
    if made.shares is not None:
        tell_shares(console, made.shares)
