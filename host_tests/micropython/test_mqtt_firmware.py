"""The whole firmware and a real broker: what finding it and TLS may cost, and what they may not.

A handshake keeps a Pico W's Python in C for 0.8 s (measured on the emulated chip), while the hard
timer of the fast lane goes on. This computer needs some ms for it, so the rest is added here: the
chip's time passes, its timers run, and nothing else does.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from host_tests.micropython import certificates as make_certificates
from host_tests.micropython import running
from host_tests.micropython.mqtt_peers import Proxy
from host_tests.micropython.test_datagram import dns, name_of, serving
from tools.runtime.broker import Mosquitto
from tools.simulator.device import SimulatedDevice

HANDSHAKES = 20
_SPEED = 4.0
_TIMED = """
import time
from firmware import controller
from lib import mqtt

_connack = mqtt.Client._connack

def _up(self, flags, code):
    _connack(self, flags, code)
    print("broker is up")

mqtt.Client._connack = _up

_step = controller.Controller.step
_last = 0
_gap = 0

def _timed(self):
    global _last, _gap
    now = time.ticks_ms()
    gap = time.ticks_diff(now, _last) if _last else 0
    _last = now
    if gap > _gap:
        _gap = gap
        print("control lane", gap)
    return _step(self)

controller.Controller.step = _timed
"""
_SLOW_HANDSHAKE = """

class _Slow:
    def __init__(self, context):
        self._context = context

    def wrap_socket(self, sock, **options):
        print("handshake begins")
        time.sleep_ms(820)
        print("handshake ends")
        return self._context.wrap_socket(sock, **options)

_context = mqtt.tls_context
mqtt.tls_context = lambda *files: _Slow(_context(*files))
"""
# A radio for the unix port: its DNS server is on the loopback, at a port that anybody may have.
_NETWORK = """
import asyncio
from firmware.hal import network

class _Network:
    connected = True
    dns = "127.0.0.1"

    def status(self):
        return {"state": "up", "ssid": "", "address": "127.0.0.1"}

    def begin(self):
        pass

    async def run(self):
        while True:
            await asyncio.sleep(60)

network.make = lambda settings: _Network()
_lookup = network.lookup

async def _asked(net, host):
    from lib import datagram  # dropped after use, so it may be another one each time

    real = datagram.lookup
    datagram.lookup = lambda host, server: real(host, server, PORT)
    try:
        return await _lookup(net, host)
    finally:
        datagram.lookup = real

