"""The charger as a part of the station: real controller, dispatcher and meter, and a car that
answers as SAE J1772 says."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from host_tests.fakes import machine
from host_tests.fakes.rig import WindowRig
from tools import cpython

machine.install()
cpython.install()

from firmware import board as boards  # noqa: E402
from firmware import events  # noqa: E402
from firmware.hal.contacts import Contacts  # noqa: E402
from firmware.interfaces import vehiclecommand  # noqa: E402
from firmware.power import evse, pilot  # noqa: E402
from firmware.power.charger import Charger  # noqa: E402
from firmware.power.modes import Modes  # noqa: E402
from firmware.power.station import Station  # noqa: E402
from firmware.protection import outlet as o  # noqa: E402
from firmware.sensing import kernel  # noqa: E402
from firmware.storage.settings import SCHEMA, SettingError  # noqa: E402

GROUND = 8  # the pin of gfci.input
TEST = 15  # of pico_w_home


class Latch:
    trusted = True


class Keeper:
    latch_store = Latch()


class Garage(WindowRig):
    """A board with a charger, and a car: `plugged`, `wants`; `diode`, `vent`, `shorted`,
    `follows`: how it may be wrong. `crashed`: the last run ended badly; `there`: the car was there
    before the chip was."""

    def __init__(
        self,
        settings: dict[str, Any] | None = None,
        crashed: bool = False,
        plugged: bool = True,
        there: bool = False,
        board: Any = "simulated_home",
    ) -> None:
        self.plugged = there
        self.wants = self.diode = self.follows = True
        self.vent = self.shorted = self.ground = False
        self.most_a = 48.0
        self.slow_s = 2.0
        self._heard: list[tuple[int, float]] = []
        self.charger: Charger | None = None
        self._ended_badly = crashed
        self.keeper = Keeper()
        base = {"gfci.input": "high", "vehicle.enabled": True, "vehicle.start": "plug"}
        self.detector = ""  # "deaf", "stuck"
        WindowRig.__init__(self, board, {**base, **(settings or {})})
        self.plugged = plugged

    # what the station wants of an app
    @property
    def fast(self) -> Any:
        return self.lane

    def window(self) -> None:
        if self.charger is None and not self.controller.starting:
            machine.on_read = self.read
            station = Station(self)
            assert self.board.power is not None
            station.contacts = Contacts(self.board.power)
            self.controller.station = station
            self.charger = Charger(station)
            station.add("vehicle", self.charger)
            if self.settings.get("mode.default") != "outlets":
                station.add("modes", Modes(station), False, False)
                self.controller.configure()
        self.load["bed240"] = self._draws()
        WindowRig.window(self)

    def read(self, gpio: int) -> int:
        if gpio == GROUND:
            tested = machine.levels.get(TEST, 0) and self.detector != "deaf"
            if tested and self.detector == "stuck":
                self.ground = True
            return int(self.ground or tested)
        return machine.levels.get(gpio, 0)

    @property
    def duty(self) -> float:
        """Duty cycle of the pilot's pin, per cent."""
        return machine.duties[self.board.power["pilot"]] / 655.35  # type: ignore[index]

    def offered(self) -> float:
        return pilot.offered_ma(int(self.duty * 100 + 0.5)) / 1000 if self.duty < 99 else 0.0

    def _draws(self) -> float:
        if self.charger is None or not (self.plugged and self.wants):
            self._heard.clear()
            return 0.0
        self._heard.append((self.t_us, self.offered()))
        while len(self._heard) > 1 and self._heard[1][0] <= self.t_us - self.slow_s * 1e6:
            self._heard.pop(0)
        if not self.follows:
            return self.load["bed240"] or min(self.offered(), self.most_a)
        return min(self._heard[0][1], self.most_a)

    def volts_of_the_pilot(self) -> tuple[float, float]:
        """Of its two halves."""
        if self.charger is None or self.duty < 1:
            return -12.0, -12.0
        wave = self.duty < 99
        if not self.plugged:
            return 12.0, -12.0 if wave else 12.0
        if self.shorted:
            return 0.0, 0.0
        high = 9.0
        if self.wants and (wave or self.load["bed240"]):
            high = 3.0 if self.vent else 6.0
        return high, (-12.0 if self.diode else -high) if wave else high

    def _sums(self, volts: list[float], peaks: dict[int, float]) -> None:
        WindowRig._sums(self, volts, peaks)
        high, low = self.volts_of_the_pilot()
        c = self.lane.base(self.board.aux("pilot"))
        self.lane.st[c + kernel.C_MAX] = 2048 + round(high * 1000 / 12 * 2048 / 1650)
        self.lane.st[c + kernel.C_MIN] = 2048 + round(low * 1000 / 12 * 2048 / 1650)

    @property
    def part(self) -> Charger:
        assert self.charger is not None
        return self.charger

    @property
    def evse(self) -> evse.Evse:
        return self.part.evse

    def seconds(self, seconds: float) -> None:
        """Run, with the outer lane's second."""
        end = self.t_us + round(seconds * 1e6)
        while self.t_us < end:
            self.run(min(1.0, (end - self.t_us) / 1e6))
            self.part.run_s(self.clock.now_s)

    def to(self, state: int, within_s: float) -> float:
        return self.until(lambda: self.evse.state == state, within_s)

    def charges(self) -> Garage:
        self.to(evse.CHARGING, 3)
        self.seconds(4)
        return self

    def closed(self) -> bool:
        return self.coil("bed240") == 1

    def states(self) -> list[str]:
        """The charger's states as they are on record."""
        return [
            evse.STATES[record[4]]
            for record in self.journal.since(0)
            if record[1] == events.CHARGE
        ]


