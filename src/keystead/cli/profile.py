"""Profiles (where the region is) and tokens (who is signed in there).

    $KEYSTEAD_CONFIG, else $KEYSTEAD_HOME/config.toml            $KEYSTEAD_HOME/tokens/<profile>.json   (0600)
        default_profile = "default"                                  {"url", "token", "token_id", "expires_at",
        [profiles.default]                                            "tenancy_id", "tenancy", "user_id", "user",
                                                                  "bound"}
        url = "https://127.0.0.1:8443"
        ca = "/etc/keystead/ca.pem"
        tenancy = "acme"                             $KEYSTEAD_HOME/tokens/<profile>.key    (0600): of a bound token
        user = "olivia"
        compartment = "prod/finance"

`$KEYSTEAD_HOME` is `~/.config/keystead` unless set. Invariants: a token file is readable by its owner alone, and a
token is only ever sent to the URL that issued it. Unknown settings are refused. Writing a profile replaces its own
section and leaves the rest of the file, comments too, as it is.
"""

import fcntl
import json
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from keystead.cli.exits import CliError, usage

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Profile:
    """One region as one person sees it. Empty means not set."""

    url: str = ""
    ca: str = ""
    tenancy: str = ""
    user: str = ""
    compartment: str = ""


@dataclass(frozen=True, slots=True)
class SavedToken:
    """A security token as it was issued. `token` is a secret and not part of the repr."""

    url: str
    token: str = field(repr=False)
    token_id: str
    expires_at: str
    tenancy_id: str
    tenancy: str
    user_id: str
    user: str
    bound: bool = False


def home() -> Path:
    """The directory of tokens and, unless told otherwise, of the configuration."""
    chosen = os.environ.get("KEYSTEAD_HOME")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "keystead"


def config_path() -> Path:
    """Where the profiles are."""
    chosen = os.environ.get("KEYSTEAD_CONFIG")
    return Path(chosen).expanduser() if chosen else home() / "config.toml"


class Profiles:
    """The configuration file.

    Raises (each method):
        CliError: the file is not TOML, has unknown settings, or cannot be read or written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or config_path()

    def default_name(self) -> str:
        """`$KEYSTEAD_PROFILE`, else what the file says, else `default`."""
        chosen = os.environ.get("KEYSTEAD_PROFILE") or self._read().get("default_profile", "default")
        return checked_name(chosen)

    def load(self, name: str) -> Profile:
        """The profile `name`; an empty one when the file does not have it."""
        sections = self._read().get("profiles", {})
        found = sections.get(checked_name(name), {}) if isinstance(sections, dict) else None
        if not isinstance(found, dict):
            raise usage(f"{self.path}: [profiles.{name}] is not a table")
        known = {item.name for item in fields(Profile)}
        for key, value in found.items():
            if key not in known:
                raise usage(f"{self.path}: unknown setting {key!r} in [profiles.{name}]", f"known: {', '.join(known)}")
            if not isinstance(value, str):
                raise usage(f"{self.path}: {key} in [profiles.{name}] is not a string")
        return Profile(**found)

    def save(self, name: str, profile: Profile) -> None:
        """Write `profile` as section `name`, when it differs from what is there."""
        name = checked_name(name)
        with _alone(self.path.parent):
            self._save(name, profile)

    def _save(self, name: str, profile: Profile) -> None:
        if self.path.exists() and self.load(name) == profile:
            return
        text = self.path.read_text() if self.path.exists() else ""
        told = {key: value for key, value in asdict(profile).items() if value}
        body = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in told.items())
        changed = _replace_section(text, f"profiles.{name}", body)
        wanted = tomllib.loads(text)
        wanted.setdefault("profiles", {})[name] = told
        if _parsed(changed) != wanted:
            raise usage(f"{self.path}: cannot change [profiles.{name}] by itself", "write it as a table of its own")
        write_privately(self.path, changed)

    def _read(self) -> dict[str, object]:
        try:
            found = tomllib.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise usage(f"{self.path}: {error}") from error
        unknown = set(found) - {"default_profile", "profiles"}
        if unknown:
            raise usage(f"{self.path}: unknown setting {min(unknown)!r}", "known: default_profile, profiles")
        return found


class TokenFile:
    """The token of one profile."""

    def __init__(self, name: str) -> None:
        self.path = home() / "tokens" / f"{checked_name(name)}.json"
        self.key_path = self.path.with_suffix(".key")

    def load(self) -> SavedToken | None:
        """The saved token, or None when there is none.

        Raises:
            CliError: other people may read the file, or it is not one of ours.
        """
        try:
            with self.path.open() as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    hint = f"sign out and in again, or: chmod 600 {self.path}"
                    raise CliError(f"{self.path} can be read by others", hint=hint, code="TokenFileMode")
                return SavedToken(**json.load(file))
        except FileNotFoundError:
            return None
        except (TypeError, ValueError) as error:
            raise CliError(f"{self.path} is not a token file", hint="run `keystead login`", code="TokenFile") from error

    def save(self, token: SavedToken) -> None:
        """Keep `token`, readable by this user alone."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_privately(self.path, json.dumps(asdict(token)) + "\n")

    def save_key(self, pem: str) -> None:
        """Keep the key that the token is bound to, beside it and as closely."""
        self.key_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_privately(self.key_path, pem)

    def load_key(self) -> str:
        """The key that the token is bound to. Raises: CliError: it is gone, or other people may read it."""
        try:
            with self.key_path.open() as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    hint = f"sign out and in again, or: chmod 600 {self.key_path}"
                    raise CliError(f"{self.key_path} can be read by others", hint=hint, code="TokenFileMode")
                return file.read()
        except OSError as error:
            hint = "run `keystead login`"
            raise CliError(f"the key of the token is gone: {self.key_path}", hint=hint, code="TokenFile") from error

    def remove(self) -> None:
        """Forget the token and its key."""
        self.path.unlink(missing_ok=True)
        self.key_path.unlink(missing_ok=True)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """While nobody else changes a file in `directory`, which is made if need be."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise CliError(f"cannot use {directory}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def checked_name(name: object) -> str:
    """`name` itself when it can name a profile. Raises: CliError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise usage(f"{name!r} is not a profile name", "letters, digits, - and _")
    return name


def _parsed(text: str) -> dict[str, object] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _replace_section(text: str, section: str, body: str) -> str:
    """`text` with the TOML table `[section]` replaced by `body`, or added at the end."""
    lines = text.splitlines(keepends=True)
    start = next((at for at, line in enumerate(lines) if line.strip() == f"[{section}]"), None)
    if start is None:
        gap = "\n" if text and not text.endswith("\n\n") else ""
        return f"{text}{gap}[{section}]\n{body}"
    end = next((at for at in range(start + 1, len(lines)) if lines[at].lstrip().startswith("[")), len(lines))
    while end > start + 1 and lines[end - 1].lstrip()[:1] in {"", "#"}:
        end -= 1  # blank lines and comments before the next table are about that one
    return "".join(lines[:start]) + f"[{section}]\n{body}" + "".join(lines[end:])


def write_privately(path: Path, text: str) -> None:
    """Replace `path` as a whole, mode 0600."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CliError(f"cannot write {path}: {error.strerror}") from error
