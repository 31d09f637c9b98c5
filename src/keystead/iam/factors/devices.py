"""Known devices: what a user has signed in from, listed and forgotten.

A device's id is the beginning of its mark, which is a digest: nobody makes the device itself of it. A forgotten one is
as any other: its budget of attempts is the network's, and signing in from it is unusual. Sessions go on.
"""

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from keystead.core.errors import not_found
from keystead.core.ids import LABEL, REALM, parse_id
from keystead.iam.base import Base
from keystead.iam.factors.model import Seen
from keystead.iam.model import Caller, Target

SHOWN: Final = 20
"""Bytes of the mark that an id has room for."""


@dataclass(frozen=True, slots=True)
class Device:
    """One of them."""

    id: str
    first_at: datetime
    last_at: datetime


class Devices(Base):
    """What is done with known devices."""

    def list_devices(self, caller: Caller, user_id: str) -> list[Device]:
        """A user's, the one used last first. One's own without any permission."""
        if user_id == caller.principal.id:
            target = self._own(caller)
            self._guard.record(caller, "USER_READ", target, "ListDevices", "allowed")
        else:
            target = self._at_user(self._user(caller, user_id))
            self._guard.permit(caller, "USER_READ", target, "ListDevices")
        found = sorted(self._devices(target, user_id), key=lambda each: each.last_at, reverse=True)
        return [Device(self._device_id(each), each.first_at, each.last_at) for each in found]

    def forget_device(self, caller: Caller, user_id: str, device_id: str) -> None:
        """Know it no more. One's own without any permission, another user's with USER_UPDATE.

        Raises:
            Refusal: `NotFound`.
        """
        parse_id(device_id, "device")
        detail = {"device_id": device_id}
        if user_id == caller.principal.id:
            target = self._own(caller)
            entry = self._guard.entry(caller, "USER_UPDATE", target, "ForgetDevice", "allowed", detail=detail)
        else:
            target = self._at_user(self._user(caller, user_id))
            entry = self._guard.permit_change(caller, "USER_UPDATE", target, "ForgetDevice", detail)
        with self._store.write(entry) as tx:
            found = [each for each in tx.factors.seen(target.tenancy, user_id) if self._device_id(each) == device_id]
            if not [each for each in found if tx.factors.forget_device(target.tenancy, user_id, each.mark)]:
                raise not_found("device")

    def _devices(self, target: Target, user_id: str) -> list[Seen]:
        with self._store.read() as tx:
            return [each for each in tx.factors.seen(target.tenancy, user_id) if each.kind == "device"]

    def _device_id(self, seen: Seen) -> str:
        """Empty for what is no device."""
        unique = base64.b32encode(seen.mark[:SHOWN]).decode().lower()
        return f"{LABEL}.device.{REALM}.{self._region}.{unique}" if seen.kind == "device" else ""
