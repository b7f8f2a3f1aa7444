# Runs on MicroPython: the charger within the whole control lane with the heap locked, so that any
# allocation is a MemoryError. A car comes, charges, gives way, is paused, goes, does everything
# wrong. Prints a line per stage, then "done <windows>".

import gc
import sys
from array import array

import micropython


class Chip:
    """`machine`: pins, pulses, and a converter behind the multiplexer's address."""

    codes = array("i", [2048] * 16)
    levels = bytearray(40)
    duties = array("i", [0] * 40)

    class Pin:
        IN = 0
        OUT = 1
        PULL_UP = 1
        PULL_DOWN = 2

        def __init__(self, number, mode=0, pull=0, value=0):
            self.number = number
            Chip.levels[number] = value

        def value(self, level=-1):
            if level < 0:
                return Chip.levels[self.number]
            Chip.levels[self.number] = level

    class PWM:
        def __init__(self, pin, freq=0, duty_u16=0):
            self._n = pin.number
            Chip.duties[self._n] = duty_u16

        def duty_u16(self, duty):
            Chip.duties[self._n] = duty

    class ADC:
        def __init__(self, pin):
            pass

        def read_u16(self):
            levels = Chip.levels
            return (
                Chip.codes[levels[18] | levels[19] << 1 | levels[20] << 2 | levels[21] << 3] << 4
            )

    @staticmethod
    def disable_irq():
        return 0

    @staticmethod
    def enable_irq(state):
        pass


class Clock:
    """8 ms a call; the real one is tried apart."""

    now_s = 0

    def update(self):
        return 8

    def wall(self):
        return 0


sys.modules["machine"] = Chip
from firmware import board as boards  # noqa: E402
from firmware import events  # noqa: E402
from firmware.controller import Controller  # noqa: E402
from firmware.hal import kernels  # noqa: E402
from firmware.hal.contacts import Contacts  # noqa: E402
from firmware.hal.inputs import Inputs  # noqa: E402
from firmware.hal.portable import Sampler  # noqa: E402
from firmware.power import evse  # noqa: E402
from firmware.power.charger import Charger  # noqa: E402
from firmware.power.station import Station  # noqa: E402
from firmware.sensing.metering import Meter  # noqa: E402
from firmware.storage.journal import Journal  # noqa: E402
from firmware.storage.settings import Settings  # noqa: E402

SIN = (0, 10, 20, 29, 38, 45, 52, 57, 61, 63, 64, 63, 61, 57, 52, 45, 38, 29, 20, 10)
NOISE = (0, 1, -1, 2, 0, -2, 1, 0, -1, 1, 0, 3, -1)
BED1, BED240, PILOT, GFCI = 2, 4, 22, 8
A, B, C, D, E, BARE = range(6)  # what the car makes of the pilot
HIGH = array("i", [1241, 931, 621, 310, 0, 621])  # counts above the middle
LOW = array("i", [-1241, -1241, -1241, -1241, 0, -621])


class Keeper:
    trusted = True


class Bench:
    """An app for the station."""

    def __init__(self):
        self.board = board = boards.load("simulated_home")
        self._ended_badly = False
        self.keeper = Keeper()
        self.keeper.latch_store = Keeper()
        self.journal = Journal(64)
        self.settings = settings = Settings(board, "")
        for name in ("gfci.input=high", "vehicle.enabled=on", "vehicle.start=plug"):
            settings.set(*name.split("="))
        settings.set("leg.limit_a", 40)
        self.fast = self.sampler = Sampler(board)
        self.sampler._timer = None
        self.clock = Clock()
        self.meter = Meter(self.sampler, kernels.reduce)
        self.controller = Controller(
            board,
            self.sampler,
            self.meter,
            self.journal,
            settings,
            self.clock,
            kernels.heat,
            Inputs(board),
        )
        station = Station(self)
        station.contacts = Contacts(board.power)
        self.controller.station = station
        self.part = Charger(station)
        station.add("vehicle", self.part)
        self.peak = 0  # of bed1, counts
        self.car = A
        self.car_peak = 0  # of bed240, while its relay is closed
        self.phase = 0
        self.noise = 0
        self.windows = 0

    def scan(self):
        codes = Chip.codes
        levels = Chip.levels
        self.phase = phase = (self.phase + 1) % 40
        s = SIN[phase] if phase < 20 else -SIN[phase - 20]
        self.noise = noise = (self.noise + 1) % 13
        x = 1390 * s >> 6
        codes[0] = 2048 + x + NOISE[noise]
        codes[1] = 2048 - x + NOISE[noise]
        for i in range(5):
            codes[2 + i] = 2048 + NOISE[(noise + i) % 13]
        if levels[4]:
            codes[2 + BED1] += self.peak * s >> 6
        if levels[6]:
            codes[2 + BED240] += self.car_peak * s >> 6
        duty = Chip.duties[PILOT]
        high = duty == 65535 or (duty and phase % 5 == 0)
        codes[12] = 2048 + (HIGH[self.car] if high else (LOW[self.car] if duty else -1241))
        codes[7] = 1500
        self.sampler._scan(None)

    def run(self, cycles):
        """So many mains cycles with the heap locked."""
        step = self.controller.step
        gc.collect()
        micropython.heap_lock()
        for _ in range(cycles):
            for k in range(40):
                self.scan()
                if k % 20 == 9:
                    self.windows += step()
        micropython.heap_unlock()

    def expect(self, stage, state, closed):
        found = self.part.evse.state
        if found != state or bool(Chip.levels[6]) != closed:
            print("wrong", stage, evse.STATES[found], self.part.why(), Chip.levels[6])
            for record in self.journal.since(0):
                print(record)
            sys.exit(1)
        print("good", stage)


def main():
    b = Bench()
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
    print("done", b.windows)


main()
