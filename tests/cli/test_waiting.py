"""Waiting for jobs: time-outs, Ctrl-C, a region that goes away."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Keystead
from tests.fakes.region import Region, Server

from keystead.cli import waiting

pytestmark = pytest.mark.slow


def started(signed_in: Keystead, region: Region) -> str:
    region.hold_jobs = True
    assert signed_in("db", "create", "flights", "--no-wait").code == 0
    return next(iter(region.things["job"]))


def test_a_timeout_leaves_the_job_running(signed_in: Keystead, region: Region) -> None:
    job = started(signed_in, region)
    ran = signed_in("job", "wait", job, "--timeout", "0.2")
    assert ran.code == 1
    assert ran.err.endswith(
        f"error: not done after 0.2 s; the job goes on [TimedOut]\nhint:  follow it with: keystead job wait {job}\n"
    )


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_leaves_the_job_running(
    signed_in: Keystead, region: Region, home: Path, server: Server, as_json: bool
) -> None:
    region.hold_jobs = True
    program = "from keystead.cli.main import app; app(prog_name='keystead')"
    arguments = [sys.executable, "-c", program, "db", "create", "flights", *(["--json"] if as_json else [])]
    running = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
    assert region.polled.wait(20)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 130
    job = next(iter(region.things["job"].values()))
    assert job["state"] == "ACCEPTED"
    assert "stopped waiting; the job goes on" in err
    assert f"follow it with: keystead job wait {job['id']}" in err
    assert "example-password-3" in out
    assert "Traceback" not in err


def test_a_region_that_is_away_for_a_moment_is_asked_again(signed_in: Keystead, region: Region) -> None:
    job = started(signed_in, region)
    region.hold_jobs = False
    for _ in range(2):
        region.plan("GET", "/jobs/.*", 503, "Sealed", "the region is sealed")
    region.exchanges.clear()
    # the first GET of `job wait` itself is not waiting yet
    assert signed_in("job", "wait", job).code == 6
    assert signed_in("job", "wait", job).code == 6
    region.plan("GET", "/nothing", 503, "Sealed", "")
    assert signed_in("job", "wait", job).code == 0


def test_while_waiting_an_outage_is_sat_out(
    signed_in: Keystead, region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    region.plan("GET", "/jobs/.*", 503, "Sealed", "the region is sealed")
    region.plan("GET", "/jobs/.*", 503, "Sealed", "the region is sealed")
    assert signed_in("db", "create", "flights").code == 0
    monkeypatch.setattr(waiting, "PATIENCE", -1)
    region.plan("GET", "/jobs/.*", 503, "Sealed", "the region is sealed")
    assert signed_in("db", "create", "second").code == 6


def test_the_bar_on_a_terminal(signed_in: Keystead, region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    region.scripts["create"] = [(30, "data directory")]
    monkeypatch.setattr(waiting, "_progress", lambda session: waiting._Bar())
    ran = signed_in("db", "create", "flights")
    assert ran.code == 0
    assert "100%" in ran.err
    assert "create flights" in ran.err
