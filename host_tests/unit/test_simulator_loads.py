"""Load models: RMS, power, inrush, their own clocks."""

from __future__ import annotations

import math

import pytest

from tools.simulator import loads
from tools.simulator.truck import SimError, Truck
from tools.simulator.wiring import demo_board

RELAY = {"cabin1": 6, "cabin2": 7, "bed1": 8, "bed2": 9, "bed240": 10, "contactor": 11}


def plugged(line: str, outlet: str = "bed1", mains_hz: float = 60.0) -> Truck:
    """A truck with the load energised at t = 10 ms."""
    truck = Truck(demo_board(), mains_hz=mains_hz)
    truck.truth_step_us = 50
    truck.set_pin(RELAY["contactor"], 1, 0)
    truck.command(f"plug {outlet} {line}")
    truck.set_pin(RELAY[outlet], 1, 2000)
    return truck


def at(truck: Truck, seconds: float, outlet: str = "bed1") -> dict[str, float]:
    return truck.truth(round(seconds * 1e6))["outlets"][outlet]


@pytest.mark.parametrize("outlet", ["bed1", "bed2", "bed240"])
@pytest.mark.parametrize(
    ("line", "amps", "pf"),
    [
        ("resistive amps=12", 12.0, 1.0),
        ("lamp amps=4", 4.0, 1.0),
        ("motor amps=10 pf=0.8", 10.0, 0.8),
        ("motor amps=10 pf=0.5 inrush=1", 10.0, 0.5),
        ("compressor amps=6 pf=0.7", 6.0, 0.7),
        ("half_wave amps=7", 7.0, math.sqrt(0.5)),
        ("dimmer amps=8 angle=90", 8.0 * math.sqrt(0.5), math.sqrt(0.5)),
        ("dimmer amps=8 angle=0", 8.0, 1.0),
        ("ev amps=16 pf=0.99 delay_s=0 ramp_a_per_s=100", 16.0, 0.99),
        ("smps amps=3", 3.0, None),
    ],
)
def test_steady_amps_and_power_factor(
    line: str, amps: float, pf: float | None, outlet: str
) -> None:
    truth = at(plugged(line, outlet), 3.0, outlet)
    volts = 240 if outlet == "bed240" else 120
    assert truth["amps_rms"] == pytest.approx(amps, rel=0.005)
    if pf is not None:
        assert truth["watts"] == pytest.approx(amps * volts * pf, rel=0.01)


@pytest.mark.parametrize("kind", ["resistive", "smps", "lamp", "half_wave"])
@pytest.mark.parametrize("outlet", ["cabin2", "bed240"])
def test_watts_are_real_power_on_either_voltage(kind: str, outlet: str) -> None:
    assert at(plugged(f"{kind} watts=600", outlet), 2.0, outlet)["watts"] == pytest.approx(
        600, rel=0.01
    )


def test_motor_inrush_starts_at_its_multiple_and_decays() -> None:
    truck = plugged("motor amps=10 inrush=8 decay_ms=100")
    for seconds in (0.05, 0.1, 0.2, 0.4):
        at(truck, seconds)
        # the reported cycle ended less than a cycle ago: take its middle
        end = truck._cycle_start_us / 1e6
        middle = end - 0.5 / 60 - 0.010
        expected = 10 * (1 + 7 * math.exp(-middle / 0.1))
        assert truck.circuit("bed1").amps_rms == pytest.approx(expected, rel=0.02)
    assert at(truck, 2.0)["amps_rms"] == pytest.approx(10, rel=0.001)


def test_inrush_returns_at_each_closing() -> None:
    truck = plugged("motor amps=10")
    at(truck, 2.0)
    truck.set_pin(RELAY["bed1"], 0, 2_000_000)
    at(truck, 3.0)
    truck.set_pin(RELAY["bed1"], 1, 3_000_000)
    assert at(truck, 3.04)["amps_rms"] > 60


def test_motor_offset_makes_the_current_start_from_zero() -> None:
    truck = plugged("motor amps=10 pf=0.4 dc=1")
    truck.truth(9_999)
    truck.scan(10_000)
    assert abs(truck.circuit("bed1").amps) < 0.01
    with_offset = at(truck, 0.06)["peak_a"]
    without = at(plugged("motor amps=10 pf=0.4"), 0.06)["peak_a"]
    assert with_offset > 1.2 * without


def test_lamp_draws_its_cold_multiple_for_tens_of_milliseconds() -> None:
    truck = plugged("lamp amps=4 inrush=10 decay_ms=20")
    assert at(truck, 0.026)["peak_a"] == pytest.approx(4 * 1.414 * 7, rel=0.4)
    assert at(truck, 0.2)["amps_rms"] == pytest.approx(4.0, rel=0.01)


