"""The application: raw ASGI, without a framework, because foreign protocols sign raw targets and use odd methods.

`make_app` is what `server/` wires and runs. The application answers HTTP and the lifespan protocol, nothing else;
`at_once` is its short way for a listener that has a whole request in hand.
"""

from collections.abc import Awaitable

from keystead.web.api import TABLE
from keystead.web.dialects import faces
from keystead.web.login import LoginFace
from keystead.web.pipeline import Entrance, Limits, Pipeline, Receive, Scope, Send
from keystead.web.services import Services
from keystead.web.well_known import WellKnownFace


class App:
    """The application of one worker: one event loop, its pools of threads, its gate to the audit log."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.serves_at_once = pipeline.serves_at_once
        self.at_once = pipeline.at_once

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        kind = scope["type"]
        if kind == "http":
            return self._pipeline(scope, receive, send)
        if kind == "lifespan":
            return self._live(receive, send)
        return send({"type": "websocket.close", "code": 1000})  # refused before it opens

    def close(self) -> None:
        """Let what has begun end."""
        self._pipeline.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def make_app(services: Services, limits: Limits | None = None, entrance: Entrance = "") -> App:
    """The application of one worker."""
    return App(Pipeline(services, TABLE, limits or Limits(), (LoginFace(), WellKnownFace(), *faces()), entrance))
