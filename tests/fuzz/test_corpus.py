"""What fuzzing (`make fuzz`) has kept, its seeds, and a few random changes of them: no parser does what it must not."""

from pathlib import Path
from random import Random

import pytest
from tests.fuzz.faces import FACES
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.slow

CORPUS = Path(__file__).parent / "corpus"
ALL = {**TARGETS, **FACES}
CHANGES = 20


@pytest.mark.parametrize("name", ALL)
def test_seeds_corpus_and_some_changes(name: str) -> None:
    target, rng = ALL[name], Random(name)
    known = [*target.seeds(), *(path.read_bytes() for path in sorted((CORPUS / name).glob("*")))]
    assert known
    for each in known:
        target.run(each)
    for _ in range(CHANGES):
        target.run(changed(bytearray(rng.choice(known)), target.words, rng))


def test_every_directory_has_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(ALL)


def changed(data: bytearray, words: tuple[bytes, ...], rng: Random) -> bytes:
    """One to three changes such as a fuzzer makes."""
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.randrange(1, 20)]
            case 2:
                data[at:at] = rng.choice(words or (b"\0",))
            case _:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
    return bytes(data)
