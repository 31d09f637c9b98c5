"""The door of a node: what is asked of it is read strictly; who just comes in is not taken for a stranger."""

import struct
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest

from keystead.core.clock import ManualClock
from keystead.core.errors import Unavailable
from keystead.databases.logins.model import (
    EndedLogin,
    Grounds,
    LoginAnswer,
    LoginMapping,
    LoginRequest,
    MappingReport,
)
from keystead.host.logins import UNDECIDED_SECONDS, Door, Malformed, complete, read_message, reply_to

FIELDS = (b"server", b"ann", b"{}", b"", b"token", b"::1")


def message(kind: bytes = b"t", fields: Sequence[bytes] = FIELDS) -> bytes:
    return b"KSL1" + kind + struct.pack(">Q", 7) + b"".join(struct.pack(">I", len(each)) + each for each in fields)


class Node:
    def __init__(self) -> None:
        self.open: dict[int, str] = {}
        self.ended: list[int] = []
        self.notes: list[bytes] = []

    def login_socket(self) -> int:
        return -1

    def is_server(self, pid: int) -> bool:
        return True

    def put_logins(self, mappings: Sequence[LoginMapping]) -> Sequence[MappingReport]:
        return ()

    def token_sessions(self) -> Mapping[int, str]:
        return dict(self.open)

    def end_sessions(self, connections: Sequence[int]) -> None:
        self.ended += connections

    def note_login(self, line: bytes) -> None:
        self.notes.append(line)

    def noted_logins(self) -> Sequence[bytes]:
        return self.notes

    def renew_notes(self, lines: Sequence[bytes]) -> None:
        self.notes = list(lines)


class Desk:
    def __init__(self) -> None:
        self.lost: set[str] = set()
        self.silent = False
        self.asked: list[Grounds] = []

    def decide_login(self, system: str, asked: LoginRequest) -> LoginAnswer:
        raise AssertionError

    def check_logins(self, system: str, held: Sequence[Grounds]) -> Sequence[EndedLogin]:
        if self.silent:
            raise Unavailable("DeskUnavailable", "the region does not answer")
        self.asked = list(held)
        return [EndedLogin(each.key, "lost") for each in held if each.mapping in self.lost]

    def report_mappings(self, system: str, reports: Sequence[MappingReport]) -> None:
        """Nobody listens."""


class World:
    def __init__(self) -> None:
        self.clock, self.node, self.desk = ManualClock(), Node(), Desk()
        self.door = self.again()

    def again(self) -> Door:
        return Door("server", self.node, self.desk, self.clock, lambda *_, **__: None, 1)

    def let_in(self, number: int, mapping: str = "m", minutes: int = 60) -> None:
        now = self.clock.now()
        self.door._enter(
            number,
            Grounds("user", f"token-{minutes}", mapping, "", now, now + timedelta(minutes=minutes)),
        )
        self.node.open[number] = "ann"


@pytest.fixture
def world() -> World:
    return World()


def test_a_message_is_read() -> None:
    server, asked = read_message(message())
    assert (server, asked.user, asked.payload, asked.connection, asked.client) == (
        "server",
        "ann",
        b"token",
        7,
        "token",
    )
    assert complete(message()) and not complete(message()[:-1]) and not complete(b"KSL1t")


@pytest.mark.parametrize(
    "data",
    [b"", b"KSL1", message(b"x"), message()[:-1], message() + b"x", message(fields=FIELDS[:5]), b"KSL2" + message()[4:],
     message(fields=(b"server", b"\xff", b"", b"", b"", b""))],
)  # fmt: skip
def test_anything_else_is_not(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_message(data)


def test_a_message_without_end_is_given_up() -> None:
    with pytest.raises(Malformed):
        complete(b"KSL1t" + bytes(8) + b"\xff\xff\xff\xff" + bytes(100))


def test_a_reply_is_as_the_plugin_reads_it() -> None:
    clock = ManualClock()
    answer = LoginAnswer("p_dba", Grounds("ks1.user", "t", "m", "g", clock.now(), clock.now()))
    assert reply_to(answer) == b"A\x00\x05p_dba\x00\x08ks1.user"


def test_what_lost_its_ground_is_ended(world: World) -> None:
    world.let_in(1, "kept")
    world.let_in(2, "lost")
    world.desk.lost = {"lost"}
    world.door.watch()
    assert world.node.ended == [2]


def test_connections_of_one_token_are_asked_about_once(world: World) -> None:
    for number in range(5):
        world.let_in(number)
    world.door.watch()
    assert len(world.desk.asked) == 1


def test_what_expired_is_ended_though_nobody_answers(world: World) -> None:
    world.let_in(1, minutes=1)
    world.let_in(2, minutes=60)
    world.desk.silent = True
    world.clock.advance(61)
    world.door.watch()
    assert world.node.ended == [1]


def test_who_is_just_being_decided_about_is_left_alone(world: World) -> None:
    world.node.open[9] = "ann"
    world.door.watch()
    world.door.watch()
    assert world.node.ended == []
    world.let_in(9)
    world.clock.advance(UNDECIDED_SECONDS + 1)
    world.door.watch()
    assert world.node.ended == []


def test_who_is_in_no_book_is_ended(world: World) -> None:
    world.node.open[9] = "ann"
    world.door.watch()
    world.clock.advance(UNDECIDED_SECONDS + 1)
    world.door.watch()
    assert world.node.ended == [9]


def test_what_was_noted_is_known_again(world: World) -> None:
    world.let_in(1, "kept")
    world.let_in(2, "lost")
    world.node.notes.append(b"half a li")
    world.door = world.again()
    world.door._recall()
    world.clock.advance(UNDECIDED_SECONDS + 1)
    world.desk.lost = {"lost"}
    world.door.watch()
    assert world.node.ended == [2]


def test_what_is_gone_is_forgotten(world: World) -> None:
    world.let_in(1)
    del world.node.open[1]
    world.door.watch()
    world.clock.advance(UNDECIDED_SECONDS + 1)
    world.door.watch()
    world.desk.asked = []
    world.door.watch()
    assert world.desk.asked == []