def test_a_car_is_charged_with_80_percent_of_the_outlet() -> None:
    garage = Garage().charges()
    assert garage.closed() and garage.state("bed240") == "on"
    assert garage.duty == pytest.approx(53.33, abs=0.01)
    assert garage.amps("bed240") == pytest.approx(32, abs=0.02)
    garage.seconds(600)
    assert garage.evse.state == evse.CHARGING and "bed240 tripped thermal" not in garage.log()
    said = garage.part.report()["vehicle"]
    assert said["session_kwh"] == pytest.approx(32 * 0.24 / 6, rel=0.01)
    assert said["session_s"] == pytest.approx(604, abs=5) and said["pilot"] == "C"
    assert said["power_w"] == pytest.approx(7680, rel=0.01)
    assert garage.states() == ["waiting", "offered", "charging"]


# SAE J1772, table 3: amperes = per cent x 0.6 up to 51 A
def test_the_pins_duty_is_right_to_half_a_per_cent() -> None:
    garage = Garage().charges()
    for amps in range(32, 5, -1):
        garage.settings.set("vehicle.most_a", amps)
        garage.seconds(2)
        assert garage.evse.state == evse.CHARGING
        assert garage.duty == pytest.approx(amps / 0.6, rel=0.005)
        assert garage.duty <= amps / 0.6  # and never more than is meant


def test_a_smaller_limit_of_the_outlet_lowers_the_offer() -> None:
    garage = Garage({"bed240.limit_a": 20}).charges()
    assert garage.offered() == pytest.approx(16, abs=0.01)
    garage.settings.set("bed240.limit_a", 10)
    garage.seconds(4)
    assert garage.offered() == pytest.approx(8, abs=0.01) and garage.amps("bed240") < 8.1
    garage.settings.set("bed240.limit_a", 7)  # 80 % of it are less than 6 A
    garage.to(evse.WAITING, 7)
    assert not garage.closed()


def test_a_saw_lowers_the_charge_and_nothing_trips() -> None:
    garage = Garage({"leg.limit_a": 40}).charges()
    garage.load["bed1"] = 15.0
    assert garage.do("on", "bed1") == ""  # the car gives way
    garage.seconds(1.5)
    assert garage.offered() == pytest.approx(24.5, abs=0.3)
    garage.seconds(300)
    assert garage.state("bed1") == "on" and garage.evse.state == evse.CHARGING
    assert garage.amps("bed240") + 15 < 40
    garage.do("off", "bed1")
    garage.seconds(60)
    assert garage.offered() == pytest.approx(32, abs=0.01)
    assert not [line for line in garage.log() if "tripped" in line or "shed" in line]


