"""From where a vault may be reached. Pure.

    no networks                 from everywhere
    192.0.2.0/24, 2001:db8::/32 from addresses in them, as the connection's own peer (no proxy's header is believed)
    private                     nothing is added: the private listener and the machine's own sockets always pass

So a vault whose only network is `private` is reached through those alone. What the region does by itself, and resources
that belong to a trusted service of the vault (`databases`: every database system, acting as itself), have no address
of their own: the first always passes, the second while the service is trusted. A source that says neither an address
nor an entrance passes nowhere.

A request that comes from elsewhere is answered as if the vault and its keys did not exist; the reason is in the audit
log alone.
"""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache

from keystead.core.errors import Refusal
from keystead.iam.model import Caller
from keystead.vault.model import Vault

PRIVATE = "private"
LOCAL = "local"
SERVICES: Mapping[str, str] = {"mysqldbsystem": "databases"}
"""Which trusted service a resource's identity belongs to."""
MAX_NETWORKS = 100
_REMEMBERED = 4096
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Fence:
    """What one vault lets in."""

    def __init__(self, name: str, networks: tuple[str, ...], trusted: tuple[str, ...]) -> None:
        self._name = name
        self._networks = tuple(ipaddress.ip_network(text) for text in networks if text != PRIVATE)
        self._trusted = trusted
        self._inside = lru_cache(_REMEMBERED)(self._contains)

    def why_not(self, caller: Caller) -> str:
        """Why the caller does not reach the vault, in words for the audit log; empty when it does."""
        kind = caller.principal.type
        if kind == "service":
            return ""
        service = SERVICES.get(kind)
        if service is not None:
            return "" if service in self._trusted else f"vault {self._name!r} does not trust the service {service}"
        if self._inside(caller.source):
            return ""
        return f"vault {self._name!r} may not be reached from {caller.source or 'an unknown place'}"

    def _contains(self, source: str) -> bool:
        if is_private(source):
            return True
        address = address_of(source)
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )


def fence_of(vault: Vault) -> Fence | None:
    """The fence around a vault; None when it may be reached from everywhere."""
    return Fence(vault.name, vault.networks, vault.trusted_services) if vault.networks else None


def is_private(source: str) -> bool:
    """Whether a request came in by the private listener or a socket of this machine's own."""
    return source in (PRIVATE, LOCAL) or source.startswith(f"{PRIVATE} ")


def address_of(source: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address in a source; an IPv4 address that came in over IPv6 is one of IPv4. None when it is none."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def checked_networks(given: tuple[str, ...]) -> tuple[str, ...]:
    """Networks as they are stored: CIDR in its shortest form, each once. Raises: Refusal."""
    if len(given) > MAX_NETWORKS:
        raise Refusal("InvalidParameter", f"a vault has at most {MAX_NETWORKS} networks")
    found = []
    for text in given:
        if text == PRIVATE:
            found.append(text)
            continue
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise Refusal(
                "InvalidParameter",
                f"{text[:60]!r} is not a network",
                hint="write it as 192.0.2.0/24 or 2001:db8::/32, or `private` for the private listener alone",
            ) from error
        found.append(str(_plain(network)))
    return tuple(dict.fromkeys(found))


def checked_services(given: tuple[str, ...]) -> tuple[str, ...]:
    """Trusted services, each once. Raises: Refusal, there is no such service."""
    known = sorted(set(SERVICES.values()))
    for name in given:
        if name not in known:
            raise Refusal(
                "InvalidParameter", f"there is no service {name[:60]!r} to trust", hint=f"there are: {', '.join(known)}"
            )
    return tuple(dict.fromkeys(given))


def check_not_shut_out(caller: Caller, before: Vault | None, after: Vault) -> None:
    """Raises: Refusal `ShutsYouOut`: after the change the caller could not reach the vault to take it back."""
    if before is not None and before.networks == after.networks:
        return
    fence = fence_of(after)
    if fence is not None and fence.why_not(caller):
        raise Refusal(
            "ShutsYouOut",
            f"you come from {caller.source or 'an unknown place'}: with these networks you could not reach vault "
            f"{after.name!r} any more",
            hint="add a network that holds your address, or do it through the private listener",
            kind="conflict",
        )


def _plain(network: Network) -> Network:
    """A network of IPv4 addresses written as IPv6 is one of IPv4."""
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network
