# The chip itself: reset and its cause, watchdog, unique id, flash folder. Called by app and
# supervisor (boot, control task); everything here exists on every port.

import select
import sys
import time

import machine
import micropython
from micropython import const

from firmware import events

_stdin = select.poll()
_stdin.register(sys.stdin, select.POLLIN)
_2026 = 1_767_225_600
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

    def runs(self) -> bool:  # on demand
        """Whether it is armed and, on the chip that shows it, counts down."""
        if self._wdt is None or sys.platform != "rp2":
            return self._wdt is not None
        before = machine.mem32[_WATCHDOG_CTRL]
        now = machine.mem32[_WATCHDOG_CTRL]  # some 15 us later: 30 counts
        return now >> 30 & 1 == 1 and (before ^ now) & 0xFFFFFF != 0

    def keep_fed(self):
        """Feed it from a timer: for the REPL, where no supervisor runs."""
        if self._wdt is not None:
            self._timer = machine.Timer(_TIMER)
            self._timer.init(period=1000, callback=lambda timer: self._wdt.feed())


def reset():
    """Reset the chip."""
    machine.reset()


# RP2040 data sheet 4.7.6: WATCHDOG CTRL, bit 30: it runs, bits 23 to 0: what is left. REASON, bit
# 0: the timer ran out, bit 1: forced by software
_WATCHDOG_CTRL = 0x40058000
_WATCHDOG_REASON = 0x40058008
# 2.10.7: CHIP_RESET, which a watchdog reset leaves as it was. Bit 8: power-on, or a brown-out
# (this chip does not tell them apart), bit 16: the RUN pin, bit 20: the debug port
_CHIP_RESET = 0x40064008
# ESP32 technical reference, RTC_CNTL_RESET_STATE, bits 5 to 0: why the first core was reset
_RTC_RESET_STATE = 0x3FF48034
_BROWN_OUT = const(15)


def reset_cause() -> int:  # on demand: boot
    """Why the chip started, a reason of `events`, as far as it tells: WATCHDOG (its time ran out),
    REBOOT (the program asked for it), EXTERNAL_RESET (pin or debugger), BROWNOUT, POWER_ON.

    On the RP2040 machine.reset() is a forced watchdog reset and has the same reset_cause() as a
    real one, so the chip's own registers decide."""
    if sys.platform == "rp2":
        why = machine.mem32[_WATCHDOG_REASON] & 3
        if why:
            return events.WATCHDOG if why & 1 else events.REBOOT
        how = machine.mem32[_CHIP_RESET]
        if how >> 8 & 1 == 0 and how & 0x110000:
            return events.EXTERNAL_RESET
        return events.POWER_ON
    cause = machine.reset_cause()
    if cause == machine.WDT_RESET:
        return events.WATCHDOG
    if cause != machine.PWRON_RESET:
        return events.REBOOT
    if sys.platform == "esp32" and machine.mem32[_RTC_RESET_STATE] & 63 == _BROWN_OUT:
        return events.BROWNOUT
    return events.POWER_ON


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


def clock() -> int:  # on demand: boot
    """Seconds since 1970 as an operating system keeps them (unix port); 0 when that cannot be. 0
    on a chip, whose clock starts anew, or is what some tool put there, perhaps in local time."""
    if sys.platform in ("rp2", "esp32") or time.time() < _2026:
        return 0
    return int(time.time())


def set_clock(epoch: int):
    """Set the chip's clock, which TLS looks at; `epoch`: seconds since 1970."""
    if time.gmtime(0)[0] == 2000:
        epoch -= 946_684_800
    t = time.gmtime(epoch)
    machine.RTC().datetime((t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0))


def flash(folder: str):  # on demand: boot
    """The raw flash under the file system (readblocks, writeblocks with an offset, ioctl), or None
    where it cannot be reached. `folder`: where a computer keeps a file instead."""
    if sys.platform == "rp2":
        import rp2

        return rp2.Flash()
    if sys.platform == "esp32":
        from flashbdev import bdev

        # what is encrypted cannot be programmed bit by bit
        return bdev if hasattr(bdev, "info") and not bdev.info()[5] else None
    from firmware.storage.strip_file import FileDevice

    return FileDevice(folder + "/strip.bin")


def i2c(scl: int, sda: int):  # on demand: boot
    """The I2C bus on these GPIOs."""
    if sys.platform == "rp2":
        return machine.I2C(scl >> 1 & 1, scl=machine.Pin(scl), sda=machine.Pin(sda), freq=400_000)
    return machine.I2C(0, scl=machine.Pin(scl), sda=machine.Pin(sda), freq=400_000)


def unique_id() -> str:
    """The chip's serial number as hexadecimal text."""
    return "".join("%02x" % b for b in machine.unique_id())


# Where tools/image/build.py notes what it has built: the last page below the file system
_SEAL = 0x1009FF00
_FLASH = 0x10000000


def image():  # on demand
    """(bytes in flash, their CRC-32 when they were built) of an image of ours, or None."""
    if sys.platform != "rp2":
        return None
    import struct

    import uctypes

    magic, n, crc = struct.unpack("<8sII", uctypes.bytearray_at(_SEAL, 16))
    if magic != b"tailgate" or n > _SEAL - _FLASH:
        return None
    return uctypes.bytearray_at(_FLASH, n), crc


def has_input() -> bool:
    """Whether somebody has typed something on the console."""
    for _ in _stdin.ipoll(0):
        return True
    return False


def keep_ctrl_c(on: bool):
    """Whether Ctrl-C interrupts Python (a REPL) or is an ordinary key (production)."""
    micropython.kbd_intr(3 if on else -1)
