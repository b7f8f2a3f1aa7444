# The chip itself: reset and its cause, watchdog, unique id, flash folder. Called by app and
# supervisor (boot, control task); everything here exists on every port.

import select
import sys

import machine
import micropython
from micropython import const

_stdin = select.poll()
_stdin.register(sys.stdin, select.POLLIN)
_TIMER = -1 if sys.platform == "rp2" else 1


class Watchdog:
    """The hardware watchdog; `start()` cannot be undone (that is its point)."""

    def __init__(self):
        self._wdt = None

    def start(self, timeout_ms: int):
        self._wdt = machine.WDT(timeout=timeout_ms)

    def feed(self):
        if self._wdt is not None:
            self._wdt.feed()

    def keep_fed(self):
        """Feed it from a timer: for the REPL, where no supervisor runs."""
        if self._wdt is not None:
            self._timer = machine.Timer(_TIMER)
            self._timer.init(period=1000, callback=lambda timer: self._wdt.feed())


def reset():
    """Reset the chip."""
    machine.reset()


# RP2040 data sheet 4.7.6: WATCHDOG REASON, bit 0: the timer ran out, bit 1: forced by software
_WATCHDOG_REASON = 0x40058008


def was_watchdog_reset() -> bool:
    """Whether the watchdog's time ran out. On the RP2040 machine.reset() is a forced watchdog
    reset and has the same reset_cause(), so the chip's own register decides."""
    if sys.platform == "rp2":
        return machine.mem32[_WATCHDOG_REASON] & 1 == 1
    return machine.reset_cause() == machine.WDT_RESET


# SCRATCH0 to 3: free for the program (4 to 7 are the boot ROM's); cleared by power-on only.
_SCRATCH0 = const(0x4005800C)
_SCRATCH1 = const(0x40058010)
_SCRATCH2 = const(0x40058014)
_SCRATCH3 = const(0x40058018)


def can_retain() -> bool:
    """Whether this chip has words that a reset leaves alone."""
    return sys.platform == "rp2"


def kept():
    """The four words that retain() left before the chip's reset; None where there are none."""
    if not can_retain():
        return None
    mem = machine.mem32
    return [mem[_SCRATCH0], mem[_SCRATCH1], mem[_SCRATCH2], mem[_SCRATCH3]]


def retain(words):
    """Let four words of 30 bits survive a reset of the chip (control task, allocates nothing)."""
    mem = machine.mem32
    mem[_SCRATCH0] = words[0]
    mem[_SCRATCH1] = words[1]
    mem[_SCRATCH2] = words[2]
    mem[_SCRATCH3] = words[3]


def was_power_on() -> bool:
    return machine.reset_cause() == machine.PWRON_RESET


def unique_id() -> str:
    """The chip's serial number as hexadecimal text."""
    return "".join("%02x" % b for b in machine.unique_id())


def has_input() -> bool:
    """Whether somebody has typed something on the console."""
    for _ in _stdin.ipoll(0):
        return True
    return False


def keep_ctrl_c(on: bool):
    """Whether Ctrl-C interrupts Python (a REPL) or is an ordinary key (production)."""
    micropython.kbd_intr(3 if on else -1)
