# Runs on MicroPython: sampler and control lane with the heap locked, so that any allocation is a
# MemoryError. Every road through Controller.step() is taken: trips, sheds, faults, supply loss,
# welded relay, lost lease, stall, silent sampler, zero learning. Prints a line per stage, then
# "done <windows> <bytes allocated>".

import gc
import sys
from array import array

import micropython

NO_ANSWER = OSError(110)


class Chip:
    """`machine`: pins, and a converter behind the multiplexer's address."""

    codes = array("i", [2048] * 8)
    levels = bytearray(40)
    silent = False

    class Pin:
        IN = 0
        OUT = 1
        PULL_UP = 1
        PULL_DOWN = 2

        def __init__(self, number, mode=0, pull=0, value=0):
            self._n = number
            Chip.levels[number] = value

        def value(self, level=-1):
            if level < 0:
                return Chip.levels[self._n]
            Chip.levels[self._n] = level

    class ADC:
        def __init__(self, pin):
            pass

        def read_u16(self):
            if Chip.silent:
                raise NO_ANSWER
            levels = Chip.levels
            return Chip.codes[levels[18] | levels[19] << 1 | levels[20] << 2] << 4

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
from firmware import clock, events  # noqa: E402
from firmware.controller import Controller  # noqa: E402
from firmware.hal import kernels  # noqa: E402
from firmware.hal.inputs import Inputs  # noqa: E402
from firmware.hal.portable import Sampler  # noqa: E402
from firmware.protection import outlet as o  # noqa: E402
from firmware.sensing.metering import Meter  # noqa: E402
from firmware.storage.journal import Journal  # noqa: E402
from firmware.storage.settings import Settings  # noqa: E402

FROZEN, CLIPPED, OFFSET, NOISY, DEAD = range(1, 6)
NAMES = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
SIN = (0, 10, 20, 29, 38, 45, 52, 57, 61, 63, 64, 63, 61, 57, 52, 45, 38, 29, 20, 10)
NOISE = (0, 1, -1, 2, 0, -2, 1, 0, -1, 1, 0, 3, -1)


class Bench:
    def __init__(self):
        board = boards.load("simulated")
        self.journal = Journal(64)
        self.settings = Settings(board, "")
        self.sampler = Sampler(board)
        self.sampler._timer = None
        self.meter = Meter(self.sampler, kernels.reduce)
        self.controller = Controller(
            board,
            self.sampler,
            self.meter,
            self.journal,
            self.settings,
            Clock(),
            kernels.heat,
            Inputs(board),
        )
        self.kept = array("i", [0] * 4)
        self.controller.retain = self.retain
        self.ntc = 1500
        self.volts = 1390  # counts
        self.peaks = array("i", [0] * 5)  # counts, flowing while the relay is closed
        self.welded = 0  # bits
        self.broken = 0
        self.offset = 0
        self.phase = 0
        self.noise = 0
        self.windows = 0
        self.lie = 0  # what one channel does wrong, and which
        self.lying = 0

    def retain(self, words):
        for i in range(4):
            self.kept[i] = words[i]

    def scan(self):
        codes = Chip.codes
        levels = Chip.levels
        phase = self.phase + 1
        if phase >= 40:
            phase = 0
        self.phase = phase
        s = SIN[phase] if phase < 20 else -SIN[phase - 20]
        noise = self.noise + 1
        if noise >= 13:
            noise = 0
        self.noise = noise
        x = self.volts * s >> 6
        codes[0] = 2048 + x + NOISE[noise]
        codes[1] = 2048 - x + NOISE[noise]
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
        codes[7] = self.ntc
        if self.lie:
            self.spoil(codes, phase)
        self.sampler._scan(None)

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

    def run(self, cycles, control=True, sample=True):
        """So many mains cycles with the heap locked."""
        step = self.controller.step
        gc.collect()
        micropython.heap_lock()
        for _ in range(cycles):
            for k in range(40):
                if sample:
                    self.scan()
                if control and k % 20 == 9:
                    self.windows += step()
        micropython.heap_unlock()

    def do(self, verb, name, force=False):
        return self.controller.command(verb, NAMES.index(name), events.BY_CONSOLE, force)

    def state(self, name):
        return o.STATES[self.controller.outlets[NAMES.index(name)].state]

    def expect(self, stage, *states):
        found = [self.state(name) for name in NAMES]
        if found != list(states):
            print("wrong", stage, found)
            for record in self.journal.since(0):
                print(record)
            sys.exit(1)
        print("good", stage)


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
    b = Bench()
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
