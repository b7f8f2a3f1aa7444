"""Charging a car: pilot, offer and contactor against a car that answers as SAE J1772 says."""

from __future__ import annotations

import random

import pytest

from firmware.power import evse, pilot

TURN_MS = 8


class Car:
    """A car at the plug: it draws what it is told, `slow_ms` later, while the contactor is
    closed. `diode`, `stubborn`, `vent`: how it may be wrong."""

    def __init__(self, most_ma: int = 48_000, slow_ms: int = 1_000) -> None:
        self.plugged = self.wants = self.diode = True
        self.stubborn = self.vent = self.shorted = False
        self.most_ma = most_ma
        self.slow_ms = slow_ms
        self.ma = 0
        self._told: list[tuple[int, int]] = []

    def turn(self, charger: evse.Evse, t_ms: int) -> tuple[int, int]:
        """(high, low) of the pilot in mV, after having taken up what it says."""
        offer = pilot.offered_ma(pilot.duty_permyriad(charger.offer_ma)) if charger.offer_ma else 0
        self._told.append((t_ms, offer))
        while len(self._told) > 1 and self._told[1][0] <= t_ms - self.slow_ms:
            self._told.pop(0)
        asks = self.wants and offer and not charger.pilot_down
        if not (charger.closed and self.plugged and self.wants):
            self.ma = 0
        elif not self.stubborn:
            self.ma = min(self._told[0][1], self.most_ma)
        if charger.pilot_down:
            return -12_000, -12_000
        if not self.plugged:
            return 12_000, (-12_000 if charger.offer_ma else 12_000)
        if self.shorted:
            return 0, 0
        high = 9_000
        if asks or (self.ma and self.wants):
            high = 3_000 if self.vent else 6_000
        low = -12_000 if self.diode else -high
        return high, (low if charger.offer_ma else high)


class Garage:
    """Charger, car, and what else is on."""

    def __init__(self, most_ma: int = 32_000) -> None:
        self.evse = evse.Evse()
        self.evse.configure(most_ma)
        self.car = Car()
        self.room_ma = 40_000
        self.earth = True
        self.t_ms = 0
        self.noise = random.Random(1)
        self.car.plugged = False
        self.run(0.3)
        self.car.plugged = True

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 1000 / TURN_MS)):
            self.turn()

    def turn(self) -> None:
        self.t_ms += TURN_MS
        high, low = self.car.turn(self.evse, self.t_ms)
        jitter = self.noise.randrange(-300, 301)
        room = self.room_ma
        self.evse.step(high + jitter, low - jitter, self.car.ma, room, self.earth, TURN_MS)
        if self.evse.offer_ma:
            assert pilot.LEAST_MA <= self.evse.offer_ma <= min(self.evse.most_ma, room)

    def until(self, state: int, within_s: float) -> float:
        begin = self.t_ms
        while self.evse.state != state:
            assert self.t_ms - begin < within_s * 1000, evse.STATES[self.evse.state]
            self.turn()
        return (self.t_ms - begin) / 1000


def charging(garage: Garage) -> Garage:
    garage.until(evse.CHARGING, 3)
    garage.run(3)
    return garage


# SAE J1772, table 3: amperes and duty cycle in per cent
@pytest.mark.parametrize(
    ("amps", "percent"),
    [
        (6, 10.0),
        (12, 20.0),
        (16, 26.7),
        (18, 30.0),
        (24, 40.0),
        (30, 50.0),
        (32, 53.3),
        (51, 85.0),
    ],
)
def test_the_duty_cycle_is_that_of_the_table(amps: int, percent: float) -> None:
    assert pilot.duty_permyriad(amps * 1000) / 100 == pytest.approx(percent, abs=0.05)


def test_the_duty_cycle_never_says_more_than_is_meant() -> None:
    for ma in range(6_000, 32_001, 7):
        assert ma - 6 < pilot.offered_ma(pilot.duty_permyriad(ma)) <= ma
    for ma in (0, 5_999, 51_001):
        with pytest.raises(ValueError, match="6 to 51 A"):
            pilot.duty_permyriad(ma)


@pytest.mark.parametrize("last", range(6))
def test_every_voltage_of_the_standard_is_its_state(last: int) -> None:
    bands = {0: (11_400, 12_600), 1: (8_370, 9_590), 2: (5_470, 6_530), 3: (2_590, 3_280)}
    for state, (low, high) in {**bands, 4: (-600, 600), 5: (-12_600, -11_400)}.items():
        for mv in range(low, high + 1, 50):
            assert pilot.classify(mv, last) == state


def test_a_car_charges_with_what_the_charger_may_give() -> None:
    garage = charging(Garage())
    assert garage.car.ma == pytest.approx(32_000, abs=10)
    garage.car.wants = False
    assert garage.until(evse.OFFERED, 1) < 0.2 and not garage.evse.closed


