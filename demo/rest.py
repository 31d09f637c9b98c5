"""The REST API over one kept connection, where a command's own start would hide the milliseconds."""

import http.client
import json
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from demo.commands import Unexpected
from demo.stage import Stage

_BASE = "/keystead/v1"


class Rest:
    """Requests as `who`, with a bearer token: that of their sign-in is bound to a key that their profile keeps."""

    def __init__(self, stage: Stage, who: str) -> None:
        url = urlsplit(stage.region["url"])
        context = ssl.create_default_context(cafile=str(stage.state / "ca.pem"))
        token = stage.run(who, "session", "token", "--for", "api", "--minutes", "10").data["token"]
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._connection = http.client.HTTPSConnection(str(url.hostname), url.port, context=context, timeout=30)
        self._connection.connect()

    def call(self, method: str, path: str, body: object = None) -> tuple[Any, float]:
        """The answer, and the seconds it took.

        Raises:
            Unexpected: it was refused.
        """
        content = None if body is None else json.dumps(body)
        began = time.perf_counter()
        self._connection.request(method, _BASE + path, content, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        took = time.perf_counter() - began
        if answer.status >= 300:
            raise Unexpected(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text), took

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
