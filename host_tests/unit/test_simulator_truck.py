"""The plant as a whole: supply, relays, sensors, clock, determinism."""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware import board as boards
from tools.simulator import sensors
from tools.simulator.truck import SimError, Truck
from tools.simulator.wiring import demo_board

SCAN_US = 416
RELAY = {"cabin1": 6, "cabin2": 7, "bed1": 8, "bed2": 9, "bed240": 10, "contactor": 11}
CHANNEL = {"l1": 0, "l2": 1, "cabin1": 2, "cabin2": 3, "bed1": 4, "bed2": 5, "bed240": 6}


def ideal(truck: Truck) -> Truck:
    """Take noise and offsets off every channel."""
    for name in truck.wiring.channel_names:
        truck.command(f"sensor {name} noise=0 offset=0")
    return truck


def switched_on(*lines: str, seed: int = 0, mains_hz: float = 60.0) -> Truck:
    """A truck whose relays have been closed for 20 ms, then given these commands."""
    truck = ideal(Truck(demo_board(), seed=seed, mains_hz=mains_hz))
    for gpio in RELAY.values():
        truck.set_pin(gpio, 1, 0)
    truck.truth(20_000)
    for line in lines:
        truck.command(line)
    return truck


def record(truck: Truck, seconds: float) -> list[list[int]]:
    """Scans over the coming seconds."""
    start = truck.now_us
    return [truck.scan(start + n * SCAN_US) for n in range(1, int(seconds * 1e6 / SCAN_US))]


def rms(codes: list[int], per_count: float) -> float:
    return math.sqrt(sum((c - 2048) ** 2 for c in codes) / len(codes)) * per_count


def column(scans: list[list[int]], name: str) -> list[int]:
    return [s[CHANNEL[name]] for s in scans]


# -- supply -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hz", [50.0, 59.95, 60.0])
def test_the_voltage_channels_show_both_legs_in_opposite_phase(hz: float) -> None:
    scans = record(switched_on(mains_hz=hz), 1.0)
    one, two = column(scans, "l1"), column(scans, "l2")
    assert rms(one, 400 / 2048) == pytest.approx(120.0, rel=0.005)
    assert rms(two, 400 / 2048) == pytest.approx(120.0, rel=0.005)
    # 5 us apart and of the other sign: they add up to almost nothing
    assert max(abs(a + b - 4096) for a, b in zip(one, two, strict=True)) <= 4
    rising = sum(1 for a, b in itertools.pairwise(one) if a < 2048 <= b)
    assert rising == pytest.approx(hz, abs=1.01)


def test_frequency_changes_without_a_step_in_phase() -> None:
    truck = switched_on()
    supply = truck.supply
    before = supply.cycles(truck.now_us)
    truck.command("supply hz=51.5")
    assert supply.cycles(truck.now_us) == pytest.approx(before)
    assert supply.cycles(truck.now_us + 1_000_000) - before == pytest.approx(51.5)


def test_a_sag_lasts_as_long_as_asked() -> None:
    truck = switched_on("plug bed1 resistive amps=10")
    truck.truth(100_000)
    truck.command("supply sag=70 ms=200")
    assert truck.truth(250_000)["outlets"]["bed1"]["amps_rms"] == pytest.approx(7.0, rel=0.005)
    assert truck.truth(299_999)["supply"]["volts"] == pytest.approx(84.0)
    assert truck.truth(300_001)["supply"]["volts"] == pytest.approx(120.0)
    assert truck.truth(400_000)["outlets"]["bed1"]["amps_rms"] == pytest.approx(10.0, rel=0.005)


def test_a_lost_supply_gives_no_current_and_loads_start_again_when_it_returns() -> None:
    truck = switched_on("plug bed1 motor amps=10 inrush=8 decay_ms=100")
    assert truck.truth(2_000_000)["outlets"]["bed1"]["amps_rms"] == pytest.approx(10.0, rel=0.01)
    truck.command("supply off")
    lost = record(truck, 0.1)
    assert set(column(lost, "bed1")) == {2048} == set(column(lost, "l1"))
    assert truck.truth(truck.now_us)["outlets"]["bed1"]["closed"]
    truck.command("supply on")
    truth = truck.truth(truck.now_us + 40_000)["outlets"]["bed1"]
    assert truth["amps_rms"] > 50


def test_a_timed_loss_ends_by_itself() -> None:
    truck = switched_on("supply off ms=50")
    assert not truck.truth(60_000)["supply"]["live"]
    assert truck.truth(80_000)["supply"]["live"]


