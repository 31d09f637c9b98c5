"""A listener on this machine's loopback, for one answer that a browser brings (RFC 8252)."""

import http.server
import secrets
import webbrowser
from types import TracebackType
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from keystead.cli.exits import UNAVAILABLE, CliError

WAIT_SECONDS: Final = 300.0
_DONE: Final = b"<!doctype html><meta charset=utf-8><title>Keystead</title><p>You can close this page now.\n"


class Loopback:
    """Listens on 127.0.0.1, on a port of the system's choice, until it has heard what it waits for.

        with Loopback() as listener:
            ... listener.url ...
            said = listener.wait()

    Promise: only a request for its own, unguessable path and with the `state` it made counts; what else comes is
    answered with nothing.
    """

    def __init__(self) -> None:
        self.state = secrets.token_urlsafe(24)
        self._said: dict[str, str] | None = None
        self._path = f"/{secrets.token_urlsafe(9)}"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                heard = outer._hear(self.path)
                self.send_response(200 if heard else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                if heard:
                    self.wfile.write(_DONE)

            def log_message(self, format: str, *args: Any) -> None:
                return None  # a code in a log would be a code for whoever reads it

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Where the browser is sent."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{self._path}"

    def wait(self, seconds: float = WAIT_SECONDS) -> dict[str, str]:
        """What the browser brought. Raises: CliError, it did not come."""
        self._server.timeout = 0.5
        for _ in range(max(1, int(seconds * 2))):
            self._server.handle_request()
            if self._said is not None:
                return self._said
        raise CliError("nobody came back from the browser in time", code="TimedOut", exit_code=UNAVAILABLE)

    def __enter__(self) -> "Loopback":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.server_close()

    def _hear(self, target: str) -> bool:
        parts = urlsplit(target)
        said = dict(parse_qsl(parts.query, max_num_fields=20))
        if parts.path != self._path or not secrets.compare_digest(said.get("state", ""), self.state):
            return False
        self._said = said
        return True


def open_browser(url: str) -> bool:
    """Show a page to the person in front of this machine; whether that could be tried."""
    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False
