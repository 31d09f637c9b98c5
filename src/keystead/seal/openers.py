"""What makes slots and opens them: a key file, a passphrase, shares, a recipient, a token or another KMS.

A `Maker` says what a new slot holds and what its 32-byte key is; an `Opener` gets at the key of a slot that there is.
A key file, a passphrase, a token are both; shares and recipients are made by one (`NewShares`, `RecipientFile`) and
opened by another (`Shares`, `Identity`), because who makes the slot need not be able to open it.

They hold secrets: their repr shows none, and none can be pickled.
"""

import base64
import binascii
import secrets
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal

from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto import kdf, recipient
from keystead.crypto import shares as splitting
from keystead.seal.model import Quorum, Recipient, Slot, Stretch, Wrapping
from keystead.seal.ports import KeyWrapper

PREFIX: Final = b"keystead-key-file-1 "
RECIPIENT_PREFIX: Final = b"keystead-recovery-recipient-1 "
IDENTITY_PREFIX: Final = b"keystead-recovery-identity-1 "
_KEY_FILE_PURPOSE = "seal-key-file"
_SHARES_PURPOSE = "seal-shares"
_RECIPIENT_INFO = b"keystead seal recipient v1|"
_GROUPS = 8
MIN_CHARACTERS: Final = 12


class KeyFile:
    """A key file: one line, `keystead-key-file-1 <base64 of 32 random bytes>`."""

    __slots__ = ("_key", "label")
    kind: Final[Literal["key-file"]] = "key-file"

    def __init__(self, content: bytes, label: str = "key file") -> None:
        """Read the content of a key file.

        Raises:
            Refusal: `InvalidKeyFile`.
        """
        self._key = Secret(_decode(content))
        self.label = label

    @classmethod
    def generate(cls, label: str = "key file") -> "KeyFile":
        """A new one."""
        return cls(PREFIX + base64.b64encode(secrets.token_bytes(kdf.KEY_BYTES)) + b"\n", label)

    def content(self) -> Secret:
        """What to write into the file (mode 0400, outside the state directory)."""
        return Secret(PREFIX + base64.b64encode(self._key.reveal()) + b"\n")

    def make(self, slot_id: str) -> tuple[None, bytes]:
        """A key file is random: its slot needs nothing more. The key is derived, so that no two slots share one."""
        return None, kdf.subkey(self._key.reveal(), _KEY_FILE_PURPOSE, slot_id.encode())

    def slot_key(self, slot: Slot) -> bytes:
        """The key of `slot`."""
        return self.make(slot.id)[1]

    def __repr__(self) -> str:
        return "KeyFile(…)"


class Passphrase:
    """A passphrase that a person knows or keeps on paper. Normalized to NFKC, surrounding white space removed."""

    __slots__ = ("_cost", "_text", "label")
    kind: Final[Literal["passphrase"]] = "passphrase"

    def __init__(self, text: str, label: str = "passphrase", cost: kdf.Cost | None = None) -> None:
        """`cost` is what a new slot asks of whoever guesses; an old slot keeps the cost it was made with."""
        self._text = Secret(unicodedata.normalize("NFKC", text).strip().encode(errors="replace"))
        self._cost = cost or kdf.Cost()
        self.label = label

    @classmethod
    def generate(cls, label: str = "passphrase", cost: kdf.Cost | None = None) -> tuple["Passphrase", Secret]:
        """A new one of 160 random bits, and its text to print once: eight groups of four letters and digits."""
        letters = base64.b32encode(secrets.token_bytes(20)).decode().lower()
        text = "-".join(letters[i * 4 : i * 4 + 4] for i in range(_GROUPS))
        return cls(text, label, cost), Secret(text.encode())

    def make(self, _slot_id: str) -> tuple[Stretch, bytes]:
        """How a new slot stretches it, and the key.

        Raises:
            Refusal: `WeakPassphrase` when it has fewer than 12 characters.
        """
        if len(self._text.reveal().decode()) < MIN_CHARACTERS:
            raise Refusal(
                "WeakPassphrase",
                f"a passphrase has at least {MIN_CHARACTERS} characters",
                hint="four or five words chosen at random are a good one",
            )
        stretch = Stretch(self._cost, secrets.token_bytes(16))
        return stretch, self._key(stretch)

    def slot_key(self, slot: Slot) -> bytes:
        """The key of `slot`, by its own cost and salt. Blocks for about half a second by default."""
        if not isinstance(slot.means, Stretch):
            raise Unreadable
        return self._key(slot.means)

    def _key(self, stretch: Stretch) -> bytes:
        return kdf.passphrase_key(self._text.reveal(), stretch.salt, stretch.cost)

    def __repr__(self) -> str:
        return "Passphrase(…)"


