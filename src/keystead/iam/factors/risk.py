"""How unusual a sign-in is: a score from 0 to 100, pure and the same for the same facts.

There is no geography: "too fast" is judged by how often the network changes, not by how far it moved.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from keystead.iam.factors.model import Level, Threshold

WEIGHTS: Final[Mapping[str, tuple[int, str]]] = {
    "new-device": (25, "the device was never signed in from, and others were"),
    "new-network": (20, "the network was never signed in from, and others were"),
    "pace": (30, "the network changed at least twice within ten minutes, or once from an unknown device"),
    "failures": (25, "5 for each failed attempt for this user within the hour, at most 25; not from a known device"),
    "hour": (10, "at this hour (UTC, give or take one) the user never signed in, and has for at least a week"),
}
MEDIUM: Final = 30
HIGH: Final = 60
_RANK: Final[Mapping[str, int]] = {"low": 0, "medium": 1, "high": 2, "never": 3}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a sign-in. `hours`: those of past sign-ins (0 to 23), the first of them `days` ago.

    `network_changes`: how many other networks there were in the last ten minutes.
    """

    now: datetime
    known_device: bool
    known_network: bool
    devices: int = 0
    networks: int = 0
    failures: int = 0
    network_changes: int = 0
    hours: frozenset[int] = frozenset()
    days: int = 0


@dataclass(frozen=True, slots=True)
class Risk:
    """The score and what it is made of."""

    score: int
    parts: Mapping[str, int]

    @property
    def level(self) -> Level:
        """What policies read."""
        return level_of(self.score)

    def explained(self) -> dict[str, str]:
        """For the audit entry: the score, its level, and each contribution."""
        told = {"risk": str(self.score), "risk_level": self.level}
        return told | {f"risk_{name.replace('-', '_')}": str(points) for name, points in self.parts.items()}


def assess(facts: Facts) -> Risk:
    """The score of a sign-in. The first one of a user is not unusual: there is nothing to compare it with."""
    parts: dict[str, int] = {}
    if facts.devices and not facts.known_device:
        parts["new-device"] = WEIGHTS["new-device"][0]
    if facts.networks and not facts.known_network:
        parts["new-network"] = WEIGHTS["new-network"][0]
    if facts.network_changes >= (2 if facts.known_device else 1):
        parts["pace"] = WEIGHTS["pace"][0]
    if facts.failures and not facts.known_device:  # strangers do not make a known device suspicious
        parts["failures"] = min(5 * facts.failures, WEIGHTS["failures"][0])
    near = {(facts.now.hour + shift) % 24 for shift in (-1, 0, 1)}
    if facts.days >= 7 and not near & facts.hours:
        parts["hour"] = WEIGHTS["hour"][0]
    return Risk(min(sum(parts.values()), 100), parts)


def level_of(score: int) -> Level:
    """low below 30, medium below 60, high from there on."""
    return "high" if score >= HIGH else "medium" if score >= MEDIUM else "low"


def reaches(level: Level, threshold: Threshold) -> bool:
    """Whether `level` is as high as `threshold`."""
    return _RANK[level] >= _RANK[threshold]


def as_markdown() -> str:
    """The table of docs/sign-in.md."""
    rows = "".join(f"| `{name}` | {points} | {about} |\n" for name, (points, about) in WEIGHTS.items())
    return "| what | points | when |\n|---|---|---|\n" + rows
