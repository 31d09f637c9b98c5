"""`Desk` over the region's API, on a Unix socket: how `host` asks, as this machine.

Every request carries a token of two minutes that the machine signs with its own key; nothing secret of the region is
kept here. One connection per call: calls are few, and a broken one says nothing about the next. Logins are many: each
thread that has them decided keeps its connection, and makes another when the region has closed it meanwhile.

Tokens go by the region's time. It need not be ours (a clock was set back, and one of both began anew since): a refusal
says what time it is there, and the request is signed again.
"""

import http.client
import json
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import h11
import msgspec

from keystead.adapters.jose import JoseCodec
from keystead.adapters.unix_http import UnixConnection, UnixLine
from keystead.core.clock import Clock, isoformat
from keystead.core.errors import Fault, Kind, Refusal, Unavailable
from keystead.databases.desk import HostView, Opened, OwnToken, Report
from keystead.databases.logins.model import EndedLogin, Grounds, LoginAnswer, LoginRequest, MappingReport
from keystead.iam.tokens import MACHINE_LIFETIME, machine_claims

BASE = "/keystead/v1"
TIMEOUT_SECONDS = 5.0
LOGIN_SECONDS = 1.8
"""The plugin waits two seconds: a little less, so that it hears why not from us."""
TOLERANCE = timedelta(seconds=5)
Read = TypeVar("Read")
_ENDED = msgspec.json.Decoder(dict[str, list[EndedLogin]])


class _Issued(msgspec.Struct):
    """What matters of a new token."""

    token: str
    expires_at: datetime


_ISSUED = msgspec.json.Decoder(_Issued)
_KINDS: Mapping[int, Kind] = {
    400: "bad_request",
    401: "unauthenticated",
    403: "denied",
    404: "not_found",
    409: "conflict",
    412: "stale",
}


