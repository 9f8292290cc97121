"""Which addresses count as public."""

from __future__ import annotations

import pytest

from unimp_bench.data.guard import objection


@pytest.mark.parametrize("address", ["8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_pass(address):
    assert objection(address) is None


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),  # NAT64 of 127.0.0.1
        ("2002:7f00:1::", "loopback"),  # 6to4 of 127.0.0.1
        ("10.1.2.3", "private"),
        ("192.168.0.1", "private"),
        ("100.64.0.1", "private"),  # carrier-grade NAT
        ("fc00::1", "private"),
        ("fec0::1", "private"),
        ("169.254.169.254", "link-local"),  # the metadata service of clouds
        ("fe80::1%eth0", "link-local"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("2a00:1450::200:5efe:7f00:1", "loopback"),  # ISATAP of 127.0.0.1
        ("fd00:ec2::254", "private"),  # the metadata service of a cloud, by IPv6
        ("::ffff:0:127.0.0.1", "reserved"),
        ("192.0.0.8", "special"),
        ("3fff::1", "special"),
    ],
)
def test_others_are_named(address, reason):
    assert objection(address) == reason