def test_the_total_counts_as_well_as_the_legs() -> None:
    garage = Garage({"total.limit_w": 6000}).charges()
    assert garage.offered() == pytest.approx(24.5, abs=0.2)
    garage.load["bed1"], garage.load["bed2"] = 10.0, 5.0
    assert garage.do("on", "bed1") == "" and garage.do("on", "bed2") == ""
    garage.seconds(5)
    assert garage.offered() == pytest.approx((6000 - 1800) / 240 - 0.5, abs=0.2)


def test_an_inrush_is_over_before_the_offer_follows() -> None:
    garage = Garage({"leg.limit_a": 40, "bed1.trip_class": "motor"}).charges()
    garage.load["bed1"] = 4.0
    assert garage.do("on", "bed1") == ""
    garage.seconds(20)
    assert garage.offered() == pytest.approx(32, abs=0.01)
    garage.load["bed1"] = 30.0
    garage.run(0.3)
    garage.load["bed1"] = 4.0
    garage.seconds(3)
    assert garage.offered() == pytest.approx(32, abs=0.01)


def test_two_loads_that_leave_less_than_six_amperes_pause_it() -> None:
    garage = Garage({"leg.limit_a": 40}).charges()
    garage.load["bed1"], garage.load["cabin1"] = 18.0, 17.0
    assert garage.do("on", "bed1") == "" and garage.do("on", "cabin1") == ""
    garage.to(evse.WAITING, 10)
    assert not garage.closed() and garage.part.why().startswith("the other outlets")
    assert garage.state("bed1") == garage.state("cabin1") == "on"
    garage.seconds(120)
    assert garage.evse.state == evse.WAITING
    garage.do("off", "bed1")
    garage.seconds(50)
    assert garage.evse.state == evse.WAITING  # room has to last
    garage.to(evse.CHARGING, 15)
    assert not [line for line in garage.log() if "tripped" in line or "shed" in line]


def test_what_passes_the_hard_limit_cuts_the_car_before_an_outlet_is_shed() -> None:
    garage = Garage({"leg.limit_a": 40}).charges()
    garage.load["bed1"], garage.load["cabin1"] = 19.5, 19.5
    assert garage.do("on", "cabin1") == "" and garage.do("on", "bed1") == ""
    assert garage.to(evse.WAITING, 3) == pytest.approx(1.0, abs=0.1)
    assert not garage.closed()
    garage.seconds(5)
    assert garage.state("bed1") == garage.state("cabin1") == "on"
    assert not [line for line in garage.log() if "shed" in line]


def test_a_shed_outlet_comes_back_although_the_car_takes_what_is_left() -> None:
    garage = Garage({"leg.limit_a": 40, "shed.restore_s": 10, "shed.min_off_s": 5}, plugged=False)
    garage.load["bed1"], garage.load["cabin1"] = 17.0, 19.0
    assert garage.do("on", "cabin1") == "" and garage.do("on", "bed1") == ""
    garage.seconds(20)
    home = garage.controller.outlets[garage.index("home_l1")]
    garage.load["home_l1"] = 19.0
    garage.controller._move(home, o.E_ON, events.ON, events.COMMAND, 0, events.BY_CONTROL)
    garage.until(lambda: garage.state("bed1") == "shed", 200)
    garage.load["home_l1"] = 0.0
    garage.plugged = True
    garage.until(lambda: garage.state("bed1") == "on", 60)
    garage.seconds(10)
    assert garage.state("cabin1") == "on"


def first(more: dict[str, Any] | None = None, **load: float) -> Garage:
    """The mode `vehicle`, and outlets that are on before a car comes."""
    garage = Garage({"mode.default": "vehicle", **(more or {})}, plugged=False)
    garage.load.update(load)
    for name in load:
        assert not garage.do("on", name)
    garage.seconds(8)
    garage.plugged = True
    return garage


def on(garage: Garage) -> list[str]:
    return [x.name for x in garage.board.outlets if garage.state(x.name) == "on"]


