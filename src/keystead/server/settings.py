"""Settings: one TOML file, overridden by the environment; what is not known is refused.

The file is `keystead.toml` in the state directory, or the one that `--config` or KEYSTEAD_SETTINGS names. Every setting
can be overridden by KEYSTEAD_<SECTION>_<NAME>, e.g. KEYSTEAD_LISTEN_PORT=9000. The structures of sections.py are the
reference: each field carries its meaning, bounds and default (docs/settings.md is made from them).

(KEYSTEAD_CONFIG, KEYSTEAD_HOME and KEYSTEAD_PROFILE are the command line's own; they say where its profiles are.)
"""

import hashlib
import ipaddress
import os
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Meta

from keystead.core.errors import Refusal
from keystead.databases.config import MAX_SOCKET_PATH
from keystead.server.sections import SECTIONS, ListenSection, Settings, invalid

FILE_NAME = "keystead.toml"
MAX_FILE_BYTES = 256 * 1024
EVERYWHERE = ("*", "0.0.0.0")  # noqa: S104  # not to listen on: what stands for every address  # only if the settings say so

Origin = Literal["default", "file", "environment"]


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings in force, from where each comes (`section.name` -> origin), and the paths that follow from them."""

    settings: Settings
    file: Path
    state: Path
    origins: Mapping[str, Origin] = field(default_factory=dict)

    @property
    def runtime(self) -> Path:
        """Sockets and locks."""
        chosen = self.settings.listen.runtime_dir
        return Path(chosen) if chosen else self.state / "run"

    @property
    def key_file(self) -> Path | None:
        """The key file, when there is one."""
        chosen = self.settings.unseal.key_file
        return Path(chosen) if chosen else None

    @property
    def data(self) -> Path:
        """Where database systems keep their data directories."""
        chosen = self.settings.databases.data_dir
        return Path(chosen) if chosen else self.state / "data"

    @property
    def backups(self) -> Path:
        """Where backups of database systems are kept."""
        chosen = self.settings.databases.backup_dir
        return Path(chosen) if chosen else self.state / "backups"

    @property
    def memory(self) -> Path:
        """Where database systems keep what must not reach a disk: one directory per region on the tmpfs."""
        unique = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:12]
        return Path(self.settings.databases.tmpfs_dir) / f"keystead-{unique}"

    @property
    def database_name(self) -> str:
        """The address or name by which clients reach database systems."""
        host = self.settings.databases.host
        return host if host not in EVERYWHERE else next(iter(self.settings.listen.names), socket.getfqdn())

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """What certificates are for, besides this machine's own names."""
        host = self.settings.databases.host
        return (*self.settings.listen.names, *(() if host in EVERYWHERE else (host,)))

    @property
    def url(self) -> str:
        """Where the API is, for people on this machine."""
        listen = self.settings.listen
        host = "127.0.0.1" if listen.host in ("0.0.0.0", "::") else listen.host  # noqa: S104  # not to listen on: what stands for every address
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if listen.tls else 'http'}://{shown}:{listen.port}"


def default_state() -> Path:
    """The state directory when nobody chose one."""
    if os.geteuid() == 0:
        return Path("/var/lib/keystead")
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local/share") / "keystead"


def default_key_file() -> Path:
    """The key file when nobody chose one: never on the same path as the state."""
    if os.geteuid() == 0:
        return Path("/etc/keystead/root.key")
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "keystead" / "root.key"


def find_file(config: Path | None, state: Path | None, environment: Mapping[str, str] | None = None) -> Path:
    """The settings file: `--config`, KEYSTEAD_SETTINGS, or the one in the state directory."""
    found = os.environ if environment is None else environment
    if config is not None:
        return config.absolute()
    if state is None and "KEYSTEAD_SETTINGS" in found:
        return Path(found["KEYSTEAD_SETTINGS"]).absolute()
    chosen = state or (Path(found["KEYSTEAD_STATE_DIR"]) if "KEYSTEAD_STATE_DIR" in found else default_state())
    return chosen.absolute() / FILE_NAME


