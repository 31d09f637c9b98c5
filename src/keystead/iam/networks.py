"""Named networks: from which of them does a request come?"""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from keystead.core.errors import Refusal
from keystead.iam.model import NetworkSource

_Network = IPv4Network | IPv6Network


class Networks:
    """The network sources of one tenancy. Never changes: `having` gives another."""

    def __init__(self, sources: dict[str, tuple[str, tuple[_Network, ...]]] | None = None) -> None:
        self._sources = sources or {}

    def having(self, source: NetworkSource, deleted: bool) -> "Networks":
        """With this one added, replaced or taken away."""
        kept = {each: found for each, found in self._sources.items() if each != source.id}
        if not deleted:
            kept[source.id] = (source.name, tuple(map(ip_network, source.networks)))
        return Networks(kept)

    def names_of(self, address: str) -> tuple[str, ...]:
        """Names of those that hold an address; none for what is no address (a socket of this machine)."""
        try:
            found = ip_address(address)
        except ValueError:
            return ()
        mapped = getattr(found, "ipv4_mapped", None)
        at = mapped if mapped is not None else found
        return tuple(name for name, networks in self._sources.values() if any(at in network for network in networks))


def canonical_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    """The same networks, each in its one spelling.

    Raises:
        Refusal: one is none.
    """
    try:
        return tuple(str(ip_network(each)) for each in networks)
    except ValueError as error:
        raise Refusal(
            "InvalidParameter", f"not a network: {error}", hint="write it as 192.0.2.0/24 or 2001:db8::/32"
        ) from None
