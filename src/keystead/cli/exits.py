"""Exit codes, and the one error type that carries them to the console.

A script can tell what happened without reading a word:

    0 ok                     4 not found
    1 refused or failed      5 conflict, or somebody changed it meanwhile
    2 wrong usage            6 server unavailable or sealed
    3 not signed in          7 the job failed
                           130 interrupted
"""

from collections.abc import Mapping
from typing import Any

OK = 0
FAILED = 1
USAGE = 2
NOT_SIGNED_IN = 3
NOT_FOUND = 4
CONFLICT = 5
UNAVAILABLE = 6
JOB_FAILED = 7
INTERRUPTED = 130

MEANINGS: Mapping[int, str] = {
    OK: "ok",
    FAILED: "refused, or failed",
    USAGE: "wrong usage, or a profile that is not usable",
    NOT_SIGNED_IN: "not signed in, or the token is no longer valid",
    NOT_FOUND: "does not exist, or may not be seen",
    CONFLICT: "conflict with the present state, or somebody changed it meanwhile",
    UNAVAILABLE: "the server cannot be reached, or is sealed",
    JOB_FAILED: "the job failed",
    INTERRUPTED: "interrupted; a job that was waited for goes on",
}

_BY_STATUS: Mapping[int, int] = {
    401: NOT_SIGNED_IN,
    404: NOT_FOUND,
    409: CONFLICT,
    412: CONFLICT,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}


class CliError(Exception):
    """What a person reads when a command does not succeed. Never holds a secret."""

    def __init__(
        self, message: str, *, hint: str = "", code: str = "", request_id: str = "", exit_code: int = FAILED
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.request_id = request_id
        self.exit_code = exit_code
        self.told: Mapping[str, Any] = {}  # all that the region answered


def of_status(status: int) -> int:
    """The exit code for an HTTP `status` that is not a success."""
    return _BY_STATUS.get(status, FAILED)


def usage(message: str, hint: str = "") -> CliError:
    """The caller typed something that cannot be meant."""
    return CliError(message, hint=hint, code="Usage", exit_code=USAGE)
