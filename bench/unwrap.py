"""`make bench-unwrap`: unwrapping a 32-byte data key, Keystead against OpenBao's transit decrypt.

Both over plain HTTP on loopback with a bearer token, one key, file audit on. Three results, each the ratio of requests
per second, ours / OpenBao's, within interleaved rounds:

- `unwrap_32`, `unwrap_128`: 32 and 128 connections; our audit is synced to disk before the answer (our default),
  OpenBao's is written and not synced (its only way).
- `unwrap_written_32`: 32 connections, ours only written too.

Also printed: `fdatasync`, what the disk can do, and for each the 99th percentile (`_p99`, ms: lower is better).
`--peer-only` measures OpenBao alone.
"""

import argparse
import contextlib
import os
import shutil
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import keystead_region, openbao
from bench.harness import (
    Load,
    Measure,
    Target,
    compare,
    emit,
    interleave,
    need,
    probe_disk,
    run_wrk,
    say,
    say_machine,
    workspace,
)

KEY_BYTES = 32


class Side:
    """One server under load; keeps what wrk saw."""

    def __init__(self, target: Target, connections: int, seconds: int, directory: Path) -> None:
        self.loads: list[Load] = []
        self._target, self._connections, self._seconds, self._directory = target, connections, seconds, directory

    def __call__(self) -> float:
        self.loads.append(run_wrk(self._target, self._connections, self._seconds, self._directory))
        return self.loads[-1].rate

    def __str__(self) -> str:
        p50, p99 = (statistics.median(getattr(load, name) for load in self.loads) for name in ("p50_ms", "p99_ms"))
        return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {max(load.max_ms for load in self.loads):.0f} ms"


def race(
    name: str, ours: Target, peer: openbao.OpenBao, connections: int, directory: Path, options: argparse.Namespace
) -> None:
    """Measure both in interleaved rounds and print the result."""
    say(f"{name}: {connections} connections")
    sides = {
        "keystead": Side(ours, connections, options.seconds, directory),
        "openbao": Side(peer.target, connections, options.seconds, directory),
    }
    run_wrk(ours, connections, 1, directory)  # warm: caches, and Go's heap
    run_wrk(peer.target, connections, 1, directory)
    values = interleave(options.rounds, _cleaning(sides, peer.forget_audit))
    for side, seen in sides.items():
        say(f"  {side}: {seen}")
    emit(compare(name, "1/s", values["keystead"], values["openbao"]))
    p99 = [[load.p99_ms for load in sides[side].loads] for side in ("keystead", "openbao")]
    emit(compare(f"{name}_p99", "ms", *p99))


def peer_alone(peer: openbao.OpenBao, connections: int, directory: Path, options: argparse.Namespace) -> None:
    """OpenBao without a rival, to know the machine."""
    side = Side(peer.target, connections, options.seconds, directory)
    values = interleave(options.rounds, _cleaning({"openbao": side}, peer.forget_audit))["openbao"]
    say(f"  openbao, {connections} connections: {side}")
    emit(
        Measure(
            f"openbao_{connections}", statistics.median(values), "1/s", spread=(max(values) - min(values)) / min(values)
        )
    )


def _cleaning(sides: dict[str, Side], clean: Callable[[], None]) -> dict[str, Callable[[], float]]:
    """The same sides, with the peer's audit file emptied after each run so that the disk does not fill."""

    def cleaning(side: Side) -> Callable[[], float]:
        def run() -> float:
            rate = side()
            clean()
            return rate

        return run

    return {name: cleaning(side) for name, side in sides.items()}


@contextlib.contextmanager
def ours(directory: Path, sync: str) -> Iterator[Target]:
    """A region of ours with the given audit setting, ready to unwrap."""
    with keystead_region.start(directory / sync, sync) as region:
        yield keystead_region.unwrap_target(region, os.urandom(KEY_BYTES))


def measure(directory: Path, options: argparse.Namespace, *, peer_only: bool = False) -> None:
    """All of it, in `directory`; `options` has `rounds` and `seconds`."""
    emit(probe_disk(directory))
    with openbao.start(directory, os.urandom(KEY_BYTES)) as peer:
        say(f"OpenBao {peer.version}")
        if peer_only:
            for connections in (32, 128):
                peer_alone(peer, connections, directory, options)
            return
        with ours(directory, "synced") as target:
            race("unwrap_32", target, peer, 32, directory, options)
            race("unwrap_128", target, peer, 128, directory, options)
        with ours(directory, "written") as target:
            race("unwrap_written_32", target, peer, 32, directory, options)
    shutil.rmtree(directory / "openbao")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=5, help="per side and round")
    parser.add_argument("--peer-only", action="store_true")
    options = parser.parse_args()
    need("wrk")
    say_machine()
    with workspace("unwrap") as directory:
        measure(directory, options, peer_only=options.peer_only)


if __name__ == "__main__":
    main()
