"""Settings: one TOML file, overridden by the environment; what is not known is refused.

The file is `keystead.toml` in the state directory, or the one that `--config` or KEYSTEAD_SETTINGS names. Every setting
can be overridden by KEYSTEAD_<SECTION>_<NAME>, e.g. KEYSTEAD_LISTEN_PORT=9000. The structures below are the reference:
each field carries its meaning, bounds and default (docs/settings.md is made from them).

(KEYSTEAD_CONFIG, KEYSTEAD_HOME and KEYSTEAD_PROFILE are the command line's own; they say where its profiles are.)
"""

import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from keystead.core.errors import Refusal
from keystead.databases.config import MAX_SOCKET_PATH

FILE_NAME = "keystead.toml"
MAX_FILE_BYTES = 256 * 1024
_RANGE = r"^[0-9]{1,5}-[0-9]{1,5}$"
_NAME = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"


class RegionSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which region this is."""

    name: Annotated[str, Meta(pattern=_NAME, description="The region's name; part of every id, fixed at init.")] = (
        "home"
    )


class StateSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the region lives."""

    dir: Annotated[str, Meta(description="State directory; empty: the directory of the settings file.")] = ""


class UnsealSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What opens the root key by itself, and how people reach a region that is sealed."""

    key_file: Annotated[
        str,
        Meta(description="Key file, outside the state directory; empty: a token or KMS slot, or people, open it."),
    ] = ""
    sealed_tls: Annotated[
        bool,
        Meta(
            description="Where people open the region: keep a TLS key on disk (0400), so that it answers over TLS "
            "while it is sealed. Off: on its local socket alone."
        ),
    ] = True


class ListenSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the region answers."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535, description="TCP port.")] = 8470
    workers: Annotated[int, Meta(ge=1, le=64, description="Worker processes for HTTP.")] = 2
    tls: Annotated[bool, Meta(description="TLS 1.3. Off is accepted on loopback only, for measurements.")] = True
    names: Annotated[
        list[str],
        Meta(description="More DNS names and addresses for the certificate, besides localhost and the host's name."),
    ] = msgspec.field(default_factory=list)
    private: Annotated[
        str,
        Meta(
            description="A private listener: `unix:/path`, or `address:port` of an interface that outsiders do not "
            "reach. Vaults with networks let in what comes by it; empty: none."
        ),
    ] = ""
    private_mode: Annotated[
        str, Meta(pattern=r"^0?[0-7]{3}$", description="Who may connect to a private unix socket, as `chmod` takes it.")
    ] = "0660"
    runtime_dir: Annotated[
        str, Meta(description="Directory of sockets and locks; empty: `run` in the state directory.")
    ] = ""

    @property
    def private_at(self) -> Path | tuple[str, int] | None:
        """Where the private listener is: a unix socket, or address and port. Raises: Refusal `InvalidSettings`."""
        if not self.private:
            return None
        kind, _, path = self.private.partition(":")
        if kind == "unix":
            return Path(path)
        host, _, port = self.private.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise _invalid(f"[listen] private is no place to listen: {self.private}", "unix:/path or 10.0.0.5:8472")
        return host.strip("[]"), int(port)


class AuditSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How durable an audit entry is before its answer leaves."""

    sync: Annotated[
        Literal["synced", "written"],
        Meta(description="`synced`: on disk. `written`: handed to the system; a power cut may lose the last entries."),
    ] = "synced"


class DatabasesSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What database systems on this machine may use."""

    ports: Annotated[str, Meta(pattern=_RANGE, description="TCP ports of database systems.")] = "23300-23399"
    uids: Annotated[str, Meta(pattern=_RANGE, description="User ids, one per system (when run as root).")] = (
        "61000-61999"
    )
    endpoint_port: Annotated[int, Meta(ge=1, le=65535, description="Loopback port of the key endpoint.")] = 8471
    data_dir: Annotated[str, Meta(description="Data directories; empty: `data` in the state directory.")] = ""
    backup_dir: Annotated[str, Meta(description="Backups; empty: `backups` in the state directory.")] = ""
    tmpfs_dir: Annotated[str, Meta(description="A tmpfs, for temporary files and socket files.")] = "/dev/shm"  # noqa: S108


class AccessSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What happens to systems whose key cannot be asked for."""

    lease_seconds: Annotated[
        int, Meta(ge=1, le=60, description="No positive answer from the vault for so long is `unreachable`.")
    ] = 10
    grace_seconds: Annotated[
        int, Meta(ge=-1, le=604800, description="How long an unreachable system goes on; 0: not at all, -1: for ever.")
    ] = 900


class HsmSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The token that keys of protection `hsm` live in (PKCS#11). Empty: this region has none."""

    uri: Annotated[
        str, Meta(description="The token as a PKCS#11 URI (RFC 7512), e.g. `pkcs11:token=prod`. It never holds a PIN.")
    ] = ""
    module: Annotated[str, Meta(description="The vendor's module, a shared library; or `module-path` in the URI.")] = ""
    pin_file: Annotated[str, Meta(description="File whose first line is the PIN; or `pin-source` in the URI.")] = ""
    sessions: Annotated[int, Meta(ge=1, le=64, description="Sessions of each process, so calls at once.")] = 4
    waiting: Annotated[int, Meta(ge=0, le=1000, description="Calls that may wait for a session.")] = 16
    wait_seconds: Annotated[float, Meta(gt=0, le=60, description="How long a call waits for a session.")] = 2.0
    call_seconds: Annotated[
        float, Meta(gt=0, le=60, description="How long the token may take over one call before it counts as down.")
    ] = 5.0


class ExternalSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The other KMS that keys of protection `external` live in. Empty `url`: this region has none."""

    kind: Annotated[Literal["openbao"], Meta(description="What it is: OpenBao's transit engine, or one like it.")] = (
        "openbao"
    )
    url: Annotated[str, Meta(description="Where it is, e.g. `https://kms.example:8200`.")] = ""
    mount: Annotated[str, Meta(min_length=1, description="Where its transit engine is mounted.")] = "transit"
    token_file: Annotated[str, Meta(description="File that holds its token; read anew for each call.")] = ""
    ca_file: Annotated[str, Meta(description="PEM of the CAs that sign its certificate; empty: the system's.")] = ""
    namespace: Annotated[str, Meta(description="Its namespace, where it has them.")] = ""
    connections: Annotated[int, Meta(ge=1, le=64, description="Calls at once of each process.")] = 4
    waiting: Annotated[int, Meta(ge=0, le=1000, description="Calls that may wait.")] = 16
    wait_seconds: Annotated[float, Meta(gt=0, le=60, description="How long a call waits for its turn.")] = 2.0
    call_seconds: Annotated[
        float, Meta(gt=0, le=60, description="How long it may take over one call before it counts as down.")
    ] = 5.0


class FederationSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Identity providers outside, by way of which people sign in."""

    url: Annotated[
        str,
        Meta(
            description="Where browsers find this region, e.g. `https://keys.example.com`; empty: `https://` with the "
            "first of [listen] names, or its host, and its port."
        ),
    ] = ""
    inside: Annotated[
        list[str],
        Meta(
            description="Origins of identity providers within one's own network, e.g. `https://id.corp.example`. "
            "Others are spoken to at public addresses alone; plain http only to those named here."
        ),
    ] = msgspec.field(default_factory=list)


class SignInSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who this region is to the authenticators of its users (WebAuthn). Changing `domain` makes theirs useless."""

    domain: Annotated[
        str, Meta(min_length=1, description="Domain that credentials are made for: the region's name, or one above it.")
    ] = "localhost"
    origins: Annotated[
        tuple[str, ...],
        Meta(description="Where pages that sign in are served, e.g. `https://keystead.example:8470`; empty: here."),
    ] = ()


class LimitsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bounds of one HTTP worker."""

    body_kb: Annotated[int, Meta(ge=64, le=65536, description="Largest request body.")] = 1024
    threads: Annotated[int, Meta(ge=1, le=256, description="Threads for requests that touch rows.")] = 8
    waiting: Annotated[int, Meta(ge=1, le=10000, description="Requests that may wait for a thread.")] = 256
    sign_ins: Annotated[int, Meta(ge=1, le=32, description="Password checks at once (64 MiB each).")] = 2
    sign_ins_waiting: Annotated[int, Meta(ge=1, le=1000, description="Password checks that may wait.")] = 32


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All of it."""

    region: RegionSection = RegionSection()
    state: StateSection = StateSection()
    unseal: UnsealSection = UnsealSection()
    listen: ListenSection = msgspec.field(default_factory=ListenSection)
    audit: AuditSection = AuditSection()
    databases: DatabasesSection = DatabasesSection()
    access: AccessSection = AccessSection()
    hsm: HsmSection = HsmSection()
    external: ExternalSection = ExternalSection()
    federation: FederationSection = msgspec.field(default_factory=FederationSection)
    sign_in: SignInSection = SignInSection()
    limits: LimitsSection = LimitsSection()


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    found.name: type(found.default if found.default is not msgspec.NODEFAULT else found.default_factory())
    for found in msgspec.structs.fields(Settings)
}

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
    def url(self) -> str:
        """Where the API is, for people on this machine."""
        listen = self.settings.listen
        host = "127.0.0.1" if listen.host in ("0.0.0.0", "::") else listen.host  # noqa: S104
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
        raise _invalid(f"{file} cannot be read: {error.strerror}") from error
    return parse(content, file, found)


def parse(content: bytes, file: Path, environment: Mapping[str, str]) -> Effective:
    """The settings in `content`, overridden by `environment`. Raises: Refusal `InvalidSettings`."""
    if len(content) > MAX_FILE_BYTES:
        raise _invalid(f"{file} is too large")
    try:
        read = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _invalid(f"{file} is not TOML: {error}") from error
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
        raise _invalid(_place(error, origins, file)) from error
    state = Path(settings.state.dir) if settings.state.dir else file.parent
    made = Effective(settings, file, state.absolute(), origins)
    _check_whole(made)
    return made


def build(tables: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Settings from values, e.g. those that `init` was given. Raises: Refusal `InvalidSettings`."""
    try:
        return msgspec.convert(tables, Settings)
    except msgspec.ValidationError as error:
        raise _invalid(_place(error, {}, Path("settings"))) from error


def ranged(text: str, name: str) -> range:
    """`23300-23399` as a range, both ends included. Raises: Refusal `InvalidSettings`."""
    first, last = (int(part) for part in text.split("-"))
    if not 0 < first <= last < 65536:
        raise _invalid(f"{name} is not a range: {text}", "like 23300-23399")
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
                raise _invalid(f"{variable} is set, but [{section}] has no setting {name!r}", _meant(name, struct))
            text = environment[variable]
            listed = isinstance(getattr(struct(), name), list)
            found.append(
                (section, name, [part.strip() for part in text.split(",") if part.strip()] if listed else text)
            )
    return found


def _check_table(section: str, table: Any, file: Path) -> None:
    if section not in SECTIONS:
        raise _invalid(f"{file}: there is no section [{section}]", f"sections: {', '.join(SECTIONS)}")
    if not isinstance(table, dict):
        raise _invalid(f"{file}: {section} is a section, not a value", f"write it as [{section}]")
    struct = SECTIONS[section]
    for name in table:
        if name not in struct.__struct_fields__:
            raise _invalid(f"{file}: [{section}] has no setting {name!r}", _meant(name, struct))


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
    for name in ("ports", "uids"):
        ranged(getattr(settings.databases, name), f"[databases] {name}")
    if not settings.listen.tls and settings.listen.host not in ("127.0.0.1", "::1", "localhost"):
        raise _invalid("[listen] tls = false is accepted on loopback only", 'set host = "127.0.0.1", or tls = true')
    _check_private(settings.listen)
    # <region>/<32 letters of the system's id>/run/mysql.sock, as the node lays it out
    longest = made.memory / ("x" * 32) / "run" / "mysql.sock"
    length = len(os.fsencode(longest))
    if length > MAX_SOCKET_PATH:
        raise _invalid(
            f"[databases] tmpfs_dir is too long: sockets in it would have paths of {length} characters",
            f"{MAX_SOCKET_PATH} is the most that the system takes: choose a shorter directory on a tmpfs",
        )
    key_file = made.key_file
    if key_file is not None and not key_file.is_absolute():
        raise _invalid(f"[unseal] key_file must be an absolute path: {key_file}")
    if key_file is not None:
        check_key_file_place(made, key_file)


def _check_private(listen: ListenSection) -> None:
    """Raises: Refusal `InvalidSettings`: the private listener cannot be where it is to be."""
    where = listen.private_at
    if isinstance(where, Path):
        if not where.is_absolute() or len(os.fsencode(where)) > MAX_SOCKET_PATH:
            raise _invalid(
                f"[listen] private: the socket's path must be absolute and have at most {MAX_SOCKET_PATH} characters"
            )
    elif where is not None:
        if where == (listen.host, listen.port):
            raise _invalid("[listen] private is where everybody is answered", "choose another address or port")
        if not listen.tls and where[0] not in ("127.0.0.1", "::1", "localhost"):
            raise _invalid(
                "[listen] tls = false is accepted on loopback only", "give [listen] private a loopback address"
            )


def check_key_file_place(made: Effective, key_file: Path) -> None:
    """Raises: Refusal `InvalidSettings`: the key file would lie in the state directory."""
    if key_file.resolve().is_relative_to(made.state.resolve()):
        raise _invalid(
            "[unseal] key_file lies in the state directory",
            "whoever copies the state directory would have the key with it: keep it elsewhere",
        )


def _invalid(message: str, hint: str = "") -> Refusal:
    return Refusal("InvalidSettings", message, hint=hint)


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
