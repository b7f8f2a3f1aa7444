# A chip without hardware for MicroPython's unix port: `machine`, `time` and `select` with a
# virtual clock, and a sampler that is told what flows and gives whole windows. The real App runs
# on it, a virtual minute in a few hundredths of a second. Import it before any of the firmware.
#
# Time passes only where asyncio idles, `step_ms` at least each time. `on_time()` is called then:
# the place where a test stops everything with an exception.

import os
import random
import sys

import utime
from micropython import const

_SCAN_US = const(416)
_MS = const(1 << 28)  # ticks_ms() at the start, see below

step_ms = 100
on_time = None
on_sample = None
now_ms = 0  # since the process began: it never goes back
wall_s = 1_790_000_000
levels = bytearray(64)
device = None  # the raw flash
words = [0, 0, 0, 0]  # what a reset of the chip leaves alone
cause = 1
woken_ms = 0  # when the chip started


class Reset(BaseException):
    """machine.reset()."""


class Module:
    """Whatever is set, to be imported."""


# asyncio's queue takes the real clock for what is due at once: virtual time has to be ahead of it
_ms0 = (utime.ticks_ms() + _MS) & (sys.maxsize >> 1)


def _ticks_ms():
    return (_ms0 + now_ms - woken_ms) & (sys.maxsize >> 1)


def _ticks_us():
    global _us
    _us += 1
    return ((now_ms - woken_ms) * 1000 + _us) & (sys.maxsize >> 1)


_us = 0


def pass_ms(ms: int):
    """Let time go by."""
    global now_ms, _us
    _us = 0
    now_ms += ms
    if on_sample is not None:
        on_sample(ms)
    if on_time is not None:
        on_time()


class _Poll:
    def register(self, obj, events=0):
        pass

    modify = register

    def unregister(self, obj):
        pass

    def ipoll(self, timeout=-1, flags=0):
        if timeout:
            pass_ms(max(timeout, step_ms) if 0 < timeout < 1000 else step_ms)
        return ()

    def poll(self, timeout=-1, flags=0):
        return []


class _Pin:
    IN = 0
    OUT = 1
    PULL_UP = 1
    PULL_DOWN = 2

    def __init__(self, number, mode=-1, pull=-1, value=None):
        self._n = number
        if value is not None:
            levels[number] = value

    def value(self, level=None):
        if level is None:
            return levels[self._n]
        levels[self._n] = level
        return None


class _Pwm:
    def __init__(self, pin, freq=0, duty_u16=0):
        self.duty = duty_u16

    def duty_u16(self, duty):
        self.duty = duty


class _Wdt:
    def __init__(self, timeout):
        pass

    def feed(self):
        pass


def _reset():
    raise Reset


def _install():
    machine = Module()
    machine.Pin = _Pin
    machine.WDT = _Wdt
    machine.PWM = _Pwm
    machine.PWRON_RESET = 1
    machine.WDT_RESET = 3
    machine.reset = _reset
    machine.reset_cause = lambda: cause
    machine.unique_id = lambda: b"\x01\x02\x03\x04\x05\x06"
    machine.disable_irq = lambda: 0
    machine.enable_irq = lambda state: None
    sys.modules["machine"] = machine
    system = Module()
    for name in dir(os):
        setattr(system, name, getattr(os, name))
    system.urandom = lambda n: bytes([random.getrandbits(8) for _ in range(n)])
    sys.modules["os"] = system  # so that a seed gives the same run again
    time = Module()
    time.ticks_ms = _ticks_ms
    time.ticks_us = _ticks_us
    time.ticks_diff = utime.ticks_diff
    time.ticks_add = utime.ticks_add
    time.sleep_ms = pass_ms
    time.sleep_us = lambda us: None
    time.time = lambda: wall_s + now_ms // 1000
    time.gmtime = lambda seconds=None: utime.gmtime(time.time() if seconds is None else seconds)
    time.localtime = time.gmtime
    time.mktime = utime.mktime
    sys.modules["time"] = time
    select = Module()
    select.poll = _Poll
    select.POLLIN = 1
    select.POLLOUT = 4
    select.POLLERR = 8
    select.POLLHUP = 16
    sys.modules["select"] = select


_install()

import firmware.hal  # noqa: E402
from firmware.hal import fastlane, system  # noqa: E402
from firmware.sensing import kernel as k  # noqa: E402
from firmware.storage import files  # noqa: E402

system.can_retain = lambda: True
system.kept = lambda: list(words)


def _cause():
    from firmware import events

    return {1: events.POWER_ON, 2: events.REBOOT, 3: events.WATCHDOG}[cause]


system.reset_cause = _cause
system.clock = lambda: 0
system.set_clock = lambda epoch: None
system.flash = lambda folder: device


def _retain(kept):
    for i in range(4):
        words[i] = kept[i]


system.retain = _retain


