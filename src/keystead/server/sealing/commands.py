"""`keystead seal ...` and `keystead recovery ...` on the region's own machine."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from keystead.core.clock import SystemClock
from keystead.core.errors import Refusal, Unreadable
from keystead.crypto.shares import check_counts
from keystead.seal import service as sealing
from keystead.seal.model import KINDS, Recipient, SealFile, Slot, Wrapping
from keystead.seal.openers import Identity, KeyFile, Maker, NewShares, Opener, Passphrase, RecipientFile, Shares
from keystead.server import settings
from keystead.server.process import confine
from keystead.server.sealing import newroot, slots
from keystead.server.sealing.unseal import (
    SEAL_NAME,
    ask_secret,
    ask_shares,
    read_identity,
    read_key_file,
    read_recipient,
    read_seal,
)
from keystead.server.sealing.wrappers import by_itself, make_key, wrapping_key
from keystead.server.settings import Effective, check_key_file_place
from keystead.server.state.building import write

if TYPE_CHECKING:
    from keystead.cli.console import Console

WITH: Final = ("key-file[:FILE]", "passphrase", "shares", "identity:FILE", "pkcs11", "external")


@dataclass(frozen=True, slots=True)
class Opening:
    """How the seal is opened for a command: `key-file[:FILE]`, `identity:FILE`, or one of the other kinds.

    Empty: the key file of the settings.
    """

    how: str = ""
    from_stdin: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """The slot that is asked for. `to`: a file or a URI; `shares`: "3/5"; `proof`: an identity file."""

    kind: str
    label: str = ""
    to: str = ""
    shares: str = ""
    proof: Path | None = None
    make_key: bool = False

    @property
    def counts(self) -> tuple[int, int]:
        """How many shares are needed, of how many. Raises: Refusal `InvalidShares`."""
        return read_counts(self.shares or "3/5")


def read_counts(text: str) -> tuple[int, int]:
    """`3/5` as (3, 5). Raises: Refusal `InvalidShares`."""
    needed, slash, made = text.partition("/")
    if not (slash and needed.isdigit() and made.isdigit() and len(text) < 8):
        raise Refusal("InvalidShares", f"not a number of shares: {text!r}", hint="3/5 means any 3 of 5")
    check_counts(int(needed), int(made))
    return int(needed), int(made)


def opener_for(effective: Effective, opening: Opening) -> Opener:
    """What opens the seal. Raises: Refusal: it is not there, not given, or not what it should be."""
    kind, _, file = opening.how.partition(":")
    match kind or ("key-file" if effective.key_file else ""):
        case "key-file":
            path = Path(file) if file else effective.key_file
            if path is None:
                raise Refusal("NoKeyFile", "the settings name no key file", hint="--with key-file:FILE")
            return read_key_file(path)
        case "passphrase":
            text = ask_secret(from_stdin=opening.from_stdin, prompt="passphrase of the region: ")
            return Passphrase(text.reveal().decode(errors="replace"))
        case "shares":
            return ask_shares(read_seal(effective.state / SEAL_NAME), from_stdin=opening.from_stdin)
        case "identity" if file:
            return read_identity(Path(file))
        case "pkcs11" | "external" as wrapper:
            return by_itself(effective, read_seal(effective.state / SEAL_NAME), wrapper)
        case _:
            raise Refusal("NothingGiven", "nothing was given that opens the seal", hint=f"--with {' or '.join(WITH)}")


def given_for(seal: SealFile, opening: Opening) -> Opener:
    """What people bring to open a seal that is in no region: a backup's. Raises: Refusal."""
    kind, _, file = opening.how.partition(":")
    match kind:
        case "shares":
            return ask_shares(seal, from_stdin=opening.from_stdin)
        case "identity" if file:
            return read_identity(Path(file))
        case _:
            raise Refusal("NothingGiven", "a backup is not opened with that", hint="--with shares or identity:FILE")


def show_slots(console: "Console", config: Path | None, state: Path | None) -> None:
    """`seal list`."""
    effective = settings.load(config, state)
    seal = read_seal(effective.state / SEAL_NAME)
    found = [slots.describe(slot) for slot in seal.slots]
    if console.json:
        console.document({"region": seal.region, "generation": seal.generation, "slots": found})
        return
    columns = [("id", "id"), ("kind", "kind"), ("label", "label"), ("created", "created_at"), ("needs", "needs")]
    console.table(found, columns)


def add(console: "Console", config: Path | None, state: Path | None, how: Opening, wish: Wish) -> None:
    """`seal add`."""
    confine.confine()
    effective = settings.load(config, state)
    opener = opener_for(effective, how)
    new = _new(console, effective, wish)
    _told(console, slots.add(effective, opener, new.maker, new.show, SystemClock()), new)


def remove(console: "Console", config: Path | None, state: Path | None, how: Opening, slot: str) -> None:
    """`seal remove`."""
    confine.confine()
    effective = settings.load(config, state)
    _told(console, slots.remove(effective, opener_for(effective, how), slot, SystemClock()))