def test_distortion_keeps_the_rms() -> None:
    truck = switched_on("supply thd=5")
    codes = column(record(truck, 1.0), "l1")
    assert rms(codes, 400 / 2048) == pytest.approx(120.0, rel=0.005)
    assert max(codes) - 2048 < 0.97 * 120 * math.sqrt(2) * 2048 / 400  # flat-topped


def test_source_resistance_lowers_the_voltage_of_a_loaded_leg_only() -> None:
    truck = switched_on("supply ohms=0.2", "plug bed1 resistive amps=20")
    record(truck, 0.1)
    scans = record(truck, 0.5)
    loaded = 120 * 6 / 6.2
    assert rms(column(scans, "l1"), 400 / 2048) == pytest.approx(loaded, rel=0.006)
    assert rms(column(scans, "l2"), 400 / 2048) == pytest.approx(120.0, rel=0.005)
    assert rms(column(scans, "bed1"), 150 / 2048) == pytest.approx(loaded / 6, rel=0.006)


# -- relays -------------------------------------------------------------------------------------


def test_contacts_follow_the_coil_after_operate_and_release_time() -> None:
    truck = Truck(demo_board())
    truck.set_pin(8, 1, 1000)
    truck.set_pin(11, 1, 1000)
    truck.set_pin(8, 0, 50_000)
    truck.truth(100_000)
    assert truck.edges == [(1000, 8, 1), (1000, 11, 1), (50_000, 8, 0)]
    assert truck.contacts == [
        (9000, "bed1", True),
        (9000, "contactor", True),
        (54_000, "bed1", False),
    ]


def test_a_coil_that_changes_its_mind_moves_nothing() -> None:
    truck = Truck(demo_board())
    truck.set_pin(8, 1, 0)
    truck.set_pin(8, 0, 7_000)
    truck.truth(100_000)
    assert truck.contacts == []


def test_a_released_pin_lets_the_pull_down_open_the_relay() -> None:
    truck = switched_on()
    truck.set_pin(8, None, 30_000)
    assert not truck.truth(40_000)["outlets"]["bed1"]["closed"]
    assert truck.edges[-1] == (30_000, 8, 0)


def test_the_contactor_is_in_series_with_every_outlet() -> None:
    truck = switched_on("plug bed1 resistive amps=10", "plug cabin2 resistive amps=5")
    truck.truth(100_000)
    truck.set_pin(RELAY["contactor"], 0, 100_000)
    outlets = truck.truth(200_000)["outlets"]
    assert outlets["bed1"]["closed"]
    assert outlets["bed1"]["amps_rms"] == 0.0 == outlets["cabin2"]["amps_rms"]


@pytest.mark.parametrize("opening_us", range(101_000, 108_000, 1000))
def test_current_ends_at_its_next_zero_after_the_contact_opens(opening_us: int) -> None:
    truck = switched_on("plug bed1 resistive amps=10")
    truck.truth(opening_us - 4000)
    truck.set_pin(8, 0, opening_us - 4000)
    last = 0
    for t in range(opening_us, opening_us + 20_000, 50):
        if abs(truck.scan(t)[CHANNEL["bed1"]] - 2048) > 2:
            last = t
    zero = opening_us + (0.5 - (60e-6 * opening_us) % 0.5) / 60e-6
    assert zero - 200 <= last <= zero + 1  # below 0.5 A it ends at once


def test_a_direct_current_is_cut_after_half_a_cycle() -> None:
    truck = switched_on("plug bed1 half_wave amps=10")
    truck.truth(100_000 + 8333 - 6000)
    truck.set_pin(8, 0, truck.now_us)
    truck.truth(truck.now_us + 4000 + 8400)
    assert not truck.truth(truck.now_us)["outlets"]["bed1"]["powered"]


def test_a_welded_relay_conducts_whatever_its_coil_does() -> None:
    truck = switched_on("plug cabin2 resistive amps=10", "weld cabin2")
    truck.set_pin(RELAY["cabin2"], 0, 50_000)
    truth = truck.truth(200_000)["outlets"]["cabin2"]
    assert (truth["commanded"], truth["closed"], truth["fault"]) == (False, True, "welded")
    assert truth["amps_rms"] == pytest.approx(10.0, rel=0.005)
    truck.command("relay cabin2 ok")
    assert truck.truth(300_000)["outlets"]["cabin2"]["amps_rms"] == 0.0
    assert truck.contacts[-1] == (204_000, "cabin2", False)


def test_a_stuck_relay_opens_and_does_not_close_until_repaired() -> None:
    truck = switched_on("plug cabin2 resistive amps=10", "stick cabin2")
    assert truck.truth(100_000)["outlets"]["cabin2"]["amps_rms"] == 0.0
    truck.command("relay cabin2 ok")
    assert truck.truth(200_000)["outlets"]["cabin2"]["amps_rms"] == pytest.approx(10, rel=0.005)