def test_smps_has_its_crest_factor_and_a_charging_surge() -> None:
    truck = plugged("smps amps=2 crest=3 inrush=40")
    surge = at(truck, 0.03)["peak_a"]
    assert 20 < surge < 46
    at(truck, 1.0)
    steady = at(truck, 1.1)
    assert steady["peak_a"] / steady["amps_rms"] == pytest.approx(3.0, rel=0.02)


def test_a_car_waits_ramps_and_settles() -> None:
    truck = plugged("ev_charger amps=32", "bed240")
    assert at(truck, 4.9, "bed240")["amps_rms"] == 0.0
    assert at(truck, 9.03, "bed240")["amps_rms"] == pytest.approx(16, rel=0.03)
    final = at(truck, 20.0, "bed240")
    assert final["amps_rms"] == pytest.approx(32, rel=0.001)
    assert final["watts"] == pytest.approx(32 * 240 * 0.99, rel=0.01)


def test_half_waves_have_a_direct_part() -> None:
    truck = plugged("half_wave amps=30")
    truck.command("sensor bed1 noise=0 offset=0")
    at(truck, 0.1)
    codes = [truck.scan(100_000 + n * 416)[4] for n in range(1, 2404)]
    mean = (sum(codes) / len(codes) - 2048) * 150 / 2048
    # a half sine of peak P has RMS P/2 and mean P/pi
    assert mean == pytest.approx(60 / math.pi, rel=0.01)
    assert min(codes) == 2048


def test_compressor_cycles_and_restarts_with_inrush() -> None:
    truck = plugged("compressor amps=5 inrush=10 run_s=3 rest_s=4 equalise_s=2")
    assert at(truck, 2.9)["amps_rms"] == pytest.approx(5, rel=0.01)
    assert at(truck, 3.1)["amps_rms"] == 0.0
    assert at(truck, 6.9)["amps_rms"] == 0.0
    assert at(truck, 7.07)["amps_rms"] > 25
    assert at(truck, 9.0)["amps_rms"] == pytest.approx(5, rel=0.01)


def test_compressor_restarted_too_soon_stalls_until_its_overload_opens() -> None:
    truck = plugged("compressor amps=5 inrush=10 run_s=60 equalise_s=10 overload_s=4 cool_s=20")
    at(truck, 3.0)
    truck.command("supply off ms=300")
    assert at(truck, 5.0)["amps_rms"] == pytest.approx(50, rel=0.01)
    assert at(truck, 7.2)["amps_rms"] == pytest.approx(50, rel=0.01)
    assert at(truck, 8.0)["amps_rms"] == 0.0
    assert at(truck, 30.0)["amps_rms"] == pytest.approx(5, rel=0.01)  # pressure gone by then


def test_compressor_left_alone_long_enough_starts_normally() -> None:
    truck = plugged("compressor amps=5 equalise_s=10")
    at(truck, 3.0)
    truck.command("supply off ms=11000")
    assert at(truck, 16.0)["amps_rms"] == pytest.approx(5, rel=0.01)


def test_loads_on_one_outlet_add_up_and_come_out_one_by_one() -> None:
    truck = plugged("resistive amps=5")
    assert "resistive_2" in truck.command("plug bed1 resistive amps=3")
    assert at(truck, 0.5)["amps_rms"] == pytest.approx(8, rel=0.001)
    truck.command("unplug bed1 resistive")
    assert at(truck, 1.0)["amps_rms"] == pytest.approx(3, rel=0.001)
    truck.command("unplug bed1")
    assert at(truck, 1.5)["amps_rms"] == 0.0


@pytest.mark.parametrize("name", sorted(loads.APPLIANCES))
def test_every_appliance_runs_where_it_belongs_and_is_refused_elsewhere(name: str) -> None:
    appliance = loads.APPLIANCES[name]
    outlet, other = ("bed240", "bed1") if appliance.volts == 240 else ("bed1", "bed240")
    truck = plugged(name, outlet)
    truck.truth_step_us = 400
    truth = at(truck, 15.0, outlet)
    assert 0.1 < truth["amps_rms"] < 33
    assert truth["watts"] > 5
    assert appliance.summary
    with pytest.raises(SimError, match=rf"{appliance.volts} V appliance and {other} gives"):
        truck.command(f"plug {other} {name}")


def test_an_appliance_takes_other_figures() -> None:
    truck = plugged("heater amps=10")
    assert at(truck, 0.5)["amps_rms"] == pytest.approx(10, rel=0.001)


def test_a_compressor_with_absurdly_short_times_still_ends_each_sample() -> None:
    truck = plugged("compressor run_s=1e-9 rest_s=0 overload_s=1e-9 cool_s=0")
    assert at(truck, 0.2)["amps_rms"] > 0