def migrate(console: "Console", config: Path | None, state: Path | None, how: Opening, old: str, wish: Wish) -> None:
    """`seal migrate`."""
    confine.confine()
    effective = settings.load(config, state)
    opener = opener_for(effective, how)
    new = _new(console, effective, wish)
    if wish.kind == "recipient" and wish.proof is None:
        raise Refusal("NotProven", "nothing proves that the recipient can open", hint="--proof IDENTITY, or `seal add`")
    done = slots.migrate(effective, opener, old, new.maker, new.show, new.prove, new.key_file, SystemClock())
    _told(console, done, new)


def _told(console: "Console", done: slots.Changed, new: "_New | None" = None) -> None:
    if console.json:
        found: dict[str, object] = {"generation": done.seal.generation, **(new.secrets if new else {})}
        for name, slot in (("added", done.added), ("removed", done.removed)):
            if slot is not None:
                found[name] = slots.describe(slot)
        console.document(found)
        return
    if done.added is not None:
        console.say(f"slot {done.added.id} ({done.added.kind}) is added: generation {done.seal.generation}")
    if done.removed is not None:
        console.say(f"slot {done.removed.id} ({done.removed.kind}) is taken away: generation {done.seal.generation}")
        console.remark("copies of the older seal file still open with it: destroy them, and what opened them")


def rotate(
    console: "Console",
    config: Path | None,
    state: Path | None,
    how: Opening,
    drop: Sequence[str],
    files: Sequence[Path],
) -> None:
    """`seal rotate`."""
    confine.confine()
    effective = settings.load(config, state)
    newroot.settle(effective)
    opener = opener_for(effective, how)
    done = newroot.replace(
        effective, opener, lambda seal: _all_again(effective, seal, opener, how, drop, files), SystemClock()
    )
    if effective.key_file is not None and not slots.fits(done.seal, ("key-file",)):
        slots.name_key_file(effective, None)
    if console.json:
        dropped = [slots.describe(slot) for slot in done.dropped]
        console.document({"generation": done.seal.generation, "dropped": dropped, "wrapped": dict(done.wrapped)})
        return
    console.say(f"the root key is new: generation {done.seal.generation}, {len(done.seal.slots)} slots")
    console.say("wrapped anew: " + ", ".join(f"{count} {kind}" for kind, count in done.wrapped.items()))
    console.remark("older state backups open by what opened them then; make one now: keystead state backup")


def _all_again(
    effective: Effective, seal: SealFile, opener: Opener, how: Opening, drop: Sequence[str], files: Sequence[Path]
) -> dict[str, Maker]:
    """What makes each slot anew. Raises: Refusal: one cannot be, as nobody brought what it needs."""
    if unknown := set(drop) - {slot.id for slot in seal.slots}:
        raise Refusal("NoSuchSlot", f"the seal has no slot {min(unknown)!r}", kind="not_found")
    held: list[Opener] = [opener, *map(read_key_file, files)]
    if effective.key_file is not None and slots.is_there(effective.key_file):
        held.append(read_key_file(effective.key_file))
    return {slot.id: _again(effective, seal, slot, held, how) for slot in seal.slots if slot.id not in drop}


def _again(effective: Effective, seal: SealFile, slot: Slot, held: list[Opener], how: Opening) -> Maker:
    match slot.means:
        case Recipient():
            return RecipientFile.of(slot.means, slot.label)
        case Wrapping() if slot.kind in ("pkcs11", "external"):
            kind: Literal["pkcs11", "external"] = "pkcs11" if slot.kind == "pkcs11" else "external"
            return wrapping_key(effective, kind, slot.means.uri, slot.label)
        case _:
            pass
    for each in held:
        if each.kind == slot.kind and (made := _opened_by(seal, slot, each)) is not None:
            return made
    asked: Opener | None = None
    if slot.kind == "passphrase":
        text = ask_secret(from_stdin=how.from_stdin, prompt=f"passphrase of slot {slot.label!r}: ")
        asked = Passphrase(text.reveal().decode(errors="replace"))
    elif slot.kind == "shares":
        asked = ask_shares(replace(seal, slots=(slot,)), from_stdin=how.from_stdin)
    made = _opened_by(seal, slot, asked) if asked is not None else None
    if made is None:
        raise Refusal(
            "SlotNotPresent",
            f"slot {slot.id} ({slot.kind}, {slot.label}) cannot be made anew: nothing was given that opens it",
            hint=f"--key-file FILE, or type what it asks for, or leave it behind: --drop {slot.id}",
            kind="conflict",
        )
    return made


def _opened_by(seal: SealFile, slot: Slot, opener: Opener) -> Maker | None:
    """What makes the same slot anew; None: this does not open it."""
    try:
        sealing.open_slot(seal, slot, opener).wipe()
    except Unreadable:
        return None
    if isinstance(opener, Shares):
        return opener.again(slot)
    if isinstance(opener, KeyFile | Passphrase):
        opener.label = slot.label
        return opener
    return None


