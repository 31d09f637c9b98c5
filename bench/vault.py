"""`make bench-vault`: the vault's hot path, against OpenBao's transit and against itself.

Plain HTTP on loopback, a bearer token, file audit on, as in `bench.unwrap`, whose results are printed first. Then, each
one line; with a peer in interleaved rounds, `ratio` ours / theirs:

- `rsa2048_unwrap_32`: unwrapping with an RSA-2048 key (OpenBao: rsa-2048 decrypt), 32 connections; `rsa2048_share`: of
  what the same library does in a bare loop, one process per core; `rsa2048_share_as_told`: where that loop's OpenSSL is
  told what the region's is; `rsa2048_bare` (baseline OpenBao): that loop against OpenBao, so the most there can be
- `batch_100_unwrap_32`: unwraps per second in batches of 100, 32 connections
- `keys_100000` (baseline 10): unwraps per second with ten keys in a region of so many; `keys_slope`: change per tenfold
  number of keys, as a part of the whole; `keys_in_use_1000` (baseline 10 in use), `keys_in_use_slope`: the same by how
  many of the 100,000 are in use, which is what has to stay in the processor's caches
- `statements_1000` (baseline 10), `statements_slope`: the same for policy statements
- `start_100000_keys` (s, baseline: with 10 keys), `memory_per_key` (bytes in one worker, of a key that is in use; keys
  that are not in use need none)
"""

import argparse
import contextlib
import math
import multiprocessing
import os
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench import keystead_region, openbao, unwrap
from bench.harness import (
    ROOT,
    Api,
    Measure,
    Target,
    compare,
    emit,
    interleave,
    need,
    run_quietly,
    run_wrk,
    say,
    say_machine,
)
from bench.harness import workspace as new_workspace
from bench.keystead_region import API, Bench, Made
from keystead.server.process.openssl import faster_rsa

NOTHING: Mapping[str, str] = MappingProxyType({})
KEY_BYTES = 32
ITEMS = 100
SPREAD = 1000
WARM_UP_ROUNDS = 3
MANY_KEYS, FEW = 100_000, 10
MANY_STATEMENTS = 1000
STATEMENTS_OF_A_POLICY = 50


def rate(target: Target, options: argparse.Namespace, directory: Path, each: int = 1) -> Callable[[], float]:
    """Measures `target` at 32 connections; one request counts as `each`."""
    return lambda: run_wrk(target, 32, options.seconds, directory).rate * each


def race(
    name: str,
    ours: Target,
    theirs: Target,
    peer: openbao.OpenBao,
    directory: Path,
    options: argparse.Namespace,
    each: int = 1,
    **beside: Callable[[], float],
) -> dict[str, list[float]]:
    """One comparison with OpenBao; what was measured in each round, `beside` it included."""
    say(name)

    def cleaned() -> float:
        found = rate(theirs, options, directory, each)()
        peer.forget_audit()
        return found

    for target in (ours, theirs):
        run_wrk(target, 32, 1, directory)
    sides = {"keystead": rate(ours, options, directory, each), "openbao": cleaned, **beside}
    values = interleave(options.rounds, sides)
    emit(compare(name, "1/s", values["keystead"], values["openbao"]))
    return values


def _bare_rsa(seconds: float, _number: int) -> float:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    sealed = key.public_key().encrypt(os.urandom(KEY_BYTES), oaep)
    done, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        key.decrypt(sealed, oaep)
        done += 1
    return done / passed


def bare_rsa(seconds: float, told: Mapping[str, str] = NOTHING) -> float:
    """RSA-2048 decryptions per second of a bare loop, one process per core. `told`: in its environment."""
    cores = os.cpu_count() or 1
    with mock.patch.dict(os.environ, told), multiprocessing.get_context("spawn").Pool(cores) as pool:
        return sum(pool.starmap(_bare_rsa, [(seconds, number) for number in range(cores)]))


def against_openbao(bench: Bench, peer: openbao.OpenBao, directory: Path, options: argparse.Namespace) -> None:
    """RSA and batches."""
    secret = os.urandom(KEY_BYTES)
    ours = bench.target(bench.key("rsa", "RSA-2048"), secret)
    theirs = peer.more("bench-rsa", "rsa-2048", secret)
    bare = partial(bare_rsa, options.seconds)
    told = partial(bare_rsa, options.seconds, faster_rsa())
    values = race("rsa2048_unwrap_32", ours, theirs, peer, directory, options, bare=bare, told=told)
    emit(compare("rsa2048_share", "1/s", values["keystead"], values["bare"]))
    emit(compare("rsa2048_share_as_told", "1/s", values["keystead"], values["told"]))
    emit(compare("rsa2048_bare", "1/s", values["told"], values["openbao"]))
    ours = bench.target(bench.key("batch"), secret, ITEMS)
    theirs = peer.more("bench-batch", "aes256-gcm96", secret, ITEMS)
    race("batch_100_unwrap_32", ours, theirs, peer, directory, options, ITEMS)