def test_in_the_mode_vehicle_a_car_comes_before_outlets_that_are_on() -> None:
    """Of 40 A a leg it gets 32 in any other mode only where 8 are left. Here the less important
    outlet makes way, and no more than that."""
    garage = first(cabin1=6.0, bed1=18.0, cabin2=5.0)
    garage.to(evse.CHARGING, 5)
    garage.seconds(5)
    assert 12 <= garage.amps("bed240") <= 16 and len(on(garage)) == 4  # it takes what is left
    garage.seconds(10)
    assert on(garage) == ["cabin1", "cabin2", "bed240"]
    assert "bed1 shed vehicle" in garage.log()
    garage.seconds(120)
    assert garage.amps("bed240") == pytest.approx(32, abs=0.1)
    assert "beside 32.5 A for the car" in garage.do("on", "bed1")
    garage.seconds(500)
    assert garage.log().count("bed1 shed vehicle") == 1  # and it does not flap
    garage.plugged = False
    garage.until(lambda: garage.state("bed1") == "on", 70)


def test_in_other_modes_it_takes_what_they_leave() -> None:
    garage = first({"mode.default": "worksite"}, cabin1=6.0, bed1=18.0)
    garage.to(evse.CHARGING, 5)
    garage.seconds(300)
    assert on(garage) == ["cabin1", "bed1", "bed240"]
    assert garage.amps("bed240") == pytest.approx(15.5, abs=0.3)


def test_outlets_that_leave_nothing_make_way_for_a_car_that_asks() -> None:
    garage = first(cabin1=19.0, bed1=18.0, cabin2=19.0)
    garage.to(evse.WAITING, 2)
    garage.seconds(9)
    assert len(on(garage)) == 3
    garage.to(evse.CHARGING, 5)  # room for 6 A first
    garage.seconds(90)
    # cabin1 has the better priority, and fits beside 20 A, not beside 32
    assert on(garage) == ["bed240"] and garage.amps("bed240") > 30


def test_a_car_that_does_not_ask_gets_its_offer_and_then_lets_the_others_back() -> None:
    garage = first(cabin1=19.0, bed1=18.0)
    garage.wants = False
    garage.until(lambda: garage.evse.state == evse.OFFERED, 15)
    assert on(garage) == ["cabin1"]
    garage.until(lambda: garage.state("bed1") == "on", 400)
    garage.seconds(400)
    assert garage.log().count("bed1 shed vehicle") == 1


def test_what_the_car_does_not_take_is_the_others() -> None:
    garage = first(bed1=18.0, cabin1=4.0)
    garage.most_a = 12.0
    garage.to(evse.CHARGING, 5)
    garage.seconds(400)
    assert on(garage) == ["cabin1", "bed1", "bed240"]
    assert "bed1 shed vehicle" not in garage.log()


def test_a_saw_s_cuts_only_lower_it() -> None:
    garage = first(cabin1=4.0)
    garage.load["bed1"] = 0.0
    assert not garage.do("on", "bed1")
    garage.to(evse.CHARGING, 5)
    for _ in range(20):
        garage.load["bed1"] = 15.0
        garage.seconds(6)
        garage.load["bed1"] = 0.0
        garage.seconds(20)
    assert "bed1" in on(garage) and "bed1 shed vehicle" not in garage.log()


def test_what_is_more_important_than_the_car_stays() -> None:
    order = "priorities=bed1,bed240,cabin1"
    garage = first({"mode.vehicle": order}, cabin1=10.0, bed1=18.0)
    garage.to(evse.CHARGING, 5)
    garage.seconds(120)
    assert on(garage) == ["bed1", "bed240"]
    assert garage.amps("bed240") == pytest.approx(21.5, abs=0.3)


def test_another_mode_gives_it_all_back() -> None:
    garage = first(bed1=18.0)
    garage.to(evse.CHARGING, 5)
    garage.seconds(30)
    assert on(garage) == ["bed240"]
    assert not garage.part.station.modes.choose("worksite", events.BY_CONSOLE)
    garage.until(lambda: garage.state("bed1") == "on", 400)
    assert garage.part.controller.dispatch.behind == 0  # type: ignore[attr-defined]


def test_why_names_the_home_and_not_the_battery() -> None:
    garage = Garage().charges()

    class Home:
        settle_ms = 5_000

        def restores(self, index: int) -> bool:
            return True

    garage.part.station.home = Home()  # type: ignore[assignment]
    garage.to(evse.WAITING, 10)
    assert garage.part.report()["vehicle"]["why"] == "the home has just been taken over"


