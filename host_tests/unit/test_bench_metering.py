"""The bench of the metering, on a reduced grid: its figures hold, and it can fail."""

from __future__ import annotations

import statistics

import pytest

from tools.bench import metering
from tools.bench.metering import Case, Station, grid
from tools.simulator import recordings


def currents(cases: list[Case]) -> float:
    """Mean error of the currents, %."""
    return statistics.mean(c.current_error for c in cases)


@pytest.fixture(scope="module")
def station() -> Station:
    return Station(1, 60.0)


def test_reduced_grid_stays_within_the_targets(station: Station) -> None:
    every = metering.shapes()
    assert set(recordings.available()) < set(every)
    chosen = {n: every[n] for n in ("sine", "sine, 0.5 lagging", "half-wave")}
    chosen |= {n: s for n, s in every.items() if "motor" in n or "triac" in n}
    cases = grid(station, chosen, (5.0, 10.0), rating=False)
    assert len(cases) == len(chosen) * 2 * len(station.truck.circuits)
    for case in cases:
        assert min(abs(case.amps / 5.0 - 1), abs(case.amps / 10.0 - 1)) < 0.01, case
        assert abs(case.current_error) <= 0.5, case
        assert case.power_error is not None and abs(case.power_error) <= 1.0, case
    assert station.hertz_error < 0.02
    assert station.cover.percent == 100.0


def test_small_currents_are_right_to_30_ma(station: Station) -> None:
    sine = {"sine": metering.SYNTHETIC["sine"]}
    cases = grid(station, sine, metering.AMPS_LOW, rating=False)
    assert len(cases) == 15 and all(case.low for case in cases)
    assert max(abs(case.error_ma) for case in cases) <= 30


def test_cycles_that_are_not_in_a_window_show(station: Station) -> None:
    assert metering.Cover(passed=200.03, held=199).percent == pytest.approx(99.5)


@pytest.mark.parametrize(
    ("name", "factor"),
    [("sine", 1.0), ("sine, 0.7 lagging", 0.7), ("sine, 0.5 lagging", 0.5), ("half-wave", 0.7071)],
)
def test_truth_is_what_the_formula_says(station: Station, name: str, factor: float) -> None:
    shape = metering.SYNTHETIC[name]
    plan = [(c.name, name, shape, 10.0) for c in station.truck.circuits[:2]]
    for case in station.measure(plan):
        assert case.amps == pytest.approx(10.0, rel=1e-4)
        assert case.power_factor == pytest.approx(factor, abs=1e-3)


def test_smps_has_the_crest_factor_of_its_name(station: Station) -> None:
    load = metering.SYNTHETIC["SMPS, crest 3.5"](1, 10.0)
    load.energise(-60_000_000, -3600.0)
    wave = [load.current(0, 0.0, 0.0, 0.0, n / 5000) for n in range(5000)]
    rms = statistics.fmean(x * x for x in wave) ** 0.5
    assert max(wave) / rms == pytest.approx(3.5, rel=0.01)


@pytest.mark.parametrize("reference", [1.03, 0.97])
def test_a_wrong_gain_shows(reference: float) -> None:
    station = Station(1, 60.0, reference=reference)
    cases = grid(station, {"sine": metering.SYNTHETIC["sine"]}, (10.0,), rating=False)
    wanted = 100.0 * (reference - 1.0)
    assert currents(cases) == pytest.approx(wanted, abs=0.2)
    powers = [c.power_error for c in cases if c.power_error is not None]
    assert statistics.mean(powers) == pytest.approx(wanted, abs=0.5)


def test_a_phase_error_shows_in_the_power_only() -> None:
    station = Station(1, 60.0, phase_known=False)
    name = "sine, 0.5 lagging"
    cases = grid(station, {name: metering.SYNTHETIC[name]}, (10.0,), rating=False)
    assert abs(currents(cases)) < 0.5
    powers = [c.power_error for c in cases if c.power_error is not None]
    # a lead of 2 degrees at power factor 0.5: tan 60 degrees x sin 2 degrees = 6 % too much
    assert statistics.mean(powers) == pytest.approx(6.0, abs=0.5)


def test_figures_have_the_keys_of_the_bench() -> None:
    cases = [
        Case("sine", "bed1", 5.0, 1.0, -0.4, 0.9),
        Case("sine", "bed2", 5.0, 1.0, 0.2, -1.5),
        Case("idle", "bed2", 5.0, 0.1, 0.1, None),
        Case("sine", "bed240", 0.5, 1.0, -4.0, 9.0),
    ]
    figures = metering._figures(cases, 0.0123, metering.Cover(400.0, 400))
    assert figures["irms_error_percent"] == {"p50": 0.2, "max": 0.4}
    assert figures["power_error_percent"] == {"p50": 1.2, "max": 1.5}
    assert figures["frequency_error_hz"] == {"max": 0.0123}
    assert figures["recordings"] == len(recordings.available()) >= 5
    assert figures["cases"] == 4
    assert figures["irms_error_low_ma"] == {"p50": 20.0, "max": 20.0}
    assert figures["cycles_covered_percent"] == 100.0
    assert isinstance(figures["conditions"], str)
