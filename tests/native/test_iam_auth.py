"""The login plugin itself: it builds without a warning, and random input finds nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = os.environ.get("FUZZ_SECONDS", "3")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no compiler")]


def test_it_builds(tmp_path: Path) -> None:
    built = subprocess.run(
        [ROOT / "tools/native.sh", tmp_path], capture_output=True, text=True, timeout=120, check=False
    )
    assert (built.returncode, built.stderr) == (0, "")
    names = subprocess.run(["nm", "-D", "--defined-only", tmp_path / "iam_auth.so"], capture_output=True, text=True)
    assert {line.split()[-1] for line in names.stdout.splitlines()} == {
        "_maria_plugin_interface_version_",
        "_maria_sizeof_struct_st_plugin_",
        "_maria_plugin_declarations_",
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_random_packets_and_replies_find_nothing(tmp_path: Path, seed: int) -> None:
    program = tmp_path / "fuzz"
    flags = ["-std=gnu11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    source = ROOT / "tests/fuzz/native/fuzz_iam_auth.c"
    subprocess.run(["gcc", *flags, "-o", program, source, "-lpthread"], check=True, timeout=120)
    ran = subprocess.run(
        [program, SECONDS, str(seed)], capture_output=True, text=True, timeout=60 + int(SECONDS), check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert int(ran.stdout.split()[0]) > 100