def test_a_car_that_does_not_follow_is_cut_and_stays_so() -> None:
    garage = Garage({"leg.limit_a": 40}).charges()
    garage.follows = False
    garage.load["bed1"] = 19.0
    assert garage.do("on", "bed1") == ""
    took = garage.to(evse.FAULT, 8)
    assert 5 < took < 6.5 and not garage.closed() and garage.duty == 0
    assert garage.state("bed1") == "on"
    garage.seconds(200)
    assert garage.evse.state == evse.FAULT and not garage.closed()
    assert "charges" not in garage.part.start() and "reset" in garage.part.start()
    garage.follows = True
    assert garage.part.reset() == ""
    garage.to(evse.CHARGING, 3)


def test_unplugging_under_load_opens_within_a_tenth_of_a_second() -> None:
    garage = Garage().charges()
    garage.plugged = False
    took = garage.until(lambda: not garage.closed(), 1)
    assert took <= 0.08
    assert garage.state("bed240") == "off" and garage.duty == 100
    assert garage.states()[-1] == "empty"


@pytest.mark.parametrize(
    ("flaw", "state"), [("shorted", "fault"), ("diode", "fault"), ("vent", "refused")]
)
def test_a_wrong_pilot_never_closes_and_opens_within_a_tenth_of_a_second(
    flaw: str, state: str
) -> None:
    garage = Garage(plugged=False)
    setattr(garage, flaw, flaw != "diode")
    garage.plugged = True
    for _ in range(600):
        garage.window()
        assert not garage.closed()
    assert state in garage.states()[-2:]  # without a wave the car does not ask
    sound = Garage().charges()
    setattr(sound, flaw, flaw != "diode")
    assert sound.until(lambda: not sound.closed(), 1) <= 0.1
    assert state in sound.states()[-2:]


def test_bed240_is_nobody_elses_while_it_charges_cars() -> None:
    garage = Garage(plugged=False)
    assert "vehicle start" in garage.do("on", "bed240")
    assert "vehicle start" in garage.do("on", "bed240", True)
    assert not garage.lane.close(garage.index("bed240"))  # not in the lowest layer either
    garage.settings.set("vehicle.enabled", False)
    assert garage.duty == 0
    assert garage.do("on", "bed240") == "" and garage.closed()
    garage.settings.set("vehicle.enabled", True)  # what it was on for is over
    assert not garage.closed()


def test_off_ends_the_session_and_the_next_car_is_charged() -> None:
    garage = Garage().charges()
    assert garage.do("off", "bed240") == ""
    garage.seconds(100)
    assert not garage.closed() and garage.part.why() == "stopped"
    garage.plugged = False
    garage.seconds(2)
    garage.plugged = True
    garage.charges()


def test_a_start_by_command_is_for_one_car() -> None:
    garage = Garage({"vehicle.start": "command"})
    garage.seconds(10)
    assert garage.evse.state == evse.WAITING and garage.duty == 100
    assert garage.part.why() == "it has to be started"
    assert garage.part.start() == ""
    garage.charges()
    assert garage.part.stop() == ""
    garage.to(evse.WAITING, 7)
    assert not garage.closed() and garage.part.why() == "stopped"
    assert garage.part.start() == ""
    garage.charges()
    garage.plugged = False
    garage.seconds(2)
    garage.plugged = True
    garage.seconds(10)
    assert garage.evse.state == evse.WAITING


def test_after_a_crash_a_car_that_is_still_there_waits_for_its_owner() -> None:
    garage = Garage(crashed=True, there=True)
    garage.seconds(100)
    assert garage.evse.state == evse.WAITING and not garage.closed()
    assert garage.part.start() == ""
    garage.charges()
    other = Garage(crashed=True, plugged=False)
    other.seconds(2)
    other.plugged = True  # somebody is there
    other.charges()


def test_after_a_power_cut_a_car_that_is_still_there_waits_a_minute() -> None:
    garage = Garage(there=True)
    garage.seconds(55)
    assert garage.evse.state == evse.WAITING and not garage.closed()
    garage.to(evse.CHARGING, 10)


