"""State of charge, reserve and time left."""

from __future__ import annotations

import itertools
import random

import pytest

from firmware.power import battery as bat

LOSS = 1.08


def full(permille: int = 1000, reserve: int = 0, kwh: int = 123) -> bat.Battery:
    battery = bat.Battery()
    battery.configure(kwh * 1000, 0, reserve)
    assert battery.told(permille) == ""
    return battery


def run(battery: bat.Battery, hours: float, watts: int) -> None:
    for _ in range(round(hours * 3600)):
        battery.second(watts)


def told_hourly(battery: bat.Battery, hours: int, watts: int) -> None:
    for _ in range(hours):
        run(battery, 1, watts)
        assert battery.told(battery.permille) == ""


def test_three_days_of_outage_and_the_number_it_says() -> None:
    battery = full()
    told_hourly(battery, 24, 1250)  # 30 kWh a day
    days = battery.left_s() / 86400
    assert days == pytest.approx(123 / 30 / LOSS - 1, abs=0.06)
    assert battery.permille == pytest.approx(1000 - 30 * LOSS / 123 * 1000, abs=3)
    # what it promised is what it does, told each hour as a car would
    left = battery.left_s()
    passed = 0
    while battery.left_s() > 0:
        run(battery, 1, 1250)
        passed += 3600
        battery.told(battery.permille)
    assert passed == pytest.approx(left, abs=3700)


def test_a_reserve_is_warned_of_shed_for_and_kept() -> None:
    battery = full(300, reserve=200)
    seen: list[tuple[int, int]] = []
    while battery.permille > 190:
        battery.second(20_000)
        if battery.level != (seen[-1][0] if seen else bat.FULL):
            seen.append((battery.level, battery.permille))
    assert seen == [(bat.LOW, 249), (bat.SHED, 220), (bat.EMPTY, 200)]
    assert battery.left_s() == 0
    back: list[tuple[int, int]] = []
    while battery.level != bat.FULL:
        battery.second(-30_000)
        if not back or back[-1][0] != battery.level:
            back.append((battery.level, battery.permille))
    assert [level for level, _ in back] == [bat.EMPTY, bat.SHED, bat.LOW, bat.FULL]
    assert all(a[1] < b[1] for a, b in itertools.pairwise(back))


def test_a_jump_is_not_believed_until_it_is_told_twice() -> None:
    battery = full(800)
    run(battery, 0.5, 1000)
    assert "unknown until it is told again" in battery.told(300)
    assert not battery.known and battery.left_s() == -1 and battery.level == bat.LOW
    assert battery.told(310) == ""
    assert battery.known and battery.permille == 310
    assert battery.jumps == 1


def test_two_jumps_to_different_places_are_no_agreement() -> None:
    battery = full(800)
    assert battery.told(300) and battery.told(100) and battery.told(500)
    assert not battery.known


def test_what_is_old_is_unknown_and_the_next_report_counts() -> None:
    battery = full(800)
    run(battery, 5.9, 500)
    assert battery.known
    run(battery, 0.2, 500)
    assert not battery.known and battery.left_s() == -1 and battery.level == bat.LOW
    assert battery.told(400) == ""
    assert battery.known and battery.level == bat.FULL


def test_without_a_capacity_nothing_is_limited() -> None:
    battery = bat.Battery()
    run(battery, 1, 9600)
    assert battery.level == bat.FULL and battery.left_s() == -1
    assert "battery.usable_kwh" in battery.told(500)


@pytest.mark.parametrize("permille", [-1, 1001, 5000])
def test_an_impossible_report_is_refused(permille: int) -> None:
    battery = full(500)
    with pytest.raises(ValueError, match="0 to 100 %"):
        battery.told(permille)
    assert battery.permille == 500


def test_a_range_extender_adds_to_it() -> None:
    battery = full(500)
    battery.configure(123_000, 47_000, 0)
    battery.told(500)
    told_hourly(battery, 24, 1250)
    assert battery.left_s() / 86400 == pytest.approx(85 / 30 / LOSS - 1, abs=0.06)


def test_counted_energy_is_exact_over_a_long_time() -> None:
    battery = full()
    chance = random.Random(5)
    out = 0.0
    for _ in range(50_000):
        watts = chance.randrange(0, 3000)
        out += watts * 1080 // 1000
        battery.second(watts)
    assert battery.permille == pytest.approx(1000 - out / 3600 / 123, abs=1.1)


def test_integers_stay_small() -> None:
    battery = bat.Battery()
    battery.configure(1_000_000, 0, 0)
    battery.told(1000)
    for watts in (50_000, -50_000, 50_000):
        run(battery, 1, watts)
        for name, value in vars(battery).items():
            assert abs(value) < 2**30, name
    assert 0 <= battery.left_s() <= 2_592_000