def test_a_saw_lowers_the_charge_at_once_and_it_comes_back_slowly() -> None:
    garage = charging(Garage())
    garage.room_ma = 20_000
    garage.turn()
    assert garage.evse.offer_ma == 19_500
    garage.run(2)
    assert garage.car.ma <= 20_000 and garage.evse.state == evse.CHARGING
    garage.room_ma = 40_000
    garage.run(10)
    assert 20_000 < garage.evse.offer_ma <= 22_000
    garage.run(80)
    assert garage.evse.offer_ma == 32_000


def test_below_six_amperes_it_pauses_and_the_car_is_given_time() -> None:
    garage = charging(Garage())
    garage.room_ma = 6_200
    garage.turn()
    assert garage.evse.state == evse.ENDING and garage.evse.closed and not garage.evse.offer_ma
    assert garage.until(evse.WAITING, 6.1) < 2 and not garage.evse.closed
    assert evse.WHY[garage.evse.why].startswith("the other outlets")
    garage.room_ma = 40_000
    garage.run(55)
    assert garage.evse.state == evse.WAITING  # a compressor's pause
    garage.until(evse.CHARGING, 10)


def test_a_car_that_does_not_stop_is_cut_after_six_seconds() -> None:
    garage = charging(Garage())
    garage.car.stubborn = True
    garage.room_ma = 0
    assert garage.until(evse.WAITING, 7) == pytest.approx(6, abs=0.1)
    assert not garage.evse.closed and garage.car.ma > 31_900  # until the contact has opened


def test_a_car_that_does_not_follow_is_cut_and_the_third_time_for_good() -> None:
    garage = Garage()
    for turn in range(3):
        garage.car.stubborn = False
        garage.until(evse.CHARGING, 130)
        garage.run(2)
        garage.car.stubborn = True
        garage.room_ma = 15_000
        assert garage.until(evse.FAULT, 6) == pytest.approx(5, abs=0.1)
        assert not garage.evse.closed and garage.evse.pilot_down
        garage.room_ma = 40_000
        assert garage.evse.faults == turn + 1
        garage.run(130)  # nothing by itself, as long as the car is there
        assert garage.evse.state == evse.FAULT and garage.evse.pilot_down == (turn == 2)
        garage.car.plugged = False
        garage.run(1)
        garage.car.plugged = True
    garage.run(600)
    assert garage.evse.state == evse.FAULT
    assert garage.evse.reset() and not garage.evse.reset()
    garage.car.stubborn = False
    garage.until(evse.CHARGING, 130)


def test_an_offer_that_goes_on_falling_gives_no_car_more_than_ten_seconds() -> None:
    garage = charging(Garage())
    garage.car.stubborn = True
    begin = garage.t_ms
    while garage.evse.state == evse.CHARGING:
        garage.room_ma = 20_000 - (garage.t_ms - begin) // 2
        garage.turn()
    assert garage.evse.why == evse.NOT_FOLLOWED
    assert garage.t_ms - begin == pytest.approx(10_000, abs=100)


def test_noise_of_the_others_does_not_wear_the_offer_down() -> None:
    garage = charging(Garage())
    garage.room_ma = 20_000
    garage.run(1)
    for _ in range(2_000):
        garage.room_ma = 20_000 - garage.noise.randrange(240)
        garage.turn()
    assert garage.evse.offer_ma == 19_500


