"""The public API over HTTP: one connection, strict about whom it talks to.

Guarantees: TLS is always verified against the region's own CA file; plain HTTP goes to this machine alone (loopback or
a unix socket); redirects are not followed, proxies of the environment are not used; a request is only sent twice when
that cannot do anything twice (a GET, or a POST with its Idempotency-Key).

URLs: `https://host[:port]`, `http://127.0.0.1[:port]`, `unix:/path/of/socket`.
"""

import http.client
import ipaddress
import json
import socket
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from keystead import __version__
from keystead.cli.exits import FAILED, UNAVAILABLE, CliError, of_status, usage
from keystead.cli.proof import SessionKey
from keystead.cli.wire import Call, Json, Reply

TIMEOUT = 60.0  # seconds without a byte


class Client:
    """Speaks to one region.

    Args:
        url: where it is.
        ca: file with the region's CA certificate (PEM); needed for https.
        token: bearer token, or None while signing in.
        key: what the token is bound to, if it is; each request is proved with it.

    Raises (each request):
        CliError: the region refused (with its code, sentence, hint and request id), or cannot be reached.
    """

    def __init__(self, url: str, ca: str = "", token: str | None = None, key: SessionKey | None = None) -> None:
        self.url = url
        self._key = key
        self._token = token
        self.approval: str | None = None
        self._connection = _connection(url, ca)

    def get(self, path: str, **query: str | int | None) -> Reply:
        """GET one thing or one page."""
        return self.send(Call("GET", path, query=query))

    def post(
        self, path: str, body: Json | None = None, *, if_match: str | None = None, **query: str | int | None
    ) -> Reply:
        """POST an action."""
        return self.send(Call("POST", path, body=body, query=query, if_match=if_match))

    def create(self, path: str, body: Json | None = None) -> Reply:
        """POST something new, with an Idempotency-Key. Members that are None are left out."""
        told = None if body is None else {key: value for key, value in body.items() if value is not None}
        return self.send(Call("POST", path, body=told, once=True))

    def delete(self, path: str, *, if_match: str | None = None, **query: str | int | None) -> Reply:
        """DELETE one thing."""
        return self.send(Call("DELETE", path, query=query, if_match=if_match))

    def items(self, path: str, limit: int | None = None, **query: str | int | None) -> Iterator[Json]:
        """Every item of a list, page by page, at most `limit`."""
        page: str | None = None
        left = limit
        while left is None or left > 0:
            size = 200 if left is None else min(left, 200)
            data = self.send(Call("GET", path, query={**query, "limit": size, "page": page})).data
            yield from data["items"][:left]
            left = None if left is None else left - len(data["items"])
            page = data.get("next_page")
            if page is None:
                return

    def send(self, call: Call) -> Reply:
        """Send one request and read the whole answer."""
        with self._told():
            answer = self._start(call)
            raw = answer.read()
        etag = answer.getheader("ETag")
        return Reply(answer.status, _decode(raw), etag.removeprefix("W/").strip('"') if etag else None)

    def stream(self, call: Call) -> Iterator[bytes]:
        """Send one request and yield the answer's body as it comes; ends only when it is complete."""
        with self._told():
            answer = self._start(call)
        while True:
            with self._told():
                piece = answer.read(256 * 1024)
            if not piece:
                if answer.length:  # shorter than announced; a cut chunked body raises by itself
                    raise CliError("the answer was cut short", hint="try again", exit_code=UNAVAILABLE)
                return
            yield piece

    def _start(self, call: Call) -> http.client.HTTPResponse:
        body = None if call.body is None else json.dumps(call.body).encode()
        headers = {"Accept": "application/json", "User-Agent": f"keystead-cli/{__version__}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token is not None and self._key is None:
            headers["Authorization"] = f"Bearer {self._token}"
        if call.if_match is not None:
            headers["If-Match"] = f'"{call.if_match}"'
        if self.approval is not None and call.method != "GET":
            headers["Approval"] = self.approval
        if call.once:
            headers["Idempotency-Key"] = str(uuid.uuid4())
        answer = self._exchange(call, body, headers)
        if answer.status >= 300:
            raise _refused(answer, answer.read())
        return answer

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what goes wrong on the way into words."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise CliError(
                f"{self.url} is not the region that the CA file vouches for: {error.verify_message}",
                hint="check the url and the CA file of the profile; do not go on before you know why",
                code="UntrustedServer",
                exit_code=FAILED,
            ) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise CliError(
                f"cannot reach the region at {self.url}: {_reason(error)}",
                hint="is it running? `keystead up` starts one on this machine",
                code="Unreachable",
                exit_code=UNAVAILABLE,
            ) from error

    def close(self) -> None:
        """Drop the connection; the next request opens a new one."""
        self._connection.close()

    def _proved(self, call: Call, headers: dict[str, str]) -> dict[str, str]:
        """With a proof that is good for one sending."""
        if self._token is None or self._key is None:
            return headers
        return headers | self._key.headers(self._token, call.method, self.url, call.target())

    def _exchange(self, call: Call, body: bytes | None, headers: dict[str, str]) -> http.client.HTTPResponse:
        reused = self._connection.sock is not None
        try:
            self._connection.request(call.method, call.target(), body, self._proved(call, headers))
            return self._connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine):
            # an idle connection that the other side closed meanwhile shows only when it is used again
            self._connection.close()
            if not reused or not (call.method == "GET" or call.once):
                raise
            self._connection.request(call.method, call.target(), body, self._proved(call, headers))
            return self._connection.getresponse()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


def check_url(url: str) -> None:
    """Whether `url` is one we would talk to.

    Raises:
        CliError: not a URL of the three forms, or plain HTTP to another machine.
    """
    form = "https://host:port, http://127.0.0.1:port or unix:/path"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise usage(f"{url!r} is not a URL", form) from error
    if parts.scheme == "unix":
        if not parts.path.startswith("/") or parts.netloc:
            raise usage(f"{url!r} does not name a socket", form)
        return
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise usage(f"{url!r} is not a URL of a region", form)
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username or parts.password:
        raise usage(f"{url!r} has more than scheme, host and port", form)
    if parts.scheme == "http" and not _loopback(parts.hostname):
        raise usage("plain http is for this machine only", "use https and the region's CA file")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _connection(url: str, ca: str) -> http.client.HTTPConnection:
    check_url(url)
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return _UnixConnection(parts.path)
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT)
    if not ca:
        raise usage(f"no CA file for {url}", "run `keystead login --ca FILE` with the CA certificate of the region")
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise usage(f"cannot use the CA file {ca}: {_reason(error)}") from error
    return http.client.HTTPSConnection(parts.hostname or "", parts.port or 443, timeout=TIMEOUT, context=context)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _decode(raw: bytes) -> Json:
    if not raw:
        return {}
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise CliError("the answer is not JSON: this is not a Keystead region", code="BadAnswer") from error
    if not isinstance(found, dict):
        raise CliError("the answer is not a JSON object: this is not a Keystead region", code="BadAnswer")
    return found


def _refused(answer: http.client.HTTPResponse, raw: bytes) -> CliError:
    request_id = answer.getheader("X-Request-Id") or ""
    try:
        told = json.loads(raw)
        message, code, hint = str(told["message"]), str(told["code"]), str(told.get("hint") or "")
        request_id = str(told.get("request_id") or request_id)
    except (ValueError, TypeError, KeyError):
        told = {}
        message, code, hint = f"the server answered {answer.status} {answer.reason}", "", ""
    error = CliError(message, hint=hint, code=code, request_id=request_id, exit_code=of_status(answer.status))
    error.told = told
    return error
