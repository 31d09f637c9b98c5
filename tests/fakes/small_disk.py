"""A disk of a few megabytes that can really be full: a tmpfs, which root alone may mount."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """`directory`, mounted for the while; the test is skipped where that is not allowed."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a tmpfs takes root")
    directory.mkdir(exist_ok=True)
    size = f"size={megabytes}m,mode=0700"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(directory)], check=False).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """Fill the disk up; returns the file that takes the space."""
    path = directory / "filling"
    with path.open("wb", buffering=0) as file:
        for piece in (bytes(65536), bytes(4096)):
            with suppress(OSError):
                while file.write(piece):
                    pass
    return path
