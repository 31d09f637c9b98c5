"""What a customer decides about a key or a vault, as options: the same where it is made and where it is changed.

An option that is not given leaves the setting as it is. `none` takes a moment away.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from keystead.cli.exits import usage
from keystead.cli.wire import Json

Operations = Annotated[
    str | None,
    typer.Option("--operations", metavar="LIST", help="What it may be used for: encrypt,decrypt,wrap,...; or all."),
]
NotBefore = Annotated[
    str | None, typer.Option("--not-before", metavar="MOMENT", help="Unusable before: 2026-01-31 or RFC 3339; or none.")
]
ExpiresAt = Annotated[
    str | None,
    typer.Option("--expires-at", metavar="MOMENT", help="Unusable from then on; warned 30, 7, 1 days before."),
]
RotationDays = Annotated[
    int | None, typer.Option("--rotation-days", metavar="N", help="A new version that often: 60 to 365, 0 for never.")
]
RetentionDays = Annotated[
    int | None, typer.Option("--retention-days", metavar="N", help="Recoverable so long once deleted: 7 to 90 days.")
]
PurgeProtection = Annotated[
    bool, typer.Option("--purge-protection", help="Nobody can purge it before that is over. Cannot be switched off.")
]
MinimumVersion = Annotated[
    int | None, typer.Option("--minimum-version", metavar="N", help="Older versions open nothing.")
]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="Replaces all tags; --tag '' takes them away.")
]
KeyLimit = Annotated[int | None, typer.Option("--key-limit", metavar="N", help="It holds so many keys; 0: any number.")]
Networks = Annotated[
    list[str] | None,
    typer.Option("--network", metavar="CIDR", help="Reachable from here only; repeatable; '' for everywhere."),
]
TrustedServices = Annotated[
    list[str] | None,
    typer.Option("--trusted-service", metavar="NAME", help="Passes its networks: databases; repeatable; '' for none."),
]
Confirmed = Annotated[
    int | None,
    typer.Option(
        "--confirm-needed-by", metavar="N", help="Destroy it although N things need it: exactly N, or it is refused."
    ),
]
Days = Annotated[int | None, typer.Option("--days", metavar="N", help="How many days ahead: 7 to 30; 30 unless told.")]


def moment_given(option: str, text: str | None) -> Json:
    """A moment, or null for `none`, under the setting's name; nothing when it was not given."""
    if text is None:
        return {}
    name = option.removeprefix("--").replace("-", "_")
    if text == "none":
        return {name: None}
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise usage(f"{option}: {text!r} is not a moment", "write 2026-01-31 or 2026-01-31T12:00:00Z") from error
    return {name: (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).isoformat()}


def operations_given(text: str | None) -> Json:
    """A list of words; `all` for no restriction."""
    if text is None:
        return {}
    return {"operations": [] if text == "all" else [word.strip() for word in text.split(",")]}


def tags_given(pairs: list[str] | None) -> Json:
    """Pairs as an object."""
    if not pairs:
        return {}
    found = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if pair and not separator:
            raise usage(f"--tag: {pair!r} is not NAME=VALUE")
        if pair:
            found[name] = value
    return {"tags": found}


def networks_given(networks: list[str] | None) -> Json:
    """Networks as a list; an empty one is none."""
    return {"networks": [network for network in networks if network]} if networks else {}


def services_given(services: list[str] | None) -> Json:
    """Trusted services as a list; an empty one is none."""
    return {"trusted_services": [service for service in services if service]} if services else {}


def numbers_given(**numbers: int | None) -> Json:
    """Those that were given."""
    return {name: number for name, number in numbers.items() if number is not None}


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What a key may be used for, and when."""

    operations: Operations = None
    not_before: NotBefore = None
    expires_at: ExpiresAt = None
    rotation_days: RotationDays = None

    def body(self) -> Json:
        """As the API takes it."""
        return {
            **operations_given(self.operations),
            **moment_given("--not-before", self.not_before),
            **moment_given("--expires-at", self.expires_at),
            **numbers_given(rotation_days=self.rotation_days),
        }


@dataclass(frozen=True, slots=True)
class VaultUse:
    """How much a vault holds, and from where it is reached."""

    key_limit: KeyLimit = None
    network: Networks = None
    trusted_service: TrustedServices = None

    def body(self) -> Json:
        """As the API takes it."""
        networks, services = networks_given(self.network), services_given(self.trusted_service)
        return {**numbers_given(key_limit=self.key_limit), **networks, **services}


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how long it is kept once deleted, and what is noted beside it."""

    retention_days: RetentionDays = None
    purge_protection: PurgeProtection = False
    tag: Tags = None

    def body(self) -> Json:
        """As the API takes it."""
        protected = {"purge_protection": True} if self.purge_protection else {}
        return {**numbers_given(retention_days=self.retention_days), **protected, **tags_given(self.tag)}


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(option: str, text: str) -> int:
    """A duration such as 90s, 30m, 2h or 1d, in seconds; 0 needs no unit."""
    number, unit = (text, "s") if text == "0" else (text[:-1], text[-1:])
    if unit not in _SECONDS or not number.isdecimal() or len(number) > 8:
        raise usage(f"{option}: {text!r} is not a duration", "write 90s, 30m, 2h or 1d")
    return int(number) * _SECONDS[unit]
