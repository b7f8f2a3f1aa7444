"""Settings whose effect no other test looks at: what is set is what happens."""

from __future__ import annotations

import pytest

from firmware.power import interlock as il
from host_tests.fakes.household import Household
from host_tests.fakes.rig import Rig
from host_tests.unit.test_export import Plant, Sense


@pytest.mark.parametrize(
    ("name", "seconds", "volts"),
    [
        ("supply.loss_s", 1.2, 50),
        ("supply.under_s", 0.4, 102),
        ("supply.over_s", 0.4, 135),
        ("supply.high_s", 0.6, 150),
    ],
)
def test_each_voltage_stage_has_its_own_time(name: str, seconds: float, volts: int) -> None:
    rig = Rig(settings={name: seconds})
    assert rig.do("on", "bed1") == ""
    rig.run(0.2)
    rig.sim(f"supply volts={volts}")
    took = rig.until(lambda: not rig.coil("bed1"), 3)
    assert took == pytest.approx(seconds, abs=0.05)


@pytest.mark.parametrize("pause_ms", [0, 1000])
def test_the_home_is_dark_for_its_pause(pause_ms: int) -> None:
    h = Household(home__mode="auto", home__pause_ms=pause_ms, home__stable_s=1)
    h.came("standby", 2)
    h.grid = 0
    h.came("backup", 2)
    h.run(0.5)
    h.grid = 120
    dark = h.dark_us
    h.came("standby", 5)
    assert pause_ms <= (h.dark_us - dark) / 1000 <= pause_ms + 150


@pytest.mark.parametrize("follow_ms", [60, 900])
def test_a_contact_has_its_time_to_follow(follow_ms: int) -> None:
    h = Household(home__mode="auto", home__follow_ms=follow_ms)
    h.came("standby", 2)
    h.weld = il.GRID
    h.grid = 0
    h.came("isolating", 2)
    took = h.came("fault", 2)
    assert took * 1000 == pytest.approx(follow_ms, abs=40)


@pytest.mark.parametrize("cease_ms", [10, 80])
def test_an_inverter_has_its_time_to_cease(cease_ms: int) -> None:
    plant = Plant(grid__cease_ms=cease_ms).soon()
    plant.stuck_w = 4000
    plant.station.sense.volts(0, 0)
    plant.until(lambda: not plant.station.contacts.permitted, 1)
    took = plant.until(lambda: plant.export.stray, 1)
    assert took * 1000 == pytest.approx(cease_ms + 100, abs=40)
    assert plant.said()["why"] == "not_ceased" and isinstance(plant.station.sense, Sense)
