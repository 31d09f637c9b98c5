"""OpenSSL is told to leave ADX alone on the one processor where that was measured, and computes no less rightly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keystead.server.process import openssl

ROOT = Path(__file__).parents[3]
ZEN_3 = {"processor": "0", "vendor_id": "AuthenticAMD", "cpu family": "25", "flags": "fpu avx avx2 bmi1 bmi2 adx vaes"}


def processor(tmp_path: Path, **changes: str) -> Path:
    """A /proc/cpuinfo of two cores; the second is another's, which nobody has to look at."""
    first = {**ZEN_3, **{name.replace("_", " ") if name == "cpu_family" else name: it for name, it in changes.items()}}
    path = tmp_path / "cpuinfo"
    text = "\n\n".join(
        "\n".join(f"{name}\t: {it}" for name, it in core.items()) for core in (first, {"processor": "1"})
    )
    path.write_text(f"{text}\n\n")
    return path


def told(environment: dict[str, str], path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.delitem(sys.modules, openssl._LOADED, raising=False)
    return openssl.prefer_faster_rsa(environment, path)


def test_on_zen_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"PATH": "/bin"}
    assert told(environment, processor(tmp_path), monkeypatch)
    assert environment == {"PATH": "/bin", "OPENSSL_ia32cap": ":~0x80000"}


@pytest.mark.parametrize(
    "changes",
    [
        {"vendor_id": "GenuineIntel"},
        {"cpu_family": "23"},
        {"cpu_family": "26"},
        {"flags": "fpu avx avx2 bmi2"},
        {"flags": "fpu avx bmi2 adx"},
        {"flags": "fpu avx2 bmi2 adx avx512ifma"},
    ],
)
def test_not_where_it_was_not_measured(
    changes: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment: dict[str, str] = {}
    assert not told(environment, processor(tmp_path, **changes), monkeypatch)
    assert not told(environment, tmp_path / "none", monkeypatch)
    assert environment == {}


def test_what_somebody_else_said_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"OPENSSL_ia32cap": ""}
    assert not told(environment, processor(tmp_path), monkeypatch)
    assert environment == {"OPENSSL_ia32cap": ""}


def test_too_late(tmp_path: Path) -> None:
    import cryptography.hazmat.primitives.hashes  # noqa: F401 - loads OpenSSL, as everything here does

    environment: dict[str, str] = {}
    assert not openssl.prefer_faster_rsa(environment, processor(tmp_path))
    assert environment == {}


def test_the_commands_that_run_a_region_are_in_time() -> None:
    """What they import first does not load OpenSSL."""
    asked = f"import sys, keystead.server.main; print({openssl._LOADED!r} in sys.modules)"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "False\n"


@pytest.mark.slow
def test_the_vectors_hold_without_adx() -> None:
    """Wycheproof's for RSA and curves, by the code that OpenSSL takes then."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "rsa or signatures",
         "tests/crypto/test_vectors_keys.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, openssl.VARIABLE: openssl.WITHOUT_ADX},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert " passed" in ran.stdout
