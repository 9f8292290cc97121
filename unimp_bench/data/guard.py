"""Which network addresses a request may go to: the public ones.

Raw data names addresses that strangers chose. Without this check a line of metadata could make the machine that builds
a dataset ask its own router or a cloud's metadata service. Nothing here touches the network.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # RFC 5214: then the last 32 bits are an IPv4 address
# Of special use (IANA registries), but public to some of the Python versions that we run on.
_SPECIAL = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "3fff::/20", "5f00::/16")))


def _inside(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """IPv4 addresses that an IPv6 address stands for (6to4, Teredo, NAT64, ISATAP)."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or address in _COMPATIBLE or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        found.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return [inner for inner in found if inner is not None]


def objection(text: str) -> str | None:
    """Why no request should go to this numeric address, in one word; None for a public address."""
    address = ip_address(text.partition("%")[0])  # a scope such as %eth0 says nothing about the address
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    for one in (address, *_inside(address)):
        kinds = {
            "unspecified": one.is_unspecified,
            "loopback": one.is_loopback,
            "link-local": one.is_link_local,
            "multicast": one.is_multicast,
            "reserved": one.is_reserved and one not in _NAT64,
            "private": not one.is_global or (isinstance(one, IPv6Address) and one.is_site_local),
            "special": any(one in network for network in _SPECIAL),
        }
        reason = next((kind for kind, holds in kinds.items() if holds), None)
        if reason is not None:
            return reason
    return None