def race_each_other(
    name: str, sides: dict[str, Target], directory: Path, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Regions of our own against each other; what was measured in each round."""
    say(name)
    for target in sides.values():
        for _ in range(WARM_UP_ROUNDS):
            run_wrk(target, 32, 1, directory)
    return interleave(options.rounds, {side: rate(target, options, directory) for side, target in sides.items()})


def grown(name: str, many: int, ours: Sequence[float], few: Sequence[float]) -> None:
    """Many of something against few, and the slope between."""
    found = compare(f"{name}_{many}", "1/s", ours, few)
    emit(found)
    ratio = found.ratio or 0.0
    emit(Measure(f"{name}_slope", (ratio - 1) / math.log10(many / FEW), "per tenfold", spread=found.spread))


@contextlib.contextmanager
def timed_start(made: Made) -> Iterator[tuple[keystead_region.Region, float]]:
    """A running region, and the seconds from the command to the first answer."""
    began = time.perf_counter()
    with made.run() as region:
        yield region, time.perf_counter() - began


def worker_memory(pid: int) -> int:
    """Bytes that the HTTP workers below `pid` have for themselves, the mean of one."""
    sizes = []
    for found in _below(pid):
        if _name(found).startswith("ks-http"):
            text = Path(f"/proc/{found}/smaps_rollup").read_text()
            private = [int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_")]
            sizes.append(sum(private) * 1024)
    # Workers are children of the listener, which keeps its name to itself: the largest ones are they.
    sizes.sort()
    return round(statistics.mean(sizes[-2:])) if sizes else 0


def _below(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from _below(int(child))


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def key_ids(made: Made, count: int) -> list[str]:
    """Some of the keys that were put in."""
    with sqlite3.connect(made.state / "state.db") as connection:
        rows = connection.execute("SELECT id FROM keys WHERE name LIKE 'filled-%'").fetchall()
    return random.sample([str(row[0]) for row in rows], count)


def keys(directory: Path, options: argparse.Namespace) -> None:
    """Ten keys against 100,000: rate, start, memory."""
    few, many = (keystead_region.make(directory / name) for name in ("few", "many"))
    prepared: dict[str, tuple[str, ...]] = {}
    for made, count in ((few, FEW - 1), (many, MANY_KEYS - 1)):
        with made.run() as region:
            bench = keystead_region.prepare(region)
            bench.key("first")
            prepared[str(made.directory)] = (bench.compartment, bench.vault, bench.application.headers["Authorization"])
        say(f"  {count} more keys")
        run_quietly([sys.executable, "-m", "bench.filling", str(made.state), str(count)], {**os.environ}, cwd=ROOT)
    for made in (few, many):
        with made.run():
            pass  # pages of the state into memory, on both sides
    with timed_start(few) as (region_few, seconds_few), timed_start(many) as (region_many, seconds_many):
        emit(Measure("start_100000_keys", seconds_many, "s", seconds_few, seconds_many / seconds_few))
        sides = {}
        before = worker_memory(region_many.pid)
        for side, made, region, count in (
            ("few", few, region_few, FEW - 1),
            ("many", many, region_many, FEW - 1),
            ("in_use", many, region_many, SPREAD),
        ):
            compartment, vault, token = prepared[str(made.directory)]
            application = Api(region.port, {"Authorization": token})
            chosen = key_ids(made, count)
            bench = Bench(region, compartment, vault, application)
            sides[side] = bench.target(chosen[0], os.urandom(KEY_BYTES), others=chosen[1:])
        values = race_each_other("keys", sides, directory, options)
        grown("keys", MANY_KEYS, values["many"], values["few"])
        grown("keys_in_use", SPREAD, values["in_use"], values["many"])
        emit(Measure("memory_per_key", (worker_memory(region_many.pid) - before) / SPREAD, "bytes"))


def statements(directory: Path, options: argparse.Namespace) -> None:
    """Ten policy statements against a thousand, about other groups and other compartments."""
    with contextlib.ExitStack() as stack:
        sides = {}
        for side, count in (("few", FEW), ("many", MANY_STATEMENTS)):
            region = stack.enter_context(keystead_region.start(directory / f"statements-{side}"))
            bench = keystead_region.prepare(region)
            _add_statements(bench, count - 1)
            sides[side] = bench.target(bench.key("bench"), os.urandom(KEY_BYTES))
        values = race_each_other("statements", sides, directory, options)
        grown("statements", MANY_STATEMENTS, values["many"], values["few"])


def _add_statements(bench: Bench, count: int) -> None:
    first, root = bench.region.administrator, bench.region.tenancy_id
    for number in range(10):
        first.call("POST", f"{API}/groups", {"name": f"others-{number}"})
    lines = [
        f"Allow group others-{number % 10} to use keys in compartment bench where target.key.name = 'other-{number}'"
        for number in range(count)
    ]
    for begin in range(0, count, STATEMENTS_OF_A_POLICY):
        some: Sequence[str] = lines[begin : begin + STATEMENTS_OF_A_POLICY]
        body: dict[str, Any] = {"compartment_id": root, "name": f"others-{begin}", "statements": list(some)}
        first.call("POST", f"{API}/policies", body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="per side and round")
    parser.add_argument("--only", choices=("unwrap", "peer", "keys", "statements"), help="one part")
    options = parser.parse_args()
    need("wrk")
    say_machine()
    with new_workspace("vault") as directory:
        if options.only in (None, "unwrap"):
            unwrap.measure(directory, options)
        if options.only in (None, "peer"):
            with (
                openbao.start(directory, os.urandom(KEY_BYTES)) as peer,
                keystead_region.start(directory / "peer") as region,
            ):
                against_openbao(keystead_region.prepare(region), peer, directory, options)
        if options.only in (None, "keys"):
            keys(directory, options)
        if options.only in (None, "statements"):
            statements(directory, options)


if __name__ == "__main__":
    main()