def test_a_trip_of_bed240_latches_and_takes_the_pilot_down() -> None:
    garage = Garage().charges()
    outlet = garage.controller.outlets[garage.index("bed240")]
    garage.controller._trip(outlet, events.PEAK, 90_000, events.BY_FAST)
    garage.window()
    assert garage.duty == 0 and garage.evse.state == evse.FAULT and not garage.closed()
    garage.seconds(200)
    assert garage.evse.state == evse.FAULT and garage.part.why() == "bed240: tripped (peak)"
    assert "first reset bed240" in garage.part.reset()
    assert garage.do("reset", "bed240") == ""
    garage.to(evse.CHARGING, 5)


def test_a_ground_fault_latches_the_outlet() -> None:
    garage = Garage().charges()
    garage.ground = True
    assert garage.until(lambda: not garage.closed(), 1) < 0.1
    assert garage.state("bed240") == "tripped" and garage.reason("bed240") == "ground_fault"
    garage.seconds(2)
    assert garage.duty == 0
    garage.ground = False
    garage.seconds(300)
    assert garage.evse.state == evse.FAULT and not garage.closed()


def test_a_session_ends_with_its_energy() -> None:
    garage = Garage({"vehicle.energy_kwh": 0.5}).charges()
    garage.seconds(500 * 3.6 / 7.68 + 5)
    assert garage.evse.state == evse.WAITING and not garage.closed()
    assert garage.part.why() == "the energy asked for is delivered"
    assert garage.part.session_mwh() / 1e6 == pytest.approx(0.5, abs=0.02)
    assert garage.part.start() == ""  # as much again
    garage.seconds(3)
    assert garage.evse.state == evse.CHARGING


def test_a_limit_is_for_this_car() -> None:
    garage = Garage().charges()
    garage.part.limit(10)
    garage.seconds(5)
    assert garage.amps("bed240") == pytest.approx(10, abs=0.01)
    garage.plugged = False
    garage.seconds(2)
    garage.plugged = True
    garage.charges()
    assert garage.amps("bed240") == pytest.approx(32, abs=0.02)


def test_a_contactor_that_may_not_close_is_not_offered() -> None:
    garage = Garage(plugged=False)
    station: Any = garage.controller.station
    battery = station.battery = SimpleNamespace(held=1 << garage.part.index)
    garage.plugged = True
    garage.seconds(10)
    assert garage.evse.state == evse.WAITING and garage.duty == 100
    assert garage.evse.why == evse.RESERVE
    battery.held = 0
    garage.charges()
    garage.volts = 50.0  # supply lost, the outlet is opened
    garage.until(lambda: not garage.closed(), 3)
    garage.seconds(2)
    assert garage.duty == 0 and garage.state("bed240") == "fault"


def test_a_sampler_that_stands_still_opens_and_says_so() -> None:
    garage = Garage().charges()
    garage.sampling = False
    garage.until(lambda: not garage.closed(), 1)
    garage.run(0.5)
    assert garage.duty == 0 and garage.state("bed240") == "fault"


def test_nobody_charges_without_a_ground_fault_interrupter() -> None:
    garage = Garage(plugged=False)
    settings = garage.settings
    with pytest.raises(SettingError, match="ground-fault interrupter"):
        settings.set("gfci.input", "none")
    settings.set("vehicle.gfci", "breaker")
    settings.set("gfci.input", "none")
    settings.set("vehicle.enabled", False)
    settings.set("vehicle.gfci", "input")
    with pytest.raises(SettingError, match="ground-fault interrupter"):
        settings.set("vehicle.enabled", True)


def test_numbers_stay_small_ints() -> None:
    garage = Garage().charges()
    garage.volts = 170.0
    garage.load["bed1"] = 170.0
    garage.seconds(1)
    for thing in (garage.part, garage.evse):
        for name, value in vars(thing).items():
            if isinstance(value, int) and not name.endswith("_mwh"):
                assert abs(value) < 1 << 30, name
    assert math.isfinite(garage.offered())


def with_detector() -> Garage:
    """A board with a pin for the test of the ground-fault detector, which is bed240's alone."""
    board = boards.load("simulated_home")
    assert board.power is not None and board.power["ground_test"] == TEST
    others = {f"{x.name}.gfci": False for x in board.outlets if x.name != "bed240"}
    return Garage({**others, "vehicle.gfci": "tested"}, plugged=False, board=board)


