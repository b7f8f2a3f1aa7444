"""Days of power export in minutes: the whole firmware on real MicroPython, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from host_tests.micropython.running import ROOT, answer
from tools.simulator import bytecode

LOSS = 1.08  # of the inverter


def run(micropython: str, *words: str) -> dict[str, Any]:
    compiled = bytecode.build(Path(micropython), ROOT).path[1]
    more = {"heap": "8m", "timeout_s": 600, "before": compiled}
    return answer(micropython, "outage_days.py", *words, **more)


@pytest.mark.timeout(0)  # each process has its own limit
def test_123_kwh_back_up_a_home_of_30_kwh_a_day_for_three_days(
    micropython: str,
) -> None:
    found = run(micropython, "3", "30", "123", "100", "10")
    assert found["trips"] == 0 and found["changeovers"] == 1
    assert found["state"] == "standby", "back on the grid"
    assert found["fed_h"] == pytest.approx(72 + 60 / 3600, abs=0.02)  # and until it is stable
    assert found["dark_s"] < 3
    assert found["home_kwh"] == pytest.approx(30 * found["fed_h"] / 24, rel=0.01)
    assert found["left_percent"] == pytest.approx(100 - 100 * 90.02 * LOSS / 123, abs=0.3)
    assert found["counted_percent"] == pytest.approx(found["left_percent"], abs=0.3)
    print([f"{soc:.0f} % lasts {left} h" for _, soc, left, _ in found["days"]])
    # each day it says how long the rest lasts, down to 10 %: never more than it will
    for soc, told, left_h, state in found["days"][1:]:
        assert state == "backup" and told == pytest.approx(soc, abs=0.1)
        hours = (soc - 10) * 1.23 / (30 / 24 * LOSS)
        assert 0.7 * hours < left_h < 1.1 * hours


@pytest.mark.timeout(0)  # each process has its own limit
def test_at_the_reserve_the_home_is_let_go_and_the_grid_takes_it_back(micropython: str) -> None:
    found = run(micropython, "1", "30", "60", "80", "40")
    assert found["trips"] == 0
    assert found["levels"][-1] != 3 or found["state"] == "standby"
    assert 3 in found["levels"], "empty"
    assert found["state"] == "standby"
    # 40 % of 60 kWh at 30 kWh a day, the evening first: less than a day
    assert found["left_percent"] == pytest.approx(40, abs=0.5)
    assert found["fed_h"] < 24 and found["dark_s"] > 3600
