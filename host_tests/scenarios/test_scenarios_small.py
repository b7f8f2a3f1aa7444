"""The scenarios once more with the firmware as a stock image has it: made small by
tools/shrink.py, and loaded into the heap that a Pico W leaves. That has to change nothing."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tools.simulator import scenario
from tools.simulator.device import SimulatedDevice

# What MicroPython has free on a Pico W with its radio on: 194 KiB were measured. The firmware
# aims at 190 000 bytes (the board's `heap_bytes`), and misses that with console and MQTT
# together; what each use needs is printed by `python -m tools.bench.heap`.
HEAP = 198_000

# Power export beside the outlets needs the frozen image, see firmware/board/pico_w_home.py.
NAMES = [x for x in scenario.available() if scenario.parse(scenario.find(x)).board.power is None]


class Stock(SimulatedDevice):
    """A board with a stock image. There the console is loaded, and events are shown, when somebody
    types: somebody does, at once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, frozen=False, heap=HEAP, **kwargs)

    def _spawn(self) -> None:
        super()._spawn()
        self.write(b"\r")


@pytest.mark.parametrize("name", NAMES)
def test_scenario(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario, "SimulatedDevice", Stock)
    verdict = scenario.play(scenario.parse(scenario.find(name)))
    text = io.StringIO()
    scenario.report(verdict, text)
    assert verdict.passed, text.getvalue() + "\nconsole:\n" + "\n".join(verdict.console)
