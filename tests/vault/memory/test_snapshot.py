"""The snapshot: as of a generation, fetched as changes, refused when the generation cannot be learnt."""

import random
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from tests.fakes.domain import REGION, DomainRegion, make_region

from keystead.core.errors import Unavailable, Unreadable
from keystead.core.secret import Secret
from keystead.iam.directory import Directory
from keystead.vault.memory.keyring import Keyring
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.ports import Changes, Freshness, KeyChanges


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return make_region(tmp_path)


def contents(snapshot: Snapshot) -> dict[str, object]:
    """All that a snapshot knows, to be compared."""
    directory, ring = snapshot.directory, snapshot.keyring
    held = {name: value for name, value in vars(directory).items() if name not in ("_lock", "_clock", "_compiled")}
    held["_groups_of"] = {user: groups for user, groups in directory._groups_of.items() if groups}
    held["_policies"] = {tenancy: found for tenancy, found in directory._policies.items() if found}
    held["keys"] = {entry.key.id: (entry.key, entry.target, entry.versions) for entry in ring.entries()}
    return held


@pytest.mark.parametrize("seed", range(3))
def test_change_by_change_or_all_at_once_comes_to_the_same(region: DomainRegion, seed: int) -> None:
    rng, admin = random.Random(seed), region.admin
    vault = region.vaults.create_vault(admin, region.tenancy, "v").id
    users = [region.iam.create_user(admin, f"u{n}")[0] for n in range(3)]
    groups = [region.iam.create_group(admin, f"g{n}") for n in range(2)]
    keys = [region.vaults.create_key(admin, region.tenancy, vault, f"k{n}") for n in range(2)]
    acts: list[Callable[[], object]] = [
        lambda: region.iam.add_member(admin, rng.choice(groups).id, rng.choice(users).id),
        lambda: region.iam.remove_member(admin, rng.choice(groups).id, rng.choice(users).id),
        lambda: region.iam.update_user(admin, rng.choice(users).id, rng.choice(["ACTIVE", "BLOCKED"])),  # type: ignore[arg-type]
        lambda: region.iam.revoke_user_tokens(admin, rng.choice(users).id),
        lambda: region.allow("Allow any-user to inspect keys in tenancy"),
        lambda: region.vaults.rotate(admin, rng.choice(keys).id),
        lambda: region.iam.create_compartment(admin, region.tenancy, f"c{rng.random()}"),
    ]
    follower = region.again().snapshot
    _, on_demand = scripted(region, on_demand=True)
    for _ in range(25):
        rng.choice(acts)()
        if rng.random() < 0.5:
            on_demand.refresh()
            on_demand.keyring.get(rng.choice(keys).id)
        if rng.random() < 0.5:
            region.clock.advance(1)
            follower.refresh()
    follower.refresh()
    on_demand.refresh()
    assert contents(follower) == contents(region.again().snapshot) == contents(on_demand)


class Scripted:
    """A freshness that answers what it is told."""

    def __init__(self, inner: Freshness) -> None:
        self.inner = inner
        self.gone = False
        self.fetched: list[int] = []
        self.asked: list[str] = []

    def generation(self) -> int:
        if self.gone:
            raise Unavailable("StateUnavailable", "gone")
        return self.inner.generation()

    def changes(self, since: int, *, keys: bool = True) -> Changes:
        self.fetched.append(since)
        if self.gone:
            raise Unavailable("StateUnavailable", "gone")
        return self.inner.changes(since, keys=keys)

    def key(self, key_id: str) -> KeyChanges:
        if self.gone:
            raise Unavailable("StateUnavailable", "gone")
        self.asked.append(key_id)
        return self.inner.key(key_id)


def scripted(region: DomainRegion, *, on_demand: bool = False) -> tuple[Scripted, Snapshot]:
    freshness = Scripted(region.snapshot._freshness)
    directory = Directory()
    ring = Keyring(Secret(bytes(range(32))), directory, REGION)
    return freshness, Snapshot(directory, ring, freshness, on_demand=on_demand)


def test_what_is_current_is_not_fetched_again(region: DomainRegion) -> None:
    freshness, snapshot = scripted(region)
    generation = snapshot.refresh()
    assert snapshot.refresh() == generation
    region.allow("Allow any-user to inspect keys in tenancy")
    assert snapshot.refresh() == generation + 1
    assert freshness.fetched == [0, generation]


def test_who_cannot_learn_the_generation_refuses(region: DomainRegion) -> None:
    freshness, snapshot = scripted(region)
    snapshot.refresh()
    freshness.gone = True
    with pytest.raises(Unavailable):
        snapshot.refresh()
    freshness.gone = False
    snapshot.refresh()


def test_changes_that_do_not_come_are_asked_for_again(region: DomainRegion) -> None:
    freshness, snapshot = scripted(region)
    generation = snapshot.refresh()
    region.allow("Allow any-user to inspect keys in tenancy")
    changes = freshness.changes

    def failing(since: int, *, keys: bool = True) -> Changes:
        raise Unavailable("StateUnavailable", "gone")

    freshness.changes = failing  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        snapshot.refresh()
    assert snapshot.generation == generation
    freshness.changes = changes  # type: ignore[method-assign]
    assert snapshot.refresh() == generation + 1


