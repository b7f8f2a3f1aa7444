# Runs on MicroPython: the charger within the whole control lane with the heap locked, so that any
# allocation is a MemoryError. A car comes, charges, gives way, is paused, goes, does everything
# wrong. Prints a line per stage, then "done <windows>".

from array import array

from heap_bench import NOISE, Bench, Chip

from firmware import events
from firmware.hal.contacts import Contacts
from firmware.power import evse
from firmware.power.charger import Charger
from firmware.power.station import Station

BED1, BED240, PILOT, GFCI = 2, 4, 22, 8
A, B, C, D, E, BARE = range(6)  # what the car makes of the pilot
HIGH = array("i", [1241, 931, 621, 310, 0, 621])  # counts above the middle
LOW = array("i", [-1241, -1241, -1241, -1241, 0, -621])
SETTINGS = ("gfci.input=high", "vehicle.enabled=on", "vehicle.start=plug", "leg.limit_a=40")


class First:
    """The mode in which a car comes first."""

    now = 4


class Charging(Bench):
    """An app for the station, and the car."""

    def __init__(self):
        Bench.__init__(self, "simulated_home", SETTINGS)
        station = Station(self)
        station.contacts = Contacts(self.board.power)
        self.controller.station = station
        self.part = Charger(station)
        station.add("vehicle", self.part)
        self.peak = 0  # of bed1
        self.car = A
        self.car_peak = 0  # of bed240, while its relay is closed

    def look(self, codes, s, noise):
        levels = Chip.levels
        for i in range(5):
            codes[2 + i] = 2048 + NOISE[(noise + i) % 13]
        if levels[4]:
            codes[2 + BED1] += self.peak * s >> 6
        if levels[6]:
            codes[2 + BED240] += self.car_peak * s >> 6
        duty = Chip.duties[PILOT]
        high = duty == 65535 or (duty and self.phase % 5 == 0)
        codes[12] = 2048 + (HIGH[self.car] if high else (LOW[self.car] if duty else -1241))

    def expect(self, stage, state, closed):
        found = self.part.evse.state
        good = found == state and bool(Chip.levels[6]) == closed
        self.check(stage, good, evse.STATES[found], self.part.why(), Chip.levels[6])


def main():
    b = Charging()
    part = b.part
    b.run(90)
    assert not b.controller.starting
    b.expect("empty", evse.EMPTY, False)
    b.car = B
    b.run(10)
    b.expect("offered", evse.OFFERED, False)
    b.car = C
    b.run(10)
    b.expect("charging", evse.CHARGING, True)
    b.car_peak = 185  # 32 A
    b.run(60)
    assert b.controller.command("on", BED1, events.BY_CONSOLE) == ""
    b.peak = 140  # 12 A
    b.run(80)
    b.expect("giving way", evse.CHARGING, True)
    assert 25_000 < part.evse.offer_ma < 29_000, part.evse.offer_ma
    b.car_peak = 150
    b.run(320)
    assert part.evse.offer_ma < 29_000
    b.peak = 460  # 40 A: past the hard limit
    b.run(110)
    b.expect("cut", evse.WAITING, False)
    b.peak = 0
    part.evse.ask()
    b.run(20)
    part.evse.ask()
    b.run(60)
    b.expect("charging again", evse.CHARGING, True)
    part.stop()
    b.run(4)
    b.expect("ending", evse.ENDING, True)
    b.car_peak = 0
    b.run(10)
    b.expect("stopped", evse.WAITING, False)
    part.start()
    b.run(10)
    b.expect("started", evse.CHARGING, True)
    b.car = A
    b.run(4)
    b.expect("unplugged", evse.EMPTY, False)
    for flaw, state, word in (
        (D, evse.REFUSED, "ventilation"),
        (E, evse.FAULT, "shorted"),
        (BARE, evse.FAULT, "no diode"),
    ):
        b.run(20)
        b.car = C
        b.run(20)
        b.expect("before " + word, evse.CHARGING, True)
        b.car = flaw
        b.run(8)
        b.expect(word, state, False)
        b.car = A
        part.reset()
    b.run(20)
    b.car = C
    b.car_peak = 185
    b.run(30)
    part.limit(10)
    b.run(330)
    b.expect("not followed", evse.FAULT, False)
    b.car = A
    part.reset()
    b.run(20)
    b.car = C
    b.run(20)
    Chip.levels[GFCI] = 1
    b.run(6)
    b.expect("ground fault", evse.FAULT, False)
    assert part.evse.why == evse.TRIPPED, part.why()
    Chip.levels[GFCI] = 0
    b.run(20)
    assert b.controller.command("reset", BED240, events.BY_CONSOLE) == ""
    b.car_peak = 60
    b.run(400)
    b.expect("reset", evse.CHARGING, True)
    part.report()
    assert b.controller.command("off", BED240, events.BY_CONSOLE) == ""
    b.run(10)
    b.expect("off by hand", evse.WAITING, False)
    b.part.station.modes = First()
    order = b.controller.dispatch.order
    order.remove(BED240)
    order.insert(0, BED240)
    for verb in ("reset", "on"):  # the ground fault was its own, too
        said = b.controller.command(verb, BED1, events.BY_CONSOLE)
        assert said == "", said
    b.peak = 140  # 12 A: less than its due
    b.car_peak = 160
    assert part.start() == ""
    b.run(800)
    b.expect("first", evse.CHARGING, True)
    assert not Chip.levels[4] and b.controller.dispatch.behind, part.evse.offer_ma
    print("done", b.windows)


main()
