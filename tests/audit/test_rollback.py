"""Old state, and an old or shortened trail, do not come back quietly."""

from keystead.audit.model import Head
from keystead.audit.rollback import AuditView, check_rollback

TRAIL = {("serve-1", 5): "aa", ("serve-1", 9): "bb", ("work-1", 2): "cc"}


def view(generation: int) -> AuditView:
    return AuditView(generation, lambda writer, sequence: TRAIL.get((writer, sequence)))


def test_state_and_trail_that_belong_together_pass() -> None:
    heads = {"serve-1": Head(5, "aa"), "work-1": Head(2, "cc"), "host-1": Head(0, "0" * 64)}
    assert check_rollback(7, heads, view(7)) is None
    assert check_rollback(8, heads, view(7)) is None, "a change whose entry was not copied yet"
    assert check_rollback(0, {}, view(0)) is None


def test_older_state_is_refused() -> None:
    refusal = check_rollback(6, {}, view(7))
    assert refusal is not None
    assert refusal.code == "StateRolledBack"
    assert "--accept-rollback" in refusal.hint


def test_a_trail_that_lost_or_changed_what_state_remembers_is_refused() -> None:
    for head in (Head(10, "dd"), Head(9, "ee")):
        refusal = check_rollback(7, {"serve-1": head}, view(7))
        assert refusal is not None
        assert refusal.code == "AuditRolledBack"
