"""What the API files share."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from keystead.core.page import Page
from keystead.web.messages import Message
from keystead.web.operations import Call, Waits
from keystead.web.services import Services

Item = TypeVar("Item")
Reply = TypeVar("Reply")


def extended(shown: Message, reply: Callable[..., Reply], **more: Any) -> Reply:
    """What is shown of a thing anyway, and more."""
    return reply(**msgspec.structs.asdict(shown), **more)


def paged(found: Page[Item], shown: Callable[[Item], Any], reply: Callable[..., Reply]) -> Reply:
    """A page of domain objects as a page of replies."""
    return reply(items=[shown(item) for item in found.items], next_page=found.next)


def keystore_of(services: Services, call: Call[Any, Any]) -> Waits:
    """For which keystore a request may have to wait: that of the key it names, or of the vault it puts a key into."""
    vaults, body = services.vaults, call.body
    for key in (call.path.get("key_id"), getattr(body, "key_id", None)):
        if key and (found := vaults.waits(key)) and found != "slow":
            return found
    protection = getattr(body, "protection", None)
    if protection is None and (vault := getattr(body, "vault_id", None)):
        protection = vaults.protection_of(vault)
    return protection if protection in ("hsm", "external") else ""
