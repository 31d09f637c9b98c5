"""The life of keys, versions and vaults against a small model: random histories, restarts, clocks that jump both ways.

The model knows nothing of rows, generations or transactions: it holds what was asked for and says, at a moment, what
that means. Work's upkeep runs at random moments or never: nothing may depend on it but what it does itself.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from tests.fakes.domain import DomainRegion, make_region, open_region

from keystead.adapters.sql import schema
from keystead.core.clock import SteadyClock
from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, PrincipalId, TenancyId
from keystead.core.page import PageRequest
from keystead.iam.model import Caller, Principal
from keystead.vault.lifecycle.settings import KeySettings
from keystead.vault.lifecycle.upkeep import Upkeep

ALL = PageRequest(1000)
DAY = timedelta(days=1)
MOST = 3
"""So many keys, so that much happens to each."""
MEMORY = Path("/dev/shm")
SERVICE = Caller(Principal(PrincipalId("upkeep"), "service", "upkeep", TenancyId(""), CompartmentId("")), "")
_template: list[tuple[DomainRegion, list[str]]] = []


def template() -> tuple[DomainRegion, list[str]]:
    """A region with a shared and a private vault; made once."""
    if not _template:
        region = make_region(Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None)))
        region.snapshot.refresh()
        kinds = ("shared", "private")
        vaults = [region.vaults.create_vault(region.admin, region.tenancy, kind, kind=kind).id for kind in kinds]  # type: ignore[arg-type]
        _template.append((region, list(vaults)))
    return _template[0]


@dataclass
class Thing:
    """Something with a state and deadlines. Deleted things end `retention` days later."""

    state: str
    ends: datetime | None = None
    retention: int = 90
    lock: str = ""
    protected: bool = False

    def at(self, now: datetime) -> str:
        if self.state == "PENDING_DELETION" and self.ends is not None and now >= self.ends:
            return "PURGED" if now >= self.ends + self.retention * DAY else "DELETED"
        if self.state == "DELETED" and self.ends is not None and now >= self.ends:
            return "PURGED"
        return self.state

    def move(self, verb: str, now: datetime, days: int, back: str) -> str | None:
        """Do it; or the code of the refusal."""
        here = self.at(now)
        legal = {
            "enable": ["DISABLED"],
            "disable": ["ENABLED"],
            "schedule_deletion": ["ENABLED", "DISABLED", "ACTIVE"],
            "cancel_deletion": ["PENDING_DELETION"],
            "delete": ["ENABLED", "DISABLED", "ACTIVE", "PENDING_DELETION"],
            "recover": ["DELETED"],
            "purge": ["DELETED"],
        }[verb]
        if self.lock == "ReadOnly" or (self.lock and verb in ("schedule_deletion", "delete", "purge")):
            return "Locked"
        if here not in legal:
            return "IllegalState"
        if verb == "purge" and self.protected:
            return "PurgeProtected"
        self.state, self.ends = {
            "enable": ("ENABLED", None),
            "disable": ("DISABLED", None),
            "schedule_deletion": ("PENDING_DELETION", now + days * DAY),
            "cancel_deletion": (back, None),
            "delete": ("DELETED", now + self.retention * DAY),
            "recover": (back, None),
            "purge": ("PURGED", None),
        }[verb]
        return None


@dataclass
class VersionModel:
    state: str = "ENABLED"
    ends: datetime | None = None

    def at(self, now: datetime) -> str:
        over = self.state == "PENDING_DELETION" and self.ends is not None and now >= self.ends
        return "DELETED" if over else self.state


@dataclass
class KeyModel(Thing):
    vault: int = 0
    expires: datetime | None = None
    begins: datetime | None = None
    minimum: int = 1
    rotation: int = 0
    since: datetime | None = None
    versions: dict[int, VersionModel] = field(default_factory=lambda: {1: VersionModel()})

    @property
    def current(self) -> int:
        return max(self.versions)


@dataclass(frozen=True)
class Blob:
    key: str
    version: int
    blob: bytes


class LifeMachine(RuleBasedStateMachine):
    """Officers, applications, time and upkeep, in any order."""

    keys = Bundle("keys")
    blobs = Bundle("blobs")

    @initialize()
    def begin(self) -> None:
        source, self.vault_ids = template()
        self.directory = Path(tempfile.mkdtemp(dir=source.path.parent))
        copied = source.copy(self.directory)
        self.wall = copied.clock
        self.region = copied
        self.open()
        self.vaults = [Thing("ACTIVE"), Thing("ACTIVE")]
        self.model: dict[str, KeyModel] = {}
        self.rotations = 0

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)

    def open(self) -> None:
        """As wiring does it: time goes on from the last change."""
        with self.region.store.read() as tx:
            last = tx.connection.execute(sa.select(schema.region.c.changed_at)).scalar_one()
        clock: Any = SteadyClock(self.wall, last)
        old = self.region
        self.region = open_region(self.directory, clock, old.machine, old.tenancy, old.admin)
        region = self.region
        self.upkeep = Upkeep(region.guard, region.snapshot, region.store, clock, "home")

    @property
    def now(self) -> datetime:
        return self.region.clock.now()

    def told(self, run: Callable[[], object], code: str | None) -> None:
        """It goes as the model says: refused with that code, or done."""
        if code is None:
            run()
            return
        with pytest.raises(Refusal) as caught:
            run()
        assert caught.value.code == code, caught.value.message

    def state(self, key: KeyModel) -> str:
        return "PURGED" if self.vaults[key.vault].at(self.now) == "PURGED" else key.at(self.now)

    def usable(self, key: KeyModel) -> bool:
        now = self.now
        open_ = (key.expires is None or now < key.expires) and (key.begins is None or now >= key.begins)
        return open_ and self.state(key) == "ENABLED" and self.vaults[key.vault].at(now) == "ACTIVE"

    # what officers do

    @rule(
        target=keys,
        vault=st.integers(0, 1),
        rotation=st.sampled_from([0, 60, 90]),
        retention=st.sampled_from([7, 90]),
        protected=st.booleans(),
    )
    def create(self, vault: int, rotation: int, retention: int, protected: bool) -> Any:
        wanted = KeySettings(rotation_days=rotation, retention_days=retention, purge_protection=protected)
        region, name = self.region, f"k{len(self.model)}"
        args = (region.admin, region.tenancy, self.vault_ids[vault], name, "AES-256", None, wanted)
        home = self.vaults[vault]
        if len(self.model) >= MOST:
            return list(self.model)[vault]
        if home.at(self.now) != "ACTIVE" or home.lock == "ReadOnly":
            code = "IllegalState" if home.at(self.now) != "ACTIVE" else "Locked"
            self.told(lambda: region.vaults.create_key(*args), code)  # type: ignore[arg-type]
            return ""
        made = region.vaults.create_key(*args)  # type: ignore[arg-type]
        self.model[made.id] = KeyModel(
            "ENABLED", retention=retention, protected=protected, vault=vault, rotation=rotation, since=self.now
        )
        return made.id

    @rule(key=keys, verb=st.sampled_from(
        ["enable", "disable", "disable", "schedule_deletion", "cancel_deletion", "delete", "recover", "purge"]
    ), days=st.integers(7, 30))  # fmt: skip
    def move(self, key: str, verb: str, days: int) -> None:
        if not key:
            return
        model = self.model[key]
        act = getattr(self.region.vaults, verb)
        rest = (days,) if verb == "schedule_deletion" else ()
        code = self.held(model, verb)
        if code is None and self.state(model) == "PURGED":
            code = "IllegalState"
        self.told(lambda: act(self.region.admin, key, *rest), code or model.move(verb, self.now, days, "DISABLED"))

    def held(self, model: KeyModel, verb: str) -> str | None:
        """The vault's lock, which holds its keys too."""
        lock = self.vaults[model.vault].lock
        return "Locked" if lock == "ReadOnly" or (lock and verb in ("schedule_deletion", "delete", "purge")) else None

    @rule(vault=st.integers(0, 1), verb=st.sampled_from(
        ["schedule_deletion", "cancel_deletion", "cancel_deletion", "delete", "recover", "recover", "purge"]
    ), days=st.integers(7, 30), really=st.integers(0, 3))  # fmt: skip
    def move_vault(self, vault: int, verb: str, days: int, really: int) -> None:
        if verb in ("purge", "delete", "schedule_deletion") and really:
            return  # seldom: it stops everything
        model, region = self.vaults[vault], self.region
        names = {"schedule_deletion": "schedule_vault_deletion", "cancel_deletion": "cancel_vault_deletion"}
        act = getattr(region.vaults, names.get(verb, f"{verb}_vault"))
        rest = (days,) if verb == "schedule_deletion" else ()
        inside = [key for key in self.model.values() if key.vault == vault and key.state != "PURGED"]
        protected = [key.retention for key in inside if key.protected]
        model.protected = bool(protected)
        if model.at(self.now) == "ACTIVE":
            model.retention = max([90, *protected])
        # A lock on a key that would go with it holds the vault; what is deleted already goes only with a purge.
        going = [key for key in inside if self.state(key) not in ("PURGED", *(() if verb == "purge" else ("DELETED",)))]
        locked = verb in ("purge", "delete", "schedule_deletion") and any(key.lock for key in going)
        code = "Locked" if locked else model.move(verb, self.now, days, "ACTIVE")
        self.told(lambda: act(region.admin, self.vault_ids[vault], *rest), code)

    @rule(key=keys, lock=st.sampled_from(["", "", "CanNotDelete", "ReadOnly"]))
    def lock(self, key: str, lock: str) -> None:
        if not key:
            return
        model = self.model[key]
        code = "IllegalState" if self.state(model) in ("DELETED", "PURGED") else None
        self.told(lambda: self.region.vaults.lock_key(self.region.admin, key, lock), code)  # type: ignore[arg-type]
        if code is None:
            model.lock = lock

    @rule(key=keys, what=st.sampled_from(["expires", "begins", "minimum"]), days=st.integers(-3, 60))
    def update(self, key: str, what: str, days: int) -> None:
        if not key:
            return
        model, now = self.model[key], self.now
        moment = now + days * DAY
        minimum = 1 + abs(days) % (model.current + 1)
        wanted = {
            "expires": KeySettings(expires_at=moment),
            "begins": KeySettings(not_before=moment),
            "minimum": KeySettings(minimum_version=minimum),
        }[what]
        expires = moment if what == "expires" else model.expires
        begins = moment if what == "begins" else model.begins
        code = self.held(model, "update") or ("Locked" if model.lock == "ReadOnly" else None)
        if code is None and (
            self.state(model) in ("DELETED", "PURGED") or self.vaults[model.vault].at(now) != "ACTIVE"
        ):
            code = "IllegalState"
        elif code is None and (
            (what == "expires" and moment <= now)
            or (what == "minimum" and minimum > model.current)
            or (expires is not None and begins is not None and begins >= expires)
        ):
            code = "InvalidParameter"
        self.told(lambda: self.region.vaults.update_key(self.region.admin, key, wanted), code)
        if code is None:
            model.expires, model.begins = expires, begins
            model.minimum = minimum if what == "minimum" else model.minimum

    @rule(key=keys)
    def rotate(self, key: str) -> None:
        if not key:
            return
        model = self.model[key]
        code = None if self.usable(model) else "KeyNotUsable"
        code = code or self.held(model, "rotate") or ("Locked" if model.lock == "ReadOnly" else None)
        self.told(lambda: self.region.vaults.rotate(self.region.admin, key), code)
        if code is None:
            model.versions[model.current + 1] = VersionModel()
            model.since = self.now

    @rule(key=keys, which=st.integers(0, 9), days=st.integers(7, 30), verb=st.sampled_from(
        ["enable", "disable", "schedule_deletion", "cancel_deletion"]
    ))  # fmt: skip
    def move_version(self, key: str, which: int, verb: str, days: int) -> None:
        if not key:
            return
        region, model, now = self.region, self.model[key], self.now
        number = 1 + which % model.current
        version = model.versions[number]
        found = region.vaults.list_versions(region.admin, key, ALL).items[number - 1]
        name = {"schedule_deletion": "schedule_version_deletion", "cancel_deletion": "cancel_version_deletion"}
        rest = (days,) if verb == "schedule_deletion" else ()
        act = getattr(region.vaults, name.get(verb, f"{verb}_version"))
        legal = {
            "enable": ("DISABLED",),
            "disable": ("ENABLED",),
            "schedule_deletion": ("ENABLED", "DISABLED"),
            "cancel_deletion": ("PENDING_DELETION",),
        }[verb]
        code = self.held(model, verb)
        if code is None and (model.lock == "ReadOnly" or (model.lock and verb == "schedule_deletion")):
            code = "Locked"
        if code is None and (
            self.state(model) in ("DELETED", "PURGED")
            or version.at(now) not in legal
            or (verb == "schedule_deletion" and number == model.current)
        ):
            code = "IllegalState"
        self.told(lambda: act(region.admin, key, found.id, *rest), code)
        if code is None:
            version.state = {"enable": "ENABLED", "schedule_deletion": "PENDING_DELETION"}.get(verb, "DISABLED")
            version.ends = now + days * DAY if verb == "schedule_deletion" else None

    # what applications do

    @rule(target=blobs, key=keys)
    def seal(self, key: str) -> Any:
        if not key:
            return None
        model, region = self.model[key], self.region
        able = self.usable(model) and model.versions[model.current].at(self.now) == "ENABLED"
        if not able:
            self.told(lambda: region.vaults.encrypt(region.admin, key, b"words"), "KeyNotUsable")
            return None
        made = region.vaults.encrypt(region.admin, key, b"words")
        assert made.key_version == model.current
        return Blob(key, made.key_version, made.blob)

    @rule(blob=blobs)
    def unseal(self, blob: Blob | None) -> None:
        if blob is None:
            return
        model, region = self.model[blob.key], self.region
        able = self.usable(model) and blob.version >= model.minimum
        able = able and model.versions[blob.version].at(self.now) == "ENABLED"
        if able:
            assert region.vaults.decrypt(region.admin, blob.key, blob.blob) == b"words"
        else:
            self.told(lambda: region.vaults.decrypt(region.admin, blob.key, blob.blob), "KeyNotUsable")

    # time and machines

    @rule(days=st.sampled_from([0.01, 1, 6, 7, 20, 31, 90]), tend=st.booleans())
    def wait(self, days: float, tend: bool) -> None:
        self.wall.advance(days * 86_400)
        if tend:
            self.tend()

    @rule()
    def tend(self) -> None:
        due = [key for key in self.model.values() if self.due(key)]
        self.upkeep.run(SERVICE)
        for key in due:
            key.versions[key.current + 1] = VersionModel()
            key.since = self.now
        self.rotations += len(due)

    def due(self, key: KeyModel) -> bool:
        if not key.rotation or key.since is None or key.lock == "ReadOnly" or not self.usable(key):
            return False
        found = next(name for name, model in self.model.items() if model is key)
        moment = self.region.vaults.get_key(self.region.admin, found).next_rotation_at
        latest = key.since + key.rotation * DAY
        assert moment is not None
        assert latest - DAY <= moment <= latest
        return moment <= self.now and self.vaults[key.vault].lock != "ReadOnly"

    @rule(days=st.sampled_from([0, 7, 31]), back=st.sampled_from([0, 3600, 40 * 86_400]))
    def restart(self, days: int, back: int) -> None:
        """A clock that is set back between two lives opens nothing of which upkeep had seen the end."""
        self.wall.advance(days * 86_400)
        self.tend()
        before = {name: self.closed(model) for name, model in self.model.items()}
        ends = [home.at(self.now) for home in self.vaults]
        self.wall.set_back(back)
        self.open()
        for name, model in self.model.items():
            assert before[name] <= self.closed(model), name
        assert ends == [home.at(self.now) for home in self.vaults]

    def closed(self, model: KeyModel) -> set[object]:
        """What time has closed about a key."""
        now = self.now
        found: set[object] = {number for number, version in model.versions.items() if version.at(now) == "DELETED"}
        if model.expires is not None and now >= model.expires:
            found.add("expired")
        if self.state(model) in ("DELETED", "PURGED"):
            found.add("deleted")
        return found

    # what must always be so

    @invariant()
    def the_region_says_what_the_model_says(self) -> None:
        for name, model in list(getattr(self, "model", {}).items())[-4:]:
            shown = self.region.vaults.get_key(self.region.admin, name)
            assert (shown.state, shown.current) == (self.state(model), model.current)
            if shown.state != "PURGED":
                versions = self.region.vaults.list_versions(self.region.admin, name, ALL).items
                wanted = [version.at(self.now) for _, version in sorted(model.versions.items())]
                assert [version.state for version in versions] == wanted

    @invariant()
    def what_is_destroyed_is_not_in_the_rows(self) -> None:
        if not hasattr(self, "region"):
            return
        columns = schema.key_versions.c
        with self.region.store.read() as tx:
            rows = tx.connection.execute(sa.select(columns.key, columns.state, columns.wrapped)).all()
            purged = {row[0] for row in tx.connection.execute(sa.select(schema.keys.c.id).where(_PURGED))}
        for row in rows:
            assert (row.wrapped == b"") == (row.state == "DELETED")
            assert row.key not in purged or row.wrapped == b""

    @invariant()
    def each_rotation_is_audited_once(self) -> None:
        if hasattr(self, "region"):
            entries = [entry for _, entry in self.region.store.outbox(0, 100_000)]
            by_itself = [e for e in entries if e.operation == "RotateKey" and e.principal_name == "upkeep"]
            assert len(by_itself) == self.rotations


_PURGED = schema.keys.c.state == "PURGED"
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
LifeMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=40, deadline=None, phases=_PHASES)
TestLife = LifeMachine.TestCase
