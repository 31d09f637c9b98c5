"""How a process gets the root key.

The first process (`up`, `serve`, `work`) opens the seal with the key file, a token or another KMS, asks for the
passphrase, or waits sealed for people (warden.py); its children are forked and have the root key with the rest of its
memory. It is never in argv, an environment or a file.
"""

import os
import select
import signal
import stat
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Literal

from keystead.core.errors import KeysteadError, Refusal, Unavailable, Unreadable
from keystead.core.secret import Secret
from keystead.crypto.shares import Share, wipe, wrong
from keystead.crypto.shares import read as read_share
from keystead.seal import service as seal
from keystead.seal.model import MAX_FILE_BYTES, Quorum, SealFile, decode
from keystead.seal.openers import Identity, KeyFile, Opener, Passphrase, RecipientFile, Shares
from keystead.seal.service import RootKey
from keystead.server.settings import Effective

SEAL_NAME = "seal.json"
APART_SECONDS: Final = 10.0
WRAPPERS: Final[tuple[Literal["pkcs11", "external"], ...]] = ("pkcs11", "external")


def read_seal(path: Path) -> SealFile:
    """The seal file. Raises: Refusal `InvalidSealFile`."""
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise Refusal(
            "InvalidSealFile", f"the seal file {path} cannot be read: {error.strerror}", hint="restore it from a copy"
        ) from error


def read_key_file(path: Path) -> KeyFile:
    """The key file, if nobody else may read it.

    Raises:
        Refusal: `NoKeyFile`, `KeyFileExposed`, `InvalidKeyFile`.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Refusal(
            "NoKeyFile",
            f"the key file {path} cannot be read: {error.strerror}",
            hint="put it back, or start with the passphrase: --passphrase-stdin",
            kind="unavailable",
        ) from error
    with os.fdopen(handle, "rb") as source:
        if stat.S_IMODE(os.fstat(source.fileno()).st_mode) & 0o077:
            raise Refusal(
                "KeyFileExposed",
                f"the key file {path} can be read or changed by others",
                hint=f"chmod 0400 {path}; and ask who has read it",
            )
        return KeyFile(source.read(4096))


def open_root(effective: Effective, passphrase: Secret | None = None) -> RootKey:
    """The region's root key: by the passphrase given, or by the key file.

    Raises:
        Refusal: `WrongRootKey`, `PassphraseNeeded`, and those of reading seal and key file.
    """
    opener: Opener
    if passphrase is not None:
        opener, what = Passphrase(passphrase.reveal().decode(errors="replace")), "this passphrase"
    elif effective.key_file is not None:
        opener, what = read_key_file(effective.key_file), f"the key file {effective.key_file}"
    else:
        raise Refusal(
            "PassphraseNeeded",
            "this region has no key file: it opens with a passphrase",
            hint="start it on a terminal, or give --passphrase-stdin",
        )
    path = effective.state / SEAL_NAME
    try:
        root = seal.open(read_seal(path), opener)
    except Unreadable:
        raise Refusal(
            "WrongRootKey",
            f"{what} does not open this region ({path})",
            hint="it is another region's key, or the seal file was changed; nothing was touched",
        ) from None
    return check_region(root, effective)


def check_region(root: RootKey, effective: Effective) -> RootKey:
    """The root key, if it is that of the region in the settings. Raises: Refusal `WrongRegion`."""
    if root.region != effective.settings.region.name:
        raise Refusal(
            "WrongRegion",
            f"the seal is that of region {root.region!r}, the settings say {effective.settings.region.name!r}",
            hint="mend [region] name in the settings",
        )
    return root


def open_by_itself(effective: Effective) -> RootKey | None:
    """The root key by what needs nobody: the key file, a token, another KMS. None: people are needed.

    Raises:
        Refusal: the key file that the settings name is not there, lies open, or is another region's.
        Unavailable: a token or KMS does not answer.
    """
    if effective.key_file is not None:
        return open_root(effective)
    asking = ask_wrappers(effective)
    last: Unavailable | None = None
    end = time.monotonic() + APART_SECONDS
    try:
        while asking:
            select.select([each.pipe for each in asking], [], [], max(0.0, end - time.monotonic()))
            for each in list(asking):
                try:
                    if (root := brought(effective, each)) is not None:
                        return root
                except Unavailable as error:
                    last = error
                    asking.remove(each)
    finally:
        for each in asking:
            each.close()
    if last is not None:
        raise last
    return None


def ask_wrappers(effective: Effective) -> "list[Apart]":
    """Begin to ask the token and the other KMS that the seal has slots for; `brought` says what came of it."""
    kinds = {slot.kind for slot in read_seal(effective.state / SEAL_NAME).slots}
    return [Apart(partial(_by_wrapper, effective, kind)) for kind in WRAPPERS if kind in kinds]


def brought(effective: Effective, asked: "Apart") -> RootKey | None:
    """The root key; None: no answer yet. Raises: Unavailable, none will come; Refusal `WrongRegion`."""
    told = asked.look()
    if told is None:
        return None
    asked.close()
    return check_region(RootKey(told, read_seal(effective.state / SEAL_NAME).region), effective)


def _by_wrapper(effective: Effective, kind: Literal["pkcs11", "external"]) -> bytes:
    from keystead.server.sealing.wrappers import by_itself

    found = read_seal(effective.state / SEAL_NAME)
    try:
        return seal.open(found, by_itself(effective, found, kind)).reveal_whole()
    except Unreadable:
        raise Unavailable("WrongRootKey", f"the {kind} slot does not open with the key at its URI") from None


class Apart:
    """Work in a child of its own, so that its threads and libraries are not ours, nor its patience.

    It ends at the latest after `seconds`, also when we have ended before it.
    """

    def __init__(self, work: Callable[[], bytes], seconds: float = APART_SECONDS) -> None:
        self._end = time.monotonic() + seconds
        self._held = bytearray()
        self.pipe, writer = os.pipe()
        self._owner = os.getpid()
        self._child = os.fork()
        if not self._child:
            told = b"!it failed"
            try:
                signal.alarm(int(seconds) + 1)
                told = b"." + work()
            except KeysteadError as error:
                told = b"!" + error.message.encode()
            finally:
                os.write(writer, told)
                os._exit(0)
        os.close(writer)

    def look(self) -> bytes | None:
        """What it returned; None: nothing yet. Never waits. Raises: Unavailable, it failed or is late; it is over."""
        while select.select([self.pipe], [], [], 0)[0]:
            piece = os.read(self.pipe, 4096)
            if piece:
                self._held += piece
                continue
            if self._held[:1] == b".":
                return bytes(self._held[1:])
            said = self._held[1:].decode(errors="replace") or "it failed"
            self.close()
            raise Unavailable("NotOpened", said)
        if time.monotonic() >= self._end:
            self.close()
            raise Unavailable("NotOpened", "no answer in time")
        return None

    def close(self) -> None:
        """End it, and forget what it said."""
        self._held[:] = bytes(len(self._held))
        if not self._child:
            return
        os.close(self.pipe)
        if os.getpid() == self._owner:  # a process that was forked meanwhile has it not for a child
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
        self._child = 0


def read_recipient(path: Path) -> RecipientFile:
    """A recipient's public half. Raises: Refusal `NoRecipient`, `InvalidRecipient`."""
    try:
        return RecipientFile(path.read_bytes()[:MAX_FILE_BYTES], path.stem)
    except OSError as error:
        raise Refusal("NoRecipient", f"the recipient file {path} cannot be read: {error.strerror}") from error