class NewShares:
    """Makes a slot for shares: a random secret, split. `shares` are to be shown once, then `wipe` them."""

    __slots__ = ("_secret", "label", "quorum", "shares")
    kind: Final[Literal["shares"]] = "shares"

    def __init__(self, threshold: int, count: int, label: str = "shares") -> None:
        """Raises: Refusal `InvalidShares`: not 2 <= threshold <= count <= 16."""
        self._secret = Secret(secrets.token_bytes(splitting.SECRET_BYTES))
        self.shares = splitting.split(self._secret, threshold, count)
        self.quorum = Quorum(self.shares[0].set, threshold, count)
        self.label = label

    def make(self, slot_id: str) -> tuple[Quorum, bytes]:
        """Set, threshold and count, and the key."""
        return self.quorum, kdf.subkey(self._secret.reveal(), _SHARES_PURPOSE, slot_id.encode())

    def wipe(self) -> None:
        """Forget secret and shares."""
        self._secret.wipe()
        splitting.wipe(self.shares)

    def __repr__(self) -> str:
        return "NewShares(…)"


class Shares:
    """As many shares of one set as are needed, put together."""

    __slots__ = ("_secret", "_set")
    kind: Final[Literal["shares"]] = "shares"

    def __init__(self, shares: Sequence[splitting.Share]) -> None:
        """Raises: Refusal `WrongShare`: too few, too many, of different sets, or forged."""
        self._secret = splitting.combine(shares)
        self._set = shares[0].set

    def slot_key(self, slot: Slot) -> bytes:
        """The key of `slot`. Raises: Unreadable: it is of another set."""
        if not isinstance(slot.means, Quorum) or slot.means.set != self._set:
            raise Unreadable
        return self.key(slot.id)

    def key(self, slot_id: str) -> bytes:
        """The key of the slot of that id."""
        return kdf.subkey(self._secret.reveal(), _SHARES_PURPOSE, slot_id.encode())

    def again(self, slot: Slot) -> "SameShares":
        """Makes a slot that the same shares open, like `slot`. Raises: Unreadable: they do not open that one."""
        self.slot_key(slot)
        return SameShares(self, slot)

    def __repr__(self) -> str:
        return "Shares(…)"


class SameShares:
    """Makes a slot, and opens it, by shares that people hold already."""

    __slots__ = ("_quorum", "_shares", "label")
    kind: Final[Literal["shares"]] = "shares"

    def __init__(self, shares: Shares, slot: Slot) -> None:
        """Raises: Unreadable."""
        if not isinstance(slot.means, Quorum):
            raise Unreadable
        self._shares, self._quorum, self.label = shares, slot.means, slot.label

    def make(self, slot_id: str) -> tuple[Quorum, bytes]:
        """Set, threshold and count as they were, and the key."""
        return self._quorum, self._shares.key(slot_id)

    def slot_key(self, slot: Slot) -> bytes:
        """The key of `slot`. Raises: Unreadable."""
        return self._shares.slot_key(slot)


class RecipientFile:
    """The public half of a recovery recipient: one line, `keystead-recovery-recipient-1 <base64>`. Makes slots."""

    __slots__ = ("_public", "label")
    kind: Final[Literal["recipient"]] = "recipient"

    def __init__(self, content: bytes, label: str = "recipient") -> None:
        """Raises: Refusal `InvalidRecipient`."""
        self._public = _line(content, RECIPIENT_PREFIX, "InvalidRecipient", "a recipient file")
        self.label = label
        try:
            recipient.check_public(self._public)
        except ValueError:
            raise _not_a("InvalidRecipient", "a recipient file", RECIPIENT_PREFIX) from None

    @classmethod
    def of(cls, means: Recipient, label: str) -> "RecipientFile":
        """Whom a slot is sealed to. Raises: Unreadable, by a suite that we do not know."""
        if means.suite != recipient.SUITE:
            raise Unreadable
        return cls(RECIPIENT_PREFIX + base64.b64encode(means.public) + b"\n", label)

    def content(self) -> bytes:
        """The file."""
        return RECIPIENT_PREFIX + base64.b64encode(self._public) + b"\n"

    def make(self, slot_id: str) -> tuple[Recipient, bytes]:
        """A random key, sealed to the recipient."""
        key = secrets.token_bytes(kdf.KEY_BYTES)
        sealed = recipient.seal(self._public, key, _recipient_info(slot_id))
        return Recipient(recipient.SUITE, self._public, sealed), key