def test_a_relay_welds_when_closing_into_too_much_current() -> None:
    truck = Truck(demo_board())
    truck.command("relay bed1 weld_amps=300")
    truck.command("short bed1")
    truck.set_pin(8, 1, 0)
    truck.set_pin(11, 1, 0)
    truck.truth(30_000)
    truck.set_pin(8, 0, 30_000)
    assert truck.truth(60_000)["outlets"]["bed1"]["fault"] == "welded"
    assert truck.truth(60_000)["outlets"]["bed1"]["closed"]


def test_bouncing_contacts_do_not_start_the_inrush_again() -> None:
    truck = Truck(demo_board())
    truck.command("relay bed1 bounce=3")
    truck.command("plug bed1 motor amps=10")
    truck.set_pin(11, 1, 0)
    truck.set_pin(8, 1, 10_000)
    truck.truth(100_000)
    bed1 = [(t, closed) for t, name, closed in truck.contacts if name == "bed1"]
    assert bed1 == [(18_000 + 500 * n, n % 2 == 0) for n in range(7)]
    assert truck.circuit("bed1").loads["motor"].on_us == 18_000


def test_feedback_inputs_show_the_contact() -> None:
    truck = switched_on("stick cabin1")
    assert truck.read_pin(14, 30_000) == 1
    assert truck.read_pin(13, 30_000) == 0
    with pytest.raises(SimError, match="stick cabin1"):
        truck.command("input cabin1_feedback 1")


def test_the_contactor_can_weld_too() -> None:
    truck = Truck(demo_board())
    truck.command("relay contactor weld_amps=300")
    truck.command("short bed1")
    truck.set_pin(8, 1, 0)
    truck.set_pin(11, 1, 10_000)
    truck.truth(40_000)
    truck.set_pin(11, 0, 40_000)
    assert truck.truth(60_000)["contactor"] == {
        "commanded": False,
        "closed": True,
        "fault": "welded",
    }


def test_an_arc_does_not_outlive_what_draws_it() -> None:
    truck = switched_on("plug bed1 resistive amps=10")
    truck.truth(100_000 + 2000 - 4000)
    truck.set_pin(8, 0, truck.now_us)
    truck.truth(102_100)
    assert truck.circuit("bed1").arcing and truck.circuit("bed1").powered
    truck.command("unplug bed1")
    outlet = truck.truth(102_200)["outlets"]["bed1"]
    assert not outlet["powered"] and not truck.circuit("bed1").arcing
    truck.command("plug bed1 resistive amps=10")
    truck.truth(120_000)
    outlet = truck.truth(140_000)["outlets"]["bed1"]
    assert not outlet["powered"] and outlet["amps_rms"] == 0.0


def test_an_arc_does_not_outlive_the_supply() -> None:
    truck = switched_on("plug bed1 half_wave amps=10")
    truck.truth(100_000 + 2000 - 4000)
    truck.set_pin(8, 0, truck.now_us)
    truck.truth(102_100)
    assert truck.circuit("bed1").arcing
    truck.command("supply off")
    truck.command("supply on")
    assert not truck.truth(102_200)["outlets"]["bed1"]["powered"]


def test_a_load_below_the_source_resistance_does_not_diverge() -> None:
    truck = switched_on("supply ohms=0.2", "plug bed1 resistive amps=5000")
    truth = truck.truth(500_000)["outlets"]["bed1"]
    assert math.isfinite(truth["watts"])
    assert truth["amps_rms"] < 15_000


# -- sensors ------------------------------------------------------------------------------------


def test_noise_and_offsets_are_small_and_differ_by_channel() -> None:
    truck = Truck(demo_board(), seed=3)
    scans = record(truck, 2.0)
    means = []
    for name in ("cabin1", "cabin2", "bed1", "bed2", "bed240"):
        codes = column(scans, name)
        mean = sum(codes) / len(codes)
        sigma = math.sqrt(sum((c - mean) ** 2 for c in codes) / len(codes))
        assert abs(mean - 2048) < 4.2
        assert sigma == pytest.approx(math.hypot(1.5, 1 / math.sqrt(12)), rel=0.05)
        means.append(round(mean, 2))
    assert len(set(means)) == 5


def test_gain_offset_and_rounding() -> None:
    truck = switched_on("plug bed1 resistive amps=20", "sensor bed1 gain=1.02 offset=5")
    codes = column(record(truck, 1.0), "bed1")
    assert sum(codes) / len(codes) == pytest.approx(2053, abs=0.5)
    assert rms([c - 5 for c in codes], 150 / 2048) == pytest.approx(20.4, rel=0.005)


