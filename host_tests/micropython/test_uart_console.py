"""The second console, on the board's serial pins: the real firmware on the simulated chip, with a
pseudo-terminal at the end of the wires."""

from __future__ import annotations

import json
import os
import pty
import re
import tty
from collections.abc import Iterator
from typing import Any

import pytest

from tools.simulator.device import SimulatedDevice


class Wires:
    """A board with the far end of its serial wires."""

    def __init__(self, **settings: Any) -> None:
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.device = SimulatedDevice(uart=os.ttyname(self._theirs), settings=settings)

    def __enter__(self) -> Wires:
        self.device.start()
        self.device.run(1.5)
        return self

    def __exit__(self, *_: object) -> None:
        self.device.stop()
        os.close(self._ours)
        os.close(self._theirs)

    def read(self) -> str:
        """What has come out since the last call."""
        data = b""
        while True:
            try:
                data += os.read(self._ours, 65536)
            except BlockingIOError:
                return data.decode()

    def send(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def ask(self, line: str, seconds: float = 0.5) -> str:
        """Send a line; what came out within the time."""
        self.send(line + "\n")
        self.device.run(seconds)
        return self.read()

    def type(self, keys: str) -> str:
        """Keys one by one; what came out."""
        for key in keys:
            self.send(key)
            self.device.run(0.05)
        return self.read()


@pytest.fixture
def wires() -> Iterator[Wires]:
    with Wires(**{"console.uart": True}) as running:
        yield running


def test_two_consoles_at_once_each_with_its_own_line(wires: Wires) -> None:
    device = wires.device
    assert wires.read() == "event: 1 0:00:00.000 - boot power_on 1\r\n"
    said = wires.type("o")
    for key in b"off b":
        device.write(bytes([key]))
        device.run(0.05)
    said += wires.type("n bed\t1\r")
    assert "\r\nok bed1\r\n" in said and "off" not in said
    assert wires.read() == ""
    device.write(b"ed1\r")
    device.run(0.2)
    assert "ok bed1" in device.console(), "its answer went to the other console"
    said = wires.read()
    assert re.search(r"event: 3 \S+ bed1 off command -\r\n> \x1b\[K$", said), (
        "and the event to both"
    )
    assert "ok" not in said
    # each has its own history
    assert "> on bed1\x1b[K" in wires.type("\x1b[A")
    assert device.truth()["outlets"]["bed1"]["powered"] is False


def test_answers_to_both_at_once_are_whole(wires: Wires) -> None:
    device = wires.device
    wires.read()
    first = len(device.lines)
    for _ in range(5):
        wires.send("status --json\nget bed1 --json\n")
        device.type("outlets --json")
        device.type("energy --json")
    device.run(6.0)
    lines = wires.read().split("\r\n")
    assert len([json.loads(line) for line in lines if line]) == 10
    shown = [line.text for line in device.lines[first:]]
    assert len([json.loads(line) for line in shown if line.startswith("{")]) == 10


def test_long_work_of_one_console_leaves_the_other_free(wires: Wires) -> None:
    wires.device.type("cal bed1 zero")
    wires.device.run(0.5)
    said = wires.ask("cal bed2 zero")
    assert "error: cal bed1 is under way: try again when it is done\r\n" in said
    assert "ok\r\n" in wires.ask("version")
    assert "ok bed2\r\n" in wires.ask("on bed2")


def test_off_waits_for_no_other_answer(wires: Wires) -> None:
    """Whatever the other console is doing, and however slowly its reader takes it."""
    device = wires.device
    device.command("on bed1")
    device.run(0.2)
    wires.send("get\nget\n")  # some 10 KB: a second of the wire
    device.run(0.1)
    before = device.now_us
    device.command("off bed1", within=0.1)
    assert device.now_us - before < 100_000
    assert "ok" in wires.ask("mode", 3.0)


def test_it_sends_at_its_rate() -> None:
    with Wires(**{"console.uart": True, "console.baud": 9600}) as wires:
        wires.ask("mode")
        wires.send("status\n")
        device = wires.device
        began = device.now_us
        text = ""
        while "last " not in text:
            device.run(0.02)
            text += wires.read()
            assert device.now_us - began < 5_000_000
        took = (device.now_us - began) / 1e6
        assert len(text) * 10 / 9600 * 0.6 < took < len(text) * 10 / 9600 + 0.3


def test_wires_that_nobody_reads_hold_nothing_up(wires: Wires) -> None:
    device = wires.device
    device.command("on bed1")
    device.run(0.5)
    for _ in range(20):
        wires.send("status\nget bed1\n")
        device.run(0.5)  # never read: the terminal is full after some of them
    relay = device.board.outlets[2].relay
    shorted = device.now_us
    device.sim("short bed1")
    device.run(0.1)
    opened = [t for t, gpio, level in device.truck.edges if gpio == relay and not level]
    assert opened and 0 <= opened[-1] - shorted < 12_000
    assert device.command("version") == "ok"
    assert not device.resets


def test_noise_on_the_wires_is_refused_and_forgotten(wires: Wires) -> None:
    wires.read()
    os.write(wires._ours, bytes(range(256)) * 8 + b"\r\x03")
    wires.device.run(1.0)
    assert "error: the line" in wires.read()
    assert re.search(r'\r\n\{.*"ok": true.*\}\r\n', wires.ask("mode --json"))


def test_without_the_setting_there_is_none() -> None:
    with Wires() as wires:
        assert wires.read() == ""
        assert wires.ask("status") == ""
        assert wires.device.command("mode") == "ok"


def test_a_board_that_keeps_its_modules_in_the_heap_serves_it_when_somebody_types() -> None:
    device = SimulatedDevice(frozen=False, heap=200_000, settings={"console.uart": True})
    wires = Wires()
    device._uart, wires.device = wires.device._uart, device
    with wires:
        assert wires.read() == ""
        said = wires.ask("mode", 2.0)
        assert "ok\r\n" in said and "event: 1 " in said
