"""Acts upon the seal: a slot exchanged, and a new root key."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.faults.kill_bench import WAY, Bench, Pending, expect, wrapped_for

from keystead.iam.model import Caller
from keystead.seal import service as sealing
from keystead.seal.model import SealFile
from keystead.seal.openers import KeyFile, Maker
from keystead.seal.service import _try
from keystead.server import authority
from keystead.server.sealing import newroot, slots
from keystead.server.sealing.unseal import SEAL_NAME, read_key_file, read_seal
from keystead.server.settings import Effective


def begin_migrate(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    effective = bench.region.effective
    assert effective.key_file is not None
    old, new = read_key_file(effective.key_file), KeyFile.generate()
    path = effective.state.parent / f"root-{bench.trial}.key"
    slot = slot_of(bench, old)

    def run(_caller: Caller) -> str:
        show = lambda: slots.put_key_file(path, new)  # noqa: E731
        clock = bench.region.clock
        return str(slots.migrate(effective, old, slot, new, show, lambda: read_key_file(path), path, clock).seal.region)

    return {"old": effective.key_file, "new": path}, run


def slot_of(bench: Bench, opener: KeyFile) -> str:
    """Which slot this key file opens."""
    seal = read_seal(bench.region.effective.state / SEAL_NAME)
    found = [slot.id for slot in seal.slots if slot.kind == "key-file" and _try(seal.region, slot, opener) is not None]
    expect(len(found) == 1, f"the key file opens {len(found)} slots")
    return str(found[0])


def settle_migrate(bench: Bench, pending: Pending) -> bool:
    """That the region is open shows that what the settings name opens it. Slots that nobody needs go."""
    effective = bench.region.effective
    assert effective.key_file in (pending.facts["old"], pending.facts["new"]), effective.key_file
    opener = read_key_file(effective.key_file)
    keep = slot_of(bench, opener)
    for slot in read_seal(effective.state / SEAL_NAME).slots:
        if slot.kind == "key-file" and slot.id != keep:
            slots.remove(effective, opener, slot.id, bench.region.clock)
    return bool(effective.key_file == pending.facts["new"])


def begin_replace_root(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    """With something of each kind that the root key wraps or authenticates."""
    effective = bench.region.effective
    assert effective.key_file is not None
    opener = read_key_file(effective.key_file)
    key = bench.live()
    backup = bench.vaults.back_up_key(bench.caller(), key.id).blob
    vault = bench.vaults.create_vault(bench.caller(), bench.tenancy, f"r{bench.trial}", kind="private").id
    bench.made(str(vault))
    made = bench.vaults.create_wrapping_key(bench.caller(), bench.model.vault, "AES-256", WAY)
    _, wrapped = wrapped_for(bench, made)
    facts = {"before": _generation(effective), "backup": backup, "name": f"w{bench.trial}", "wrapped": wrapped}

    def run(_caller: Caller) -> int:
        def makers(seal: SealFile) -> Mapping[str, Maker]:
            return {slot.id: opener for slot in seal.slots if slot.kind == "key-file"}

        return newroot.replace(effective, opener, makers, bench.region.clock).seal.generation

    return facts, run


def settle_replace_root(bench: Bench, pending: Pending) -> bool:
    """That the region is open, and that all its keys open (checked for each trial), says most of it."""
    effective, facts = bench.region.effective, pending.facts
    now = _generation(effective)
    expect(now in (facts["before"], facts["before"] + 1), f"generation {now} after {facts['before']}")
    expect(not (effective.state / newroot.STAGE).exists(), "what was staged is still there")
    assert effective.key_file is not None
    root = sealing.open(read_seal(effective.state / SEAL_NAME), read_key_file(effective.key_file))
    for kind in authority.KINDS:
        authority.load(effective.state, root, kind)
    root.wipe()
    bench.vaults._tried(facts["backup"], bench.tenancy).wipe()
    done = bench.vaults.import_key(bench.caller(), bench.tenancy, bench.model.vault, facts["name"], facts["wrapped"])
    bench.tell("key", str(done.key.id))
    bench.encrypt(bench.model.keys[done.key.id])
    return bool(now > facts["before"])


def _generation(effective: Effective) -> int:
    return read_seal(effective.state / SEAL_NAME).generation
