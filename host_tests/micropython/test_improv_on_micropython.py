"""Wi-Fi from a browser, on real MicroPython: hostile packets, and the real firmware's console."""

from __future__ import annotations

import json
import os
import select
import time
import tty
from pathlib import Path

import pytest

from host_tests.fakes.improv_peer import Reader, call, credentials, texts
from host_tests.micropython.running import answer
from host_tests.scenarios.test_scenarios_small import HEAP
from tools.simulator.device import SimulatedDevice
from tools.simulator.port import SimulatedPort

_PACKETS = 10_000


@pytest.mark.timeout(300)
def test_ten_thousand_packets(micropython: str) -> None:
    """None joins that should not, none is answered with what is no packet, none stops the text
    commands, and the heap is as before."""
    said = answer(micropython, "fuzz_improv.py", "7", str(_PACKETS), heap="2m", timeout_s=280)
    assert said["wrong"] == []
    assert said["packets"] == _PACKETS
    assert said["joined"] > _PACKETS // 32, "the good ones work"
    states, errors, results = said["kinds"][1], said["kinds"][2], said["kinds"][4]
    assert states > _PACKETS // 8 and errors > _PACKETS // 4 and results > _PACKETS // 8
    assert said["grown"] < 2000


class Browser:
    """The other end of a port, as a browser has it."""

    def __init__(self, path: str) -> None:
        self._port = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._port)
        self.reader = Reader()

    def send(self, data: bytes) -> None:
        os.write(self._port, data)

    def until(self, wanted: tuple[int, bytes], timeout_s: float = 30.0) -> list[tuple[int, bytes]]:
        """All packets up to and with `wanted`, or the first that begins as it does."""
        deadline = time.monotonic() + timeout_s
        seen: list[tuple[int, bytes]] = []
        while True:
            for kind, data in self.reader.take():
                seen.append((kind, data))
                if kind == wanted[0] and data.startswith(wanted[1]):
                    return seen
            left = deadline - time.monotonic()
            ready = select.select([self._port], [], [], max(left, 0))[0]
            assert ready, (wanted, seen, self.reader.text[-500:])
            self.reader.feed(os.read(self._port, 4096))

    def until_ready(self, state: int = 2) -> None:
        """Ask each second until the board has that state."""
        for _ in range(40):
            self.send(call(2))
            time.sleep(0.5)
            while select.select([self._port], [], [], 0.5)[0]:
                self.reader.feed(os.read(self._port, 4096))
            if (1, bytes((state,))) in self.reader.take():
                return
        raise AssertionError(self.reader.text[-500:])

    def close(self) -> None:
        os.close(self._port)


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "in a Pico W's heap"])
def test_a_new_board_is_brought_into_the_network(tmp_path: Path, frozen: bool) -> None:
    """What a browser does, in its order, and the board comes back to the network by itself. Also
    with the small tree of a stock image, in the heap that it has."""
    heap = None if frozen else HEAP
    device = SimulatedDevice(
        "simulated", flash=tmp_path / "flash", seed=5, frozen=frozen, heap=heap
    )
    (tmp_path / "flash").mkdir(exist_ok=True)
    air = {"networks": [{"ssid": "yard", "password": "12345678", "rssi": -60}]}
    (tmp_path / "flash" / "radio.json").write_text(json.dumps(air))
    with SimulatedPort(device, speed=4.0) as port:
        browser = Browser(port.path)
        try:
            browser.until_ready()
            browser.send(call(3))
            told = texts(browser.until((4, b"\x03"))[-1][1])[1]
            assert told[0] == "Tailgate" and len(told) == 4
            browser.send(call(4))
            rows = [texts(data)[1] for kind, data in browser.until((4, b"\x04\x00")) if kind == 4]
            assert rows == [["yard", "-60", "YES"], []]
            damaged = bytearray(credentials("yard", "12345678"))
            damaged[2] ^= 0x10
            browser.send(bytes(damaged))
            browser.until_ready()
            browser.send(credentials("yard", "wrong-word"))
            assert browser.until((2, b"\x03"))[-3:] == [(1, b"\x03"), (1, b"\x02"), (2, b"\x03")]
            browser.send(credentials("yard", "12345678"))
            assert browser.until((4, b"\x01"))[-3:] == [
                (1, b"\x03"),
                (1, b"\x04"),
                (4, b"\x01\x00"),
            ]
            assert b"12345678" not in browser.reader.text
            port.call(device.power_cut)
            port.call(device.power_on)
            browser.reader = Reader()
            browser.until_ready(4)
        finally:
            browser.close()
