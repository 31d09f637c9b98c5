"""The supervisor, with children that die, refuse and hang. It runs in a process of its own, as it wants to."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
from keystead.core.errors import Refusal
from keystead.server.process import supervise
from keystead.server.process.supervise import Supervisor, Task
place = Path(sys.argv[1])

def steady():
    with (place / "born").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    signal.pause()

def dies():
    with (place / "born").open("a") as file:
        file.write(f"{os.getpid()}\\n")

def refuses():
    raise Refusal("PortTaken", "something else listens", hint="stop it")

def breaks():
    raise ValueError("hunter2")

def hangs():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    steady()

def told(name, code):
    print(json.dumps({"name": name, "code": code}), flush=True)

supervise.STOP_SECONDS = 0.5
task = Task("task", globals()[sys.argv[2]], place / "task.log")
supervisor = Supervisor([task], told)
try:
    ready = lambda: (place / "born").exists() and sys.argv[3:] != ["never"]
    supervisor.run(ready, lambda: print("ready", flush=True), 1.5)
except Refusal as refusal:
    print(json.dumps({"code": refusal.code, "message": refusal.message, "hint": refusal.hint}), flush=True)
"""


def start(place: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(place), *arguments], stdout=subprocess.PIPE, text=True)


def born(place: Path) -> list[int]:
    return [int(line) for line in (place / "born").read_text().split()]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_killed_child_is_back_at_once(tmp_path: Path) -> None:
    with start(tmp_path, "steady") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (first,) = born(tmp_path)
        os.kill(first, signal.SIGKILL)
        killed = time.monotonic()
        wait_for(lambda: len(born(tmp_path)) == 2)
        assert time.monotonic() - killed < 1
        assert json.loads(process.stdout.readline()) == {"name": "task", "code": -9}
        process.terminate()
        process.wait(30)
    wait_for(lambda: gone(born(tmp_path)[1]))


def test_one_that_keeps_dying_is_held_back(tmp_path: Path) -> None:
    with start(tmp_path, "dies") as process:
        assert process.stdout is not None
        time.sleep(2.5)  # the point is how often it is started in a while
        assert 2 <= len(born(tmp_path)) <= 6
        process.terminate()


def test_what_a_child_refuses_with_is_passed_on(tmp_path: Path) -> None:
    with start(tmp_path, "refuses") as process:
        said = json.loads(process.communicate(timeout=30)[0])
    assert said == {"code": "PortTaken", "message": "something else listens", "hint": "stop it"}


def test_one_that_breaks_while_starting_ends_it(tmp_path: Path) -> None:
    with start(tmp_path, "breaks") as process:
        lines = process.communicate(timeout=30)[0].splitlines()
    said = json.loads(lines[-1])
    assert said["code"] == "InternalError"
    assert "ValueError" in said["message"]
    assert "hunter2" not in (tmp_path / "task.log").read_text()


def test_one_that_does_not_get_ready_ends_it(tmp_path: Path) -> None:
    with start(tmp_path, "steady", "never") as process:
        said = json.loads(process.communicate(timeout=30)[0])
    assert said["code"] == "NotReady"
    wait_for(lambda: all(gone(pid) for pid in born(tmp_path)))


def test_one_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    with start(tmp_path, "hangs") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        process.wait(30)
    wait_for(lambda: all(gone(pid) for pid in born(tmp_path)))


def test_children_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with start(tmp_path, "steady") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
    wait_for(lambda: all(gone(pid) for pid in born(tmp_path)))