@pytest.mark.parametrize(
    ("flaw", "why"), [("", evse.NONE), ("deaf", evse.DETECTOR), ("stuck", evse.GROUND)]
)
def test_the_detector_is_tested_before_each_charge(flaw: str, why: int) -> None:
    garage = with_detector()
    garage.detector = flaw
    garage.plugged = True
    garage.seconds(4)
    assert "testing" in garage.states() and garage.evse.why == why
    assert garage.closed() == (not flaw) and machine.levels[TEST] == 0
    if not flaw:  # a test is no event, and nothing trips
        assert not [x for x in garage.log() if "ground_fault" in x]
        garage.ground = True
        garage.until(lambda: not garage.closed(), 0.2)
        assert garage.reason("bed240") == "ground_fault"


def test_a_test_that_would_trip_others_is_refused() -> None:
    garage = with_detector()
    garage.settings.set("vehicle.gfci", "input")
    garage.settings.set("bed1.gfci", True)
    with pytest.raises(SettingError, match="first set bed1"):
        garage.settings.set("vehicle.gfci", "tested")
    without = boards.load("simulated_home")
    without.power = {k: v for k, v in (without.power or {}).items() if k != "ground_test"}
    with pytest.raises(SettingError, match="has no pin for the test"):
        Garage(plugged=False, board=without).settings.set("vehicle.gfci", "tested")


def test_the_command_says_and_does() -> None:
    garage = Garage({"vehicle.start": "command"})
    garage.seconds(1)

    def vehicle(*words: str) -> dict[str, Any]:
        found: dict[str, Any] = vehiclecommand.vehicle(garage, list(words), "console")
        return found

    assert vehicle()["state"] == "waiting" and vehicle()["why"] == "it has to be started"
    vehicle("start")
    garage.charges()
    assert vehicle("limit", "12.5 A")["state"] == "charging"
    garage.seconds(3)
    assert vehicle()["offered_a"] == 12.5 and vehicle()["limit_a"] == 12.5
    vehicle("stop")
    garage.seconds(7)
    assert vehicle()["why"] == "stopped"
    assert vehicle("reset")["state"] == "waiting"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("limit 5.9", "'5.9' is not allowed (allowed: 6 to 32 A, for this car)"),
        ("limit 33", "6 to 32 A"),
        ("limit -8", "6 to 32 A"),
        ("limit 1e1", "6 to 32 A"),
        ("limit nan", "6 to 32 A"),
        ("limit 8.", "6 to 32 A"),
        ("limit 1\u00b2", "6 to 32 A"),
        ("limit", "usage: vehicle"),
        ("limit 6 7 8", "usage: vehicle"),
        ("go", "usage: vehicle"),
        ("start now", "usage: vehicle"),
    ],
)
def test_bad_words_are_refused_and_nothing_changes(line: str, says: str) -> None:
    garage = Garage({"vehicle.start": "command"}).part.station.app
    before = vehiclecommand.vehicle(garage, [], "console")
    with pytest.raises(vehiclecommand.Refused) as caught:
        vehiclecommand.vehicle(garage, line.split(), "console")
    assert says in str(caught.value)
    assert vehiclecommand.vehicle(garage, [], "console") == before


def test_what_is_off_says_so_and_leaves_a_record() -> None:
    garage = Garage({"vehicle.enabled": False}, plugged=False)
    for word in ("start", "stop", "reset", "limit 16"):
        with pytest.raises(vehiclecommand.Refused, match="enabled is off"):
            vehiclecommand.vehicle(garage, word.split(), "mqtt")
    assert "bed240 refused pilot" in garage.log()
    assert vehiclecommand.vehicle(garage, [], "console")["state"] == "off"
    garage.controller.station = None
    with pytest.raises(vehiclecommand.Refused, match="charges no cars"):
        vehiclecommand.vehicle(garage, [], "console")


def test_the_page_names_every_state_and_setting() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/vehicle-charging.md").read_text()
    for state in evse.STATES:
        assert f"| `{state}` |" in page and f"{state} -->" in page
    for row in SCHEMA:
        if row[0].startswith("vehicle."):
            assert f"| `{row[0]}` |" in page
