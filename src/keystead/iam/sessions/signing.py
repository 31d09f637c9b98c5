"""New keys to sign tokens with: for whoever runs the region.

    rotate   the key that signed so far signs nothing more, and verifies until the last token it signed has expired
    at once  it verifies nothing more: every token that was issued is void, the caller's too; machines ask anew

One transaction; every process sees it with its next request. What is kept of a key that has been replaced is its
public half (`region`, the first one, is made from the root key: it goes with that).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from keystead.iam.base import Base
from keystead.iam.model import Caller
from keystead.iam.ports import Revocation

PERMISSION = "STATE_ROTATE_TOKEN_KEYS"


class Rotated(NamedTuple):
    """Names of the keys that sign from now on, and until when the others verify."""

    kids: Sequence[str]
    others_until: datetime


class SigningActs(Base):
    """Rotates the keys that sign the region's tokens."""

    def rotate_token_keys(self, caller: Caller, at_once: bool = False) -> Rotated:
        """Sign with new keys from now on.

        Raises:
            Refusal: not permitted, as nobody of another tenancy than the region's first is.
        """
        detail = {"at_once": "yes" if at_once else "no"}
        entry = self._guard.permit_change(caller, PERMISSION, self._guard.region_itself(), "RotateTokenKeys", detail)
        made = self._tokens.new_keys()
        with self._store.write(entry, reserve=at_once) as tx:
            now = self._clock.now()
            until = self._tokens.rotate(tx.sessions, made, now, at_once)
            for bearer in (
                self._directory.bearers() if at_once else ()
            ):  # their database sessions end; machines ask anew
                tx.iam.revoke(Revocation(bearer.tenancy, bearer.id, now))
        return Rotated(tuple(key.id for key in made), until)
