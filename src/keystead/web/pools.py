"""Bounded pools of threads: what does not fit is refused at once instead of piling up."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from keystead.web.refusals import HttpRefusal

Given = ParamSpec("Given")
Result = TypeVar("Result")


ELSEWHERE: Final = ("hsm", "external")
"""Where keys may lie that are not kept in software. Who waits for one of them waits in a pool of its own."""


class Pool:
    """`threads` threads and at most `waiting` calls in the queue before them.

    A call that has begun runs to its end even when nobody waits for its result any more; one that has not begun when
    its request is given up never runs.
    """

    def __init__(self, name: str, threads: int, waiting: int, refusal: Callable[[], HttpRefusal]) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._places = threading.Semaphore(threads + waiting)
        self._refusal = refusal

    async def run(self, call: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """The result of `call`, made on one of the threads.

        Raises:
            HttpRefusal: the queue is full.
        """
        if not self._places.acquire(blocking=False):
            raise self._refusal()
        try:
            future = self._executor.submit(call, *args, **kwargs)
        except RuntimeError:  # shutting down
            self._places.release()
            raise self._refusal() from None
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let what has begun end, drop what has not, and wait for that."""
        self._executor.shutdown(wait=True, cancel_futures=True)

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