def test_sensor_faults_and_repair() -> None:
    truck = switched_on("plug bed1 resistive amps=20")
    for fault, code in (("open", {4095}), ("short", {0})):
        truck.command(f"sensor bed1 {fault}")
        assert set(column(record(truck, 0.05), "bed1")) == code
    truck.command("sensor bed1 ok")
    truck.command("sensor bed1 frozen")
    assert len(set(column(record(truck, 0.05), "bed1"))) == 1
    truck.command("sensor bed1 ok")
    assert len(set(column(record(truck, 0.05), "bed1"))) > 20


def test_a_short_circuit_clips_the_sensor_and_is_huge() -> None:
    truck = switched_on("short bed1")
    codes = column(record(truck, 0.1), "bed1")
    assert (min(codes), max(codes)) == (0, 4095)
    truth = truck.truth(truck.now_us)["outlets"]["bed1"]
    assert truth["amps_rms"] == pytest.approx(1200, rel=0.01)
    assert truth["peak_a"] == pytest.approx(1697, rel=0.01)
    truck.command("unshort bed1")
    assert set(column(record(truck, 0.1), "bed1")) == {2048}


def test_a_leading_sensor_turns_resistance_into_a_phase() -> None:
    truck = switched_on("plug bed1 resistive amps=50", "sensor bed1 phase=10")
    truck.skew_us = 0  # else the current channel is 20 us later than the voltage channel
    scans = record(truck, 1.0)
    v, i = column(scans, "l1"), column(scans, "bed1")
    dot = sum((a - 2048) * (b - 2048) for a, b in zip(v, i, strict=True)) / len(v)
    pf = dot / (rms(v, 1.0) * rms(i, 1.0))
    assert math.degrees(math.acos(pf)) == pytest.approx(10.0, abs=0.3)


def test_the_e11_flaw_is_four_wide_codes_that_shift_what_lies_beyond() -> None:
    codes = sensors.e11_codes()
    assert len(codes) == 4096 and codes == sorted(codes)
    widths = {code: codes.count(code) for code in set(codes)}
    assert {c for c, n in widths.items() if n > 1} == {511, 1535, 2559, 3583}
    assert {widths[c] for c in (511, 1535, 2559, 3583)} == {9}
    assert set(widths) == set(range(16, 4080)), "every code but those at the ends"
    stairs = {ideal: codes[ideal] - ideal for ideal in (300, 1000, 2048, 3000, 4000)}
    assert list(stairs.values()) == [16, 8, 0, -8, -16]
    # the spikes alone shift nothing
    alone = sensors.spiked_codes()
    assert [alone[i] - i for i in stairs] == [0] * 5
    assert {c for c in set(alone) if alone.count(c) > 1} == {511, 1535, 2559, 3583}


@pytest.mark.parametrize("dnl", [1, 2])
def test_e11_spikes_are_hit_nine_times_as_often(dnl: int) -> None:
    truck = switched_on("plug bed1 resistive amps=30", f"sensor bed1 dnl={dnl} noise=1.5")
    codes = column(record(truck, 4.0), "bed1")
    beside = sum(codes.count(c) for c in range(2545, 2555)) / 10
    assert codes.count(2559) == pytest.approx(9 * beside, rel=0.4)
    if dnl == 2:
        assert not set(codes) & {2556, 2558, 2560, 2562}
    else:
        assert set(codes) & {2556, 2558, 2560, 2562}


def test_a_board_with_the_errata_has_a_converter_with_the_flaw() -> None:
    assert [s.dnl for s in Truck(boards.load("pico_w")).sensors] == [1] * 8
    assert [s.dnl for s in Truck(boards.load("simulated")).sensors] == [0] * 8


def test_temperature_moves_the_aux_channel_down_its_curve() -> None:
    truck = switched_on()
    assert truck.scan(30_000)[7] == pytest.approx(2048, abs=1)  # 25 C: half of 3.3 V
    answer = truck.command("temperature 85")
    ohms = 10_000 * math.exp(3950 * (1 / 358.15 - 1 / 298.15))
    assert truck.scan(31_000)[7] == pytest.approx(4096 * ohms / (ohms + 10_000), abs=1)
    assert "85 C" in answer


# -- one conversion at a time --------------------------------------------------------------------