network.lookup = _asked
"""


def plant(tree: Path, *parts: str) -> None:
    """Have the firmware run with these changes."""
    running.plant(tree, _TIMED, *parts)


def gaps_ms(device: SimulatedDevice) -> list[int]:
    """Times between two steps of the control lane, each longer than all before it."""
    found = (re.fullmatch(r"control lane (\d+)", line) for line in device.console())
    return [int(match[1]) for match in found if match]


def count(device: SimulatedDevice, text: str) -> int:
    return sum(line.text == text for line in device.lines)


def test_an_outlet_stays_on_through_twenty_handshakes_and_trips_in_one(
    tree: Path, tmp_path: Path
) -> None:
    certificates = make_certificates.make(tmp_path / "certificates")
    plant(tree, _SLOW_HANDSHAKE)
    with (
        Mosquitto(tmp_path / "broker", tls=certificates, client_certificate=True) as broker,
        Proxy(broker.port) as line,
    ):
        settings = {
            "mqtt.host": "127.0.0.1",
            "mqtt.port": line.port,
            "mqtt.tls": True,
            "time.servers": "",
            "mqtt.ca_file": "ca.crt.der",
            "mqtt.cert_file": "client.crt.der",
            "mqtt.key_file": "client.key.der",
        }
        with SimulatedDevice(
            root=tree, flash=certificates, settings=settings, unix_time=0
        ) as device:
            device.run(2.0)
            # no certificate can be checked yet, so there is no connection, and it says why
            device.type("mqtt --json")
            device.expect('"error": ?"waiting for the time: mqtt.tls checks')
            assert line.connections == 0
            for outlet in ("bed1", "bed2"):
                assert device.command(f"on {outlet}").startswith("ok")
                device.sim(f"plug {outlet} resistive amps=10")
            assert device.command("time set 2026-11-22T19:00:00Z").startswith("ok")

            def online(wanted: int) -> None:
                """Until so many connections have been accepted."""
                end = device.now_us + 20_000_000
                device.run_paced(end, _SPEED, lambda _: count(device, "broker is up") >= wanted)
                assert count(device, "broker is up") >= wanted, device.console()[-30:]

            online(1)
            began_us = device.now_us
            for done in range(1, HANDSHAKES + 1):
                line.cut()
                if done == HANDSHAKES:
                    # in the midst of the last one: a short circuit on the other outlet
                    started = count(device, "handshake begins")
                    device.run_paced(
                        device.now_us + 20_000_000,
                        _SPEED,
                        lambda _, n=started: count(device, "handshake begins") > n,
                    )
                    short_us = device.now_us
                    device.sim("short bed2")
                online(done + 1)
            device.run(1.0)
            truth = device.truth()["outlets"]
            coil = {o.name: o.relay for o in device.board.outlets}
            edges = [e for e in device.truck.edges if e[0] > began_us]
            lines = device.console()
            assert device.command("status").startswith("ok")

    gaps = gaps_ms(device)
    opened = [t_us - short_us for t_us, gpio, level in edges if gpio == coil["bed2"] and not level]
    ends = [x.t_us for x in device.lines if x.text == "handshake ends" and x.t_us > short_us]
    print(
        f"{HANDSHAKES} handshakes: control lane late by at most {max(gaps)} ms; a short circuit "
        f"in one opens its outlet after {opened[0]} us, {(ends[0] - short_us) // 1000} ms before "
        "Python went on"
    )
    assert truth["bed1"]["closed"]
    assert not [edge for edge in edges if edge[1] == coil["bed1"]], "its coil was never touched"
    assert 820 <= max(gaps) < 1500
    assert not truth["bed2"]["closed"]
    assert 0 < opened[0] < 2500
    assert ends[0] - short_us > 500_000
    text = "\n".join(lines)
    assert "lease" not in text and "Error" not in text
    assert "bed2 tripped peak" in text


@pytest.mark.parametrize("name", ["mqtt.ca_file", "mqtt.cert_file", "mqtt.key_file"])
def test_a_file_that_is_missing_is_named(name: str) -> None:
    settings = {"mqtt.host": "127.0.0.1", "mqtt.tls": True, name: "none.der"}
    with SimulatedDevice(settings=settings) as device:
        device.run(1.5)
        device.type("mqtt --json")
        device.expect(f"{name}: cannot read 'none.der'")


def test_a_broker_is_found_by_name_while_an_outlet_is_on(tree: Path, tmp_path: Path) -> None:
    asked: list[str] = []
    known: dict[str, bytes] = {}

    def answer(question: bytes) -> list[bytes]:
        asked.append(name_of(question))
        address = known.get(asked[-1])
        return [dns(question, (1, address)) if address else dns(question, code=3)]

    with Mosquitto(tmp_path / "broker") as broker, serving(answer) as port:
        plant(tree, _NETWORK.replace("PORT", str(port)))
        settings = {"mqtt.host": "broker.lan", "mqtt.port": broker.port, "time.servers": ""}
        with SimulatedDevice(root=tree, settings=settings) as device:
            device.run(1.5)
            assert device.command("on bed1").startswith("ok")
            device.run_paced(device.now_us + 2_000_000)
            device.type("mqtt --json")
            device.expect(r"no address of broker\.lan \(127\.0\.0\.1 knows no address")
            known["broker.lan"] = bytes([127, 0, 0, 1])
            device.run_paced(
                device.now_us + 20_000_000, wait=lambda _: count(device, "broker is up") > 0
            )
            assert count(device, "broker is up") == 1, device.console()[-30:]
            assert device.truth()["outlets"]["bed1"]["closed"]
            text = "\n".join(device.console())
    print(f"control lane late by at most {max(gaps_ms(device))} ms")
    assert set(asked) == {"broker.lan"}
    assert max(gaps_ms(device)) <= 8 + 17, "no more than one mains cycle"
    assert "Error" not in text
