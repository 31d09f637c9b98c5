"""What an act on a key stops: at once, later, and what goes on. Pure.

    disable   systems are fenced within a second, applications are refused; all of it heals when the key is enabled
    delete    the same; when the key is purged, after its retention, what needs it can never be opened again
    expire    the same as disabling, at the moment of expiry
    rotate    nothing stops: older versions go on opening what they sealed

Said of one version, `disable` and `delete` reach what needs that version.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from keystead.core.clock import isoformat
from keystead.core.errors import Refusal
from keystead.vault.insight.inventory import Need, counted
from keystead.vault.insight.usage import Use
from keystead.vault.lifecycle.table import MAX_DELETION_DAYS
from keystead.vault.model import Key

If = Literal["disable", "delete", "rotate", "expire"]
When = Literal["at_once", "later", "never"]
PERMISSION: dict[If, str] = {
    "disable": "KEY_UPDATE",
    "delete": "KEY_DELETE",
    "rotate": "KEY_ROTATE",
    "expire": "KEY_UPDATE",
}


@dataclass(frozen=True, slots=True)
class Effect:
    """What becomes of one thing, in words. `at`: when, for what comes later at a known moment."""

    kind: str
    id: str
    name: str
    when: When
    text: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Impact:
    """Effects, those at once first; `undo`: how it is taken back; `final_at`: from when on it cannot be any more."""

    act: If
    version: int
    effects: tuple[Effect, ...]
    needed_by: int
    undo: str
    final_at: datetime | None = None


def impact(key: Key, version: int | None, act: If, needs: Sequence[Need], uses: Sequence[Use], now: datetime) -> Impact:
    """What `act` would do to those that need the key (or the version), and to who has used it lately.

    Raises:
        Refusal: a version cannot be rotated and does not expire.
    """
    if version is not None and act in ("rotate", "expire"):
        raise Refusal(
            "InvalidParameter",
            f"a version cannot {act} by itself",
            hint="ask for the key: leave the version out",
        )
    touched = counted(needs, version)
    match act:
        case "rotate":
            return _rotated(key, touched)
        case "expire":
            return _expired(key, touched, uses)
        case "disable":
            effects = _stopped(touched, uses if version is None else (), None)
            return Impact(act, version or 0, effects, len(touched), _undo(key, version, act))
        case "delete":
            deleted = now + timedelta(days=MAX_DELETION_DAYS)
            final = deleted + timedelta(days=key.retention_days if version is None else 0)
            stopped = _stopped(touched, uses if version is None else (), None)
            lost = tuple(_lost(need, final) for need in touched if need.kind != "job")
            return Impact(act, version or 0, (*stopped, *lost), len(touched), _undo(key, version, act), final)


def _stopped(needs: Sequence[Need], uses: Sequence[Use], at: datetime | None) -> tuple[Effect, ...]:
    """What stops when the key may not be used any more; `at`: from then on, None: at once."""
    effects = [_stop(need) for need in needs]
    effects += [
        Effect(use.principal_type, use.principal_id, use.principal_name, "at_once", "is refused from its next call on")
        for use in _callers(uses)
    ]
    if at is not None:
        effects = [replace(effect, when="later", at=at) for effect in effects]
    return tuple(sorted(effects, key=lambda effect: effect.when != "at_once"))


def _stop(need: Need) -> Effect:
    match need.kind:
        case "dbsystem" if need.running:
            text = "is fenced within a second: connections closed, server stopped, nothing lost; it heals by itself"
            return _effect(need, "at_once", text)
        case "dbsystem":
            return _effect(need, "later", "cannot start until the key may be used again")
        case "job":
            return _effect(need, "at_once", "waits until the key may be used again")
        case _:
            return _effect(need, "later", "cannot be restored until the key may be used again")


def _lost(need: Need, final: datetime) -> Effect:
    return replace(_effect(need, "later", "can never be opened again"), at=final)


def _rotated(key: Key, needs: Sequence[Need]) -> Impact:
    following = "goes over to the new version by itself within a minute, without an interruption"
    staying = "goes on with the version that it has until its key is changed to the newest one"
    effects = tuple(
        _effect(need, "later", following) if need.follows else _effect(need, "never", staying) for need in needs
    )
    undo = f"version {key.current} goes on opening what it sealed; a new version is not taken back, it is replaced"
    return Impact("rotate", 0, tuple(sorted(effects, key=lambda effect: effect.when == "never")), len(needs), undo)


def _expired(key: Key, needs: Sequence[Need], uses: Sequence[Use]) -> Impact:
    undo = f"keystead key update {key.name} --expires-at MOMENT, before or after"
    if key.expires_at is None:
        effects = tuple(_effect(need, "never", "goes on: the key does not expire") for need in needs)
        return Impact("expire", 0, effects, len(needs), undo)
    return Impact("expire", 0, _stopped(needs, uses, key.expires_at), len(needs), undo)


def _undo(key: Key, version: int | None, act: If) -> str:
    if act == "disable":
        return (
            f"keystead key enable {key.name}"
            if version is None
            else f"keystead key enable-version {key.name} {version}"
        )
    if version is not None:
        return f"keystead key cancel-version-deletion {key.name} {version}, until it is destroyed"
    days = f"for {MAX_DELETION_DAYS} days when it is scheduled, and for {key.retention_days} days once it is deleted"
    return f"keystead key cancel-deletion {key.name}, or recover: {days}"


def _effect(need: Need, when: When, text: str) -> Effect:
    return Effect(need.kind, need.id, need.name, when, text)


def _callers(uses: Sequence[Use]) -> list[Use]:
    """People and applications that used the key themselves: each once. Resources stand among the needs."""
    found = {use.principal_id: use for use in uses if use.outcome == "allowed" and use.principal_type == "user"}
    return [found[principal] for principal in sorted(found)]


def says_when(effect: Effect) -> str:
    """`at once`, `later`, or the moment."""
    if effect.at is not None:
        return f"from {isoformat(effect.at)} on"
    return {"at_once": "at once", "later": "later", "never": "not at all"}[effect.when]