def read_identity(path: Path) -> Identity:
    """A recipient's private half. Raises: Refusal `NoIdentity`, `InvalidIdentity`."""
    try:
        return Identity(path.read_bytes()[:MAX_FILE_BYTES])
    except OSError as error:
        raise Refusal("NoIdentity", f"the identity file {path} cannot be read: {error.strerror}") from error


def ask_shares(seal: SealFile, *, from_stdin: bool) -> Shares:
    """Shares, one a line, until there are enough for one set of this seal. Raises: Refusal `WrongShare`, `NoShares`."""
    quorums = {slot.means.set: slot.means for slot in seal.slots if isinstance(slot.means, Quorum)}
    if not quorums:
        raise Refusal("NoShares", "this seal has no slot for shares", hint="`keystead seal list` shows what it has")
    given: dict[int, Share] = {}
    while True:
        share = read_share(ask_secret(from_stdin=from_stdin, prompt=f"share {len(given) + 1}: "))
        if share.set not in quorums or any(share.set != other.set for other in given.values()):
            raise wrong()
        given[share.number] = share
        if len(given) == quorums[share.set].threshold:
            try:
                return Shares(list(given.values()))
            finally:
                wipe(given.values())


def ask_secret(*, from_stdin: bool, prompt: str) -> Secret:
    """One line, from standard input or a terminal that does not show it. Raises: Refusal `NothingGiven`."""
    if from_stdin:
        line = Secret(sys.stdin.buffer.readline(4096).rstrip(b"\r\n"))
    elif sys.stdin.isatty():
        import getpass

        line = Secret(getpass.getpass(prompt).encode())
    else:
        raise Refusal("NothingGiven", "there is no terminal to ask at", hint="give it on standard input: --stdin")
    if not len(line):
        raise Refusal("NothingGiven", "nothing was given")
    return line


def needs_passphrase(effective: Effective) -> bool:
    """Whether somebody has to be asked."""
    return effective.key_file is None


def ask_passphrase(*, from_stdin: bool, prompt: str = "passphrase of the region: ") -> Secret:
    """The passphrase, from standard input's first line or a terminal. Raises: Refusal `PassphraseNeeded`."""
    if from_stdin:
        return Secret(sys.stdin.buffer.readline(4096).rstrip(b"\r\n"))
    if not sys.stdin.isatty():
        raise Refusal("PassphraseNeeded", "there is no terminal to ask for the passphrase", hint="--passphrase-stdin")
    import getpass

    return Secret(getpass.getpass(prompt).encode())
