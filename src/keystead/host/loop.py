"""The machine's event loop, in a thread of its own: key endpoint and responder live there, keepers call in."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from keystead.host.endpoint import KeyEndpoint, NodeKeys
from keystead.host.responder import Refuser

Result = TypeVar("Result")
CALL_SECONDS = 5.0


class HostLoop:
    """Runs the endpoint and the responders. Implements the ports `Endpoint` and `Responder`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._tokens: dict[tuple[bytes, str], NodeKeys] = {}
        self._responders: dict[int, Refuser] = {}
        self._loop = asyncio.new_event_loop()
        self._key_endpoint = KeyEndpoint(self._find)
        self._thread = threading.Thread(target=self._loop.run_forever, name="host-loop", daemon=True)

    def start(self, port: int) -> int:
        """Listen for key requests on 127.0.0.1:`port`. Raises: OSError (taken)."""
        self._thread.start()
        return self._call(self._key_endpoint.start(port))

    def stop(self) -> None:
        """Close everything. Servers that run go on with what they have cached."""
        for port in list(self._responders):
            self.close(port)
        self._call(self._key_endpoint.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)

    def admit(self, token_sha256: bytes, mount: str, keys: NodeKeys) -> None:
        self._tokens[token_sha256, mount] = keys

    def dismiss(self, token_sha256: bytes, mount: str) -> None:
        keys = self._tokens.pop((token_sha256, mount), None)
        for secret in keys.versions.values() if keys else ():
            secret.wipe()

    def void(self, mount: str) -> None:
        for token_sha256, of in list(self._tokens):
            if of == mount:
                self.dismiss(token_sha256, mount)

        async def drop() -> None:
            self._key_endpoint.drop_connections(mount)

        self._call(drop())

    def open(self, port: int, text: str) -> None:
        async def begin() -> None:
            old = self._responders.pop(port, None)
            if old is not None:
                await old.close()
            server = Refuser(text)
            await server.start(self._address, port)
            self._responders[port] = server

        self._call(begin())

    def close(self, port: int) -> None:
        async def end() -> None:
            server = self._responders.pop(port, None)
            if server is not None:
                await server.close()

        self._call(end())

    def _find(self, token_sha256: bytes, mount: str) -> NodeKeys | None:
        return self._tokens.get((token_sha256, mount))

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)
