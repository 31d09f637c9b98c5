"""The memory of proofs that were taken: one small file, mapped by every worker of a machine.

    slot = mark (16 bytes of the 32) || until (8 bytes, seconds since 1970 as a double, big-endian)
    bucket = 8 slots; a mark belongs into the bucket that its last four bytes name

Under a lock on the file, which the kernel gives back when its holder dies. A slot is free when its time is over; where
a bucket has none, the proof is not taken: what cannot be remembered could come twice. 65,536 slots are good for about
500 proofs a second that last 70 seconds; more are asked to come again. The file holds nothing secret, and is made anew
when it is gone: it lies where a restart of the machine empties it, which takes longer than a proof lasts.
"""

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

SLOT: Final = struct.Struct(">16sd")
WAYS: Final = 8
BUCKETS: Final = 16384
SIZE: Final = SLOT.size * WAYS * BUCKETS


class SharedSeen:
    """`SeenProofs` over all processes that name the same file."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size != SIZE:
            os.ftruncate(self._file, SIZE)
        self._map = mmap.mmap(self._file, SIZE)

    def first(self, mark: bytes, until: float) -> bool:
        """Whether it comes for the first time; see the port."""
        start = int.from_bytes(mark[-4:]) % BUCKETS * WAYS * SLOT.size
        name, now = mark[:16], self._now()
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                return self._take(start, name, until, now)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _take(self, start: int, name: bytes, until: float, now: float) -> bool:
        free = -1
        for at in range(start, start + WAYS * SLOT.size, SLOT.size):
            held, over = SLOT.unpack_from(self._map, at)
            if over > now:
                if held == name:
                    return False
            elif free < 0:
                free = at
        if free < 0:
            return False
        SLOT.pack_into(self._map, free, name, until)
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
        os.close(self._file)


class OwnSeen:
    """`SeenProofs` for one process alone."""

    def __init__(self, now: Callable[[], float] = time.time, limit: int = 100_000) -> None:
        self._now = now
        self._limit = limit
        self._held: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def first(self, mark: bytes, until: float) -> bool:
        """Whether it comes for the first time; see the port."""
        now = self._now()
        with self._lock:
            if self._held.get(mark, 0.0) > now:
                return False
            if len(self._held) >= self._limit:
                self._held = {key: over for key, over in self._held.items() if over > now}
                if len(self._held) >= self._limit:
                    return False
            self._held[mark] = until
            return True
