"""From which network a request comes: as much of the address as one owner usually has.

IPv4: the first 24 bits, IPv6: the first 48. There is no geography here: two networks are the same or they are not.
"""

import ipaddress


def network_of(source: str) -> str:
    """The network of a source as the pipeline names it (an address, `private ADDRESS`, `unix`, ...)."""
    entrance, _, address = source.rpartition(" ")
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return source[:64] or "unknown"
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    found = mapped or found
    bits = 24 if found.version == 4 else 48
    network = str(ipaddress.ip_network(f"{found}/{bits}", strict=False))
    return f"{entrance} {network}" if entrance else network
