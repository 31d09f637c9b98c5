"""The control socket, both ends: steps, streams both ways, errors, and what happens when either end is gone."""

import contextlib
import errno
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from keystead.adapters import hosts
from keystead.adapters.hosts import SocketHost
from keystead.core.errors import Fault, KeysteadError, Refusal, Unavailable
from keystead.core.frames import MAX_FRAME
from keystead.databases.ports import Progress
from keystead.host.control import ControlServer, is_listening

SYSTEM = "ks1.mysqldbsystem.main.home." + "a" * 32


class FakeAgent:
    """Does what a test says; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []
        self.step: Callable[[Progress], Mapping[str, str]] = lambda progress: {}
        self.stream: Callable[[], Iterator[bytes]] = lambda: iter([])
        self.take: Callable[[Iterator[bytes]], Mapping[str, str]] = lambda chunks: {"size": str(sum(map(len, chunks)))}

    def apply(self, system: str, step: str, progress: Progress, arguments: Mapping[str, str]) -> Mapping[str, str]:
        self.asked.append((system, step, arguments))
        return self.step(progress)

    def backup(self, system: str) -> Generator[bytes, None, None]:
        yield from self.stream()

    def restore(self, system: str, chunks: Iterator[bytes]) -> Mapping[str, str]:
        return self.take(chunks)


class Wire:
    """Both ends on a socket in a directory; `logged` is what the operator reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.agent = FakeAgent()
        self.logged: list[object] = []
        self.server = ControlServer(self.agent, path, lambda event, **more: self.logged.append((event, more)))  # type: ignore[arg-type]  # honours what is used of it
        self.server.start()
        self.host = SocketHost(path)

    def raw(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(5)
        made.connect(str(self.path))
        return made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    made = Wire(tmp_path_factory.mktemp("wire") / "host.sock")
    yield made
    made.server.stop()


@pytest.fixture
def wire(shared: Wire) -> Wire:
    """One server for all tests, as it must bear; its agent forgets what the test before said."""
    vars(shared.agent).update(vars(FakeAgent()))
    shared.logged.clear()
    return shared


def idle(percent: int, words: str) -> None:
    """Progress that nobody looks at."""


def test_a_step_travels_with_its_arguments_progress_and_result(wire: Wire) -> None:
    seen: list[tuple[int, str]] = []

    def step(progress: Progress) -> Mapping[str, str]:
        progress(10, "digging")
        progress(90, "grün")
        return {"report": "done"}

    wire.agent.step = step
    assert wire.host.apply(SYSTEM, "adopt", lambda *told: seen.append(told), administrator="a") == {"report": "done"}
    assert seen == [(10, "digging"), (90, "grün")]
    assert wire.agent.asked == [(SYSTEM, "adopt", {"administrator": "a"})]


def test_only_the_regions_own_user_can_open_it(wire: Wire) -> None:
    assert wire.path.stat().st_mode & 0o777 == 0o600


ERRORS: list[KeysteadError] = [
    Refusal("AccessLost", "the key is disabled", hint="enable it", kind="conflict"),
    Refusal("NotFound", "no", kind="not_found"),
    Unavailable("ServerDidNotStart", "it did not start", hint="look at its log"),
    Fault("Broken", "a bug"),
]


def same(one: KeysteadError, other: KeysteadError) -> bool:
    return (type(one), one.code, one.message, one.hint, getattr(one, "kind", None)) == (
        type(other), other.code, other.message, other.hint, getattr(other, "kind", None),
    )  # fmt: skip


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_errors_arrive_as_they_were_raised(wire: Wire, error: KeysteadError) -> None:
    wire.agent.step = wire.agent.stream = wire.agent.take = failing(error)
    for run in (
        lambda: wire.host.apply(SYSTEM, "start", idle),
        lambda: list(wire.host.backup(SYSTEM)),
        lambda: wire.host.restore(SYSTEM, iter([b"x"])),
    ):
        with pytest.raises(KeysteadError) as caught:
            run()
        assert same(caught.value, error)


def test_a_bug_over_there_is_told_without_its_words(wire: Wire, capfd: pytest.CaptureFixture[str]) -> None:
    wire.agent.step = failing(ValueError("a secret"))
    with pytest.raises(Fault) as caught:
        wire.host.apply(SYSTEM, "start", idle)
    assert (type(caught.value), caught.value.code) == (Fault, "Internal")
    assert "secret" not in caught.value.message
    wire.agent.step = lambda progress: {"next": "request"}
    assert wire.host.apply(SYSTEM, "start", idle) == {"next": "request"}
    assert "a secret" not in "".join(capfd.readouterr()) + repr(wire.logged)
    assert "ValueError" in repr(wire.logged)


def test_a_full_disk_over_there_is_waited_for(wire: Wire) -> None:
    wire.agent.step = failing(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(Unavailable) as caught:
        wire.host.apply(SYSTEM, "start", idle)
    assert caught.value.code == "DiskFull"


CHUNKS = [b"one", os.urandom(100_000), os.urandom(MAX_FRAME + 1), b"x" * (3 * MAX_FRAME), b"end"]


def test_streams_travel_both_ways_whatever_the_size_of_their_chunks(wire: Wire) -> None:
    wire.agent.stream = lambda: iter(CHUNKS)
    assert b"".join(wire.host.backup(SYSTEM)) == b"".join(CHUNKS)
    got: list[bytes] = []
    wire.agent.take = lambda chunks: got.extend(chunks) or {"tables": "5"}  # type: ignore[func-returns-value]
    assert wire.host.restore(SYSTEM, iter(CHUNKS)) == {"tables": "5"}
    assert b"".join(got) == b"".join(CHUNKS)


def test_an_empty_chunk_does_not_end_a_stream(wire: Wire) -> None:
    wire.agent.stream = lambda: iter([b"one", b"", b"two"])
    assert b"".join(wire.host.backup(SYSTEM)) == b"onetwo"
    got: list[bytes] = []
    wire.agent.take = lambda chunks: got.extend(chunks) or {}  # type: ignore[func-returns-value]
    wire.host.restore(SYSTEM, iter([b"one", b"", b"two"]))
    assert b"".join(got) == b"onetwo"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_a_backup_that_breaks_off_there_breaks_off_here(wire: Wire, error: KeysteadError) -> None:
    def stream() -> Iterator[bytes]:
        yield b"x" * 1000
        raise error

    wire.agent.stream = stream
    got: list[bytes] = []
    with pytest.raises(KeysteadError) as caught:
        for chunk in wire.host.backup(SYSTEM):
            got.append(chunk)
    assert same(caught.value, error)
    assert b"".join(got) == b"x" * 1000


def test_whoever_takes_no_more_of_a_backup_ends_it_there(wire: Wire) -> None:
    ended = threading.Event()

    def stream() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            ended.set()

    wire.agent.stream = stream
    backup = wire.host.backup(SYSTEM)
    next(backup)
    backup.close()  # type: ignore[attr-defined]
    assert ended.wait(10)
    wire.agent.step = lambda progress: {"still": "there"}
    assert wire.host.apply(SYSTEM, "start", idle) == {"still": "there"}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
@pytest.mark.parametrize("read", [0, 1, 5])
def test_a_restore_refused_there_is_told_while_we_still_send(wire: Wire, error: KeysteadError, read: int) -> None:
    """Its reason must not be lost in the noise of a closed socket."""

    def take(chunks: Iterator[bytes]) -> Mapping[str, str]:
        for _ in range(read):
            next(chunks)
        raise error

    wire.agent.take = take
    with pytest.raises(KeysteadError) as caught:
        wire.host.restore(SYSTEM, (os.urandom(100_000) for _ in range(100)))
    assert same(caught.value, error)


def test_a_restore_that_is_done_there_already_needs_no_bytes(wire: Wire) -> None:
    wire.agent.take = lambda chunks: {"already": "there"}
    assert wire.host.restore(SYSTEM, (os.urandom(100_000) for _ in range(100))) == {"already": "there"}


class Unopened(Exception):
    """The stream that is restored turns out to be forged."""


def test_a_restore_that_breaks_off_here_is_broken_there_never_short(wire: Wire) -> None:
    """The other end must not take half a stream for a whole one."""
    seen: list[str] = []
    done = threading.Event()

    def take(chunks: Iterator[bytes]) -> Mapping[str, str]:
        try:
            for _ in chunks:
                pass
            seen.append("whole")
        except BaseException as error:
            seen.append(type(error).__name__)
            raise
        finally:
            done.set()
        return {}

    def forged() -> Iterator[bytes]:
        yield b"x" * 1000
        raise Unopened

    wire.agent.take = take
    with pytest.raises(Unopened):
        wire.host.restore(SYSTEM, forged())
    assert done.wait(10)
    assert seen != ["whole"]


# either end gone


def test_nobody_there_is_an_outage(tmp_path: Path) -> None:
    host = SocketHost(tmp_path / "none.sock")
    for run in (
        lambda: host.apply(SYSTEM, "start", idle),
        lambda: list(host.backup(SYSTEM)),
        lambda: host.restore(SYSTEM, iter([b"x"])),
    ):
        with pytest.raises(Unavailable) as caught:
            run()
        assert caught.value.code == "HostUnavailable"
    assert not is_listening(tmp_path / "none.sock")


class Dying:
    """A server that says some bytes and dies."""

    def __init__(self, path: Path, says: bytes) -> None:
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(path))
        self._server.listen()
        self._says = says
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(100)
                connection.sendall(self._says)


def frame(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">cI", kind, len(body)) + body


@pytest.mark.parametrize(
    "says",
    [
        b"", b"R", frame(b"R", b"{}")[:-1], frame(b"P", b'{"percent": 1, "doing": "x"}'), frame(b"D", b"abc"),
        frame(b"D", b"abc")[:-1], b"D" + b"\xff" * 4, frame(b"?", b""),
    ],
)  # fmt: skip
def test_a_host_that_dies_in_the_middle_is_an_outage(tmp_path: Path, says: bytes) -> None:
    path = tmp_path / "dying.sock"
    Dying(path, says)
    host = SocketHost(path)
    for run in (
        lambda: host.apply(SYSTEM, "start", idle),
        lambda: list(host.backup(SYSTEM)),
        lambda: host.restore(SYSTEM, (b"x" * 100_000 for _ in range(20))),
    ):
        with pytest.raises(Unavailable):
            run()


@pytest.mark.parametrize(
    "says",
    [b"", b"J", frame(b"J", b"{}"), frame(b"J", b"not json"), frame(b"J", b"[1]"), frame(b"J", b'{"call": "explode"}'),
     frame(b"J", b'{"call": "apply"}'), b"J" + b"\xff" * 4, frame(b"X", b""),
     frame(b"J", json.dumps({"call": "restore", "system": SYSTEM}).encode()) + frame(b"J", b"{}"),
     frame(b"J", json.dumps({"call": "restore", "system": SYSTEM}).encode()) + b"D"],
)  # fmt: skip
def test_garbage_and_callers_that_die_leave_the_server_as_it_was(
    wire: Wire, says: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with wire.raw() as caller:
        caller.sendall(says)
    with wire.raw() as caller:
        caller.sendall(says)
        caller.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while caller.recv(4096):
                pass
    wire.agent.step = lambda progress: {"still": "there"}
    assert wire.host.apply(SYSTEM, "start", idle) == {"still": "there"}
    assert "Traceback" not in capfd.readouterr().err


def test_a_step_goes_on_when_its_caller_is_gone(wire: Wire) -> None:
    """It is idempotent: whoever asks next finds it done."""
    began, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def step(progress: Progress) -> Mapping[str, str]:
        began.set()
        assert go_on.wait(10)
        done.set()
        return {}

    wire.agent.step = step
    with wire.raw() as caller:
        caller.sendall(
            frame(b"J", json.dumps({"call": "apply", "system": SYSTEM, "step": "start", "arguments": {}}).encode())
        )
        assert began.wait(10)
    go_on.set()
    assert done.wait(10)


def test_many_callers_are_served_at_once(wire: Wire) -> None:
    barrier = threading.Barrier(30, timeout=10)
    wire.agent.step = lambda progress: {"at": str(barrier.wait())}
    got: list[str] = []
    threads = [
        threading.Thread(target=lambda: got.append(wire.host.apply(SYSTEM, "start", idle)["at"])) for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(map(int, got)) == list(range(30))


def test_a_host_that_says_nothing_is_given_up(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "SILENCE_SECONDS", 0.1)
    stop = threading.Event()
    wire.agent.step = lambda progress: {"late": str(stop.wait(10))}
    with pytest.raises(Unavailable) as caught:
        wire.host.apply(SYSTEM, "start", idle)
    stop.set()
    assert caught.value.code == "HostUnavailable"


def test_a_socket_left_behind_does_not_keep_the_next_from_listening(tmp_path: Path) -> None:
    path = tmp_path / "host.sock"
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(path))
    left.close()
    assert path.exists()
    assert not is_listening(path)
    wire = Wire(path)
    assert is_listening(path)
    wire.server.stop()
