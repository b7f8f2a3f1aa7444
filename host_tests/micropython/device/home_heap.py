# Runs on MicroPython: home backup within the whole control lane with the heap locked, so that any
# allocation is a MemoryError. The grid goes and comes, the home trips, contacts weld and stick.
# Prints a line per stage, then "done <windows>".

from array import array

from heap_bench import NOISE, Bench, Chip

from firmware import events
from firmware.hal import kernels
from firmware.hal.contacts import Contacts
from firmware.power import interlock as il
from firmware.power import transfer as tr
from firmware.power.home import Home
from firmware.power.station import Station
from firmware.sensing.gridsense import GridSense

TOLD = (11, 12, 13)
SEEN = (28, 14, 27)


class Backup(Bench):
    """An app for the station, and the home around it."""

    def __init__(self):
        Bench.__init__(
            self, "simulated_home", ("home.mode=auto", "home.stable_s=1"), kernels.gather
        )
        power = self.board.power
        assert power["seen"] == SEEN and power["contacts"] == TOLD
        station = Station(self)
        station.contacts = Contacts(power)
        station.sense = GridSense(self)
        self.controller.station = station
        self.part = Home(station)
        station.add("home", self.part)
        self.grid = 1390
        self.peak = 0  # of both poles while the source is closed
        self.closed = array("i", [0, 0, 0])
        self.weld = self.stick = 0
        self.rail = False  # of grid_l2

    def look(self, codes, s, noise):
        for i in range(7):
            codes[2 + i if i < 5 else 3 + i] = 2048 + NOISE[(noise + i) % 13]
        if self.closed[1]:
            codes[8] += self.peak * s >> 6
            codes[9] -= self.peak * s >> 6
        x = self.grid * s >> 6
        codes[10] = 2048 + x + NOISE[noise]
        codes[11] = 0 if self.rail else 2048 - x + NOISE[noise]

    def move(self):
        """The contacts follow."""
        levels = Chip.levels
        for i in range(3):
            told = levels[TOLD[i]]
            if told and not self.stick >> i & 1:
                self.closed[i] = 1
            elif not told and not self.weld >> i & 1:
                self.closed[i] = 0
            levels[SEEN[i]] = 1 - self.closed[i]
        assert not (self.closed[0] and self.closed[1])

    def expect(self, stage, state, *closed):
        found = self.part.transfer.state
        good = found == state and tuple(self.closed) == closed
        self.check(stage, good, tr.STATES[found], tuple(self.closed), self.part.words())


def main():
    b = Backup()
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
    b.stick = 0
    b.run(40)
    assert part.reset(events.BY_CONSOLE, True) == ""
    b.grid = 1390
    b.run(200)
    b.expect("given back", tr.STANDBY, 1, 0, 0)
    b.rail = True
    b.run(60)
    b.expect("a sensor at its rail", tr.STANDBY, 1, 0, 0)
    assert b.part.station.sense.broken
    b.rail = False
    b.grid = 0
    b.run(700)
    b.expect("and sound again", tr.BACKUP, 0, 1, 1)
    part.report()
    print("done", b.windows)


if __name__ == "__main__":
    main()