def keygen(console: "Console", identity: Path, recipient: Path) -> None:
    """`recovery keygen`: on any machine, best one that never meets the region's."""
    confine.confine()
    made = Identity.generate()
    for path, content, mode in (
        (identity, made.content().reveal(), 0o400),
        (recipient, made.recipient().content(), 0o644),
    ):
        try:
            write(path, content, mode)
        except OSError as error:
            raise Refusal("CannotWrite", f"{path} cannot be written: {error.strerror}") from error
    if console.json:
        console.document({"identity": str(identity), "recipient": str(recipient)})
    else:
        console.say(f"identity   {identity} (opens: keep it far from the region, on paper or a stick in a safe)")
        console.say(f"recipient  {recipient} (public: for `keystead init --recovery-recipient` or `keystead seal add`)")


def drill(console: "Console", config: Path | None, state: Path | None, how: Opening) -> bool:
    """`recovery drill`; whether it passed."""
    from keystead.server.sealing import drill as practice

    confine.confine()
    effective = settings.load(config, state)
    done = practice.drill(effective, opener_for(effective, how), SystemClock())
    if console.json:
        console.document(done.summary())
    else:
        for step in done.steps:
            console.say(f"{'passed' if step.passed else 'FAILED':<7} {step.name}: {step.detail}")
        console.say(f"\nThe recovery drill {'passed' if done.passed else 'FAILED'}: opened with {done.opened_with}.")
    return done.passed


def tell_shares(console: "Console", made: NewShares) -> None:
    """Shares, shown once."""
    quorum = made.quorum
    console.say(f"{quorum.threshold} of these {quorum.count} shares (set {quorum.set}) open the region:")
    for share in made.shares:
        console.secret(f"  share {share.number} of {quorum.count}", share.text.reveal().decode())
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class _New:
    """A slot to be: what makes it, what people must keep of it, and what proves that they have it."""

    maker: Maker
    show: Callable[[], None]
    prove: Callable[[], Opener]
    secrets: dict[str, object] = field(default_factory=dict, repr=False)
    key_file: Path | None = None


def _new(console: "Console", effective: Effective, wish: Wish) -> _New:
    match wish.kind:
        case "key-file":
            return _new_key_file(effective, wish)
        case "passphrase":
            return _new_passphrase(console, wish)
        case "shares":
            return _new_shares(console, effective, wish)
        case "recipient":
            path = _needed(wish.to, "whose is it?", "--to FILE, from `keystead recovery keygen`")
            proof = str(wish.proof or "")
            return _New(
                read_recipient(path),
                lambda: None,
                lambda: read_identity(_needed(proof, "nothing proves that the recipient can open", "--proof IDENTITY")),
            )
        case "pkcs11" | "external":
            if not wish.to:
                raise Refusal("NoUri", "which key?", hint="--to pkcs11:... or openbao:...")
            if wish.make_key:
                make_key(wish.kind, wish.to)
            wrapping = wrapping_key(effective, wish.kind, wish.to, wish.label)
            return _New(wrapping, lambda: None, lambda: wrapping)
        case _:
            raise Refusal("UnknownKind", f"there is no kind of slot {wish.kind!r}", hint=", ".join(KINDS))


def _new_key_file(effective: Effective, wish: Wish) -> _New:
    path = _needed(wish.to, "where shall the key file go?", "--to FILE, outside the state directory")
    check_key_file_place(effective, path)
    key_file = KeyFile.generate(wish.label or str(path))
    return _New(key_file, lambda: slots.put_key_file(path, key_file), lambda: read_key_file(path), key_file=path)


def _new_passphrase(console: "Console", wish: Wish) -> _New:
    made, text = Passphrase.generate(wish.label or wish.kind)
    told = text.reveal().decode()

    def typed() -> Opener:
        if not console.interactive or not sys.stdin.isatty():
            return made
        return Passphrase(ask_secret(from_stdin=False, prompt="type it: ").reveal().decode(errors="replace"))

    return _New(made, lambda: console.secret("passphrase of the region", told), typed, {"passphrase": told})


def _new_shares(console: "Console", effective: Effective, wish: Wish) -> _New:
    needed, count = wish.counts
    shares = NewShares(needed, count, wish.label or wish.kind)
    words = [share.text.reveal().decode() for share in shares.shares]

    def given_back() -> Opener:
        if not console.interactive or not sys.stdin.isatty():
            return Shares(shares.shares[:needed])
        console.remark(f"type {needed} of the new shares, so that it is certain that you have them")
        return ask_shares(read_seal(effective.state / SEAL_NAME), from_stdin=False)

    return _New(shares, lambda: tell_shares(console, shares), given_back, {"shares": words})


def _needed(path: str, question: str, hint: str) -> Path:
    if not path:
        raise Refusal("NoFile", question, hint=hint)
    return Path(path).absolute()
