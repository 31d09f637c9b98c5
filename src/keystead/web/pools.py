"""Bounded pools of threads: what does not fit is refused at once instead of piling up."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from keystead.web.refusals import HttpRefusal

Given = ParamSpec("Given")
Result = TypeVar("Result")


LONGEST_RETRY_S: Final = 30.0
ELSEWHERE: Final = ("hsm", "external")
"""Where keys may lie that are not kept in software. Who waits for one of them waits in a pool of its own."""


class Pool:
    """`threads` threads and at most `waiting` calls in the queue before them.

    A call that has begun runs to its end even when nobody waits for its result any more; one that has not begun when
    its request is given up never runs. Who is refused is told how long the queue takes, by what calls took lately.
    """

    def __init__(self, name: str, threads: int, waiting: int, refusal: Callable[[], HttpRefusal]) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._places = threading.Semaphore(threads + waiting)
        self._refusal = refusal
        self._threads, self._waiting = threads, waiting
        self._took = 0.0  # seconds of a call, the later ones counting more; threads may overwrite each other's

    async def run(self, call: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """The result of `call`, made on one of the threads.

        Raises:
            HttpRefusal: the queue is full.
        """
        if not self._places.acquire(blocking=False):
            refusal = self._refusal()
            refusal.retry_s = min(self._took * (self._waiting + 1) / self._threads, LONGEST_RETRY_S)
            raise refusal
        try:
            future = self._executor.submit(self._timed, partial(call, *args, **kwargs))
        except RuntimeError:  # shutting down
            self._places.release()
            raise self._refusal() from None
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let what has begun end, drop what has not, and wait for that."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _timed(self, call: Callable[[], Result]) -> Result:
        began = time.monotonic()
        try:
            return call()
        finally:
            took = time.monotonic() - began
            self._took = took if not self._took else 0.8 * self._took + 0.2 * took

    def _leave(self, _done: "Future[Any]") -> None:
        self._places.release()


def busy() -> HttpRefusal:
    """Too much at once for this worker."""
    return HttpRefusal(503, "Busy", "too many requests are waiting", hint="try again in a moment")


def keystore_busy(protection: str) -> HttpRefusal:
    """The token, or the other key management system, has more to do than it gets done."""
    what = "token" if protection == "hsm" else "other key management system"
    text = f"too many requests are waiting for the {what} that holds the key"
    return HttpRefusal(
        503, "KeystoreBusy", text, hint="try again in a moment; keys that lie elsewhere are not affected"
    )


def too_many_sign_ins() -> HttpRefusal:
    """Password checks are slow on purpose, so only so many may wait."""
    return HttpRefusal(429, "TooManyRequests", "too many sign-ins are waiting", hint="try again in a moment")