def test_adc_follows_the_multiplexer_address() -> None:
    truck = switched_on("plug bed240 resistive amps=20", "temperature 85")
    t = 20_833  # peak of L1
    truck.scan(t)
    expected = {
        0: 2048 + 169.7 * 2048 / 400,
        1: 2048 - 169.7 * 2048 / 400,
        4: 2048,
        6: 2048 + 28.28 * 2048 / 300,
    }
    for address, code in expected.items():
        for bit, gpio in enumerate((2, 3, 4)):
            truck.set_pin(gpio, address >> bit & 1, t)
        assert truck.adc(26, t) == pytest.approx(code, abs=2)
    assert truck.adc(27, t) == 0


def test_adc_and_scan_agree() -> None:
    by_scan = switched_on("plug bed1 motor", "plug bed2 lamp")
    by_adc = switched_on("plug bed1 motor", "plug bed2 lamp")
    by_scan.skew_us = 2
    for n in range(1, 400):
        t = 20_000 + n * SCAN_US
        codes = by_scan.scan(t)
        for channel in range(8):
            for bit, gpio in enumerate((2, 3, 4)):
                by_adc.set_pin(gpio, channel >> bit & 1, t + 2 * channel)
            assert abs(by_adc.adc(26, t + 2 * channel) - codes[channel]) <= 1
    scanned = by_scan.truth(200_000)["outlets"]["bed1"]
    converted = by_adc.truth(200_000)["outlets"]["bed1"]
    assert converted["energy_wh"] == pytest.approx(scanned["energy_wh"], rel=0.005)


# -- clock, seed, truth --------------------------------------------------------------------------


def test_the_clock_never_goes_back() -> None:
    truck = Truck(demo_board())
    truck.scan(1000)
    with pytest.raises(ValueError, match="went back"):
        truck.scan(999)


def story(seed: int) -> tuple[Any, ...]:
    truck = Truck(demo_board(), seed=seed)
    truck.set_pin(8, 1, 0)
    truck.set_pin(11, 1, 0)
    truck.command("plug bed1 fridge")
    scans = record(truck, 0.3)
    truck.command("supply sag=60 ms=30")
    scans += record(truck, 0.3)
    return scans, truck.contacts, truck.truth(truck.now_us)


def test_the_same_seed_gives_the_same_codes_and_another_seed_others() -> None:
    assert story(5) == story(5)
    assert story(5)[0] != story(6)[0]


def test_energy_is_the_integral_whatever_the_rhythm_of_the_calls() -> None:
    truths = []
    for step in (100, 416, 833, 50_000):
        truck = switched_on(
            "plug bed1 resistive watts=1200", "plug bed240 motor amps=20 pf=0.5 inrush=1"
        )
        for t in range(20_000 + step, 3_620_000, step):
            truck.scan(t)
        truths.append(truck.truth(3_620_000)["outlets"])
    for outlets in truths:
        assert outlets["bed1"]["energy_wh"] == pytest.approx(1.2, rel=1e-3)
        assert outlets["bed240"]["energy_wh"] == pytest.approx(2.4, rel=1e-3)
        assert outlets["bed240"]["watts"] == pytest.approx(2400, rel=1e-3)
        assert outlets["bed240"]["amps_rms"] == pytest.approx(20, rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30_000),
            st.sampled_from(
                [
                    "on",
                    "off",
                    "supply off",
                    "supply on",
                    "weld bed1",
                    "stick bed1",
                    "relay bed1 ok",
                    "plug bed1 fridge",
                    "plug bed1 laptop",
                    "unplug bed1",
                    "short bed1",
                    "supply hz=50",
                    "supply ohms=0.05",
                    "supply sag=40 ms=9",
                    "relay bed1 bounce=2",
                    "sensor bed1 frozen",
                ]
            ),
        ),
        max_size=25,
    )
)
def test_no_order_of_events_upsets_the_plant(events: list[tuple[int, str]]) -> None:
    truck = Truck(demo_board())
    truck.set_pin(11, 1, 0)
    t = 0
    for wait, what in events:
        t += wait
        for at in range(truck.now_us, t, SCAN_US):
            codes = truck.scan(at)
            assert len(codes) == 8
            assert all(type(c) is int and 0 <= c <= 4095 for c in codes)
        if what in ("on", "off"):
            truck.set_pin(8, int(what == "on"), t)
        else:
            truck.truth(t)
            with contextlib.suppress(SimError):  # a sag of a supply that is off
                truck.command(what)
    truth = truck.truth(t + 100_000)["outlets"]["bed1"]
    relay = truck.relays["bed1"]
    assert truth["closed"] == {"ok": relay.coil, "welded": True, "stuck": False}[relay.fault]
    assert truth["energy_wh"] >= -1e-9
    if not truth["closed"]:
        assert truth["amps_rms"] == 0.0