def test_a_car_that_changes_its_mind_does_not_wear_out_the_contactor() -> None:
    garage = charging(Garage())
    closed = [True]
    for second in range(60):
        garage.car.wants = second % 2 == 1
        for _ in range(1000 // TURN_MS):
            garage.turn()
            if garage.evse.closed != closed[-1]:
                closed.append(garage.evse.closed)
    assert 6 <= closed.count(True) <= 11


def test_there_is_no_time_for_the_car_when_the_hard_limit_is_near() -> None:
    garage = charging(Garage())
    garage.room_ma = -10_000
    garage.evse.cut(evse.NO_ROOM)
    assert not garage.evse.closed and evse.WHY[garage.evse.why].startswith("the other")
    garage.run(3)
    garage.room_ma = 40_000
    garage.run(55)
    assert garage.evse.state == evse.WAITING
    garage.until(evse.CHARGING, 8)


def test_a_car_that_was_there_before_does_not_begin_at_once() -> None:
    garage = Garage()
    garage.evse = evse.Evse()  # as after a power cut
    garage.run(55)
    assert garage.evse.state == evse.WAITING and not garage.evse.offer_ma
    garage.until(evse.CHARGING, 10)
    garage.evse = evse.Evse()
    garage.run(5)
    garage.evse.ask()  # its owner is there
    garage.until(evse.CHARGING, 1)


def test_a_refusal_lasts_until_the_car_is_gone_or_somebody_says_otherwise() -> None:
    garage = Garage()
    garage.car.vent = True
    garage.until(evse.REFUSED, 2)
    garage.car.vent = False
    garage.run(300)
    assert garage.evse.state == evse.REFUSED
    garage.car.plugged = False
    garage.until(evse.EMPTY, 1)
    garage.car.plugged = garage.car.vent = True
    garage.until(evse.REFUSED, 2)
    garage.car.vent = False
    assert garage.evse.reset()
    garage.until(evse.CHARGING, 1)


class Detector:
    """A ground-fault detector with a test input. `flaw`: "deaf" never answers, "stuck" never
    falls silent."""

    def __init__(self, flaw: str = "") -> None:
        self.flaw = flaw
        self.tests = 0
        self.said = False

    def earth(self, test_on: bool) -> bool:
        if test_on and not self.said:
            self.tests += 1
        if self.flaw != "deaf":
            self.said = test_on or (self.said and self.flaw == "stuck")
        return not self.said


@pytest.mark.parametrize(
    ("flaw", "why"), [("", evse.NONE), ("deaf", evse.DETECTOR), ("stuck", evse.GROUND)]
)
def test_the_detector_has_to_prove_itself_before_the_contactor_closes(flaw: str, why: int) -> None:
    garage = Garage()
    garage.evse.tests = True
    detector = Detector(flaw)
    closed = False
    for _ in range(400):
        garage.earth = detector.earth(garage.evse.test_on)
        garage.turn()
        closed |= garage.evse.closed
    assert closed == (not flaw) and garage.evse.why == why
    assert garage.evse.state == (evse.FAULT if flaw else evse.CHARGING)
    if not flaw:
        assert detector.tests == 1
        garage.earth = False  # and a real fault still counts
        garage.turn()
        assert not garage.evse.closed


def test_months_of_charging_stay_small_numbers() -> None:
    charger = evse.Evse()
    day_ms = 86_400_000
    for _ in range(40):
        charger.step(6_000, -12_000, 20_000, 40_000, True, day_ms // 8)
    for value in vars(charger).values():
        assert abs(value) < 1 << 30


def test_unplugging_opens_the_contactor_within_a_tenth_of_a_second() -> None:
    garage = charging(Garage())
    garage.car.plugged = False
    garage.turn()
    garage.turn()
    assert garage.evse.state == evse.EMPTY and not garage.evse.closed


@pytest.mark.parametrize(
    ("flaw", "state", "why"),
    [
        ("vent", evse.REFUSED, evse.VENTILATION),
        ("shorted", evse.FAULT, evse.SHORTED),
        ("diode", evse.FAULT, evse.NO_DIODE),
    ],
)
def test_a_wrong_pilot_never_closes_the_contactor(flaw: str, state: int, why: int) -> None:
    garage = Garage()
    setattr(garage.car, flaw, flaw != "diode")
    closed = False
    for _ in range(400):
        garage.turn()
        closed |= garage.evse.closed
        if garage.evse.state == state:
            break
    assert (garage.evse.state, garage.evse.why, closed) == (state, why, False)


@pytest.mark.parametrize("flaw", ["vent", "shorted", "diode"])
def test_a_pilot_that_goes_wrong_opens_the_contactor(flaw: str) -> None:
    garage = charging(Garage())
    setattr(garage.car, flaw, flaw != "diode")
    begin = garage.t_ms
    while garage.evse.closed:
        garage.turn()
        assert garage.t_ms - begin <= 100


def test_a_ground_fault_opens_at_once_and_stays_while_it_lasts() -> None:
    garage = charging(Garage())
    garage.earth = False
    garage.turn()
    assert (garage.evse.state, garage.evse.why) == (evse.FAULT, evse.GROUND)
    garage.run(300)
    assert garage.evse.state == evse.FAULT
    garage.earth = True
    garage.run(130)
    assert garage.evse.state == evse.FAULT  # the car is still there
    garage.car.plugged = False
    garage.until(evse.EMPTY, 1)
    garage.car.plugged = True
    garage.until(evse.CHARGING, 3)


def test_the_owner_can_stop_it() -> None:
    garage = charging(Garage())
    garage.evse.configure(32_000, evse.NOT_WANTED)
    garage.until(evse.WAITING, 7)
    assert evse.WHY[garage.evse.why] == "stopped"
    garage.run(200)
    assert garage.evse.state == evse.WAITING and garage.evse.offer_ma == 0
    garage.evse.configure(32_000)  # there was room all the time
    assert garage.until(evse.CHARGING, 2) < 1


def test_any_sequence_keeps_the_contactor_open_unless_a_sound_car_asks() -> None:
    chance = random.Random(7)
    garage = Garage()
    for _ in range(60_000):
        roll = chance.randrange(400)
        car = garage.car
        if roll == 0:
            car.plugged = not car.plugged
        elif roll == 1:
            car.wants = not car.wants
        elif roll == 2:
            car.diode = chance.random() < 0.8
        elif roll == 3:
            car.shorted = chance.random() < 0.1
        elif roll == 4:
            car.vent = chance.random() < 0.1
        elif roll == 5:
            garage.room_ma = chance.choice((0, 5_000, 7_000, 20_000, 40_000))
        elif roll == 6:
            garage.earth = chance.random() < 0.9
        elif roll == 7:
            garage.evse.reset()
        garage.turn()
        charger = garage.evse
        if charger.closed:
            assert garage.earth and charger.state in (evse.CHARGING, evse.ENDING)
        assert not (charger.pilot_down and charger.offer_ma)
