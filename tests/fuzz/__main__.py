"""Fuzz every parser of foreign bytes: `make fuzz`, or `python -m tests.fuzz [--seconds N] [--keep] [TARGET ...]`.

Each target starts from its seeds and from corpus/TARGET, for FUZZ_SECONDS (or --seconds) in a process of its own, as
many at once as there are processors. A finding is printed with the file that shows it, which lies in `findings/`; put
it into the corpus when it is mended. `--keep` adds to the corpus what reaches code that nothing in it reaches.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.faces import FACES
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
FINDINGS = Path(__file__).parent / "findings"
ALL = {**TARGETS, **FACES}
SECONDS = 60
LONGEST = 4096
SLOW_SECONDS = 20
KEPT_BYTES, KEPT_AT_ONCE = 1024, 15


def fuzz(name: str, seconds: int, keeping: bool) -> tuple[bool, str]:
    """Whether nothing was found, and a line about it."""
    with tempfile.TemporaryDirectory(prefix=f"ks-fuzz-{name}-") as place:
        seeds, found, words = Path(place) / "seeds", Path(place) / "found", Path(place) / "words"
        for directory in (seeds, found):
            directory.mkdir()
        for seed in ALL[name].seeds():
            (seeds / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
        words.write_text("".join(map(quoted, ALL[name].words)))
        kept = CORPUS / name
        kept.mkdir(parents=True, exist_ok=True)
        FINDINGS.mkdir(exist_ok=True)
        options = [
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST}",
            f"-timeout={SLOW_SECONDS}",
            "-rss_limit_mb=2048",
        ]
        options += [f"-artifact_prefix={FINDINGS}/{name}-", "-print_final_stats=1"]
        options += [f"-dict={words}"] if ALL[name].words else []
        done = run(name, [*options, str(found), str(kept), str(seeds)])
        said = done.stderr.decode(errors="replace")
        runs = re.findall(r"stat::number_of_executed_units: (\d+)", said)
        covered = re.findall(r"cov: (\d+)", said)
        line = f"{name:20} {runs[-1] if runs else '?':>9} runs, {covered[-1] if covered else '?':>5} places reached"
        if done.returncode:
            return False, f"{line}: FOUND\n{said[-3000:]}"
        if keeping:
            line += f", {keep(found, kept)} kept"
        return True, line


def quoted(word: bytes) -> str:
    """A line of libFuzzer's dictionary."""
    letters = "".join(f"\\x{byte:02x}" for byte in word)
    return f'"{letters}"\n'


def keep(found: Path, kept: Path) -> int:
    """Add to the corpus some of what reached something new: libFuzzer writes nothing else there."""
    before = len(list(kept.iterdir()))
    small = sorted((path.stat().st_size, path.name) for path in found.iterdir())
    wanted = [name for size, name in small if 0 < size <= KEPT_BYTES]
    for name in wanted[:: max(1, len(wanted) // KEPT_AT_ONCE)]:
        shutil.copy(found / name, kept)
    return len(list(kept.iterdir())) - before


def run(name: str, options: list[str]) -> "subprocess.CompletedProcess[bytes]":
    words = [sys.executable, "-m", "tests.fuzz.one", name, *options]
    return subprocess.run(words, cwd=ROOT, capture_output=True, check=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description="Fuzz every parser of foreign bytes.")
    parser.add_argument("targets", nargs="*", choices=[[], *ALL], default=[])
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("FUZZ_SECONDS", SECONDS)), help="for each")
    parser.add_argument("--keep", action="store_true", help="add to the corpus")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    names = given.targets or list(ALL)
    began, fine = time.monotonic(), True
    with ThreadPoolExecutor(given.at_once) as pool:
        for clean, line in pool.map(lambda name: fuzz(name, given.seconds, given.keep), names):
            fine &= clean
            print(line, flush=True)
    print(f"{len(names)} targets, {given.seconds} s each, {time.monotonic() - began:.0f} s in all")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
