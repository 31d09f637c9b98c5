"""Ports of 127.0.0.1 for what a test starts later.

They lie below those that the kernel hands to outgoing connections: one of those may be anybody's by the time that a
server of ours asks for it. Every worker of pytest has a part of its own, and gives no port twice before all were given.
"""

import os
import random
import socket

FIRST, EACH, WORKERS = 10000, 2400, 4

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % WORKERS
_part = range(FIRST + _worker * EACH, FIRST + (_worker + 1) * EACH)
_next = random.choice(_part)


def free_block(count: int) -> range:
    """So many ports in a row that nobody listens on. Raises: RuntimeError: there are none."""
    global _next
    for _ in _part:
        found = range(_next, _next + count)
        _next = _next + 1 if found[-1] < _part[-1] else _part[0]
        if found[-1] in _part and all(map(_bindable, found)):
            _next = found[-1] + 1 if found[-1] < _part[-1] else _part[0]
            return found
    raise RuntimeError(f"there are not {count} free ports in a row")


def free_port() -> int:
    return free_block(1)[0]


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
