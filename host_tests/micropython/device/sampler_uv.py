# Runs on MicroPython: the portable sampler on a converter that is read in uV (ESP32). Heap locked:
# whatever allocates fails. Prints "codes <code>:<uV> ...", then "overruns <n> silent <n>".

import sys
import time
from array import array

import micropython

NO_ANSWER = OSError(110)


class Chip:
    """`machine`: six converter pins, each with its own voltage."""

    uv = array("i", [0] * 40)
    levels = bytearray(40)

    class Pin:
        IN = 0
        OUT = 1

        def __init__(self, number, mode=0, pull=0, value=0):
            self._n = number

        def value(self, level=-1):
            if level < 0:
                return Chip.levels[self._n]
            Chip.levels[self._n] = level

    class ADC:
        ATTN_11DB = 3

        def __init__(self, pin):
            self._n = pin._n
            self.attenuation = 0

        def atten(self, attenuation):
            self.attenuation = attenuation

        def read_uv(self):
            assert self.attenuation == Chip.ADC.ATTN_11DB
            if Chip.uv[self._n] < 0:
                raise NO_ANSWER
            return Chip.uv[self._n]

    @staticmethod
    def disable_irq():
        return 0

    @staticmethod
    def enable_irq(state):
        pass


sys.modules["machine"] = Chip
from firmware import board as boards  # noqa: E402
from firmware.hal.portable import Sampler  # noqa: E402

PINS = (39, 32, 33, 34, 35, 36)
LEVELS = (0, 150_000, 1_300_000, 1_301_000, 2_450_000, 3_300_000)


def main():
    board = boards.load("esp32")
    sampler = Sampler(board)
    for pin, level in zip(PINS, LEVELS):
        Chip.uv[pin] = level
    scan = sampler._scan
    sampler._last_us = time.ticks_us()
    micropython.heap_lock()
    scan(None)
    micropython.heap_unlock()
    print("codes", *("%d:%d" % (c, uv) for c, uv in zip(sampler.codes, LEVELS)))
    late = sampler.overruns()
    sampler._last_us = time.ticks_us() - 1300  # a scan takes 833, so 1250 is half a period late
    scan(None)
    Chip.uv[PINS[3]] = -1
    sampler._last_us = time.ticks_us()
    micropython.heap_lock()
    scan(None)
    micropython.heap_unlock()
    print("overruns", sampler.overruns() - late, "silent", sampler.silent_scans())
    print("rest", *sampler.codes)


main()
