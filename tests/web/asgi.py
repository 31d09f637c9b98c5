"""An ASGI client in one place: runs the application in this process, on one event loop of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    """What came back. `whole` is False when the application cut the connection within the body."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Speaks to an ASGI application. `token` goes along when it is set."""

    def __init__(self, app: Any, token: str = "", root: str = "/keystead/v1") -> None:
        self.app, self.token, self.root = app, token, root
        self.loop = asyncio.new_event_loop()

    def close(self) -> None:
        pending = asyncio.all_tasks(self.loop)
        for task in pending:
            task.cancel()
        if pending:
            self.loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self.loop.close()

    def run(self, work: Any, timeout: float = 20) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, timeout))

    def get(self, path: str, **given: Any) -> Reply:
        return self.call("GET", path, **given)

    def post(self, path: str, body: Any = None, **given: Any) -> Reply:
        return self.call("POST", path, body, **given)

    def call(self, method: str, path: str, body: Any = None, **given: Any) -> Reply:
        return self.run(self.send(method, path, body, **given))

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        chunks: Iterable[bytes] | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        source: tuple[str, str] | None = ("192.0.2.7", "4711"),
        twice: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request. `body` is sent as JSON, `raw` as it is, `chunks` without a length."""
        target, _, query = (self.root + path if path.startswith("/") else path[1:]).partition("?")
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        sent = {"host": "test"}
        if raw is None and body is not None:
            sent["content-type"] = "application/json"
        if chunks is None and (content or method not in ("GET", "HEAD")):
            sent["content-length"] = str(len(content))
        held = self.token if token is None else token
        if held:
            sent["authorization"] = f"Bearer {held}"
        sent.update(headers or {})
        scope = {
            "type": "http",
            "method": method,
            "path": target,
            "raw_path": target.encode("latin-1"),
            "query_string": query.encode(),
            "client": source,
            "headers": [
                (name.lower().encode(), value.encode("latin-1"))
                for name, value in [*sent.items(), *(twice or {}).items()]
            ],
        }
        return await self._exchange(scope, [content] if chunks is None else list(chunks))

    async def _exchange(self, scope: dict[str, Any], chunks: list[bytes]) -> Reply:
        reply, waiting = Reply(), list(chunks)
        ended = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if waiting:
                chunk = waiting.pop(0)
                return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}
            await ended.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                reply.body += message.get("body", b"")
                reply.whole = not message.get("more_body", False)

        try:
            await self.app(scope, receive, send)
        except Exception:
            if not reply.status:
                raise
        finally:
            ended.set()
        return reply
