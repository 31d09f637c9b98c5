"""`ApiDesk` and time: a machine whose clock differs from the region's is understood all the same."""

import json
import socketserver
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from keystead.adapters.desk import ApiDesk
from keystead.adapters.jose import JoseCodec
from keystead.core.clock import ManualClock
from keystead.core.errors import Refusal
from keystead.crypto.sign import SigningKey
from keystead.databases.desk import Report

MACHINE = "ks1.machine.main.test.aaaa"
MINUTES = timedelta(minutes=2)
REPORT = Report("ks1.mysqldbsystem.main.test.bbbb", "running")


class Region(socketserver.ThreadingUnixStreamServer):
    """Lets in whoever has a token that holds by its own clock."""

    def __init__(self, path: Path, key: SigningKey) -> None:
        super().__init__(str(path), Handler)
        self.codec = JoseCodec(key)
        self.key = key
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.says_time = True
        self.asked = 0

    def lets_in(self, token: str) -> bool:
        try:
            claims = self.codec.verify(token, lambda _: self.key.public.raw)
        except Refusal:
            return False
        return int(claims["iat"]) <= self.now.timestamp() < int(claims["exp"])  # type: ignore[call-overload]


class Handler(BaseHTTPRequestHandler):
    server: Region

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: object) -> None:
        """Nothing to say."""

    def send_response(self, code: int, message: str | None = None) -> None:
        self.send_response_only(code, message)

    def do_POST(self) -> None:
        self.server.asked += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        inside = self.server.lets_in(self.headers["Authorization"].removeprefix("Bearer "))
        body = b"{}" if inside else json.dumps({"code": "NotAuthenticated", "message": "no", "hint": ""}).encode()
        self.send_response(200 if inside else 401)
        if not inside and self.server.says_time:
            self.send_header("Date", format_datetime(self.server.now, usegmt=True))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def region(tmp_path: Path, key: SigningKey) -> Iterator[Region]:
    with Region(tmp_path / "s", key) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def desk(region: Region, key: SigningKey, clock: ManualClock) -> ApiDesk:
    return ApiDesk(Path(str(region.server_address)), JoseCodec(key, kid=MACHINE), MACHINE, "test", clock)


@pytest.mark.parametrize("hours", [-24, -1, 1, 24])
def test_another_time_here(region: Region, key: SigningKey, hours: int) -> None:
    made = desk(region, key, ManualClock(region.now + timedelta(hours=hours)))
    made.report(REPORT)
    assert region.asked == 2
    made.report(REPORT)
    assert region.asked == 3, "it is remembered"


def test_the_regions_time_jumps(region: Region, key: SigningKey) -> None:
    made = desk(region, key, ManualClock(region.now))
    made.report(REPORT)
    for jump in (timedelta(hours=2), timedelta(hours=-3)):
        region.now += jump
        made.report(REPORT)


def test_whoever_is_not_let_in_for_another_reason_asks_no_second_time(region: Region, key: SigningKey) -> None:
    made = desk(region, key, ManualClock(region.now))
    made.report(REPORT)
    region.key = SigningKey.generate()
    with pytest.raises(Refusal):
        made.report(REPORT)
    assert region.asked == 2


def test_a_refusal_without_the_time(region: Region, key: SigningKey) -> None:
    region.says_time = False
    made = desk(region, key, ManualClock(region.now + timedelta(hours=1)))
    with pytest.raises(Refusal):
        made.report(REPORT)
    assert region.asked == 1
