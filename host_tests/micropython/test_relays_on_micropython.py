"""What relays have gone through and how long they take, on the real unix port: contacts make at
the zero of the voltage with a soft timer too, and the figures outlast a power cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.simulator.device import SimulatedDevice


def _relay(device: SimulatedDevice) -> dict[str, Any]:
    first = len(device.lines)
    device.type("outlets --json")
    text = device.expect(r"^\{.*\}$", 2.0, first).group(0)
    row: dict[str, Any] = json.loads(text)["outlets"]["bed1"]["relay"]
    return row


@pytest.mark.parametrize("board", ["simulated", "esp32"])
def test_times_and_counters_outlast_a_power_cut(board: str) -> None:
    with SimulatedDevice(board) as device:
        device.run(2.0)
        device.sim("relay bed1 operate_ms=12 release_ms=4")
        device.sim("plug bed1 resistive amps=12")
        for k in range(5):
            device.command("on bed1")
            device.run(0.31 + k * 0.0017)
            device.command("off bed1")
            device.run(0.31 + k * 0.0023)
        before = _relay(device)
        assert (before["operations"], before["load_breaks"]) == (5, 5)
        assert before["largest_break_a"] == 12
        assert before["operate_ms"] == pytest.approx(12, abs=1.2)
        supply = device.truck.supply
        made = [t for t, name, closed in device.truck.contacts if name == "bed1" and closed]
        off = [supply.cycles(t) * 2 % 1 for t in made[1:]]
        off_ms = [(x if x < 0.5 else x - 1) * 500 / supply.hz for x in off]
        assert all(abs(x) < 1.2 for x in off_ms), off_ms
        device.run(61.0)  # saved once a minute
        device.power_cut()
        device.power_on()
        device.run(2.0)
        after = _relay(device)
        assert after["operations"] == 5 and after["largest_break_a"] == 12
        assert after["operate_ms"] == pytest.approx(before["operate_ms"], abs=0.11)
        device.type("outlets")
        device.expect("closed  breaks")
