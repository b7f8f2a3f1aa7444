"""firmware/hal/network.py: who is asked for the address of a name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tools import cpython

cpython.install()

from firmware.hal import network  # noqa: E402
from lib import datagram  # noqa: E402


class Wlan:
    """A radio that was given an address by the network, and perhaps a DNS server."""

    IF_STA = STA_IF = 0

    def __init__(self, interface: int = 0, dns: str = "192.168.7.1") -> None:
        self.dns = dns

    def ifconfig(self) -> tuple[str, str, str, str]:
        return ("192.168.7.20", "255.255.255.0", "192.168.7.1", self.dns)


class Radio:
    """The module that a board's MicroPython has."""

    STA_IF = 0
    WLAN = Wlan


def joined(monkeypatch: pytest.MonkeyPatch, dns: str) -> Any:
    monkeypatch.setattr(network, "network", Radio)
    net = network.Network(None)
    net._wlan.dns = dns
    return net


def test_the_server_that_the_network_named_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def lookup(host: str, server: str) -> str:
        asked.append((host, server))
        return "10.0.0.9"

    monkeypatch.setattr(datagram, "lookup", lookup)
    net = joined(monkeypatch, "192.168.7.53")
    assert asyncio.run(network.lookup(net, "broker.lan")) == "10.0.0.9"
    assert asked == [("broker.lan", "192.168.7.53")]


@pytest.mark.parametrize("dns", ["", "0.0.0.0"])
def test_without_a_server_only_addresses_can_be_used(
    monkeypatch: pytest.MonkeyPatch, dns: str
) -> None:
    net = joined(monkeypatch, dns)
    with pytest.raises(datagram.NoAnswer, match="named no DNS server"):
        asyncio.run(network.lookup(net, "broker.lan"))
    assert asyncio.run(network.lookup(net, "10.1.2.3")) == "10.1.2.3"


def test_without_a_radio_the_system_is_left_to_resolve() -> None:
    assert asyncio.run(network.lookup(None, "broker.lan")) == "broker.lan"
