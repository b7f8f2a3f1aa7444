# Runs on MicroPython: sampler and control lane with the heap locked, so that any allocation is a
# MemoryError. Every road through Controller.step() is taken: trips, sheds, faults, supply loss,
# welded relay, lost lease, stall, silent sampler, zero learning. Prints a line per stage, then
# "done <windows> <bytes allocated>".

import gc
from array import array

import micropython
from heap_bench import NOISE, Bench, Chip

from firmware import clock, events
from firmware.protection import outlet as o

FROZEN, CLIPPED, OFFSET, NOISY, DEAD = range(1, 6)
NAMES = ("cabin1", "cabin2", "bed1", "bed2", "bed240")


class Core(Bench):
    """The five outlets, and everything that can go wrong with a channel."""

    def __init__(self):
        Bench.__init__(self, "simulated")
        self.kept = array("i", [0] * 4)
        self.controller.retain = self.retain
        self.peaks = array("i", [0] * 5)  # flowing while the relay is closed
        self.welded = 0  # bits
        self.broken = 0
        self.offset = 0
        self.lie = 0  # what one channel does wrong, and which
        self.lying = 0

    def retain(self, words):
        for i in range(4):
            self.kept[i] = words[i]

    def look(self, codes, s, noise):
        levels = Chip.levels
        for i in range(5):
            x = 0
            if levels[2 + i] or self.welded >> i & 1:
                x = self.peaks[i] * s >> 6
            if i == 1 or i == 3:
                x = -x
            code = 2048 + self.offset + x + NOISE[noise]
            if self.broken >> i & 1 or code > 4095:
                code = 4095
            elif code < 0:
                code = 0
            codes[2 + i] = code
        if self.lie:
            self.spoil(codes, self.phase)

    def spoil(self, codes, phase):
        i = self.lying
        if self.lie == FROZEN:
            codes[i] = 2100
        elif self.lie == CLIPPED:
            if phase % 20 == 0:
                codes[i] = 4095
        elif self.lie == OFFSET:
            codes[i] = min(4000, codes[i] + 800)
        elif self.lie == NOISY:
            codes[i] += (self.noise * 37 + phase * 11) % 101 - 50
        else:
            codes[i] = 2048 + NOISE[self.noise]

    def do(self, verb, name, force=False):
        return self.controller.command(verb, NAMES.index(name), events.BY_CONSOLE, force)

    def state(self, name):
        return o.STATES[self.controller.outlets[NAMES.index(name)].state]

    def expect(self, stage, *states):
        found = [self.state(name) for name in NAMES]
        self.check(stage, found == list(states), found)


def again(b):
    for name in NAMES:
        assert b.do("reset", name, True) == "" and b.do("on", name) == "", name
    b.run(10)


def sensors(b):
    """Every row of the fault table, and the roads back."""
    checks = b.controller.checks
    on, fault = "on", "fault"
    b.peaks[0] = 80
    for lie, channel, word, states in (
        (FROZEN, 2, "frozen", (fault, on, on, on, on)),
        (CLIPPED, 2, "clipped", (fault, on, on, on, on)),
        (OFFSET, 2, "zero", (fault, on, on, on, on)),
        (FROZEN, 0, "v_l1 frozen", (fault, on, fault, on, fault)),
        (OFFSET, 1, "v_l2 zero", (on, fault, on, fault, fault)),
        (CLIPPED, 1, "v_l2 clipped", (on, fault, on, fault, fault)),
        (DEAD, 0, "v_l1 no voltage", (fault, on, fault, on, fault)),
    ):
        b.lie = lie
        b.lying = channel
        b.run(8)
        b.expect(word, *states)
        index = states.index("fault")
        assert checks.text(b.controller.outlets[index]) == word, word
        b.lie = 0
        b.run(50)
        again(b)
    assert b.do("off", "cabin1") == ""
    b.lie = NOISY
    b.lying = 2
    b.run(30)
    b.expect("noise", "off", on, on, on, on)
    assert "noise" in b.do("on", "cabin1")
    b.lie = 0
    b.run(50)
    again(b)
    Chip.silent = True
    b.run(8)
    b.expect("converter", fault, fault, fault, fault, fault)
    Chip.silent = False
    b.run(60)
    again(b)
    b.peaks[0] = 60


def surroundings(b):
    """Supply, temperature, inputs, continuous load."""
    b.volts = 1750
    b.run(14)
    b.expect("overvoltage", "fault", "fault", "fault", "fault", "fault")
    b.volts = 1390
    b.run(10)
    again(b)
    b.settings.set("supply.hz_s", 0.2)
    b.settings.set("supply.hz", 50)
    b.run(30)
    b.expect("frequency", "fault", "fault", "fault", "fault", "fault")
    b.settings.set("supply.hz", 60)
    b.run(12)
    b.settings.set("gfci.input", "high")
    again(b)
    Chip.levels[8] = 1
    b.run(3)
    b.expect("ground fault", "tripped", "tripped", "tripped", "tripped", "tripped")
    Chip.levels[8] = 0
    b.settings.set("gfci.input", "none")
    b.run(2)
    again(b)
    b.settings.set("contactor.feedback", "low")
    b.run(10)
    Chip.levels[10] = 1
    b.run(20)
    b.expect("feedback", "fault", "fault", "fault", "fault", "fault")
    b.settings.set("contactor.feedback", "none")
    again(b)
    b.settings.set("cabin1.continuous_h", 0.01)
    b.settings.set("cabin1.continuous_x", 0.5)
    b.settings.set("cabin1.continuous", "shed")
    b.settings.set("bed1.continuous_h", 0.01)
    b.settings.set("bed1.continuous_x", 0.5)
    b.controller.conditions.stages.block[19 * 4 + 3] = 30
    b.controller.conditions.stages.block[21 * 4 + 3] = 30
    b.peaks[0] = b.peaks[2] = 120
    b.run(600)
    b.expect("continuous", "shed", "on", "on", "on", "on")
    b.ntc = 560
    b.run(280)
    assert b.controller.conditions.tenths < 10
    b.ntc = 4095
    b.run(280)
    b.ntc = 300
    b.run(280)
    b.expect("hot", "fault", "fault", "fault", "fault", "fault")
    b.ntc = 1500
    b.run(280)
    assert b.controller.conditions.tenths == 10 and b.kept[0]
    b.peaks[:] = array("i", [60, 60, 60, 60, 30])
    again(b)


