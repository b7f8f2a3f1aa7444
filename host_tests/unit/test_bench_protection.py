"""The oracle of `make bench`'s protection part, and that the bench can fail."""

from __future__ import annotations

import math

import numpy as np
import pytest

from host_tests.fakes.rig import Rig
from tools.bench import protection
from tools.bench.protection import Case, Wave, demand, run, run_all, summary, verdict

PER_CYCLE = 100
HAIR_DRYER = "plaid_1376_hairdryer_studio35_mediumhot"
MOTOR = "elesys_induction_motor_run_4_6"


def sine(*parts: tuple[float, int], loop: int = 10) -> Wave:
    """A wave of (RMS in A, cycles) parts and then `loop` cycles of the last one's amplitude."""
    amps = [rms for rms, cycles in parts for _ in range(cycles * PER_CYCLE)]
    start = len(amps)
    amps += [parts[-1][0]] * (loop * PER_CYCLE)
    phase = 2 * np.pi * np.arange(len(amps)) / PER_CYCLE
    return Wave(np.array(amps) * math.sqrt(2) * np.sin(phase), start, PER_CYCLE)


def curve(multiple: float) -> float:
    r2 = (multiple / 1.05) ** 2
    return 120 * math.log(r2 / (r2 - 1))


def test_rms_of_a_wave_is_that_of_its_samples() -> None:
    wave = sine((60.0, 2), (12.0, 5))
    assert wave.steady == pytest.approx(12, rel=1e-3)
    assert wave.largest_half == pytest.approx(60, rel=1e-3)
    assert wave.scaled(24).largest_half == pytest.approx(120, rel=1e-3)
    assert wave.pulse_us == pytest.approx(1e6 / 60 / 3, rel=0.05)


def test_half_cycles_are_looked_for_across_the_seam_of_the_loop() -> None:
    amps = np.zeros(2 * PER_CYCLE)
    amps[PER_CYCLE : PER_CYCLE + 25] = amps[-25:] = 10.0  # the loop's begin and end
    assert Wave(amps, PER_CYCLE, PER_CYCLE).largest_half == pytest.approx(10, rel=0.02)


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        (((20.0, 5),), "hold"),
        (((99.9, 3), (19.9, 5)), "hold"),
        (((101.0, 3), (19.9, 5)), "free"),
        (((20.4, 5),), "free"),
        (((22.0, 5),), "curve"),
        (((150.0, 3), (30.0, 5)), "curve"),
        (((201.0, 1), (1.0, 5)), "cycle"),
        (((300.0, 5),), "cycle"),
    ],
)
def test_what_the_oracle_wants(parts: tuple[tuple[float, int], ...], kind: str) -> None:
    assert demand(sine(*parts), 20.0).kind == kind


@pytest.mark.parametrize("multiple", [1.1, 1.35, 2.0, 4.0])
def test_the_curve_of_a_constant_current_is_the_formula(multiple: float) -> None:
    wave = sine((20.0 * multiple, 1))
    assert wave.curve_s(20.0) == pytest.approx(curve(wave.steady / 20), rel=1e-3)
    wanted = demand(wave, 20.0)
    assert wanted.earliest_s == pytest.approx(0.9 * wave.curve_s(20.0))
    assert wanted.latest_s == pytest.approx(1.1 * wave.curve_s(20.0))


def test_the_heat_of_an_inrush_counts() -> None:
    warm = sine((90.0, 60), (30.0, 1))
    assert warm.curve_s(20.0) < curve(1.5) - 5
    # two stretches of constant current, by hand
    begin, heat = 1.0, 90.0**2 * (1 - math.exp(-1 / 120))
    rest = 120 * math.log((900 - heat) / (900 - 21.0**2))
    assert warm.curve_s(20.0) == pytest.approx(begin + rest, rel=2e-3)
    assert sine((1e3, 30), (1.0, 1)).curve_s(20.0) < 0.5  # trips while it lasts


def test_a_cycle_counts_from_the_start_of_the_half_cycle() -> None:
    wanted = demand(sine((1.0, 6), (250.0, 1), (1.0, 3)), 20.0)
    assert 5.5 / 60 < wanted.latest_s - 1 / 60 < 6 / 60


def test_limits_of_ul_489() -> None:
    assert protection.ul489_s(1.34, 20) == math.inf
    assert protection.ul489_s(1.35, 20) == 3600
    assert protection.ul489_s(2, 20) == 120
    assert protection.ul489_s(2, 40) == 240


def test_each_class_has_its_own_curve() -> None:
    wave = sine((40.0, 1))
    latest = {kind: demand(wave, 20.0, kind).latest_s for kind in protection.TAU_S}
    assert latest["fast"] == pytest.approx(1.1 * curve(2) / 3, rel=1e-3)
    assert latest["motor"] == pytest.approx(1.1 * curve(2) * 2, rel=1e-3)
    assert latest["slow"] == pytest.approx(1.1 * curve(2) * 2.5, rel=1e-3) and curve(2) > 38
    assert demand(sine((39.0, 1)), 15.0, "slow").latest_s < protection.ul489_s(2, 15)


