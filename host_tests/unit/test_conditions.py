"""Supply, temperature, continuous load, ground-fault and feedback inputs, and heat over a reset:
the controller in the simulated truck, in simulated time."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from firmware.protection import stages
from firmware.sensing import ntc
from firmware.storage import retained
from host_tests.fakes import machine
from host_tests.fakes.rig import Rig, WindowRig, events

CYCLES = 2 / 60


def loaded(settings: dict[str, Any] | None = None, **more: Any) -> Rig:
    """Everything on, a light load on bed1 and bed2."""
    rig = Rig(settings=settings, **more)
    for x in rig.board.outlets:
        assert rig.do("on", x.name) == ""
    rig.sim("plug bed1 resistive amps=5")
    rig.sim("plug bed2 resistive amps=5")
    rig.run(0.2)
    return rig


def opened(rig: Rig, name: str = "bed1", within_s: float = 15) -> float:
    return rig.until(lambda: not rig.coil(name), within_s)


# -- voltage -----------------------------------------------------------------------------------

QUICK = {"supply.under_s": 1, "supply.over_s": 1, "supply.hz_s": 1}


@pytest.mark.parametrize(
    ("supply", "seconds", "reason"),
    [
        ("volts=50", 0.5, "supply"),
        ("volts=102", 1.0, "undervoltage"),
        ("volts=135", 1.0, "overvoltage"),
        ("volts=150", 0.16, "overvoltage"),
    ],
)
def test_the_voltage_stages_open_at_their_time(supply: str, seconds: float, reason: str) -> None:
    rig = loaded(QUICK)
    rig.sim(f"supply {supply}")
    assert opened(rig) == pytest.approx(seconds, abs=CYCLES + 0.012)
    rig.run(0.05)
    for x in rig.board.outlets:
        assert (rig.state(x.name), rig.reason(x.name)) == ("fault", reason)
    assert rig.log().count(f"- fault {reason}") == 1
    record = [r for r in rig.journal.since(0) if r[2] == rig.index("bed1")][-1]
    assert record[4] == pytest.approx(float(supply.split("=")[1]) * 1000, rel=0.02)
    # latched, and not to be cleared while it lasts
    assert "still there" in rig.do("reset", "bed1")
    rig.sim("supply volts=120")
    rig.run(2)
    assert rig.log().count(f"- cleared {reason}") == 1
    assert rig.state("bed1") == "fault" and not rig.coil("bed1")
    assert rig.do("reset", "bed1") == "" and rig.do("on", "bed1") == ""


def test_the_default_delays_are_ten_seconds() -> None:
    rig = loaded()
    rig.sim("supply volts=135")
    assert opened(rig) == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("volts", [108, 130])
def test_what_utilities_may_deliver_holds(volts: int) -> None:
    rig = loaded(QUICK)
    rig.sim(f"supply volts={volts}")
    rig.run(4)
    assert all(rig.state(x.name) == "on" for x in rig.board.outlets)


@pytest.mark.parametrize(
    ("percent", "ms"), [(0, 200), (0, 400), (70, 900), (115, 900), (130, 100)]
)
def test_dips_and_swells_ride_through(percent: int, ms: int) -> None:
    rig = loaded(QUICK)
    for _ in range(3):
        kind = "sag" if percent < 100 else "swell"
        rig.sim(f"supply {kind}={percent} ms={ms}")
        rig.run(ms / 1000 + 0.3)
    assert all(rig.state(x.name) == "on" for x in rig.board.outlets), rig.log()


def test_an_outlet_may_be_left_out_but_not_of_the_loss_of_supply() -> None:
    rig = loaded(QUICK | {"bed1.voltage": "off"})
    rig.sim("supply volts=102")
    rig.run(2)
    assert rig.state("bed1") == "on" and rig.state("bed2") == "fault"
    assert "supply voltage too low" in rig.do("on", "bed2") + rig.do("reset", "bed2")
    rig.sim("supply volts=0")
    rig.run(1)
    assert rig.state("bed1") == "fault" and rig.reason("bed1") == "supply"
    assert rig.settings.disabled() == ["bed1.voltage"]


def test_on_is_refused_while_the_voltage_is_wrong() -> None:
    rig = Rig(settings=QUICK)
    rig.sim("supply volts=135")
    rig.run(1.5)
    assert rig.do("on", "bed1") == "not now: supply voltage too high"
    assert rig.state("bed1") == "off"
    rig.sim("supply volts=120")
    rig.run(0.1)
    assert rig.do("on", "bed1") == ""


def test_a_shed_outlet_does_not_come_back_into_a_wrong_voltage() -> None:
    rig = WindowRig(settings=QUICK | {"shed.restore_s": 10, "shed.min_off_s": 0})
    for name in ("cabin1", "bed1"):
        rig.do("on", name)
    rig.load.update(cabin1=20.0, bed1=20.0)
    rig.run(1)
    rig.settings.set("leg.limit_a", 20)
    rig.until(lambda: rig.state("bed1") == "shed", 30)
    rig.settings.set("leg.limit_a", 40)
    rig.volts = 100.0
    rig.run(30)
    assert rig.state("bed1") == "shed"
    rig.volts = 120.0
    rig.until(lambda: rig.state("bed1") == "on", 30)


# -- frequency ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("mains", "hz"), [(60, 56.5), (60, 63.5), (50, 47.2), (50, 52.9)])
def test_frequency_opens_at_its_time(mains: int, hz: float) -> None:
    rig = loaded({"supply.hz_s": 3}, mains_hz=mains)
    rig.run(1)
    rig.sim(f"supply hz={hz}")
    # measured over ten cycles
    assert opened(rig) == pytest.approx(3, abs=0.3)
    rig.run(0.1)
    assert rig.reason("bed1") == "frequency"
    record = [r for r in rig.journal.since(0) if r[2] == rig.index("bed1")][-1]
    assert record[4] == pytest.approx(hz * 1000, abs=100)
    rig.sim(f"supply hz={mains}")
    rig.run(0.6)
    assert rig.do("reset", "bed1") == ""


@pytest.mark.parametrize(("mains", "hz"), [(60, 57.5), (60, 62.5), (50, 47.9), (50, 52.2)])
def test_a_generator_that_droops_holds(mains: int, hz: float) -> None:
    rig = loaded({"supply.hz_s": 1}, mains_hz=mains)
    rig.sim(f"supply hz={hz}")
    rig.run(3)
    assert rig.state("bed1") == "on", rig.log()


def test_an_outlet_may_be_left_out_of_the_frequency() -> None:
    rig = loaded({"supply.hz_s": 1, "bed1.frequency": "off"})
    rig.sim("supply hz=66")
    rig.run(2)
    assert rig.state("bed1") == "on" and rig.state("bed2") == "fault"


# -- ground fault and feedback -----------------------------------------------------------------


@pytest.mark.parametrize("level", ["high", "low"])
def test_the_ground_fault_input_opens_everything_within_two_turns(level: str) -> None:
    active, idle = (1, 0) if level == "high" else (0, 1)
    rig = Rig(boot_s=0)
    rig.sim(f"gfci {idle}")
    rig.settings.set("gfci.input", level)
    rig.run(0.8)
    for x in rig.board.outlets:
        assert rig.do("on", x.name) == ""
    rig.run(0.3)
    rig.sim(f"gfci {active}")
    assert opened(rig) <= 0.0167  # 8 ms each, rounded up to scans
    rig.scan()
    assert not any(rig.coil(x.name) for x in rig.board.outlets)
    assert {rig.state(x.name) for x in rig.board.outlets} == {"tripped"}
    assert rig.reason("bed1") == "ground_fault"
    assert rig.log().count("- fault ground_fault") == 1
    assert "ground fault" in rig.do("reset", "bed1", True)
    rig.sim(f"gfci {idle}")
    rig.run(0.1)
    assert rig.state("bed1") == "tripped", "latched"
    assert rig.do("reset", "bed1") == "" and rig.do("on", "bed1") == ""


def test_a_spike_on_the_input_is_no_ground_fault() -> None:
    rig = loaded({"gfci.input": "high"})
    for k in range(50):
        rig.run(0.0301 + k * 0.0007)
        rig.sim("gfci 1")
        rig.run(0.0075)
        rig.sim("gfci 0")
    rig.run(0.1)
    assert rig.state("bed1") == "on" and "ground_fault" not in " ".join(rig.log())


def test_turns_that_follow_each_other_closely_are_one_look() -> None:
    """In the midst of a long answer the control lane has a turn each few ms, or less."""
    rig = loaded({"gfci.input": "high", "contactor.feedback": "high"})

    def run(seconds: float) -> None:
        for _ in range(round(seconds * 1e6 / rig.lane.period_us)):
            rig.scan()
            rig.controller.step()

    for k in range(50):
        run(0.0301 + k * 0.0007)
        rig.sim("gfci 1")
        run(0.0075)
        rig.sim("gfci 0")
    run(0.1)
    assert rig.state("bed1") == "on" and "ground_fault" not in " ".join(rig.log())
    rig.sim("stick contactor")  # it may take 0.2 s to follow
    run(0.15)
    assert rig.state("bed1") == "on"
    run(0.1)
    assert rig.reason("bed1") == "contactor"
    rig.sim("gfci 1")
    run(0.018)
    assert "- fault ground_fault" in rig.log()


def test_a_pin_that_is_not_wired_trips_nothing() -> None:
    rig = loaded()
    for level in "1010":
        rig.sim(f"gfci {level}")
        rig.run(0.2)
    assert rig.state("bed1") == "on"


def test_an_outlet_may_be_left_out_of_the_ground_fault() -> None:
    rig = loaded({"gfci.input": "high", "bed1.gfci": "off"})
    rig.sim("gfci 1")
    rig.run(0.1)
    assert rig.state("bed1") == "on" and rig.state("bed2") == "tripped"
    assert rig.do("off", "bed240") == ""
    assert "ground fault" in rig.do("reset", "bed240") + rig.do("on", "bed240")


def test_a_shed_outlet_does_not_come_back_after_a_ground_fault() -> None:
    rig = loaded({"gfci.input": "high"})
    outlet = rig.controller.outlets[rig.index("bed2")]
    rig.controller._shed(1 << outlet.index)
    rig.run(0.1)
    assert rig.state("bed2") == "shed"
    rig.sim("gfci 1")
    rig.run(0.1)
    assert rig.state("bed2") == "tripped"


@pytest.mark.parametrize(
    ("fault", "over", "reason"),
    [("supply off", "supply on", "supply"), ("gfci 1", "gfci 0", "ground_fault")],
)
def test_what_waits_for_its_turn_does_not_start_after_a_fault(
    fault: str, over: str, reason: str
) -> None:
    rig = Rig(settings={"gfci.input": "high"})
    for outlet in rig.board.outlets:
        assert rig.controller.later(outlet.index, events.BY_CONSOLE) == ""
    rig.controller.close_next()
    rig.run(0.2)
    assert rig.state("cabin1") == "on"
    rig.sim(fault)
    rig.run(0.6)
    rig.sim(over)
    rig.run(0.2)
    for _ in range(5):
        rig.controller.close_next()
        rig.run(0.5)
    assert not any(rig.coil(outlet.name) for outlet in rig.board.outlets)
    assert [line for line in rig.log() if line.startswith("bed1")] == [f"bed1 refused {reason}"]


def test_a_ground_fault_without_supply_does_not_let_a_shed_outlet_come_back() -> None:
    rig = loaded({"gfci.input": "high"})
    rig.controller._shed(1 << rig.index("bed2"))
    rig.run(0.1)
    rig.sim("supply off")
    rig.run(1)
    assert rig.state("bed2") == "shed" and rig.reason("bed1") == "supply"
    rig.sim("gfci 1")
    rig.run(0.1)
    assert rig.state("bed2") == "tripped"


def test_three_ground_faults_in_an_hour_lock_out() -> None:
    rig = loaded({"gfci.input": "high"})
    for _ in range(3):
        rig.sim("gfci 1")
        rig.run(0.1)
        rig.sim("gfci 0")
        rig.run(0.1)
        if rig.state("bed1") == "tripped":
            rig.do("reset", "bed1")
            rig.do("on", "bed1")
            rig.run(0.1)
    assert rig.state("bed1") == "lockout"


def test_the_pin_is_pulled_towards_a_fault_and_away_from_feedback() -> None:
    rig = Rig(settings={"gfci.input": "high", "contactor.feedback": "high"}, boot_s=0)
    pins = rig.controller.conditions.inputs._pins
    assert pins["gfci"].pull == machine.Pin.PULL_UP
    assert pins["contactor_feedback"].pull == machine.Pin.PULL_DOWN
    rig.settings.set("gfci.input", "low")
    assert pins["gfci"].pull == machine.Pin.PULL_DOWN
    rig.settings.set("gfci.input", "none")
    assert "gfci" not in pins


def test_a_contactor_that_drops_out_opens_the_outlets() -> None:
    rig = loaded({"contactor.feedback": "high"})
    assert rig.state("bed1") == "on", rig.log()
    rig.sim("stick contactor")
    assert opened(rig) == pytest.approx(0.2, abs=0.03)
    rig.run(0.05)
    assert rig.reason("bed1") == "contactor"
    assert "main contactor" in rig.do("reset", "bed1")
    rig.sim("relay contactor ok")
    rig.run(0.3)
    assert rig.do("reset", "bed1") == "" and rig.do("on", "bed1") == ""


# -- temperature -------------------------------------------------------------------------------


def test_the_thermistor_table_goes_both_ways() -> None:
    for celsius in range(-20, 121, 5):
        assert ntc.celsius(ntc.code(celsius)) == pytest.approx(celsius, abs=0.3)


def test_limits_fall_in_steps_and_then_the_outlets_open() -> None:
    rig = loaded()
    pickup = [x.pickup_sq for x in rig.controller.outlets]
    found = []
    for celsius in (25, 69, 71, 76, 81, 78.5, 76, 60):
        rig.sim(f"temperature {celsius}")
        rig.run(4.5)
        around = rig.controller.conditions
        found.append(around.tenths)
        for outlet, full in zip(rig.controller.outlets, pickup, strict=True):
            limit = rig.controller.bank.block[outlet.thermal.at + 3]
            assert limit == full * around.tenths**2 // 100
        assert rig.controller.dispatch.legs[0].limit == 4000 * around.tenths
        assert rig.controller.dispatch.total.limit == 960 * around.tenths
    assert found == [10, 10, 9, 8, 7, 7, 8, 10]
    assert rig.state("bed1") == "on"
    rig.sim("temperature 88")
    assert opened(rig) == pytest.approx(3.5, abs=1.1)
    rig.run(0.1)
    assert {rig.reason(x.name) for x in rig.board.outlets} == {"overtemperature"}
    assert "too hot inside" in rig.do("reset", "bed1")
    rig.sim("temperature 79")
    rig.run(4.5)
    assert rig.do("reset", "bed1") == ""
    assert "- warning overtemperature" in rig.log() and "- cleared overtemperature" in rig.log()


def derate(rig: WindowRig, steps: int) -> None:
    """The thermistor of a WindowRig always shows the middle of the range: move the steps there."""
    for step in range(steps):
        rig.controller.conditions.stages.set(stages.DERATE + step, -2100, -2200, 1)
    rig.run(1.1)
    assert rig.controller.conditions.tenths == 10 - steps


def test_derating_below_the_load_trips_by_the_curve_and_not_at_once() -> None:
    rig = WindowRig(settings={"bed1.trip_class": "fast"})
    rig.do("on", "bed1")
    rig.load["bed1"] = 20.0
    rig.run(300)
    outlet = rig.controller.outlets[rig.index("bed1")]
    before = outlet.thermal.permille()
    assert before == pytest.approx(907, abs=5)
    derate(rig, 1)
    assert outlet.thermal.permille() == pytest.approx(before, abs=8), "the wire did not cool"
    took = rig.until(lambda: rig.state("bed1") == "tripped", 120)
    # t = tau ln((r2 - h) / (r2 - 1)), r = 20 / (1.05 x 18)
    assert took == pytest.approx(23, rel=0.1)


def test_a_change_of_settings_keeps_the_derating() -> None:
    rig = WindowRig()
    outlet = rig.controller.outlets[0]
    derate(rig, 2)
    rig.settings.set("cabin1.limit_a", 16)
    assert rig.controller.bank.block[outlet.thermal.at + 3] == outlet.pickup_sq * 64 // 100
    assert rig.controller.dispatch.total.limit == 7680
    for _ in range(500):
        rig.controller.conditions._derate(7)
        rig.controller.conditions._derate(10)
    assert rig.controller.bank.block[outlet.thermal.at + 3] == outlet.pickup_sq, "no drift"


def test_a_broken_thermistor_warns_and_derates_where_it_is_said_to_be_there() -> None:
    rig = loaded({"temperature.sensor": "yes"})
    rig.run(2)
    rig.sim("sensor temperature open")
    rig.run(4.5)
    assert rig.log()[-2:] == ["- warning thermistor", "- warning overtemperature"]
    assert rig.controller.conditions.tenths == 7 and rig.state("bed1") == "on"
    rig.sim("sensor temperature ok")
    rig.run(4.5)
    assert rig.controller.conditions.tenths == 10
    assert rig.log()[-2:] == ["- cleared thermistor", "- cleared overtemperature"]


def test_a_thermistor_that_was_never_there_is_no_fault() -> None:
    rig = Rig(boot_s=0)
    rig.sim("aux temperature 3300")
    rig.run(6)
    assert rig.log() == [] and rig.controller.conditions.tenths == 10


def test_no_sensor_means_that_nothing_acts_on_it() -> None:
    rig = loaded()
    rig.sim("temperature 76")
    rig.run(5)
    assert rig.controller.conditions.tenths == 8
    rig.settings.set("temperature.sensor", "no")
    assert rig.controller.conditions.tenths == 10
    rig.sim("temperature 120")
    rig.run(6)
    assert rig.state("bed1") == "on" and rig.controller.conditions.tenths == 10
    assert rig.settings.disabled() == ["temperature.sensor"]


def test_a_board_without_a_thermistor_protects_all_the_same() -> None:
    rig = Rig("esp32")
    assert rig.do("on", "bed240") == ""
    rig.run(3)
    rig.sim("supply off")
    rig.run(1)
    assert rig.reason("bed240") == "supply"


# -- continuous load ---------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "state"), [("warn", "on"), ("shed", "shed"), ("off", "on")])
def test_a_continuous_load(action: str, state: str) -> None:
    rig = WindowRig(settings={"bed1.continuous": action, "bed1.continuous_h": 0.02})
    rig.do("on", "bed1")
    rig.load["bed1"] = 15.9
    rig.run(100)
    assert rig.log()[-1] == "bed1 on command"
    rig.load["bed1"] = 16.5
    rig.run(70.5)
    assert rig.log()[-1] == "bed1 on command"
    rig.run(3)
    assert rig.state("bed1") == state
    wanted = {"warn": "warning continuous", "shed": "shed continuous", "off": "on command"}
    assert rig.log()[-1] == "bed1 " + wanted[action]


def test_what_was_shed_as_continuous_rests_and_comes_back() -> None:
    settings = {"bed1.continuous": "shed", "bed1.continuous_h": 0.1}
    rig = WindowRig(settings=settings | {"shed.restore_s": 10, "shed.min_off_s": 0})
    rig.do("on", "bed1")
    rig.load["bed1"] = 18.0
    rig.until(lambda: rig.state("bed1") == "shed", 370)
    took = rig.until(lambda: rig.state("bed1") in ("closing", "on"), 60)
    assert took == pytest.approx(19, abs=2)  # a tenth of 360 s, at twice the pace


# -- settings that go into the fast lane -------------------------------------------------------


def test_short_time_has_a_pickup_a_delay_and_a_switch() -> None:
    rig = loaded({"bed1.short_x": 4, "bed1.short_s": 0.2, "bed2.short_time": "off"})
    for limit in (*rig.controller.dispatch.legs, rig.controller.dispatch.total):
        limit.limit = 400_000
    rig.sim("plug bed1 resistive amps=85")
    rig.sim("plug bed2 resistive amps=140")
    assert opened(rig) == pytest.approx(0.2, abs=CYCLES)
    rig.run(0.6)
    assert rig.reason("bed1") == "short_time" and rig.state("bed2") == "on"


def test_the_peak_stage_can_be_switched_off_and_the_short_time_stage_remains() -> None:
    rig = loaded({"bed1.peak": "off"})
    for limit in (*rig.controller.dispatch.legs, rig.controller.dispatch.total):
        limit.limit = 400_000
    rig.sim(
        "plug bed1 resistive amps=160"
    )  # with the 5 A it has, more than 8 x 20 A x sqrt 2, and no clipping
    assert opened(rig) == pytest.approx(0.5, abs=CYCLES)
    rig.run(0.1)
    assert rig.reason("bed1") == "short_time"
    rig.settings.set("bed2.peak", "off")
    rig.settings.set("bed2.peak", "on")
    rig.sim("short bed2")
    assert opened(rig, "bed2") < 0.01
    assert rig.settings.disabled() == ["bed1.peak"]


# -- over a reset ------------------------------------------------------------------------------


def test_heat_and_trips_come_back_after_a_reset() -> None:
    rig = WindowRig()
    for name in ("bed1", "bed2"):
        rig.do("on", name)
    rig.load.update(bed1=20.0, bed2=60.0)
    rig.until(lambda: rig.state("bed2") == "tripped", 60)
    heat, trips = rig.controller.heat(), rig.controller.trips_s()
    now = rig.clock.now_s
    ages = {name: [now - t for t in trips[name]] for name in trips}
    assert heat["bed1"] > 50 and heat["bed2"] > 900 and list(trips) == ["bed2"]
    new = WindowRig()
    new.controller.restore(rig.controller.latched(), heat, ages)
    after = new.controller.heat()
    assert after["bed1"] == pytest.approx(heat["bed1"], abs=1)
    assert after["bed2"] == pytest.approx(heat["bed2"], abs=1)
    assert new.state("bed2") == "tripped"
    # two more within the hour lock it out
    for _ in range(2):
        outlet = new.controller.outlets[new.index("bed2")]
        outlet.thermal.set_permille(0)
        assert new.do("reset", "bed2") == "" and new.do("on", "bed2") == ""
        new.load["bed2"] = 200.0
        new.until(lambda: not new.coil("bed2"), 1)
        new.run(0.1)
    assert new.state("bed2") == "lockout"


@pytest.mark.parametrize("off_s", [0, 60, 240, 3600])
def test_the_heat_decays_by_the_time_off_once_it_is_known(off_s: int) -> None:
    import math

    rig = WindowRig()
    rig.controller.restore({}, {"bed1": 900})
    rig.run(60)
    outlet = rig.controller.outlets[rig.index("bed1")]
    warm = outlet.thermal.permille()
    assert warm == pytest.approx(900 * math.exp(-60 / 240), abs=5), "unknown: no decay for it"
    rig.controller.cool_off(off_s)
    cold = outlet.thermal.permille()
    truth = 900 * math.exp(-(60 + off_s) / 240)
    assert truth - 2 <= cold <= warm
    if off_s == 3600:
        assert cold <= warm - 900 * math.exp(-60 / 120) * 0.99
    rig.controller.cool_off(off_s)
    assert outlet.thermal.permille() == cold, "once is enough"


def test_trips_of_before_a_long_time_off_do_not_lock_out() -> None:
    rig = WindowRig()
    rig.controller.restore({}, {}, {"bed1": [10, 400]})
    assert len(rig.controller.trips_s()["bed1"]) == 2
    rig.controller.cool_off(7200)
    assert rig.controller.trips_s() == {}


def test_words_of_a_chip_that_was_reset_are_believed_before_flash() -> None:
    rig = WindowRig()
    words = array("i", [0, 0, 0, 0])

    def retain(now: Any) -> None:
        words[:] = now

    rig.controller.retain = retain
    rig.do("on", "bed1")
    rig.do("on", "cabin1")
    rig.load.update(bed1=200.0, cabin1=19.0)
    rig.until(lambda: rig.state("bed1") == "tripped", 1)
    kept = retained.unpack(words)
    assert kept is not None and kept[0] == {2: events.PEAK}, "in the same turn"
    rig.run(60)
    new = WindowRig()
    new.controller.restore({}, {"cabin1": 5}, {}, list(words))
    assert new.state("bed1") == "tripped" and new.reason("bed1") == "peak"
    heat = rig.controller.heat()["cabin1"]
    assert heat <= new.controller.heat()["cabin1"] + 1 <= heat + 45
    assert new.controller.latch_dirty, "flash has to hear of it"
    assert len(new.controller.trips_s()["bed1"]) == 1
    cold = WindowRig()
    cold.controller.restore({}, {"cabin1": 500}, {}, [0, 0, 0, 0])
    assert cold.controller.heat()["cabin1"] == pytest.approx(500, abs=1)
    assert cold.state("bed1") == "off"
