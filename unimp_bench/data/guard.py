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
    everyone = (address, *_inside(address))
    # In this order, because Python's versions differ in what they call private.
    kinds = {
        "unspecified": any(one.is_unspecified for one in everyone),
        "loopback": any(one.is_loopback for one in everyone),
        "link-local": any(one.is_link_local for one in everyone),
        "multicast": any(one.is_multicast for one in everyone),
        "reserved": any(one.is_reserved and one not in _NAT64 for one in everyone),
        "special": any(one in network for one in everyone for network in _SPECIAL),
        "private": any(not one.is_global or getattr(one, "is_site_local", False) for one in everyone),
    }
    return next((kind for kind, holds in kinds.items() if holds), None)
