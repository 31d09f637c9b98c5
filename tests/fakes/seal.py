"""The seal of a region that the tests of the web talk to."""

from typing import Any

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.iam.model import Caller, Target


class FakeSeal:
    """`SealKeeper`: three words open it; sealing needs the permission, and is recorded with `store`."""

    def __init__(self, *, sealed: bool = False, guard: Any = None, store: Any = None) -> None:
        self.sealed = sealed
        self.given: list[int] = []
        self._guard, self._store = guard, store

    def status(self) -> dict[str, object]:
        progress = [{"set": 7, "threshold": 3, "given": list(self.given)}] if self.sealed else []
        ways = ["passphrase", "shares"] if self.sealed else []
        since = "2026-01-01T00:00:00.000Z"
        return {
            "sealed": self.sealed,
            "since": since,
            "ordered": False,
            "by": "",
            "ways": ways,
            "progress": progress,
        }

    def give(self, kind: str, secret: Secret, _source: str, _request_id: str) -> dict[str, object]:
        if not self.sealed:
            raise Refusal("NotSealed", "the region is open", kind="conflict")
        if secret.reveal() != b"share":
            raise Refusal("WrongShare", "this is not a share that opens this region")
        self.given.append(len(self.given) + 1)
        self.sealed = len(self.given) < 3
        return self.status()

    def reset(self, _source: str, _request_id: str) -> dict[str, object]:
        self.given.clear()
        return self.status()

    def seal(self, caller: Caller) -> dict[str, object]:
        tenancy = caller.principal.tenancy
        target = Target("state", "home", "home", tenancy, (tenancy,))
        with self._store.write(self._guard.permit_change(caller, "STATE_SEAL", target, "SealRegion")):
            pass
        return self.status()
