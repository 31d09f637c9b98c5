"""Where documentation is run: a directory of its own, free ports and uids, and nothing left behind at the end."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.docs.shell import Shell, blocks, run_block
from tests.ports import free_block

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
# What the pages say, and what stands for it below our own directory.
SHOWN_PLACES = {
    "/var/tmp/keystead": "tmp/keystead",
    "/var/lib/keystead": "lib/keystead",
    "/etc/keystead": "etc/keystead",
    "/root/keystead": "root/keystead",
}
SHOWN_PORT = "8470"


class Place:
    """The machine as a page assumes it; its places and port 8470 are ours here."""

    def __init__(self, base: Path, runner: Sequence[str] = ()) -> None:
        self.base = base
        self._runner = runner
        self.port, endpoint, *servers = free_block(10)
        first_uid = 62000 + secrets.randbelow(3000)
        self.environment = {
            **{name: os.environ[name] for name in ("LANG", "TZ", "PYTHONPATH") if name in os.environ},
            "HOME": str(base),
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "KEYSTEAD_LISTEN_PORT": str(self.port),
            "KEYSTEAD_LISTEN_WORKERS": "1",
            "KEYSTEAD_DATABASES_ENDPOINT_PORT": str(endpoint),
            "KEYSTEAD_DATABASES_PORTS": f"{servers[0]}-{servers[-1]}",
            "KEYSTEAD_DATABASES_UIDS": f"{first_uid}-{first_uid + 7}",
        }

    def here(self, text: str) -> str:
        """The page, with its paths and ports being ours."""
        for shown, ours in SHOWN_PLACES.items():
            text = text.replace(shown, str(self.base / ours))
        return text.replace(f":{SHOWN_PORT}", f":{self.port}")

    def run_page(self, page: Path) -> None:
        """Run every block of a page; the first that is not as shown ends it. Raises: AssertionError."""
        shell = Shell(self.environment, ROOT, self._runner)
        try:
            for block in blocks(self.here(page.read_text())):
                wrong = run_block(shell, block, page.name)
                assert not wrong, "\n".join(wrong)
        finally:
            shell.close()

    def clean(self) -> None:
        """Stop whatever runs here, and take everything away. Raises: AssertionError when something would not stop."""
        for settings in self.base.rglob("keystead.toml"):
            _down([*self._runner, *_DOWN, str(settings.parent)], self.environment)
        left = list(self._processes())
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for _ in range(100):
            if not any(self._processes()):
                break
            time.sleep(0.05)
        shutil.rmtree(self.base, ignore_errors=True)
        assert not left, "processes were left behind"

    def _processes(self) -> Iterator[int]:
        """Processes whose command line or environment names our directory: nobody else's can."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                    if os.fsencode(self.base) in told:
                        yield int(entry.name)


_DOWN = (str(PROGRAMS / "keystead"), "down", "--with-databases", "--state")


def _down(command: Sequence[str], environment: Mapping[str, str]) -> None:
    subprocess.run(command, env=dict(environment), capture_output=True, timeout=120, check=False)


@contextmanager
def place(owner: int | None = None) -> Iterator[Place]:
    """A place for one page, run as `owner`, else as we are.

    Database servers run under uids of their own, so they must get through to it.
    """
    runner = () if owner is None else ("setpriv", f"--reuid={owner}", f"--regid={owner}", "--clear-groups")
    made = Place(Path(tempfile.mkdtemp(prefix="ks-docs-", dir="/var/tmp")), runner)
    directories = [made.base, *((made.base / ours).parent for ours in SHOWN_PLACES.values())]
    for directory in directories:
        directory.mkdir(exist_ok=True)
        directory.chmod(0o711)
        if owner is not None:
            os.chown(directory, owner, owner)
    try:
        yield made
    finally:
        made.clean()
