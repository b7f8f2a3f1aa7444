# The chip itself: reset and its cause, watchdog, unique id, flash folder. Called by app and
# supervisor (boot, control task); everything here exists on every port.

import select
import sys

import machine
import micropython

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
