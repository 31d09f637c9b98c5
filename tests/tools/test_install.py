"""tools/install.sh starts no service and leaves the machine's policy as it was; apt and dpkg are fakes on PATH."""

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "install.sh"
FOREIGN = "#!/bin/sh\n# somebody else's\nexit 104\n"

APT = """#!/bin/sh
echo "$@" >> "$FAKE/calls"
case " $* " in
    *" -s "*) cat "$FAKE/plan"; exit 0 ;;
    *" update "*) exit 0 ;;
    *" install "*)
        sh "$KEYSTEAD_POLICY_FILE" mariadb start; echo "policy says $?" >> "$FAKE/calls"
        if [ -e "$FAKE/hang" ]; then echo > "$FAKE/hanging"; cat "$FAKE/hang"; fi
        [ ! -e "$FAKE/fail" ] || exit 100
        : > "$FAKE/missing" ;;
esac
"""
# `dpkg-query -W -f=... NAME`: all are installed but those in the file
DPKG = """#!/bin/sh
for name; do :; done
grep -qx "$name" "$FAKE/missing" || printf installed
"""


@dataclass(frozen=True)
class Machine:
    home: Path

    @property
    def policy(self) -> Path:
        return self.home / "policy-rc.d"

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
            "FAKE": str(self.home),
            "KEYSTEAD_POLICY_FILE": str(self.policy),
        }

    def lacks(self, *names: str, plan: str = "") -> None:
        (self.home / "missing").write_text("".join(f"{name}\n" for name in names))
        (self.home / "plan").write_text(plan or "".join(f"Inst {name} (1 Debian:12)\n" for name in names))

    def install(self, *groups: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *groups], env=self.environment(), capture_output=True, text=True, timeout=60, check=False
        )

    def calls(self) -> list[str]:
        path = self.home / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def installs(self) -> list[str]:
        return [call for call in self.calls() if " install " in f" {call} " and " -s " not in f" {call} "]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "bin").mkdir()
    # `find` and `update-rc.d` would change the real machine
    fakes = {"apt-get": APT, "dpkg-query": DPKG, "id": "#!/bin/sh\necho 0\n", "update-rc.d": "#!/bin/sh\n"}
    for name, text in {**fakes, "find": "#!/bin/sh\n"}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    made = Machine(tmp_path)
    made.lacks()
    return made


def test_nothing_missing_touches_nothing(machine: Machine) -> None:
    assert machine.install("python", "mariadb", "sysbench").returncode == 0
    assert machine.calls() == []
    assert not machine.policy.exists()


@pytest.mark.parametrize("before", [None, FOREIGN])
def test_services_are_denied_while_apt_runs_and_the_policy_is_put_back(machine: Machine, before: str | None) -> None:
    if before:
        machine.policy.write_text(before)
    machine.lacks("mariadb-server", "mariadb-backup")
    result = machine.install("mariadb")
    assert result.returncode == 0, result.stderr
    assert "policy says 101" in machine.calls()
    assert "mariadb-server mariadb-backup" in machine.installs()[0]
    assert (machine.policy.read_text() if machine.policy.exists() else None) == before
    assert machine.install("mariadb").returncode == 0
    assert len(machine.installs()) == 1, "a second run installs nothing"


@pytest.mark.parametrize("before", [None, FOREIGN])
def test_the_policy_is_put_back_when_apt_fails(machine: Machine, before: str | None) -> None:
    if before:
        machine.policy.write_text(before)
    machine.lacks("wrk")
    (machine.home / "fail").touch()
    result = machine.install("wrk")
    assert result.returncode == 1
    assert "apt-get failed" in result.stderr
    assert (machine.policy.read_text() if machine.policy.exists() else None) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_policy_behind_for_long(machine: Machine, number: signal.Signals) -> None:
    machine.policy.write_text(FOREIGN)
    machine.lacks("wrk")
    os.mkfifo(machine.home / "hang")
    os.mkfifo(machine.home / "hanging")
    process = subprocess.Popen(
        [SCRIPT, "wrk"], env=machine.environment(), stderr=subprocess.DEVNULL, start_new_session=True
    )
    (machine.home / "hanging").read_text()  # returns when apt is at work
    if number == signal.SIGKILL:
        os.killpg(process.pid, number)
        process.wait(30)
        assert machine.policy.read_text() != FOREIGN
        (machine.home / "hang").unlink()
        assert machine.install("wrk").returncode == 0  # the next run mends it
    else:
        process.send_signal(number)
        (machine.home / "hang").write_text("")  # bash acts on the signal when its child is done
        assert process.wait(30) == 143
    assert machine.policy.read_text() == FOREIGN


@pytest.mark.parametrize(
    "plan",
    [
        "Inst mariadb-server [1:10.11.6] (1:10.11.19 Debian)",
        "Inst mysql-server-8.0 [8.0] (8.1 Debian)",
        "Inst galera-4 [26.4.1] (26.4.23 Debian)",
        "Remv default-mysql-server [1.1.0]",
    ],
)
def test_a_server_that_is_there_is_left_alone(machine: Machine, plan: str) -> None:
    machine.lacks(
        "mariadb-backup", plan=f"Inst libc6 [2.36-9] (2.36-10 Debian)\n{plan}\nInst mariadb-backup (1 Debian)\n"
    )
    result = machine.install("mariadb")
    assert result.returncode == 1
    assert plan in result.stderr
    assert machine.installs() == []
    assert not machine.policy.exists()


def test_newer_libraries_are_fine(machine: Machine) -> None:
    machine.lacks(
        "python3-venv", plan="Inst python3.11 [3.11.2-6] (3.11.2-6+deb12u8 Debian)\nInst libmariadb3 [1] (2 x)\n"
    )
    assert machine.install("python").returncode == 0
    assert len(machine.installs()) == 1
