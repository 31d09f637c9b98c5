"""The ASGI application: raw, without a framework, because foreign protocols sign raw targets and use odd methods.

`make_app` is what `server/` wires and runs. The application answers HTTP and the lifespan protocol, nothing else.
"""

from collections.abc import Awaitable, Callable

from keystead.web.api import TABLE
from keystead.web.dialects import faces
from keystead.web.pipeline import Entrance, Limits, Pipeline, Receive, Scope, Send
from keystead.web.services import Services

App = Callable[[Scope, Receive, Send], Awaitable[None]]


def make_app(services: Services, limits: Limits | None = None, entrance: Entrance = "") -> App:
    """The application of one worker: one event loop, its pools of threads, its gate to the audit log."""
    pipeline = Pipeline(services, TABLE, limits or Limits(), faces(), entrance)

    def app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        kind = scope["type"]
        if kind == "http":
            return pipeline(scope, receive, send)
        if kind == "lifespan":
            return _live(pipeline, receive, send)
        return send({"type": "websocket.close", "code": 1000})  # refused before it opens

    return app


async def _live(pipeline: Pipeline, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            pipeline.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
