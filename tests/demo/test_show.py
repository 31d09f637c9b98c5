"""What is printed, and which proof is named."""

import pytest
from demo.show import Show, milliseconds


def test_the_first_proof_that_does_not_hold_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    show = Show()
    with show.step(1, "one"):
        assert show.prove("it is so", True, "seen")
    with show.step(2, "two"):
        assert not show.prove("it is not so", 0, "not seen")
        assert not show.prove("nor this", None)
    failed = show.summary(1.0)
    assert failed is not None and failed.claim == "it is not so" and failed.step == "2. two"
    printed = capsys.readouterr().out
    assert "  ✓ proved  it is so  (seen)\n" in printed
    assert "  ✗ FAILED  it is not so  (not seen)\n" in printed
    assert "The first proof that did not hold: 2. two: it is not so" in printed
    assert "1 of  3 proofs" in printed


def test_every_proof_held(capsys: pytest.CaptureFixture[str]) -> None:
    show = Show()
    with show.step(1, "one"):
        show.prove("[bold]brackets[/bold] and a very long line " + "x" * 200, True)
    assert show.summary(1.0) is None
    printed = capsys.readouterr().out
    assert "[bold]brackets[/bold] and a very long line " + "x" * 200 + "\n" in printed
    assert "Every proof held." in printed


def test_tables_are_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    show = Show()
    with show.step(1, "one"):
        show.table(("what", "many"), [("x" * 150, 1234567), ("y", 2)])
    lines = capsys.readouterr().out.splitlines()
    assert any("x" * 150 in line and "1,234,567" in line for line in lines)


@pytest.mark.parametrize(("seconds", "text"), [(0.0041, "4.1 ms"), (0.48, "480 ms"), (3.21, "3.2 s"), (0.0, "0.0 ms")])
def test_times(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text
