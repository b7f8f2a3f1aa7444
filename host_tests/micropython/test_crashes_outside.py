"""A crash at the worst moment, on the real unix port: while a protection stage counts, and of the
control lane's turn inside another task."""

from __future__ import annotations

from pathlib import Path

import pytest

from host_tests.micropython.running import plant
from tools.simulator.device import SimulatedDevice

_WHEN = """
import os
from firmware import controller
from firmware.storage import quiet

_step = controller.Controller.step

def _crashing(self):
    if self.windows >= 300 and {condition} and "planted" not in os.listdir():
        open("planted", "w").close()  # once, not at the next start as well
        raise ValueError("planted in the control lane")
    return _step(self)

controller.Controller.step = _crashing
"""
_IN_A_COMMAND = """
from firmware import app, controller

controller.Controller.is_due = lambda self: True  # no window has to fall into the command
_breathe = app.App.breathe
_inside = []

def breathe(self):
    _inside.append(1)
    try:
        _breathe(self)
    finally:
        _inside.pop()

app.App.breathe = breathe
"""


@pytest.mark.parametrize("condition", ["quiet.busy(self) & quiet.FAST", "_inside"])
def test_it_is_on_record_and_nothing_closes_by_itself(tree: Path, condition: str) -> None:
    plant(tree, _IN_A_COMMAND, _WHEN.format(condition=condition))
    settings = {"bed1.after_boot": "on"}
    with SimulatedDevice("simulated", root=tree, settings=settings) as device:
        device.run(4.0)
        assert device.truth()["outlets"]["bed1"]["closed"], "on by its owner's choice"
        device.run(1.0)
        device.type("on cabin1" if "FAST" in condition else "status")
        device.run(0.3)
        truth = device.truth()["outlets"]
        assert not any(outlet["closed"] for outlet in truth.values())
        device.run(5.0)
        assert len(device.resets) == 1
        text = "\n".join(line.text for line in device.lines)
        assert "before this start:" in text and "planted in the control lane" in text
        # nothing closes by itself after a crash, whatever the owner chose for a restart
        assert not device.truth()["outlets"]["bed1"]["closed"]
