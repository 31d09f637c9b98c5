"""What opens a slot: a key file or a passphrase.

An opener turns itself into the 32-byte key of one slot; its `label` names the slot it makes. It holds secrets: its
repr shows none, and it cannot be pickled.
"""

import base64
import binascii
import secrets
import unicodedata
from typing import Final, Literal

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto import kdf
from keystead.seal.model import Slot, Stretch

PREFIX: Final = b"keystead-key-file-1 "
_KEY_FILE_PURPOSE = "seal-key-file"
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

    def slot_key(self, slot: Slot) -> bytes:
        """The key of `slot`: derived, so that no two slots share one."""
        return kdf.subkey(self._key.reveal(), _KEY_FILE_PURPOSE, slot.id.encode())

    def stretch(self) -> None:
        """A key file is random: it needs no stretching."""
        return

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

    def slot_key(self, slot: Slot) -> bytes:
        """The key of `slot`, by its own cost and salt. Blocks for about half a second by default."""
        if slot.stretch is None:
            raise ValueError("not a passphrase slot")
        return kdf.passphrase_key(self._text.reveal(), slot.stretch.salt, slot.stretch.cost)

    def stretch(self) -> Stretch:
        """How a new slot for this passphrase stretches it.

        Raises:
            Refusal: `WeakPassphrase` when it has fewer than 12 characters.
        """
        if len(self._text.reveal().decode()) < MIN_CHARACTERS:
            raise Refusal(
                "WeakPassphrase",
                f"a passphrase has at least {MIN_CHARACTERS} characters",
                hint="four or five words chosen at random are a good one",
            )
        return Stretch(self._cost, secrets.token_bytes(16))

    def __repr__(self) -> str:
        return "Passphrase(…)"


Opener = KeyFile | Passphrase


def _decode(content: bytes) -> bytes:
    line = content.strip()
    try:
        key = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not line.startswith(PREFIX) or len(key) != kdf.KEY_BYTES:
        raise Refusal(
            "InvalidKeyFile", "this is not a key file of Keystead", hint="it has one line, starting keystead-key-file-1"
        )
    return key
