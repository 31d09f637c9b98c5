"""Tokens to test with: one made by SoftHSM2 for this run, or any other that the environment names.

    KEYSTEAD_TEST_TOKEN = pkcs11:token=NAME?module-path=/path/to/module.so&pin-source=file:/path/to/pin

Its faults are injected into the module itself: the functions in its table are replaced by ones of ours.
"""

import ctypes
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from keystead.adapters.keystores.module import function_list
from keystead.adapters.keystores.uri import TokenUri, parse

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
PIN = "731946"
PLACES = {
    "C_OpenSession": 12,
    "C_CloseAllSessions": 14,
    "C_Login": 18,
    "C_Logout": 19,
    "C_Encrypt": 30,
    "C_Decrypt": 34,
    "C_Sign": 43,
    "C_GenerateKey": 58,
}
SESSION_COUNT = 0xB1
DEVICE_ERROR = 0x30
SESSION_HANDLE_INVALID = 0xB3


def softhsm_module() -> str:
    return next((each for each in MODULES if Path(each).exists()), "")


def available() -> bool:
    return "KEYSTEAD_TEST_TOKEN" in os.environ or bool(softhsm_module() and shutil.which("softhsm2-util"))


def make_token(home: Path, name: str = "keystead-test", *, here: bool = True) -> TokenUri:
    """A new SoftHSM2 token below `home`, for processes that have SOFTHSM2_CONF as `home/softhsm2.conf`.

    `here`: this process is one of them, from now on.
    """
    (home / "tokens").mkdir(parents=True)
    conf, pin = home / "softhsm2.conf", home / "pin"
    conf.write_text(f"directories.tokendir = {home / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    pin.touch(0o600)
    pin.write_text(PIN + "\n")
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", name, "--so-pin", "8642", "--pin", PIN],
        check=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "SOFTHSM2_CONF": str(conf)},
    )
    if here:
        os.environ["SOFTHSM2_CONF"] = str(conf)
    return parse(f"pkcs11:token={name}?module-path={softhsm_module()}&pin-source=file:{pin}")


class Faults:
    """Replaces functions of a loaded module, in this process."""

    def __init__(self, path: str) -> None:
        self._table = function_list(path)
        self._kept: list[object] = []

    @contextmanager
    def instead(self, name: str, replacement):
        """`replacement(original, *arguments)` is called in place of the function; arguments are machine words."""
        place = PLACES[name]
        kind = ctypes.CFUNCTYPE(ctypes.c_ulong, *[ctypes.c_void_p] * 5)
        address = self._table.functions[place]
        original = kind(address)
        made = kind(lambda *given: replacement(original, *given))
        self._kept.append(made)
        self._table.functions[place] = ctypes.cast(made, ctypes.c_void_p).value
        try:
            yield
        finally:
            self._table.functions[place] = address

    def call(self, name: str, handle: int) -> int:
        """A function that takes a slot or a session alone."""
        return ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong)(self._table.functions[PLACES[name]])(handle)

    def close_all_sessions(self, slot: int) -> None:
        assert self.call("C_CloseAllSessions", slot) == 0

    def finalize(self) -> None:
        assert ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)(self._table.functions[1])(None) == 0
