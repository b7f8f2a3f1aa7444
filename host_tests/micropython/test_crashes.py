"""Defects planted in the running firmware, on the real unix port: a crash is recorded, and the
relays are safe.

Each test runs the repository's own firmware under a main.py that plants the defect and then goes
on as the real one does.
"""

from __future__ import annotations

from pathlib import Path

from host_tests.micropython.running import plant
from tools.simulator.device import SimulatedDevice

_CONTROL_CRASH = """
import os
from firmware import controller

_step = controller.Controller.step

def _crashing(self):
    # three seconds after the start
    if self.windows >= 180 and "planted" not in os.listdir():
        open("planted", "w").close()  # once, not at the next start as well
        raise ValueError("planted in the control lane")
    return _step(self)

controller.Controller.step = _crashing
"""

_TASK_CRASH = """
from firmware.storage import keeper

def turn(self, tidy, bits=-1):
    raise ValueError("planted in the storage task")

keeper.Keeper.turn = turn
"""


def test_a_crash_of_the_control_lane_opens_the_relays_and_is_on_record(tree: Path) -> None:
    plant(tree, _CONTROL_CRASH)
    settings = {"bed1.after_boot": "on"}
    with SimulatedDevice("simulated", root=tree, settings=settings) as device:
        device.run(2.5)
        assert device.truth()["outlets"]["bed1"]["closed"], "on by its owner's choice"
        device.run(1.0)
        truth = device.truth()["outlets"]
        assert not any(outlet["closed"] for outlet in truth.values())
        assert not device.resets, "the relays open first, the reset comes a second later"
        device.run(3.0)
        assert len(device.resets) == 1
        text = "\n".join(line.text for line in device.lines)
        assert "planted in the control lane" in text and "fault crash" in text
        # nothing closes by itself after a crash, whatever the owner chose for a restart
        assert not device.truth()["outlets"]["bed1"]["closed"]
        device.type("on bed1")
        device.run(0.5)
        assert device.truth()["outlets"]["bed1"]["closed"]


def test_a_crash_of_an_outer_task_leaves_protection_alone(tree: Path) -> None:
    plant(tree, _TASK_CRASH)
    with SimulatedDevice("simulated", root=tree) as device:
        device.run(1.5)
        device.type("on bed1")
        device.run(6.0)
        text = "\n".join(line.text for line in device.lines)
        # at 0.5 s, and again after pauses of 1 and 2 s: started anew each time
        assert text.count("- fault crash") >= 3
        assert device.truth()["outlets"]["bed1"]["closed"] and not device.resets
        device.type("selftest")
        device.run(0.5)
        text = "\n".join(line.text for line in device.lines)
        assert "error: failed: tasks" in text and "planted in the storage task" in text
        device.sim("short bed1")
        device.run(0.1)
        assert not device.truth()["outlets"]["bed1"]["closed"]
