"""What every benchmark shares: fair rounds, one form of result, a probe of the disk, and a load generator.

Promises:
- Standard output carries JSON lines {name, value, unit, baseline, ratio, spread} and nothing else; progress goes to
  standard error.
- Peers are measured in interleaved rounds, the order turned each time (ABBA), so that what else the machine does falls
  on both. `ratio` is the median over the rounds of ours / theirs within one round; `spread` is (largest - smallest
  ratio) / median: how far to trust it.
- Tokens travel in files of mode 0600, never in argv.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def say(text: str) -> None:
    """Progress, for people."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of result. `baseline` is the peer's value in the same unit; None where there is no peer."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    spread: float | None = None


def emit(measure: Measure) -> None:
    """Print one result line."""
    fields = {name: getattr(measure, name) for name in Measure.__slots__}
    shown = {name: round(value, 4) if isinstance(value, float) else value for name, value in fields.items()}
    print(json.dumps(shown), flush=True)


def spread(values: Sequence[float]) -> float:
    """(largest - smallest) / median."""
    return (max(values) - min(values)) / statistics.median(values)


def interleave(rounds: int, sides: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure every side once per round, turning the order each round.

    Returns:
        For each side its values, round by round.
    """
    values: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for number in range(rounds):
        for name in order:
            values[name].append(sides[name]())
        say(f"  round {number + 1}/{rounds}: " + ", ".join(f"{name} {values[name][-1]:,.0f}" for name in sides))
        order.reverse()
    return values


def compare(name: str, unit: str, ours: Sequence[float], theirs: Sequence[float]) -> Measure:
    """The result of two sides measured in the same rounds; higher is better on both."""
    ratios = [mine / peer for mine, peer in zip(ours, theirs, strict=True)]
    return Measure(
        name, statistics.median(ours), unit, statistics.median(theirs), statistics.median(ratios), spread(ratios)
    )


def probe_disk(directory: Path, seconds: float = 2.0) -> Measure:
    """How often per second 4 KiB can be made durable in `directory`: append within preallocated space, fdatasync."""
    counts: list[float] = []
    for _ in range(3):
        with tempfile.TemporaryFile(dir=directory) as file:
            handle, block = file.fileno(), os.urandom(4096)
            os.posix_fallocate(handle, 0, 64 << 20)
            os.fsync(handle)
            done, start = 0, time.perf_counter()
            while (passed := time.perf_counter() - start) < seconds / 3:
                os.pwrite(handle, block, done % (16 << 10) * 4096)
                os.fdatasync(handle)
                done += 1
            counts.append(done / passed)
    return Measure("fdatasync", statistics.median(counts), "1/s", spread=spread(counts))


def free_port() -> int:
    """A loopback port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_ports(count: int) -> str:
    """So many loopback ports in a row that nothing listens on, below those that clients are given: `24000-24019`."""
    for first in range(20000 + os.getpid() % 100 * 100, 32000 - count, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return f"{first}-{first + count - 1}"
    raise RuntimeError(f"there are not {count} free ports in a row")


@contextlib.contextmanager
def workspace(name: str) -> Iterator[Path]:
    """A directory for one run, gone afterwards; under $KEYSTEAD_BENCH_DIR, else the system's own."""
    with tempfile.TemporaryDirectory(prefix=f"keystead-{name}-", dir=os.environ.get("KEYSTEAD_BENCH_DIR")) as path:
        os.chmod(path, 0o711)  # database servers run under other uids and must get through
        yield Path(path)


@contextlib.contextmanager
def child(
    argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a session of its own, output to `log`; end it with SIGTERM, its group with SIGKILL after 15 s."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=None if environment is None else dict(environment),
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # itself, or what it left behind
        process.wait()


def run_quietly(argv: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command to its end; its standard output.

    Raises:
        RuntimeError: it failed; the message holds what it said on standard error.
    """
    result = subprocess.run(
        list(argv),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=None if environment is None else dict(environment),
    )
    if result.returncode:
        raise RuntimeError(f"{argv[0]} {argv[1]} ended with {result.returncode}:\n{result.stderr[-2000:]}")
    return result.stdout


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log, for the message of a failure."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


def wait_until(
    ready: Callable[[], bool], what: str, process: subprocess.Popen[bytes], log: Path, limit: float = 30
) -> None:
    """Ask `ready` until it says yes; fail with the log's end when the process dies or time is up."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with {process.returncode}:\n{tail(log)}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            if ready():
                return
        time.sleep(0.05)
    raise RuntimeError(f"{what} did not get ready within {limit:.0f} s:\n{tail(log)}")


@dataclass(frozen=True, slots=True)
class Api:
    """A JSON client for one server on loopback."""

    port: int
    headers: Mapping[str, str]

    def call(
        self, method: str, path: str, body: object = None, *, fine: Sequence[int] = (200, 201, 202, 204)
    ) -> object:
        """Send one request.

        Returns:
            The decoded answer, None when it is empty.

        Raises:
            RuntimeError: a status that is not in `fine`.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, path, content, {"Content-Type": "application/json", **self.headers})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status not in fine:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text else None


@dataclass(frozen=True, slots=True)
class Target:
    """One HTTP request to repeat, and how to know that its answer is right."""

    name: str
    port: int
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, object]
    is_right: Callable[[object], bool]
    others: Sequence[tuple[str, Mapping[str, object]]] = ()
    """More paths and bodies: with any, each request is one of all, in a random order."""

    def check(self) -> None:
        """One request by hand: the answer has to be right before speed is worth anything."""
        answer = Api(self.port, self.headers).call("POST", self.path, self.body)
        if not self.is_right(answer):
            raise RuntimeError(f"{self.name} gives a wrong answer")


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: requests per second, and latencies in milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float


_SCRIPT = """\
wrk.method = "POST"
wrk.body = {body}
{headers}
{table}
done = function(summary, latency, requests)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
              + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %f %f %f\\n", summary.requests, summary.duration, bad,
           latency:percentile(50), latency:percentile(99), latency.max))
end
"""


def _lua(text: str) -> str:
    """A Lua string literal."""
    return (
        '"' + "".join(f"\\{byte:03d}" if byte < 32 or chr(byte) in '"\\' else chr(byte) for byte in text.encode()) + '"'
    )


def _table(target: Target) -> str:
    if not target.others:
        return ""
    each = [(target.path, target.body), *target.others]
    rows = ",\n".join(f"wrk.format(nil, {_lua(path)}, nil, {_lua(json.dumps(body))})" for path, body in each)
    # Made once, when wrk's headers are known.
    return f"init = function()\n rows = {{{rows}}}\nend\nrequest = function() return rows[math.random(#rows)] end"


def run_wrk(target: Target, connections: int, seconds: int, directory: Path) -> Load:
    """Repeat one request over `connections` kept-alive connections for `seconds`.

    Raises:
        RuntimeError: wrk is missing, or any answer was not 2xx or 3xx, or any connection failed.
    """
    headers = {"Content-Type": "application/json", **target.headers}
    script = directory / f"{target.name}.lua"
    script.touch(mode=0o600)
    script.write_text(
        _SCRIPT.format(
            body=_lua(json.dumps(target.body)),
            headers="\n".join(f"wrk.headers[{_lua(name)}] = {_lua(value)}" for name, value in headers.items()),
            table=_table(target),
        )
    )
    # One thread: wrk makes several times the load either server can take, and there are few cores to share.
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
    result = subprocess.run(
        [*argv, f"http://127.0.0.1:{target.port}{target.path}"], capture_output=True, text=True, check=False
    )
    script.unlink()
    found = re.search(r"^RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+) ([\d.]+)$", result.stdout, re.MULTILINE)
    if result.returncode != 0 or not found:
        raise RuntimeError(f"wrk failed:\n{result.stdout}{result.stderr}")
    requests, microseconds, bad = (int(found[n]) for n in (1, 2, 3))
    if bad or not requests:
        raise RuntimeError(f"{target.name}: {bad} of {requests} requests failed under load\n{result.stdout}")
    p50, p99, top = (float(found[n]) / 1000 for n in (4, 5, 6))
    return Load(requests / (microseconds / 1e6), p50, p99, top)


def need(*programs: str) -> None:
    """Install the programs that are missing (Debian packages of the same name)."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        subprocess.run([ROOT / "tools" / "install.sh", *missing], check=True, stdout=sys.stderr)


def say_machine() -> None:
    """The cores, and how busy they are before we begin."""
    busy = os.getloadavg()[0]
    say(
        f"{os.cpu_count()} cores, load before the run {busy:.2f}"
        + (" (busy: do not trust the figures)" if busy > 1 else "")
    )