class Sampler(fastlane.FastLane):
    """The fast lane with windows made of `load` (A RMS of each outlet that is on). Call it when
    time has passed; give `short(outlet)` a short circuit."""

    volts = 120.0
    sense_volts = 0.0  # of the grid's side of a transfer switch

    def __init__(self, board):
        fastlane.FastLane.__init__(self, board)
        self.load = [0.0] * len(board.outlets)
        self._scans = 0
        self._single = 40  # windows at the start that are not merged: sensors are learnt
        self._relays = 0
        self.running = False
        v = self.volts * 1.41421 * 2048 / (board.channels[0].full_scale / 1000)
        self._v = (v, -v)
        self._code_per_a = [
            2048 * 1.41421 * 1000 / board.channels[x.channel].full_scale for x in board.outlets
        ]

    def start(self):
        self.running = True

    def stop(self):
        self.open_all()
        self.running = False

    def short(self, index: int):
        """A short circuit: the kernel opens the relay in the same call."""
        if levels[self.board.outlets[index].relay] and self.contactor_closed:
            levels[self.board.outlets[index].relay] = 0
            self.st[k.PEAK_TRIPS] |= 1 << index
            self.st[k.TRIP_SCAN] = self.st[k.SCANS]
            if self.st[k.WAVE_HOLD] < 0:
                self.st[k.WAVE_HOLD] = self.st[k.WAVE_POST]

    def sample(self, ms: int):
        """`ms` milliseconds of scans; their windows come merged into one."""
        if not self.running:
            return
        relays = 0
        for outlet in self.board.outlets:
            relays = relays << 1 | levels[outlet.relay]
        if relays != self._relays:  # what follows is counted in windows: not in merged ones
            self._relays = relays
            self._single = max(self._single, 14)
        self._scans += ms * 1000 // _SCAN_US
        n = 40
        cycles = min(self._scans // n, 230)
        self._scans -= cycles * n
        for _ in range(min(cycles, self._single, 14)):
            self._single -= 1
            cycles -= 1
            self._take(n, 1)
        if cycles:
            self._take(n, cycles)

    def _take(self, n, periods):
        st = self.st
        scans = periods * n
        st[k.SCANS] = (st[k.SCANS] + scans) & 0x1FFFFFFF
        st[k.LEASE] = max(0, st[k.LEASE] - scans)
        if st[k.WAVE_HOLD] > 0:
            st[k.WAVE_HOLD] = max(0, st[k.WAVE_HOLD] - scans)
        if not st[k.LEASE]:
            st[k.LEASE_TRIPPED] = 1
        self._planned(scans)
        head = st[k.HEAD]
        after = head + 1 if head + 1 < st[k.SLOTS] else 0
        if after == st[k.TAIL]:
            return  # the control lane stands still: as if nothing had been measured
        self._window(head * self.words, n, periods)
        st[k.HEAD] = after

    def _planned(self, scans):
        st = self.st
        st[k.BUSY] = 0
        for outlet in self.board.outlets:
            c = self.base(outlet.channel)
            if st[c + k.C_COUNT]:
                left = st[c + k.C_COUNT] - scans
                st[c + k.C_COUNT] = max(left, 0)
                if left > 0:
                    st[k.BUSY] = 1
                else:
                    free = not (st[k.PEAK_TRIPS] | st[k.LEASE_TRIPPED]) >> outlet.index & 1
                    levels[outlet.relay] = 1 if st[c + k.C_MAKE] and free else 0
            if st[k.LEASE_TRIPPED]:
                levels[outlet.relay] = 0

    def _put(self, at, n, periods, sq, vx, peak):
        # what is merged has its squares and products >> 6, see the kernel
        ring = self.ring
        ring[at] = 0
        scale = n if periods == 1 else n * periods / 64
        ring[at + 1] = int(sq * scale) + (n if periods == 1 else n * periods >> 6)
        ring[at + 2] = int(vx * scale)
        ring[at + 3] = 2046 - peak
        ring[at + 4] = 2050 + peak
        ring[at + 5] = 0

    def _window(self, r, n, periods):
        ring = self.ring
        ring[r] = n * periods
        ring[r + 1] = periods
        ring[r + 2] = 1  # locked
        ring[r + 3] = -30
        ring[r + 4] = 30
        ring[r + 5] = self.st[k.SCANS]
        r += 6
        v = self._v
        for i in range(2):
            sq = v[0] * v[0] / 2
            self._put(r + 6 * i, n, periods, sq, sq if i == 0 else -sq, int(v[0]))
        for outlet in self.board.outlets:
            amps = 0.0
            if self.contactor_closed and levels[outlet.relay]:
                amps = self.load[outlet.index]
            x = amps * self._code_per_a[outlet.index]
            volts = v[0] * (2 if outlet.volts == 2 else 1)
            self._put(r + 6 * outlet.channel, n, periods, x * x / 2, volts * x / 2, int(x))
        for channel in self.board.channels:
            at = r + 6 * channel.index
            if channel.kind == "sense":
                x = self.sense_volts * 1.41421 * 2048 / (channel.full_scale / 1000)
                self._put(at, n, periods, x * x / 2, 0, int(x))
            elif channel.kind == "aux":
                self._put(at, n, periods, 0, 0, 0)
        if self.sense_volts and len(self.board.channels) > 8:
            self._crossing(n * periods)

    def _crossing(self, scans):
        """The grid goes through zero at the end of each window, with 60.1 Hz."""
        st = self.st
        st[k.SENSE_N] = (st[k.SENSE_N] + scans // 40) & 0x1FFFFFFF
        st[k.SENSE_SCAN] = st[k.SCANS]
        st[k.SENSE_BEFORE] = -30
        st[k.SENSE_AFTER] = 30


_rp2 = Module()
_rp2.Sampler = Sampler
sys.modules["firmware.hal.rp2"] = _rp2
firmware.hal.rp2 = _rp2


def start(why: int):
    """The chip comes out of reset: `why` as reset_cause() gives it."""
    global cause, woken_ms
    cause = why
    woken_ms = now_ms
    files.waiting.clear()  # what a module keeps in RAM
    files._later = None
    for i in range(len(levels)):
        levels[i] = 0
    if why == 1:  # power-on clears them; what stands in them then is nothing
        for i in range(4):
            words[i] = random.getrandbits(30) if random.getrandbits(1) else 0