class ApiDesk:
    """The desk of the region behind the Unix socket `path`."""

    def __init__(self, path: Path, codec: JoseCodec, machine: str, region: str, clock: Clock) -> None:
        self._path = path
        self._codec = codec
        self._machine = machine
        self._region = region
        self._clock = clock
        self._token = ""
        self._until = clock.now()
        self._ahead = timedelta(0)
        self._lock = threading.Lock()
        self._views = msgspec.json.Decoder(HostView)
        self._answers = msgspec.json.Decoder(LoginAnswer)
        self._kept = threading.local()

    def watch(self, known_generation: int, wait_seconds: float) -> HostView:
        body = {"known_generation": known_generation, "wait_ms": int(wait_seconds * 1000)}
        answer = self._ask("/host/watch", body, TIMEOUT_SECONDS + wait_seconds)
        try:
            return self._views.decode(answer)
        except msgspec.MsgspecError as error:
            raise Unavailable("DeskUnclear", "the region answered something unexpected") from error

    def open_store_key(self, system: str) -> Opened:
        answer = self._ask(f"/host/systems/{system}/actions/open-store-key", None, TIMEOUT_SECONDS)
        return msgspec.json.decode(answer, type=Opened)

    def issue_session(self, system: str, public_key: str) -> OwnToken:
        """A token of the system's own, bound to the key (PEM)."""
        path = f"/host/systems/{system}/actions/issue-session"
        issued = self._read(_ISSUED, self._ask(path, {"public_key": public_key}, TIMEOUT_SECONDS))
        with self._lock:
            now = self._clock.now() + self._ahead
        return OwnToken(issued.token, (issued.expires_at - now).total_seconds())

    def report(self, report: Report) -> None:
        body: dict[str, Any] = {
            "system_id": report.system,
            "event": report.event,
            "reason": report.reason,
            "text": report.text[:4000],
        }
        if report.receipt is not None:
            body["receipt"] = {
                "reason": report.receipt.reason,
                "reason_text": report.receipt.reason_text[:1000],
                "committed_at": isoformat(report.receipt.committed_at),
                "steps": [list(step) for step in report.receipt.steps],
            }
        self._ask("/host/reports", body, TIMEOUT_SECONDS)

    def decide_login(self, system: str, asked: LoginRequest) -> LoginAnswer:
        body = msgspec.json.encode(asked)
        path = f"/host/systems/{system}/actions/decide-login"
        status, date, answer = self._send_kept(path, body)
        if status == HTTPStatus.UNAUTHORIZED and self._take_time(date):
            status, date, answer = self._send_kept(path, body)
        if status >= 400:
            raise _error(status, answer)
        return self._read(self._answers, answer)

    def check_logins(self, system: str, held: Sequence[Grounds]) -> Sequence[EndedLogin]:
        body = {"held": [msgspec.to_builtins(each) for each in held]}
        answer = self._ask(f"/host/systems/{system}/actions/check-logins", body, TIMEOUT_SECONDS)
        return self._read(_ENDED, answer)["ended"]

    def report_mappings(self, system: str, reports: Sequence[MappingReport]) -> None:
        body = {"reports": [msgspec.to_builtins(each) for each in reports]}
        self._ask(f"/host/systems/{system}/actions/report-mappings", body, TIMEOUT_SECONDS)

    def _read(self, decoder: "msgspec.json.Decoder[Read]", answer: bytes) -> "Read":
        try:
            return decoder.decode(answer)
        except msgspec.MsgspecError as error:
            raise Unavailable("DeskUnclear", "the region answered something unexpected") from error

    def _send_kept(self, path: str, content: bytes) -> tuple[int, str, bytes]:
        """As `_send`, on this thread's own connection; one that was closed at the other end is made anew, once."""
        headers = {"Authorization": f"Bearer {self._bearer()}", "Content-Type": "application/json"}
        while True:
            kept: UnixLine | None = getattr(self._kept, "line", None)
            self._kept.line = line = None
            try:
                line = kept or UnixLine(self._path, LOGIN_SECONDS)
                told = line.post(BASE + path, headers, content)
            except (OSError, h11.ProtocolError) as error:
                if line is not None:
                    line.close()
                if kept is None or isinstance(error, TimeoutError):
                    raise Unavailable("DeskUnavailable", "the region does not answer") from error
                continue
            if line.keep():
                self._kept.line = line
            return told

    def _ask(self, path: str, body: dict[str, Any] | None, timeout: float) -> bytes:
        content = None if body is None else json.dumps(body).encode()
        status, date, answer = self._send(path, content, timeout)
        if status == HTTPStatus.UNAUTHORIZED and self._take_time(date):
            status, date, answer = self._send(path, content, timeout)
        if status >= 400:
            raise _error(status, answer)
        return answer

    def _send(self, path: str, content: bytes | None, timeout: float) -> tuple[int, str, bytes]:
        connection = UnixConnection(self._path, timeout)
        headers = {"Authorization": f"Bearer {self._bearer()}", "Content-Type": "application/json"}
        try:
            connection.request("POST", BASE + path, content, headers)
            response = connection.getresponse()
            return response.status, response.headers.get("Date", ""), response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("DeskUnavailable", "the region does not answer") from error
        finally:
            connection.close()

    def _bearer(self) -> str:
        with self._lock:
            now = self._clock.now() + self._ahead
            if now >= self._until:
                self._token = self._codec.sign(machine_claims(self._machine, self._region, now))
                self._until = now + MACHINE_LIFETIME - timedelta(seconds=30)
            return self._token

    def _take_time(self, date: str) -> bool:
        """Go by the region's time from now on; False when we do already."""
        try:
            there = parsedate_to_datetime(date)
        except ValueError:
            return False
        with self._lock:
            ahead = there - self._clock.now()
            if abs(ahead - self._ahead) < TOLERANCE:
                return False
            self._ahead, self._until = ahead, there
            return True


def _error(status: int, answer: bytes) -> Exception:
    try:
        found = json.loads(answer)
        code, message, hint = str(found["code"]), str(found["message"]), str(found.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        return Unavailable("DeskUnavailable", f"the region answered {status}")
    if status >= 500 or status == 429:
        return Unavailable(code, message, hint=hint)
    kind = _KINDS.get(status)
    return Fault(code, message, hint=hint) if kind is None else Refusal(code, message, hint=hint, kind=kind)
