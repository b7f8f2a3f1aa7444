"""The car at the truck's 240 V outlet: its side of SAE J1772."""

from __future__ import annotations

from typing import Any

import pytest

from firmware import board as boards
from firmware.power import pilot
from tools.simulator.car import offered_amps
from tools.simulator.truck import SimError, Truck

SCAN_US = 416
BOARD: Any = boards.load("simulated_home")
PILOT = BOARD.power["pilot"]
AT = next(c.index for c in BOARD.channels if c.name == "pilot")
RELAY = BOARD.outlets[BOARD.outlet_index("bed240")].relay


class Garage:
    """A charger that the test plays by hand."""

    def __init__(self, *lines: str) -> None:
        self.truck = Truck(BOARD)
        self.truck.command("sensor pilot noise=0")
        self.truck.set_pin(BOARD.contactor, 1, 0)
        self.offer(None)
        for line in lines:
            self.truck.command(line)

    def offer(self, amps: float | None) -> None:
        """Pulses for so many amperes; None: steady +12 V."""
        duty = 65535 if amps is None else round(amps / 60 * 65535)
        self.truck.set_pulses(PILOT, self.truck.now_us, 1000, duty)

    def contactor(self, closed: bool) -> None:
        self.truck.set_pin(RELAY, int(closed), self.truck.now_us)

    def skip(self, seconds: float) -> None:
        self.truck.truth(self.truck.now_us + round(seconds * 1e6))

    def car(self, what: str) -> Any:
        return self.truck.truth(self.truck.now_us)["car"][what]

    def amps(self) -> float:
        amps: float = self.truck.truth(self.truck.now_us)["outlets"]["bed240"]["amps_rms"]
        return amps

    def halves(self) -> tuple[float, float]:
        """High and low half of the pilot in mV, as the firmware reckons them from the codes."""
        start = self.truck.now_us
        codes = [self.truck.scan(start + n * SCAN_US)[AT] - 2048 for n in range(1, 200)]
        per_code = BOARD.channels[AT].full_scale / 2048 * 12
        return max(codes) * per_code, min(codes) * per_code

    def charging(self, amps: float = 32.0) -> Garage:
        self.truck.command("car plug")
        self.offer(amps)
        self.skip(2.0)
        self.contactor(True)
        self.skip(8.0)
        return self


@pytest.mark.parametrize("offer", [6, 7.5, 16, 24, 32])
def test_the_duty_says_the_same_on_both_sides(offer: float) -> None:
    duty = pilot.duty_permyriad(round(offer * 1000))
    assert offered_amps(duty / 10_000, 1000) == pytest.approx(offer, rel=0.002)
    assert offered_amps(duty / 10_000, 500) == 0.0  # not the charger's frequency


def test_the_duty_table_has_its_edges() -> None:
    assert offered_amps(0.05, 1000) == 0.0  # digital communication, which it does not know
    assert offered_amps(0.09, 1000) == 6.0
    assert offered_amps(0.85, 1000) == pytest.approx(51.0)
    assert offered_amps(0.90, 1000) == pytest.approx(65.0)
    assert offered_amps(0.98, 1000) == 0.0


def test_the_pilot_s_voltages_are_those_of_the_standard() -> None:
    garage = Garage()
    assert garage.halves()[0] == pytest.approx(12_000, abs=60)
    garage.truck.command("car plug")
    assert garage.halves()[0] == pytest.approx(9000, abs=100)
    garage.offer(32)
    high, low = garage.halves()
    assert (high, low) == (pytest.approx(9000, abs=100), pytest.approx(-12_000, abs=60))
    garage.skip(1.5)
    high, low = garage.halves()
    assert (high, low) == (pytest.approx(6000, abs=100), pytest.approx(-12_000, abs=60))
    assert garage.car("pilot") == "C"


@pytest.mark.parametrize("duty", [0.10, 0.2667, 0.5333, 0.96])
def test_so_much_of_the_wave_is_high_as_the_duty_says(duty: float) -> None:
    garage = Garage()
    garage.truck.set_pulses(PILOT, garage.truck.now_us, 1000, round(duty * 65535))
    high = sum(garage.truck.scan(garage.truck.now_us + SCAN_US)[AT] > 2048 for _ in range(5000))
    assert high / 5000 == pytest.approx(duty, abs=0.006)


def test_a_chip_in_reset_leaves_the_pilot_at_its_lowest() -> None:
    garage = Garage("car plug")
    garage.truck.set_pin(PILOT, None, garage.truck.now_us)
    high, low = garage.halves()
    assert high == low == pytest.approx(-12_000, abs=60)


@pytest.mark.parametrize(
    ("fault", "high", "low", "state"),
    [
        ("no_diode", 8790, -8790, "B"),
        ("shorted", 0, 0, "E"),
        ("ok", 9000, -12_000, "B"),
    ],
)
def test_faults_of_the_pilot(fault: str, high: int, low: int, state: str) -> None:
    garage = Garage("car plug", f"car fault {fault}", "car ready off")
    garage.offer(16)
    assert garage.halves() == (pytest.approx(high, abs=100), pytest.approx(low, abs=100))
    assert garage.car("pilot") == state


