"""What regions gave to this client to be known again: `devices/PROFILE.json` under the home of the command line.

Known devices are not held up by what strangers try with a user's name. It is no credential: a password is still needed.
"""

import json
import os

from keystead.cli.profile import checked_name, home, write_privately


class DeviceFile:
    """The devices of one profile, by region and user."""

    def __init__(self, profile: str) -> None:
        self._path = home() / "devices" / f"{checked_name(profile)}.json"

    def load(self, url: str, user: str) -> str:
        """What this region gave for this user; empty when it gave nothing, or the file is not to be trusted."""
        found = self._all().get(f"{user}@{url}", "")
        return found if isinstance(found, str) else ""

    def save(self, url: str, user: str, device: str) -> None:
        """Keep it, readable by this user alone."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_privately(self._path, json.dumps(self._all() | {f"{user}@{url}": device}) + "\n")

    def _all(self) -> dict[str, object]:
        try:
            with self._path.open() as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    return {}
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
