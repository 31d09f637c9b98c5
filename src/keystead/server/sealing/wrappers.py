"""Keys in tokens and in other key management systems, as openers of the seal.

The URI in the slot says where the key is and where its PIN or token lies (a file; never the secret itself), so such a
slot opens by itself. Tokens and their modules do not go well with fork(2), nor do the threads that wait for them: `up`
asks them in a child of its own (`unseal.apart`).
"""

from typing import Literal, Protocol, assert_never

from keystead.core.errors import Refusal
from keystead.seal.model import SealFile, Wrapping
from keystead.seal.openers import WrappingKey
from keystead.seal.ports import KeyWrapper
from keystead.server.settings import Effective

WrapperKind = Literal["pkcs11", "external"]


class KeyMaker(KeyWrapper, Protocol):
    """A wrapping key that can also be made where it is to be."""

    def make_key(self) -> None:
        """Raises: Refusal: there is one already; Unavailable."""
        ...


def wrapping_key(_effective: Effective, kind: WrapperKind, uri: str, label: str = "") -> WrappingKey:
    """The key at `uri`. Nothing is asked of it yet. Raises: Refusal `InvalidUri`."""
    return WrappingKey(kind, uri, _wrapper(kind, uri), label)


def by_itself(effective: Effective, seal: SealFile, kind: WrapperKind) -> WrappingKey:
    """What opens the seal's slot of this kind. Raises: Refusal `NoSuchSlot`, `InvalidUri`."""
    for slot in seal.slots:
        if slot.kind == kind and isinstance(slot.means, Wrapping):
            return wrapping_key(effective, kind, slot.means.uri)
    raise Refusal("NoSuchSlot", f"the seal has no slot of kind {kind}", kind="not_found")


def make_key(kind: WrapperKind, uri: str) -> None:
    """Make the key at `uri`: AES-256, never to leave. Raises: Refusal: there is one already; Unavailable."""
    _wrapper(kind, uri).make_key()


def _wrapper(kind: WrapperKind, uri: str) -> "KeyMaker":
    match kind:
        case "pkcs11":
            from keystead.adapters.keystores.pkcs11 import TokenWrapper

            return TokenWrapper(uri)
        case "external":
            from keystead.adapters.keystores import openbao

            return openbao.wrapper(uri)
        case _:
            assert_never(kind)
