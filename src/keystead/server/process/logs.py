"""Logs: JSON lines on standard error, for machines first. Secrets have no way in: nobody logs values of requests.

On a full disk a line may be lost; whoever had something to say goes on.
"""

import contextlib
import logging
import os
from collections.abc import MutableMapping
from functools import partial
from typing import Any

import structlog


def configure(process: str) -> None:
    """Set up logging of this process, ours and that of libraries. `process` is part of every line."""
    structlog.configure(
        processors=[
            partial(_name, process),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(_Unfailing()),  # type: ignore[arg-type]  # all it needs
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(logging.WARNING)


class _Unfailing:
    """Standard error, but what cannot be written stops nobody: least of all `host`, which would not fence any more.

    Written past the stream's buffer: what stays there would fail the next one to flush it, such as a fork.
    """

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(2, text.encode(errors="replace"))

    def flush(self) -> None:
        """Nothing waits here."""


def _name(process: str, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["process"] = process
    return event


class _Forward(logging.Handler):
    """Library messages as our lines. Without tracebacks: a foreign error's text may hold what was sent."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        log = structlog.get_logger(library=record.name)
        log.log(record.levelno, record.getMessage()[:500], **({"error": kind} if kind else {}))
