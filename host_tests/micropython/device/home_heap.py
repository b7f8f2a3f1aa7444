# Runs on MicroPython: home backup within the whole control lane with the heap locked, so that any
# allocation is a MemoryError. The grid goes and comes, the home trips, contacts weld and stick.
# Prints a line per stage, then "done <windows>".

import gc
import sys
from array import array

import micropython


class Chip:
    """`machine`: pins, and a converter behind the multiplexer's address."""

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
from firmware.power import interlock as il  # noqa: E402
from firmware.power import transfer as tr  # noqa: E402
from firmware.power.home import Home  # noqa: E402
from firmware.power.station import Station  # noqa: E402
from firmware.sensing.gridsense import GridSense  # noqa: E402
from firmware.sensing.metering import Meter  # noqa: E402
from firmware.storage.journal import Journal  # noqa: E402
from firmware.storage.settings import Settings  # noqa: E402

SIN = (0, 10, 20, 29, 38, 45, 52, 57, 61, 63, 64, 63, 61, 57, 52, 45, 38, 29, 20, 10)
NOISE = (0, 1, -1, 2, 0, -2, 1, 0, -1, 1, 0, 3, -1)
TOLD = (11, 12, 13)
SEEN = (28, 14, 27)


class Keeper:
    trusted = True


class Bench:
    """An app for the station, and the home around it."""

    def __init__(self):
        self.board = board = boards.load("simulated_home")
        assert board.power["seen"] == SEEN and board.power["contacts"] == TOLD
        self._ended_badly = False
        self._stop = ""
        self.keeper = Keeper()
        self.keeper.latch_store = Keeper()
        self.journal = Journal(64)
        self.settings = settings = Settings(board, "")
        settings.set("home.mode", "auto")
        settings.set("home.stable_s", 1)
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
            kernels.gather,
        )
        station = Station(self)
        station.contacts = Contacts(board.power)
        station.sense = GridSense(self)
        self.controller.station = station
        self.part = Home(station)
        station.add("home", self.part)
        self.grid = 1390  # counts
        self.peak = 0  # of both poles while the source is closed
        self.closed = array("i", [0, 0, 0])
        self.weld = self.stick = 0
        self.phase = 0
        self.noise = 0
        self.windows = 0

    def scan(self):
        codes = Chip.codes
        self.phase = phase = (self.phase + 1) % 40
        s = SIN[phase] if phase < 20 else -SIN[phase - 20]
        self.noise = noise = (self.noise + 1) % 13
        x = 1390 * s >> 6
        codes[0] = 2048 + x + NOISE[noise]
        codes[1] = 2048 - x + NOISE[noise]
        for i in range(7):
            codes[2 + i if i < 5 else 3 + i] = 2048 + NOISE[(noise + i) % 13]
        codes[7] = 1500
        if self.closed[1]:
            codes[8] += self.peak * s >> 6
            codes[9] -= self.peak * s >> 6
        x = self.grid * s >> 6
        codes[10] = 2048 + x + NOISE[noise]
        codes[11] = 2048 - x + NOISE[noise]
        self.more(s)
        self.sampler._scan(None)

    def more(self, s):
        """What else a scan shows; `s`: the mains' wave, 64 at its peak."""

    def move(self):
        """The contacts follow, a turn later."""
        levels = Chip.levels
        for i in range(3):
            told = levels[TOLD[i]]
            if told and not self.stick >> i & 1:
                self.closed[i] = 1
            elif not told and not self.weld >> i & 1:
                self.closed[i] = 0
            levels[SEEN[i]] = 1 - self.closed[i]
        assert not (self.closed[0] and self.closed[1])

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
                    self.move()
        micropython.heap_unlock()

    def expect(self, stage, state, *closed):
        found = self.part.transfer.state
        if found != state or tuple(self.closed) != closed:
            print("wrong", stage, tr.STATES[found], tuple(self.closed), self.part.words())
            for record in self.journal.since(0):
                print(record)
            sys.exit(1)
        print("good", stage)


def main():
    b = Bench()
    part = b.part
    b.run(90)
    assert not b.controller.starting
    b.expect("on the grid", tr.STANDBY, 1, 0, 0)
    for _ in range(15):  # dips, more than are recorded
        b.grid = 0
        b.run(6)
        b.grid = 1390
        b.run(20)
    b.expect("after dips", tr.STANDBY, 1, 0, 0)
    assert part.dips == 15
    b.grid = 0
    b.peak = 100
    b.run(50)
    b.expect("backing up", tr.BACKUP, 0, 1, 1)
    b.grid = 1390
    b.run(20)
    b.expect("grid back", tr.GRID_BACK, 0, 1, 1)
    b.grid = 0
    b.run(10)
    b.grid = 1390
    b.run(140)
    b.expect("back on the grid", tr.STANDBY, 1, 0, 0)
    b.grid = 0
    b.run(60)
    b.peak = 1900  # 390 A
    b.run(12)
    b.expect("tripped", tr.ISOLATED, 0, 0, 0)
    b.peak = 0
    said = part.reset(events.BY_CONSOLE, False)
    assert said == "", said
    said = part.start(events.BY_CONSOLE)
    assert said == "", said
    b.run(20)
    b.expect("started", tr.BACKUP, 0, 1, 1)
    assert b.controller.command("off", 5, events.BY_CONSOLE) == ""
    b.run(10)
    b.expect("off by hand", tr.ISOLATED, 0, 0, 0)
    said = part.start(events.BY_CONSOLE)
    assert said == "", said
    b.run(20)
    assert part.stop(events.BY_CONSOLE, True) == ""
    b.weld = il.SOURCE
    b.run(60)
    b.expect("welded source", tr.FAULT, 0, 1, 1)
    b.weld = 0
    b.run(40)
    b.expect("repaired", tr.FAULT, 0, 0, 0)
    assert part.reset(events.BY_CONSOLE, True) == ""
    b.run(40)
    b.expect("dark, as asked for before", tr.ISOLATED, 0, 0, 0)
    b.stick = il.SOURCE
    said = part.start(events.BY_CONSOLE)
    assert said == "", said
    b.run(60)
    b.expect("stuck source", tr.FAULT, 0, 0, 0)
    part.report()
    print("done", b.windows)


if __name__ == "__main__":
    main()
