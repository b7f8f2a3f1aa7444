# Runs on MicroPython: all of power export at once within the control lane with the heap locked, so
# that any allocation is a MemoryError: home backup, a car that charges, export to the grid, flows,
# battery and mode on one board. The grid sags and goes, poles trip, an inverter does not stop.
# Prints a line per stage, then "done <windows>".

from heap_bench import Chip
from home_heap import Backup

from firmware import events
from firmware.hal import kernels
from firmware.power import battery as bat
from firmware.power import evse, grid
from firmware.power import transfer as tr
from firmware.power.charger import Charger
from firmware.power.export import Exporter
from firmware.power.flows import Flows
from firmware.power.modes import Modes
from firmware.power.reserve import Reserve
from firmware.sensing import gridsense
from firmware.storage.energy import FLOWS, Energy

PERMIT, PILOT = 1, 22
CABIN1, BED240, HOME_L1 = 0, 4, 5
HIGH = (1241, 931, 621)  # of the pilot with no car, one that waits, one that charges
SETTINGS = (
    "gfci.input=high",
    "vehicle.enabled=on",
    "vehicle.start=plug",
    "vehicle.most_a=6",
    "grid.enabled=on",
    "grid.profile=ieee1547",
    "grid.power_w=4000",
    "battery.usable_kwh=100",
)


class Whole(Backup):
    """Everything that station.make() makes for such a board. `gives`: peak of what the inverter
    gives while it is permitted, counts; `stray`: the same whatever it is told."""

    def __init__(self):
        Backup.__init__(self)
        self.gives = self.stray = self.car = 0
        self.loads = 0  # peak of cabin1 while it is on
        for text in SETTINGS:
            self.settings.set(*text.split("="))
        self.energy = Energy("", len(self.board.outlets), FLOWS)
        station = self.controller.station
        if kernels.VIPER:
            from firmware.sensing import gridsense_viper as twins

            station.sense = gridsense.GridSense(self, (twins.share, twins.root, twins.hertz))
        station.add("flows", Flows(station), turns=False)
        self.export = Exporter(station)
        station.add("grid", self.export)
        self.reserve = Reserve(station)
        station.add("battery", self.reserve, False, False)
        station.add("modes", Modes(station), False, False)
        self.charger = Charger(station)
        station.add("vehicle", self.charger)
        self.controller.configure()

    def look(self, codes, s, noise):
        Backup.look(self, codes, s, noise)
        levels = Chip.levels
        duty = Chip.duties[PILOT]
        high = duty == 65535 or (duty and self.phase % 5 == 0)
        codes[12] = 2048 + (HIGH[self.car] if high else -1241)
        if levels[2]:
            codes[2] += self.loads * s >> 6
        if levels[6] and self.car == 2:
            codes[6] += 35 * s >> 6  # 6 A
        flows = self.gives if levels[PERMIT] else 0
        flows = max(flows, self.stray)
        if not self.closed[1]:
            codes[8] += flows * s >> 6
            codes[9] -= flows * s >> 6

    def soon(self):
        """As if the grid had been good for long, and the power had risen."""
        logic = self.export.logic
        self.run(30)
        logic._good_ms = 299_900
        self.run(15)
        logic._ramp_ms = 299_900
        self.run(30)

    def check(self, stage, good, *found):
        if not good:
            print(self.export.report(), self.charger.report())
        Backup.check(self, stage, good, *found)

    def exports(self):
        return self.export.logic.state == grid.EXPORTING and Chip.levels[PERMIT] == 1


def main():
    b = Whole()
    b.run(90)
    assert not b.controller.starting
    assert b.reserve.told(90, events.BY_CONSOLE) == ""
    b.run(60)
    b.expect("on the grid", tr.STANDBY, 1, 0, 0)
    b.gives = 55  # 2.7 kW
    assert b.export.start(events.BY_CONSOLE) == ""
    b.soon()
    b.check("exporting", b.exports() and b.export.power_w > 2000)
    b.car = 1
    b.run(10)
    b.car = 2
    b.run(20)
    b.check("and a car charges", b.charger.evse.state == evse.CHARGING and b.exports())
    b.gives = 190  # 9.4 kW: no room beside it until it gives way
    b.run(5)
    assert b.controller.command("on", CABIN1, events.BY_CONSOLE) == ""
    b.check("an outlet waits", not Chip.levels[2] and b.controller.pending == 1)
    b.gives = 55
    b.loads = 100
    b.run(30)
    b.controller.close_next()
    b.run(30)
    b.check("and closes", Chip.levels[2] == 1 and b.exports())
    b.grid = 600
    b.run(14)
    b.check("the grid sags", b.export.logic.why == grid.UV2 and not Chip.levels[PERMIT])
    b.grid = 1390
    b.soon()
    b.check("exporting again", b.exports())
    b.gives = 1900
    b.run(2)
    found = b.controller.outlets[HOME_L1].reason
    b.check("a pole trips", found == events.PEAK and not Chip.levels[PERMIT])
    b.gives = 55
    b.run(20)
    assert b.part.reset(events.BY_CONSOLE, False) == ""
    b.soon()
    b.check("exporting after a reset", b.exports())
    b.stray = 60
    b.export.stop(events.BY_CONSOLE)
    b.run(40)
    b.check("the inverter goes on", b.export.stray and b.export.logic.state == grid.FAULT)
    b.stray = 0
    b.run(40)
    assert b.export.reset(events.BY_CONSOLE) == ""
    assert b.export.start(events.BY_CONSOLE) == ""
    b.soon()
    b.check("exporting after a fault", b.exports())
    b.grid = 0
    b.peak = 100
    b.run(80)
    b.expect("backing up", tr.BACKUP, 0, 1, 1)
    b.check("and nothing is exported", not Chip.levels[PERMIT])
    b.check("the car gives way", b.charger.evse.state == evse.ENDING)
    for _ in range(2):
        b.reserve.told(10, events.BY_CONSOLE)
    b.run(140)
    b.check("the reserve is reached", b.reserve.level == bat.EMPTY)
    b.expect("all is shed", tr.ISOLATED, 0, 0, 0)
    b.controller.station.report()
    print("done", b.windows)


if __name__ == "__main__":
    main()
