"""The agent asks often enough for every lease that can be set: an idle region is never taken for a silent one."""

import threading

import pytest

from keystead.core.clock import SystemClock
from keystead.core.errors import Unavailable
from keystead.databases.desk import HostView
from keystead.host.agent import Agent, Rules


class PatientDesk:
    """Answers at the end of each wait, as a region does in which nothing happens."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.asked = threading.Event()

    def watch(self, known_generation: int, wait_seconds: float) -> HostView:
        self.waits.append(wait_seconds)
        self.asked.set()
        raise Unavailable("DeskUnavailable", "one question is enough")


@pytest.mark.parametrize("lease", [1.0, 2.0, 10.0, 60.0])
def test_a_question_ends_within_the_lease(lease: float) -> None:
    desk = PatientDesk()
    agent = Agent(desk, None, None, None, SystemClock(), Rules(lease, 0.0), lambda *_, **__: None, list)  # type: ignore[arg-type]
    thread = threading.Thread(target=agent.run)
    thread.start()
    assert desk.asked.wait(5)
    agent.stop()
    thread.join(5)
    assert 0 < desk.waits[0] <= lease / 2