def test_many_threads_fetch_once(region: DomainRegion) -> None:
    freshness, snapshot = scripted(region)
    threads = [Thread(target=snapshot.refresh) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert freshness.fetched == [0]


def test_a_rotated_key_never_shows_without_its_version(region: DomainRegion) -> None:
    """Others read the ring while it takes a change over."""
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    key = region.vaults.create_key(region.admin, region.tenancy, vault, "k")
    region.snapshot.refresh()
    generation, ring = region.snapshot.generation, region.snapshot.keyring
    region.again().vaults.rotate(region.admin, key.id)
    changes = region.snapshot._freshness.changes(generation).vault
    seen: list[bool] = []

    class Watched(tuple):  # type: ignore[type-arg]
        """Looks at the ring as each key is taken over, and after it."""

        def __iter__(self):  # type: ignore[no-untyped-def]
            for item in super().__iter__():
                yield item
                entry = ring.get(key.id)
                assert entry is not None
                seen.append(entry.key.current in entry.versions)

    ring.apply(KeyChanges(Watched(changes.keys), Watched(changes.versions)))
    assert seen
    assert all(seen)


def test_material_opens_for_its_own_key_alone(region: DomainRegion) -> None:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    one, two = (region.vaults.create_key(region.admin, region.tenancy, vault, name) for name in ("one", "two"))
    region.snapshot.refresh()
    ring = region.snapshot.keyring
    first, second = ring.get(one.id), ring.get(two.id)
    assert first is not None
    assert second is not None
    first.versions[1], second.versions[1] = second.versions[1], first.versions[1]
    for entry in (first, second):
        with pytest.raises(Unreadable):
            ring.material(entry, 1)


def test_a_disabled_key_takes_its_cipher_objects_along(region: DomainRegion) -> None:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    key = region.vaults.create_key(region.admin, region.tenancy, vault, "k")
    region.vaults.encrypt(region.admin, key.id, b"x")
    entry = region.snapshot.keyring.get(key.id)
    assert entry is not None
    assert entry.materials
    region.vaults.disable(region.admin, key.id)
    region.snapshot.refresh()
    entry = region.snapshot.keyring.get(key.id)
    assert entry is not None
    assert not entry.materials


def test_keys_on_demand_are_read_when_they_are_first_asked_for(region: DomainRegion) -> None:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    keys = [region.vaults.create_key(region.admin, region.tenancy, vault, f"k{n}").id for n in range(3)]
    freshness, snapshot = scripted(region, on_demand=True)
    snapshot.refresh()
    ring = snapshot.keyring
    assert len(ring) == 0
    for _ in range(2):
        entry = ring.get(keys[0])
        assert entry is not None and entry.key.name == "k0" and list(entry.versions) == [1] and entry.target.path
    assert freshness.asked == [keys[0]] and len(ring) == 1
    assert ring.get("ks1.key.main.home.nosuchkey") is None
    assert {entry.key.id for entry in ring.entries()} == set(keys)
    assert ring.get(keys[0]) is entry, "what was held is held still"


def test_a_key_on_demand_follows_its_changes(region: DomainRegion) -> None:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    key, other = (region.vaults.create_key(region.admin, region.tenancy, vault, name).id for name in "ab")
    _, snapshot = scripted(region, on_demand=True)
    snapshot.refresh()
    assert snapshot.keyring.get(key) is not None
    region.vaults.rotate(region.admin, key)
    region.vaults.rotate(region.admin, other)
    region.vaults.disable(region.admin, key)
    snapshot.refresh()
    assert len(snapshot.keyring) == 1, "what nobody asked for is not read"
    for key_id, state in ((key, "DISABLED"), (other, "ENABLED")):
        entry = snapshot.keyring.get(key_id)
        assert entry is not None and (entry.key.state, sorted(entry.versions)) == (state, [1, 2])


def test_a_key_newer_than_the_snapshot_is_brought_up_with_the_rest(region: DomainRegion) -> None:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    _, snapshot = scripted(region, on_demand=True)
    snapshot.refresh()
    place = region.iam.create_compartment(region.admin, region.tenancy, "later")
    key = region.vaults.create_key(region.admin, place.id, vault, "k").id
    early = snapshot.keyring.get(key)
    assert early is not None and early.target.path == (), (
        "its compartment is not known yet, so nothing is granted there"
    )
    snapshot.refresh()
    entry = snapshot.keyring.get(key)
    assert entry is not None and entry.target.path == place.path


def test_a_key_that_cannot_be_read_is_not_taken_for_absent(region: DomainRegion) -> None:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    key = region.vaults.create_key(region.admin, region.tenancy, vault, "k").id
    freshness, snapshot = scripted(region, on_demand=True)
    snapshot.refresh()
    freshness.gone = True
    with pytest.raises(Unavailable):
        snapshot.keyring.get(key)
    freshness.gone = False
    assert snapshot.keyring.get(key) is not None
