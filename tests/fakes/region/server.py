"""The region behind a real HTTP server in a thread."""

import json
import re
import ssl
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fakes.region.routes import Request, find
from tests.fakes.region.state import Exchange, Refused, Region
from tests.fakes.region.tokens import shown_token

BASE = "/keystead/v1"
OPEN = {
    ("POST", path)
    for path in ("/auth/tokens", "/auth/device", "/auth/logins", "/auth/factors", "/auth/factors/actions/begin")
}


def open_to_all(method: str, path: str) -> bool:
    """Does this operation take no token?"""
    if path.startswith("/seal"):
        return path != "/seal/actions/seal"
    return path == "/health" or path.startswith("/auth/federation/") or (method, path) in OPEN


def shown(thing: Any) -> Any:
    """Without the fake's own marks."""
    if isinstance(thing, dict):
        return {key: shown(value) for key, value in thing.items() if not key.startswith("_")}
    return [shown(item) for item in thing] if isinstance(thing, list) else thing


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    server: "Server"

    def handle_any(self) -> None:
        region = self.server.region
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        path = unquote(parts.path).removeprefix(BASE)
        ask = Request(region, dict(parse_qsl(parts.query)), json.loads(raw) if raw else None, dict(self.headers))
        seen = Exchange(self.command, path, self.path, ask.headers, ask.body, raw)
        region.exchanges.append(seen)
        with self.server.lock:
            status, reply, extra = self.answer(ask, seen, path)
        data = reply if isinstance(reply, bytes) else b"" if reply is None else json.dumps(shown(reply)).encode()
        seen.status, seen.reply = status, json.loads(data) if data and not isinstance(reply, bytes) else None
        if isinstance(seen.reply, dict) and status < 300 and "version" in seen.reply:
            extra["ETag"] = f'"{seen.reply["version"]}"'
        self.send_response(status)
        for name, value in extra.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self, ask: Request, seen: Exchange, path: str) -> tuple[int, Any, dict[str, str]]:
        region = ask.region
        for plan in region.planned:
            if plan.method == self.command and re.fullmatch(plan.path, path):
                region.planned.remove(plan)
                return plan.status, plan.body, dict(plan.headers)
        try:
            if not open_to_all(self.command, path) and shown_token(ask.headers) not in region.tokens:
                raise Refused(401, "Unauthenticated", "the token is expired or void")
            seen.template, function, ids = find(self.command, path)
            given = function(ask, **ids)
            status, reply = given if isinstance(given, tuple) else (200, given)
            return status, reply, {}
        except Refused as error:
            return error.status, {**error.body, "request_id": region.new_id("request")}, {}

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Serves a `Region` on a free port of loopback until closed."""

    daemon_threads = True

    def __init__(self, region: Region, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.region = region
        self.lock = threading.Lock()
        self.mistakes: list[str] = []
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news; anything else is a mistake here, reported by `close`."""
        if not isinstance(sys.exc_info()[1], OSError):
            self.mistakes.append(traceback.format_exc())

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
        assert not self.mistakes, "\n".join(self.mistakes)