def test_a_peak_that_the_supply_cannot_drive_is_beyond() -> None:
    wave = sine((300.0, 5))
    assert wave.peak == pytest.approx(424, rel=0.01)
    assert wave.scaled(150).peak == pytest.approx(212, rel=0.01)
    assert demand(wave, 20.0, most=430).kind == "cycle"
    assert demand(wave, 20.0, most=420).kind == "beyond"
    assert protection.prospective("bed1") == pytest.approx(1697, abs=1)
    assert protection.prospective("bed240") == pytest.approx(3394, abs=1)


def test_a_converter_cannot_tell_the_lamps_pulse_at_10_from_the_one_at_5() -> None:
    """The reason why no stage can hold one and trip on the other."""
    holds = protection.sight(protection._PULSE, protection.HOLD_X)
    trips = protection.sight(protection._PULSE, protection.TRIP_X)
    assert holds.one > 0.35 and trips.none > 0.45
    assert holds.two == trips.two == 0
    assert trips.high < protection.HOLD_X  # its codes look like what must hold
    motor = protection.sight(MOTOR, protection.TRIP_X)
    assert motor.two == 1 and motor.low > 9


def test_verdicts() -> None:
    wanted = protection.Demand("curve", 9.0, 11.0)
    assert [verdict(wanted, t) for t in (8.9, 9.0, 11.0, 11.1, None)] == [
        "nuisance",
        "ok",
        "ok",
        "late",
        "missed",
    ]
    hold = protection.Demand("hold")
    assert (verdict(hold, None), verdict(hold, 3.0)) == ("ok", "nuisance")
    assert verdict(protection.Demand("cycle", 0, 0.1), None) == "missed"
    assert verdict(protection.Demand("free"), 3.0) == "free"


def test_heat_settles_above_the_mean_when_cooling_is_slower() -> None:
    even = protection.settled_heat([1.0, 3.0], [40, 40], 100, 100)
    assert even == pytest.approx(2.0)
    slow = protection.settled_heat([1.0, 3.0], [40, 40], 100, 200)
    assert slow == pytest.approx(7 / 3)  # (3 - h) / 100 = (h - 1) / 200


def test_the_grid_has_every_kind_of_case_on_every_class() -> None:
    cases = protection.grid(500)
    assert len(cases) == len(set(cases)) == 500
    kinds = {(demand(c.wave, c.rating).kind, c.rating) for c in cases}
    assert kinds == {(k, r) for k in ("hold", "cycle", "curve", "free") for r in (20.0, 40.0)}
    assert len(protection.grid(12)) == 12
    classes = {(c.demand.kind, c.rating, c.trip_class) for c in cases}
    for kind in ("hold", "curve"):
        for rating in (20.0, 40.0):
            assert {t for k, r, t in classes if (k, r) == (kind, rating)} == set(protection.TAU_S)
    beyond = [c for c in cases if c.demand.kind == "beyond"]
    assert {c.recording for c in beyond} == {protection._PULSE}
    assert len(protection.grid(protection.CASES)) - 30 > 500 and len(beyond) < 30


CASES = [
    Case(HAIR_DRYER, "bed1", 20.0, 20.0),
    Case(MOTOR, "bed240", 40.0, 20.0),
    Case(HAIR_DRYER, "bed2", 20.0, 60.0),
    Case(MOTOR, "bed1", 20.0, 25.0),
]


def test_the_firmware_passes() -> None:
    results = run_all(CASES)
    assert [(r.demand.kind, r.verdict) for r in results] == [
        ("hold", "ok"),
        ("hold", "ok"),
        ("curve", "ok"),
        ("cycle", "ok"),
    ]
    assert [r.said for r in results[2:]] == ["tripped thermal", "tripped peak"]
    figures = summary(results)
    assert (figures["nuisance_trips"], figures["missed_trips"]) == (0, 0)
    assert (figures["cases"], figures["free"]) == (4, 0)


def test_a_limit_too_low_counts_as_nuisance() -> None:
    low = run(CASES[1], {"bed240.peak_x": 2})
    assert (low.verdict, low.said) == ("nuisance", "tripped peak")
    # 19 A of 20: it would trip after minutes, so only its final heat shows it
    hot = run(Case(HAIR_DRYER, "bed1", 20.0, 19.0), {"bed1.limit_a": 18})
    assert hot.verdict == "nuisance" and hot.tripped_s == math.inf
    assert summary([low, hot])["nuisance_trips"] == 2


def test_too_slow_a_class_and_a_deaf_sensor_count() -> None:
    late = run(CASES[2], {"bed2.trip_class": "slow"})
    assert late.verdict == "missed"

    def deafen(rig: Rig) -> None:
        rig.sim("sensor bed1 gain=0.3")

    deaf = run(CASES[3], spoil=deafen)
    assert deaf.verdict == "missed" and "missed" in str(deaf)
    assert summary([late, deaf])["missed_trips"] == 2