def test_it_draws_what_it_is_offered_and_follows_late_but_within_five_seconds() -> None:
    garage = Garage("car set follow_s=4").charging()
    assert garage.amps() == pytest.approx(32, rel=0.01)
    garage.offer(10)
    garage.skip(3.8)
    assert garage.amps() == pytest.approx(32, rel=0.01)
    garage.skip(1.2)
    assert garage.amps() == pytest.approx(10, rel=0.01)
    garage.offer(20)
    garage.skip(6.0)
    assert garage.amps() == pytest.approx(20, rel=0.01)


def test_it_never_draws_more_than_its_own_charger_can() -> None:
    assert Garage("car set max_a=16").charging(32).amps() == pytest.approx(16, rel=0.01)


def test_it_draws_nothing_before_the_contactor_closes_and_starts_with_a_ramp() -> None:
    garage = Garage("car plug")
    garage.offer(32)
    garage.skip(3.0)
    assert garage.car("pilot") == "C"
    assert garage.amps() == 0.0
    garage.contactor(True)
    garage.skip(2.5)
    assert 2 < garage.amps() < 20
    garage.skip(5.0)
    assert garage.amps() == pytest.approx(32, rel=0.01)


def test_steady_pilot_ends_the_charge_and_the_wish() -> None:
    garage = Garage().charging()
    garage.offer(None)
    garage.skip(4.0)
    assert garage.amps() == 0.0
    garage.skip(1.0)
    assert garage.car("pilot") == "B"


def test_a_car_that_does_not_follow_goes_on() -> None:
    garage = Garage("car fault no_follow").charging()
    garage.offer(8)
    garage.skip(8.0)
    assert garage.amps() == pytest.approx(32, rel=0.01)
    garage.offer(None)
    garage.skip(8.0)
    assert garage.amps() == pytest.approx(32, rel=0.01)
    garage.contactor(False)
    garage.skip(0.1)
    assert garage.amps() == 0.0


def test_a_car_that_wants_ventilation_says_so_and_draws_nothing() -> None:
    garage = Garage("car fault ventilate").charging()
    assert garage.car("pilot") == "D"
    assert garage.halves()[0] == pytest.approx(3000, abs=150)
    assert garage.amps() == 0.0


def test_a_full_car_takes_less_and_less_and_then_nothing() -> None:
    garage = Garage("car set kwh=0.2 percent=95").charging()
    before = garage.car("percent")
    assert 95 < before < 100
    garage.skip(6.0)
    assert 2 <= garage.amps() < 25
    garage.skip(30.0)
    assert garage.car("percent") == 100.0
    assert garage.car("pilot") == "B"
    assert garage.amps() == 0.0
    # what came out of the outlet, less the charger's loss, is what it has got
    assert garage.car("taken_kwh") * 0.92 == pytest.approx(0.01, rel=0.02)


def test_what_the_books_say_agrees_with_the_meter() -> None:
    garage = Garage().charging()
    start, taken = garage.truck.circuits[4].joules, garage.car("taken_kwh")
    garage.skip(20.0)
    metered = (garage.truck.circuits[4].joules - start) / 3.6e6
    assert garage.car("taken_kwh") - taken == pytest.approx(metered, rel=0.02)


@pytest.mark.parametrize("quick", [True, False])
def test_unplugging_under_load_is_noticed_by_the_pilot_first(quick: bool) -> None:
    garage = Garage().charging()
    garage.truck.command("car unplug parts_ms=100")
    assert garage.car("pilot") == "A"
    garage.skip(0.05)
    assert garage.amps() > 30
    if quick:
        garage.contactor(False)
    garage.skip(0.1)
    assert garage.amps() == 0.0
    assert garage.car("hot_unplugs") == (0 if quick else 1)
    assert garage.truck.truth(garage.truck.now_us)["outlets"]["bed240"]["loads"] == []


def test_plugging_in_again_before_the_pins_have_parted_keeps_the_cable() -> None:
    garage = Garage().charging()
    garage.truck.command("car unplug parts_ms=1000")
    garage.skip(0.2)
    garage.truck.command("car plug")
    garage.skip(2.0)
    loads = garage.truck.truth(garage.truck.now_us)["outlets"]["bed240"]["loads"]
    assert loads == ["car"]
    with pytest.raises(SimError, match="plugged in already"):
        garage.truck.command("car plug")


def test_a_car_that_needs_nothing_stays_as_it_is() -> None:
    garage = Garage("car ready off").charging()
    assert garage.car("pilot") == "B"
    garage.truck.command("car ready on")
    garage.skip(8.0)
    assert garage.amps() == pytest.approx(32, rel=0.01)