def load(
    config: Path | None = None, state: Path | None = None, environment: Mapping[str, str] | None = None
) -> Effective:
    """The settings in force.

    Raises:
        Refusal: `NoRegion` when there is no such file; `InvalidSettings` with the place of the first error.
    """
    found = os.environ if environment is None else environment
    file = find_file(config, state, found)
    if (
        state is not None
    ):  # what was asked for comes before the environment, else settings and state would be two regions'
        found = {name: value for name, value in found.items() if name != "KEYSTEAD_STATE_DIR"}
    try:
        with file.open("rb") as source:
            content = source.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise Refusal(
            "NoRegion",
            f"there is no region here: {file} does not exist",
            hint="make one with `keystead init`, or name another with --state or --config",
            kind="not_found",
        ) from None
    except OSError as error:
        raise invalid(f"{file} cannot be read: {error.strerror}") from error
    return parse(content, file, found)


def parse(content: bytes, file: Path, environment: Mapping[str, str]) -> Effective:
    """The settings in `content`, overridden by `environment`. Raises: Refusal `InvalidSettings`."""
    if len(content) > MAX_FILE_BYTES:
        raise invalid(f"{file} is too large")
    try:
        read = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise invalid(f"{file} is not TOML: {error}") from error
    origins: dict[str, Origin] = {}
    for section, table in read.items():
        _check_table(section, table, file)
        origins |= {f"{section}.{name}": "file" for name in table}
    for section, name, value in _overrides(environment):
        read.setdefault(section, {})[name] = value
        origins[f"{section}.{name}"] = "environment"
    try:
        settings = msgspec.convert(read, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(_place(error, origins, file)) from error
    state = Path(settings.state.dir) if settings.state.dir else file.parent
    made = Effective(settings, file, state.absolute(), origins)
    _check_whole(made)
    return made


def build(tables: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Settings from values, e.g. those that `init` was given. Raises: Refusal `InvalidSettings`."""
    try:
        return msgspec.convert(tables, Settings)
    except msgspec.ValidationError as error:
        raise invalid(_place(error, {}, Path("settings"))) from error


def ranged(text: str, name: str) -> range:
    """`23300-23399` as a range, both ends included. Raises: Refusal `InvalidSettings`."""
    first, last = (int(part) for part in text.split("-"))
    if not 0 < first <= last < 65536:
        raise invalid(f"{name} is not a range: {text}", "like 23300-23399")
    return range(first, last + 1)


def render(settings: Settings) -> str:
    """A settings file that says what differs from the defaults."""
    lines = ["# Keystead: settings of this region. `keystead doctor` shows all of them with their meaning.", ""]
    for section, table in msgspec.to_builtins(settings).items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {_toml(value)}" for name, value in table.items()]
        lines.append("")
    return "\n".join(lines)


def described() -> list[tuple[str, str, str, Any]]:
    """Every setting: section, name, meaning, default. In the order of the file."""
    shown = []
    for section, struct in SECTIONS.items():
        for each in msgspec.structs.fields(struct):
            about = next(meta.description for meta in each.type.__metadata__ if isinstance(meta, Meta)) or ""
            shown.append((section, each.name, about, getattr(struct(), each.name)))
    return shown


def _toml(value: Any) -> str:
    # TOML's basic strings, integers, booleans and arrays are spelled as JSON spells them.
    return msgspec.json.encode(value).decode()


def _overrides(environment: Mapping[str, str]) -> list[tuple[str, str, Any]]:
    found: list[tuple[str, str, Any]] = []
    for variable in sorted(environment):
        for section, struct in SECTIONS.items():
            prefix = f"KEYSTEAD_{section.upper()}_"
            if not variable.startswith(prefix):
                continue
            name = variable.removeprefix(prefix).lower()
            if name not in struct.__struct_fields__:
                raise invalid(f"{variable} is set, but [{section}] has no setting {name!r}", _meant(name, struct))
            text = environment[variable]
            listed = isinstance(getattr(struct(), name), list)
            found.append(
                (section, name, [part.strip() for part in text.split(",") if part.strip()] if listed else text)
            )
    return found


def _check_table(section: str, table: Any, file: Path) -> None:
    if section not in SECTIONS:
        raise invalid(f"{file}: there is no section [{section}]", f"sections: {', '.join(SECTIONS)}")
    if not isinstance(table, dict):
        raise invalid(f"{file}: {section} is a section, not a value", f"write it as [{section}]")
    struct = SECTIONS[section]
    for name in table:
        if name not in struct.__struct_fields__:
            raise invalid(f"{file}: [{section}] has no setting {name!r}", _meant(name, struct))


def _meant(name: str, struct: type[msgspec.Struct]) -> str:
    close = get_close_matches(name, struct.__struct_fields__, 1)
    return f"did you mean {close[0]}?" if close else f"it has: {', '.join(struct.__struct_fields__)}"


def _place(error: msgspec.ValidationError, origins: Mapping[str, Origin], file: Path) -> str:
    said, _, path = str(error).partition(" - at `$.")
    where = path.rstrip("`")
    section, _, name = where.partition(".")
    origin = f"KEYSTEAD_{section}_{name}".upper() if origins.get(where) == "environment" else str(file)
    return f"{origin}: [{section}] {name}: {said[:1].lower()}{said[1:]}" if where else f"{file}: {said}"


def _check_whole(made: Effective) -> None:
    """What no single field can tell."""
    settings = made.settings
    _check_address(settings.databases.host)
    for name in ("ports", "uids"):
        ranged(getattr(settings.databases, name), f"[databases] {name}")
    if not settings.listen.tls and settings.listen.host not in ("127.0.0.1", "::1", "localhost"):
        raise invalid("[listen] tls = false is accepted on loopback only", 'set host = "127.0.0.1", or tls = true')
    _check_private(settings.listen)
    # <region>/<32 letters of the system's id>/run/mysql.sock, as the node lays it out
    longest = made.memory / ("x" * 32) / "run" / "mysql.sock"
    length = len(os.fsencode(longest))
    if length > MAX_SOCKET_PATH:
        raise invalid(
            f"[databases] tmpfs_dir is too long: sockets in it would have paths of {length} characters",
            f"{MAX_SOCKET_PATH} is the most that the system takes: choose a shorter directory on a tmpfs",
        )
    key_file = made.key_file
    if key_file is not None and not key_file.is_absolute():
        raise invalid(f"[unseal] key_file must be an absolute path: {key_file}")
    if key_file is not None:
        check_key_file_place(made, key_file)


def _check_address(host: str) -> None:
    """Raises: Refusal `InvalidSettings`: not an address that servers can listen on."""
    if host == "*":
        return
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise invalid(
            f"[databases] host is not an IP address: {host}", "give an address of this machine, or *"
        ) from None
    if address.version == 6 and address.is_unspecified:
        raise invalid('[databases] host = "::" means other things to other programs', 'every address is host = "*"')


def _check_private(listen: ListenSection) -> None:
    """Raises: Refusal `InvalidSettings`: the private listener cannot be where it is to be."""
    where = listen.private_at
    if isinstance(where, Path):
        if not where.is_absolute() or len(os.fsencode(where)) > MAX_SOCKET_PATH:
            raise invalid(
                f"[listen] private: the socket's path must be absolute and have at most {MAX_SOCKET_PATH} characters"
            )
    elif where is not None:
        if where == (listen.host, listen.port):
            raise invalid("[listen] private is where everybody is answered", "choose another address or port")
        if not listen.tls and where[0] not in ("127.0.0.1", "::1", "localhost"):
            raise invalid(
                "[listen] tls = false is accepted on loopback only", "give [listen] private a loopback address"
            )


def check_key_file_place(made: Effective, key_file: Path) -> None:
    """Raises: Refusal `InvalidSettings`: the key file would lie in the state directory."""
    if key_file.resolve().is_relative_to(made.state.resolve()):
        raise invalid(
            "[unseal] key_file lies in the state directory",
            "whoever copies the state directory would have the key with it: keep it elsewhere",
        )


def page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "One TOML file: `keystead.toml` in the state directory, or the one that `--config` or `KEYSTEAD_SETTINGS`",
        "names. Every setting can be overridden by `KEYSTEAD_<SECTION>_<NAME>`, e.g. `KEYSTEAD_LISTEN_PORT=9000`",
        "(lists: with commas between). Unknown sections and names are refused. `keystead doctor` shows what is in",
        "force and where from.",
    ]
    for section, struct in SECTIONS.items():
        lines += ["", f"## [{section}]", "", (struct.__doc__ or "").strip(), "", "| setting | default | meaning |"]
        lines.append("|---|---|---|")
        lines += [
            f"| `{name}` | `{_toml(default)}` | {about} |" for of, name, about, default in described() if of == section
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
