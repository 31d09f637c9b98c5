"""The sections of the settings: every setting with its bounds, its default and what it means."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from keystead.core.errors import Refusal

_RANGE = r"^[0-9]{1,5}-[0-9]{1,5}$"
_NAME = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"


def invalid(message: str, hint: str = "") -> Refusal:
    """What settings that cannot hold are refused with."""
    return Refusal("InvalidSettings", message, hint=hint)


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
            raise invalid(f"[listen] private is no place to listen: {self.private}", "unix:/path or 10.0.0.5:8472")
        return host.strip("[]"), int(port)


class AuditSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How durable an audit entry is before its answer leaves."""

    sync: Annotated[
        Literal["synced", "written"],
        Meta(description="`synced`: on disk. `written`: handed to the system; a power cut may lose the last entries."),
    ] = "synced"


class DatabasesSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What database systems on this machine may use."""

    host: Annotated[
        str,
        Meta(
            pattern=r"^([0-9a-fA-F.:]{2,45}|\*)$",
            description="Address that database systems listen on (TLS only), and are reached at; `*`: every address of "
            "this machine, reached by the first of `[listen] names`, or by the host's name.",
        ),
    ] = "127.0.0.1"
    ports: Annotated[str, Meta(pattern=_RANGE, description="TCP ports of database systems.")] = "23300-23399"
    uids: Annotated[str, Meta(pattern=_RANGE, description="User ids, one per system (when run as root).")] = (
        "61000-61999"
    )
    endpoint_port: Annotated[int, Meta(ge=1, le=65535, description="Loopback port of the key endpoint.")] = 8471
    data_dir: Annotated[str, Meta(description="Data directories; empty: `data` in the state directory.")] = ""
    backup_dir: Annotated[str, Meta(description="Backups; empty: `backups` in the state directory.")] = ""
    tmpfs_dir: Annotated[str, Meta(description="A tmpfs, for temporary files and socket files.")] = "/dev/shm"  # noqa: S108  # checked to be ours


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
