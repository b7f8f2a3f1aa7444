"""The scenarios once more with the firmware as a stock image has it: made small by
tools/shrink.py, and loaded into the 190 KB that a Pico W leaves. That has to change nothing."""

from __future__ import annotations

import functools
import io

import pytest

from tools.simulator import scenario
from tools.simulator.device import SimulatedDevice


@pytest.mark.parametrize("name", scenario.available())
def test_scenario(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stock = functools.partial(SimulatedDevice, frozen=False)
    monkeypatch.setattr(scenario, "SimulatedDevice", stock)
    verdict = scenario.play(scenario.parse(scenario.find(name)))
    text = io.StringIO()
    scenario.report(verdict, text)
    assert verdict.passed, text.getvalue() + "\nconsole:\n" + "\n".join(verdict.console)
