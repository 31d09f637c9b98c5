"""How OpenSSL is told to compute RSA-2048, where its own choice is not the fastest.

It has code for RSA-2048 in AVX2, and leaves it alone on every processor with BMI2 and ADX: a choice made on Intel's of
2014. On AMD's Zen 3 that code takes two thirds of the time (docs/decisions/0022-rsa-2048-on-zen-3.md). Not told of ADX,
OpenSSL takes it. What it is told is read from the environment, once, when it is loaded.

Sources: OPENSSL_ia32cap(3); crypto/bn/asm/rsaz-avx2.pl of OpenSSL.
"""

import os
import sys
from collections.abc import Mapping, MutableMapping
from itertools import takewhile
from pathlib import Path
from typing import Final

VARIABLE: Final = "OPENSSL_ia32cap"
WITHOUT_ADX: Final = f":~{1 << 19:#x}"  # leaf 7 of CPUID, EBX
_ZEN_3: Final = {"vendor_id": "AuthenticAMD", "cpu family": "25"}
_CHOSEN_FROM: Final = frozenset({"avx2", "bmi2", "adx"})
_BETTER_STILL: Final = "avx512ifma"  # OpenSSL takes it by itself
_LOADED: Final = "cryptography.hazmat.bindings._rust"


def prefer_faster_rsa(
    environment: MutableMapping[str, str] = os.environ, processor: Path = Path("/proc/cpuinfo")
) -> bool:
    """Have RSA-2048 computed by AVX2 in this process and its children, where that is known to be faster.

    Whether it was told so: not when OpenSSL is loaded already, nor over what somebody else put in the environment.
    """
    told = faster_rsa(processor)
    if VARIABLE in environment or _LOADED in sys.modules or not told:
        return False
    environment.update(told)
    return True


def faster_rsa(processor: Path = Path("/proc/cpuinfo")) -> Mapping[str, str]:
    """What the environment has to say for that; nothing where it would not be faster."""
    return {VARIABLE: WITHOUT_ADX} if _is_zen_3(processor) else {}


def _is_zen_3(processor: Path) -> bool:
    try:
        with processor.open() as file:
            lines = [line.partition(":") for line in takewhile(str.strip, file)]  # the first core's
    except OSError:
        return False
    found = {name.strip(): value.strip() for name, _, value in lines}
    flags = frozenset(found.get("flags", "").split())
    return _ZEN_3.items() <= found.items() and flags >= _CHOSEN_FROM and _BETTER_STILL not in flags
