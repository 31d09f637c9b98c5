"""The life of a request against a small model of it: what is done was approved by enough, as of then and as of now."""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from tests.iam.approvals.world import World, make_world

from keystead.core.errors import Refusal
from keystead.iam.approvals.rules import ApprovalRequired
from keystead.iam.model import Caller
from keystead.iam.ports import Membership

OFFICERS = ("ada", "bob", "cy")
EVERYBODY = (*OFFICERS, "olivia", "dora")
TEXTS = ("delete finance", "delete another")
_template: list[World] = []


@dataclass
class Waiting:
    """What the model knows of one request."""

    id: str
    who: str
    text: str
    frozen: frozenset[str]
    rule: int
    key: int
    until: float
    votes: dict[str, str] = field(default_factory=dict)
    over: bool = False


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        if not _template:
            _template.append(make_world(Path(tempfile.mkdtemp(prefix="keystead-life-"))))
        self.place = tempfile.TemporaryDirectory(prefix="keystead-life-")
        self.world = replace(_template[0], region=_template[0].region.copy(Path(self.place.name)))
        # Who leaves the group keeps these: what the votes count for is not a matter of policy.
        region = self.world.region
        region.allow(
            "Allow any-user to manage keys in tenancy", "Allow any-user to use approvals in tenancy", name="all"
        )
        self.members = set(OFFICERS)
        self.waiting: list[Waiting] = []
        self.rule_version, self.key_version, self.clock = 1, self.world.key.version, 0.0

    def teardown(self) -> None:
        self.world.region.store._engine.dispose()
        self.place.cleanup()

    def _id(self, name: str) -> str:
        return str(self.world.people[name].principal.id)

    def _delete(self, caller: Caller) -> str:
        """What came of it; done, it is undone again by hand, so that the next one can."""
        region, key = self.world.region, self.world.key
        try:
            region.vaults.delete(caller, key.id)
        except ApprovalRequired as refusal:
            return refusal.approval
        except Refusal as refusal:
            return refusal.code
        region.vaults.recover(region.admin, key.id)
        self._key_moved()
        return "done"

    def _key_moved(self) -> None:
        with self.world.region.store.read() as tx:
            row = tx.vault.key(self.world.region.tenancy, self.world.key.id)
            assert row is not None
            self.key_version = row.version

    def _open(self, found: Waiting) -> bool:
        return not found.over and self.clock < found.until

    def _may_be_done(self, found: Waiting) -> bool:
        agreed = {name for name, choice in found.votes.items() if choice == "approve"}
        enough = len(agreed & found.frozen & self.members - {found.who}) >= 2
        unchanged = (found.rule, found.key) == (self.rule_version, self.key_version)
        return self._open(found) and enough and unchanged

    @rule(who=st.sampled_from(("olivia", "dora", "ada")), text=st.sampled_from(TEXTS))
    def ask(self, who: str, text: str) -> None:
        answer = self._delete(self.world.asks(who, text))
        same = [
            found.id
            for found in self.waiting
            if (found.who, found.text) == (who, text)
            and self._open(found)
            and (found.rule, found.key) == (self.rule_version, self.key_version)
        ]
        if same:
            assert answer in same
            return
        assert answer.startswith("ks1.approval.") and answer not in {found.id for found in self.waiting}
        frozen = frozenset(self.members - {who})
        self.waiting.append(
            Waiting(answer, who, text, frozen, self.rule_version, self.key_version, self.clock + 24 * 3600)
        )

    @precondition(lambda self: self.waiting)
    @rule(who=st.sampled_from(EVERYBODY), choice=st.sampled_from(("approve", "approve", "approve", "reject")),
          at=st.integers(0, 9))  # fmt: skip
    def say(self, who: str, choice: str, at: int) -> None:
        found, iam = self.waiting[at % len(self.waiting)], self.world.region.iam
        try:
            getattr(iam, choice)(self.world.people[who], found.id)
            said = ""
        except Refusal as refusal:
            said = refusal.code
        heard = (
            who in found.frozen and who in self.members and who != found.who and who not in found.votes
            and self._open(found)
        )  # fmt: skip
        assert (said == "") == heard, (said, who, found)
        if heard:
            found.votes[who] = choice
            found.over = choice == "reject"

    @precondition(lambda self: self.waiting)
    @rule(who=st.sampled_from(("olivia", "dora", "ada")), text=st.sampled_from(TEXTS), at=st.integers(0, 9),
          own=st.sampled_from((True, True, True, False)))  # fmt: skip
    def do(self, who: str, text: str, at: int, own: bool) -> None:
        found = self.waiting[at % len(self.waiting)]
        if own:
            who, text = found.who, found.text
        may = (who, text) == (found.who, found.text) and self._may_be_done(found)
        answer = self._delete(self.world.asks(who, text, found.id))
        assert (answer == "done") == may, (answer, who, text, found)
        found.over = found.over or may

    @precondition(lambda self: self.waiting)
    @rule(at=st.integers(0, 9))
    def withdraw(self, at: int) -> None:
        found = self.waiting[at % len(self.waiting)]
        try:
            self.world.region.iam.withdraw_approval(self.world.people[found.who], found.id)
            assert self._open(found)
            found.over = True
        except Refusal:
            assert not self._open(found)

    @rule(who=st.sampled_from(OFFICERS))
    def leave_or_join(self, who: str) -> None:
        region, gone = self.world.region, who in self.members
        entry = region.guard.entry(region.admin, "", region.iam._own(region.admin), "Prepare", "allowed")
        with region.store.write(entry) as tx:
            tx.iam.set_membership(Membership(region.tenancy, self.world.group, self._id(who), gone))
        self.members ^= {who}
        region.snapshot.refresh()

    @rule(hours=st.sampled_from((1, 13, 24)))
    def wait(self, hours: int) -> None:
        self.world.region.clock.advance(hours * 3600)
        self.clock += hours * 3600

    @rule()
    def change_the_key(self) -> None:
        vaults, admin, key = self.world.region.vaults, self.world.region.admin, self.world.key.id
        vaults.lock_key(admin, key, "CanNotDelete")
        entry = self.world.region.guard.entry(admin, "", self.world.region.iam._own(admin), "Prepare", "allowed")
        with self.world.region.store.write(entry) as tx:
            row = tx.vault.key(self.world.region.tenancy, key)
            assert row is not None
            tx.vault.change_key(row, replace(row, lock="", version=row.version + 1))
        self._key_moved()

    @rule()
    def change_the_rule(self) -> None:
        region = self.world.region
        entry = region.guard.entry(region.admin, "", region.iam._own(region.admin), "Prepare", "allowed")
        with region.store.write(entry) as tx:
            held = tx.approvals.rule(region.tenancy, self.world.rule.id)
            assert held is not None
            tx.approvals.set_rule(replace(held, version=held.version + 1), held.version)
        self.rule_version += 1


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestLife = pytest.mark.slow(TestLife)  # type: ignore[misc]