class Identity:
    """The private half of a recovery recipient: one line, `keystead-recovery-identity-1 <base64>`. Opens slots."""

    __slots__ = ("_private", "_public")
    kind: Final[Literal["recipient"]] = "recipient"

    def __init__(self, content: bytes) -> None:
        """Raises: Refusal `InvalidIdentity`."""
        raw = Secret(_line(content, IDENTITY_PREFIX, "InvalidIdentity", "an identity file"))
        if len(raw) != recipient.PRIVATE_BYTES:
            raise _not_a("InvalidIdentity", "an identity file", IDENTITY_PREFIX)
        self._private, self._public = raw, recipient.public_of(raw)

    @classmethod
    def generate(cls) -> "Identity":
        """A new one."""
        return cls(IDENTITY_PREFIX + base64.b64encode(recipient.generate().reveal()) + b"\n")

    def content(self) -> Secret:
        """What to write into the file (mode 0400, far from the region)."""
        return Secret(IDENTITY_PREFIX + base64.b64encode(self._private.reveal()) + b"\n")

    def recipient(self, label: str = "recipient") -> RecipientFile:
        """Its public half."""
        return RecipientFile(RECIPIENT_PREFIX + base64.b64encode(self._public) + b"\n", label)

    def slot_key(self, slot: Slot) -> bytes:
        """The key of `slot`. Raises: Unreadable: it is for somebody else, or of a suite we do not know."""
        means = slot.means
        if not isinstance(means, Recipient) or means.suite != recipient.SUITE or means.public != self._public:
            raise Unreadable
        return recipient.open(self._private, means.sealed_key, _recipient_info(slot.id))

    def __repr__(self) -> str:
        return "Identity(…)"


class WrappingKey:
    """A key in a token ("pkcs11") or in another KMS ("external") wraps the slot's key. It never comes here."""

    __slots__ = ("_wrapper", "kind", "label", "uri")

    def __init__(self, kind: Literal["pkcs11", "external"], uri: str, wrapper: KeyWrapper, label: str = "") -> None:
        """`uri` says where the key is, without PIN or credentials; it is written into the seal file."""
        self.kind: Literal["pkcs11", "external"] = kind
        self.uri = uri
        self.label = label or uri
        self._wrapper = wrapper

    def make(self, _slot_id: str) -> tuple[Wrapping, bytes]:
        """A random key, wrapped. Raises: Unavailable: the token or KMS does not answer."""
        key = secrets.token_bytes(kdf.KEY_BYTES)
        return Wrapping(self.uri, self._wrapper.wrap(key)), key

    def slot_key(self, slot: Slot) -> bytes:
        """The key of `slot`. Raises: Unreadable; Unavailable: the token or KMS does not answer."""
        if not isinstance(slot.means, Wrapping) or slot.means.uri != self.uri:
            raise Unreadable
        key = self._wrapper.unwrap(slot.means.wrapped_key)
        if len(key) != kdf.KEY_BYTES:
            raise Unreadable
        return key


Maker = KeyFile | Passphrase | NewShares | SameShares | RecipientFile | WrappingKey
Opener = KeyFile | Passphrase | Shares | SameShares | Identity | WrappingKey


def _decode(content: bytes) -> bytes:
    key = _line(content, PREFIX, "InvalidKeyFile", "a key file")
    if len(key) != kdf.KEY_BYTES:
        raise _not_a("InvalidKeyFile", "a key file", PREFIX)
    return key


def _line(content: bytes, prefix: bytes, code: str, what: str) -> bytes:
    line = content.strip()
    raw = b""
    if line.startswith(prefix):
        with suppress(binascii.Error):
            raw = base64.b64decode(line.removeprefix(prefix), validate=True)
    if not raw:
        raise _not_a(code, what, prefix)
    return raw


def _not_a(code: str, what: str, prefix: bytes) -> Refusal:
    return Refusal(code, f"this is not {what} of Keystead", hint=f"it has one line, starting {prefix.decode().strip()}")


def _recipient_info(slot_id: str) -> bytes:
    return _RECIPIENT_INFO + slot_id.encode()
