"""Killed at every write of create, rotate, import, delete, purge, backup, restore, a change of the seal and a new root.

Every ciphertext that was acknowledged still decrypts, or its key is a tombstone; what was told happened, and whatever
happened is in the audit log (kill_acts.py says what is looked at). A small number of trials always, all of them where
KEYSTEAD_FAULT_TRIALS says so (`make test-faults`).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from tests.faults.kill_acts import ACTS

SEED = 1
SHARDS = 2
FEW = 100
TRIALS = int(os.environ.get("KEYSTEAD_FAULT_TRIALS", FEW))
ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + TRIALS)]


def test_every_acknowledged_ciphertext_still_decrypts_or_is_destroyed() -> None:
    """In memory, where it can be: nothing here is about disks, and waiting for them is all it would add."""
    with tempfile.TemporaryDirectory(prefix="ks-kill-", dir=MEMORY if MEMORY.is_dir() else None) as place:
        running = []
        for shard in range(SHARDS):
            home = Path(place) / str(shard)
            home.mkdir()
            asked = ["--trials", str(-(-TRIALS // SHARDS)), "--seed", str(SEED), "--shard", f"{shard}/{SHARDS}"]
            words = [sys.executable, "-m", "tests.faults.kill_trials", "--place", str(home), *asked]
            environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
            running.append(subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, env=environment))
        answers = [process.communicate()[0] for process in running]
        assert all(process.returncode == 0 for process in running)
    found = [json.loads(answer) for answer in answers]
    print(*map(json.dumps, found), sep="\n")
    kinds, acts = (sum((Counter(each[name]) for each in found), Counter[str]()) for name in ("kinds", "acts"))
    happened = sum((Counter(each["happened"]) for each in found), Counter[str]())
    assert kinds.total() >= TRIALS
    assert set(acts) == set(ACTS)
    assert min(kinds["statement"], kinds["file"], kinds["bytes"]) > 0
    assert min(happened["True"], happened["False"]) > 0, "both outcomes are seen"
    if TRIALS >= 1000:
        exact = found[0]["exact"]
        assert sum(kinds[kind] for kind in ("statement", "file", "bytes")) >= exact * 0.95, "every point was visited"
        assert kinds["moment"] > 0
