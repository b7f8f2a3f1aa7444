# Runs on MicroPython: the control lane on a chip that exists only here, with the heap locked, so
# that any allocation is a MemoryError. Imported before the firmware by core_heap.py, home_heap.py,
# charger_heap.py, export_heap.py and capture_heap.py, which say what the converter sees.

import gc
import sys
from array import array

import micropython

NO_ANSWER = OSError(110)


class Chip:
    """`machine`: pins, pulses, and a converter behind the multiplexer's address."""

    codes = array("i", [2048] * 16)
    levels = bytearray(40)
    duties = array("i", [0] * 40)
    silent = False

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
            if Chip.silent:
                raise NO_ANSWER
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
from firmware.controller import Controller  # noqa: E402
from firmware.hal import kernels  # noqa: E402
from firmware.hal.inputs import Inputs  # noqa: E402
from firmware.hal.portable import Sampler  # noqa: E402
from firmware.sensing.metering import Meter  # noqa: E402
from firmware.storage.journal import Journal  # noqa: E402
from firmware.storage.settings import Settings  # noqa: E402

SIN = (0, 10, 20, 29, 38, 45, 52, 57, 61, 63, 64, 63, 61, 57, 52, 45, 38, 29, 20, 10)
NOISE = (0, 1, -1, 2, 0, -2, 1, 0, -1, 1, 0, 3, -1)


class Keeper:
    trusted = True


class Bench:
    """As much of an app as controller and station need. Currents and voltages are in counts."""

    def __init__(self, name, settings=(), *gather):
        self.board = board = boards.load(name)
        self._ended_badly = False
        self._stop = ""
        self.keeper = Keeper()
        self.keeper.latch_store = Keeper()
        self.journal = Journal(64)
        self.settings = Settings(board, "")
        for text in settings:
            self.settings.set(*text.split("="))
        self.fast = self.sampler = Sampler(board)
        self.sampler._timer = None
        self.clock = Clock()
        self.meter = Meter(self.sampler, kernels.reduce)
        self.controller = Controller(
            board,
            self.sampler,
            self.meter,
            self.journal,
            self.settings,
            self.clock,
            kernels.heat,
            Inputs(board),
            *gather,
        )
        self.volts = 1390
        self.ntc = 1500
        self.phase = 0
        self.noise = 0
        self.windows = 0

    def scan(self):
        codes = Chip.codes
        self.phase = phase = (self.phase + 1) % 40
        s = SIN[phase] if phase < 20 else -SIN[phase - 20]
        self.noise = noise = (self.noise + 1) % 13
        x = self.volts * s >> 6
        codes[0] = 2048 + x + NOISE[noise]
        codes[1] = 2048 - x + NOISE[noise]
        codes[7] = self.ntc
        self.look(codes, s, noise)
        self.sampler._scan(None)

    def look(self, codes, s, noise):
        """What the converter sees besides supply and temperature. `s`: the mains' wave, 64 at its
        peak; `noise`: index of NOISE."""

    def move(self):
        """What follows the relays, a turn of the control lane later."""

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
                    self.move()
        micropython.heap_unlock()

    def check(self, stage, good, *found):
        """Print that a stage is good, or what was found instead, and end."""
        if not good:
            print("wrong", stage, *found)
            for record in self.journal.since(0):
                print(record)
            sys.exit(1)
        print("good", stage)