def main():
    b = Core()
    c = b.controller
    used = gc.mem_alloc()
    b.offset = 70
    b.run(90)
    assert not c.starting, "the zeros are not learnt"
    for name in NAMES:
        assert b.do("on", name) == "", name
    b.peaks[:] = array("i", [60, 60, 60, 60, 30])
    b.run(30)
    b.expect("all on", "on", "on", "on", "on", "on")
    sensors(b)
    b.peaks[0] = 3000
    b.run(3)
    b.expect("peak", "tripped", "on", "on", "on", "on")
    c.outlets[1].thermal.set_permille(1001)
    b.run(2)
    b.expect("thermal", "tripped", "tripped", "on", "on", "on")
    b.peaks[2] = 1500  # above the short-time limit, below the peak limit
    b.run(34)
    b.expect("short time", "tripped", "tripped", "tripped", "on", "on")
    b.peaks[2] = 60
    for element in c.bank.elements:
        element.set_permille(0)
    assert b.do("reset", "bed1") == "" and b.do("on", "bed1") == ""
    b.run(2)
    c.outlets[2].trip_s[1:] = [0, 0]
    b.peaks[2] = 3000
    b.run(3)
    b.expect("lockout", "tripped", "tripped", "lockout", "on", "on")
    c.dispatch.legs[1].limit = 7000  # for 5.2 A each
    c.dispatch.legs[1].thermal.set_permille(1001)
    b.run(2)
    b.expect("shed", "tripped", "tripped", "lockout", "shed", "on")
    c.dispatch.legs[1].limit = 40_000
    c.dispatch.legs[1].thermal.set_permille(0)
    c.dispatch.restore_scans = c.dispatch.min_off_scans = 400
    b.run(60)
    b.expect("restored", "tripped", "tripped", "lockout", "on", "on")
    c.dispatch.legs[1].limit = 4000
    b.run(130)
    c.dispatch.legs[1].thermal.set_permille(1001)
    b.run(2)
    b.expect("alone", "tripped", "tripped", "lockout", "tripped", "tripped")
    c.dispatch.legs[1].limit = 40_000
    c.dispatch.legs[1].thermal.set_permille(0)
    for name in ("bed2", "bed240"):
        assert b.do("reset", name) == "" and b.do("on", name) == "", name
    b.run(10)
    b.broken = 1 << 3
    b.run(10)
    b.expect("sensor", "tripped", "tripped", "lockout", "fault", "on")
    b.broken = 0
    b.volts = 0
    b.run(60)
    b.expect("supply", "tripped", "tripped", "lockout", "fault", "fault")
    b.volts = 1390
    b.run(30)
    for name in NAMES:
        assert b.do("reset", name, True) == "", name
        assert b.do("on", name) == "", name
    b.peaks[:] = array("i", [60, 60, 60, 60, 30])
    b.run(30, control=False)  # late: windows merge
    b.run(4)
    b.expect("stall", "on", "on", "on", "on", "on")
    b.run(200, control=False)  # 3.3 s
    b.run(4)
    b.expect("lease", "fault", "fault", "fault", "fault", "fault")
    for name in NAMES:
        assert b.do("reset", name) == "" and b.do("on", name) == "", name
    b.run(10)
    b.run(20, sample=False)
    b.expect("silent", "fault", "fault", "fault", "fault", "fault")
    b.run(30)
    for name in NAMES:
        assert b.do("reset", name) == "" and b.do("on", name) == "", name
    b.run(10)
    surroundings(b)
    b.settings.set("relay.break_mode", "wait")
    b.settings.set("relay.wait_ms", 40)
    b.peaks[1] = 3000
    b.run(2)
    b.expect("waiting", "on", "on", "on", "on", "on")
    b.run(3)
    b.expect("waited", "on", "tripped", "on", "on", "on")
    b.peaks[1] = 60
    again(b)
    b.do("off", "cabin1")
    assert b.do("on", "cabin1") == "" and not Chip.levels[2], "it does not wait for the zero"
    b.run(5)
    assert Chip.levels[2]
    b.do("off", "cabin1")
    assert Chip.levels[2], "it does not wait for the zero of the current"
    b.welded = 1
    b.run(40)
    b.expect("welded", "fault", "fault", "fault", "fault", "fault")
    assert not Chip.levels[7], "the contactor is closed"
    # what the stages above do not reach: the extremes, on every channel at once
    b.broken = 31
    b.peaks[:] = array("i", [4000] * 5)
    b.welded = 31
    b.run(20)
    b.broken = 0
    b.run(60)
    real = clock.Clock()
    micropython.heap_lock()
    real.update()
    micropython.heap_unlock()
    gc.collect()
    # what is left is this bench's own: no list of the firmware may have grown
    print("done", b.windows, max(0, gc.mem_alloc() - used))


main()
