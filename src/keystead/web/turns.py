"""`OncePerTurn`: freshness asked once per turn of the event loop, not once per request.

On SQLite asking costs a few system calls and gives up the interpreter's lock twice, which is the largest single cost of
a short request under load. Requests that run in one turn of the loop were all received before that turn began, hence
before the first of them asked: an answer obtained after a request was received is current for it. What a caller changed
and saw answered therefore still holds from their next request on, as law 5 of the architecture asks.

The answer is dropped by a callback queued before it is asked for, so that only what was received earlier runs before
that.
Threads other than the loop's ask for themselves.
"""

from asyncio import AbstractEventLoop, get_running_loop

from keystead.vault.ports import Changes, Freshness, KeyChanges


class OncePerTurn:
    """A `Freshness` over another one, for one event loop; whoever else asks gets a fresh answer."""

    def __init__(self, inner: Freshness) -> None:
        self._inner = inner
        self._loop: AbstractEventLoop | None = None  # held, so that no other loop is ever taken for it
        self._known: int | None = None

    def generation(self) -> int:
        """As the inner one. Raises: Unavailable."""
        try:
            loop = get_running_loop()
        except RuntimeError:
            return self._inner.generation()
        if loop is self._loop and self._known is not None:
            return self._known
        loop.call_soon(self._forget)  # before asking: what arrives while we ask is queued behind it
        known = self._inner.generation()
        self._loop, self._known = loop, known
        return known

    def changes(self, since: int, *, keys: bool = True) -> Changes:
        """As the inner one. Raises: Unavailable."""
        return self._inner.changes(since, keys=keys)

    def key(self, key_id: str) -> KeyChanges:
        """As the inner one. Raises: Unavailable."""
        return self._inner.key(key_id)

    def _forget(self) -> None:
        self._known = None
