# Self-tests in the spirit of IEC 60730-1 annex H, class B: at boot, before a relay may close, and
# all the time afterwards. Here is what runs often: limits and pins, each 100 ms, in a guarded task
# of the outer lane; selftest_slow.py has what runs each ten seconds, selftest_report.py the words.
#
# What protects must be as it was made: memory, limits, the program, the clock, the watchdog, the
# relays' pins. A check of these that fails opens every relay first and records it then; nothing
# closes until a restart, or until what can mend has mended. The others only warn.

import asyncio
from array import array

from micropython import const

from firmware import events, pieces
from firmware.hal import kernels
from firmware.protection import outlet as o

# Numbers of checks, see selftest_report.py
_LIMITS = const(2)
_OUTPUTS = const(5)
_MAINS = const(11)
_CHECKS = const(15)

# bits of the checks
_CRITICAL = const(0x7FE)  # all up to the reference: these open
_LATCHES = const(0x47E)  # and these need a restart

_TURN_MS = const(100)
_OUTPUT_TURNS = const(5)
_SLOW_TURNS = const(100)  # ten seconds
_BYTES = const(1024)  # of an image in a turn: 0.3 ms
_LARGE = const(16384)  # 3.7 ms
_GOOD_AGAIN = const(3)
_BLOCK = const(6)  # words, as in hal/memory.py

# layouts, as their modules define them (a test compares them)
_HEAD_WORDS = const(58)
_CH_WORDS = const(26)
_C_ZERO = const(5)
_C_PEAK = const(6)
_B_HEAD = const(7)
_M_VSEL = const(15)
_M_ZERO = const(25)
_M_WORDS = const(41)
_T_LIMIT = const(3)
_T_WORDS = const(6)
_S_WORDS = const(4)
_LOW_HZ = const(8)
_HOT = const(10)
# bits of the words that only a change of settings or of calibration may change
_HEAD_LOW = const(0x38A20271)  # N_CH N_MIN N_MAX N_FREE HYST SLOTS WAVE_… N_VOLT PEAK_SCANS ALL_…
_HEAD_HIGH = const(0x811B002)  # ALL_BITS IN_MASK IN_INVERT IN_BITS IN_RELAYS SENSE EXPORT_MASK
_CHANNEL = const(0x3B05F00)  # VSEL BIT MASK MUX SHORT SHORT_MAX BREAK WAIT TWICE FROM VAT
_METER = const(0x18113)  # VSEL W_DIV E_UNIT WELD SKEW LEAD, from VSEL on
_THERMAL = const(0x18)  # LIMIT TAU
_STAGE = const(7)  # PICK DROP DELAY


def parts(name: str):
    """A module that is in memory no longer than it is used."""
    return pieces.once("firmware.selftest_slow" if name == "slow" else "firmware.selftest_report")


class SelfTest:
    """Of one app. `bad`: bits of the checks that fail; `seen`: uptime of the last time, -1: not
    yet; `found`: what it was then; `strikes`: results in a row that say otherwise."""

    def __init__(self, app):  # on demand: boot
        self.app = app
        self.controller = c = app.controller
        self.bad = 0
        self.seen = array("i", [-1] * _CHECKS)
        self.found = array("i", bytes(4 * _CHECKS))
        self.strikes = bytearray(_CHECKS)
        self.set_at = -1
        self.sum = 0
        self.channel = 0
        stages = c.conditions.stages.block
        self.rows = len(stages) // _S_WORDS
        fast = c.fast
        self.buffers = [fast.st, fast.ring, c.meter.block, c.bank.block, stages]
        self.buffers.append(c.switching.relays.block)
        if kernels.VIPER:  # the plain twin knows no words but those of the array
            self.buffers.append(fast.wave)
        self.keep = array("i", bytes(4 * _BLOCK))
        self.odd = 0
        self.astray = 0
        self.walk = None  # what looks through image and files, a slice each turn
        self.us = self.scans = self.windows = 0
        self.turns = 0
        self.ring = 0

    def note(self, check: int, good: bool, value: int = 0, least: int = 1):
        """Take down a result, and act on a new one. `least`: failures in a row that count."""
        self.seen[check] = self.controller.clock.now_s
        bit = 1 << check
        if good == (not self.bad & bit):
            self.strikes[check] = 0
            if good:
                self.found[check] = value
            return
        if good and _LATCHES & bit:
            return
        self.strikes[check] += 1
        if self.strikes[check] < (_GOOD_AGAIN if good else least):
            return
        self.strikes[check] = 0
        c = self.controller
        if not good:
            self.bad |= bit
            if _CRITICAL & bit:
                c.fail(check)
        else:
            self.bad &= ~bit
            if _CRITICAL & bit and not self.bad & _CRITICAL:
                c.mend()
        self.found[check] = value
        kind = events.CLEARED if good else events.WARNING
        reason = events.SELFTEST
        if check == _MAINS:
            reason = events.CLOCK
        else:
            value = check
        if not _CRITICAL & bit or good:
            c.journal.add(kind, -1, reason, value, events.BY_CONTROL)

    # -- each turn -----------------------------------------------------------------------------

    def limits(self):
        """What the lanes decide by is what the settings made of it."""
        c = self.controller
        fast = c.fast
        st = fast.st
        fold = kernels.fold
        n = fast.n_ch
        stages = c.conditions.stages.block
        h = fold(st, 0, 30, _HEAD_LOW, 0, 1, 0)
        h = fold(st, 30, 28, _HEAD_HIGH, 0, 1, h)
        h = fold(st, _HEAD_WORDS, _CH_WORDS, _CHANNEL, _CH_WORDS, n, h)
        h = fold(c.meter.block, _B_HEAD + _M_VSEL, 17, _METER, _M_WORDS, n, h)
        h = fold(c.bank.block, 0, _T_WORDS, _THERMAL, _T_WORDS, c.bank.count, h)
        # the band of the frequency moves by itself
        h = fold(stages, 0, _S_WORDS, _STAGE, _S_WORDS, _LOW_HZ, h)
        h = fold(stages, _HOT * _S_WORDS, _S_WORDS, _STAGE, _S_WORDS, self.rows - _HOT, h)
        good = True
        if self.set_at != c.limits_set:
            self.set_at = c.limits_set
            self.sum = h
        elif h != self.sum:
            good = False
        # Zeros move, and peak limits with them: another copy has to agree.
        i = self.channel
        at = fast.base(i)
        m = c.meter.channels[i]
        if st[at + _C_ZERO] != m.word(_M_ZERO) or st[at + _C_PEAK] != fast.peak(i):
            good = False
        if not c.limits_agree(i):
            good = False
        i += 1
        self.channel = i if i < n else 0
        self.note(_LIMITS, good)

    def outputs(self):
        """The pins of relays and contactor, read back."""
        on = 0
        for outlet in self.controller.outlets:
            if o.energised(outlet.state):
                on |= 1 << outlet.index
        astray = self.controller.fast.astray(on)
        both = astray & self.astray
        self.astray = astray
        self.note(_OUTPUTS, not both, both)

    async def run(self):
        """Task: what is quick each 100 ms, the rest each ten seconds."""
        turn = 0
        slow = parts("slow")
        # while the sensors' zeros are learnt, and before anything may close
        for _ in slow.image(self, _LARGE):
            await asyncio.sleep_ms(0)
        self.limits()
        self.outputs()
        for _ in slow.memory(self):  # with the other pattern
            await asyncio.sleep_ms(0)
        slow.turn(self)
        self.controller.checking = False
        slow = None
        while True:
            await asyncio.sleep_ms(_TURN_MS)
            self.limits()
            turn += 1
            if not turn % _OUTPUT_TURNS:
                self.outputs()
            if self.walk is not None:
                try:
                    next(self.walk)
                except (StopIteration, MemoryError):  # the next one in ten minutes
                    self.walk = None
            if turn >= _SLOW_TURNS:
                turn = 0
                try:
                    slow = parts("slow")
                    for _ in slow.memory(self):
                        await asyncio.sleep_ms(0)
                    slow.turn(self)
                except MemoryError:
                    pass  # ten seconds later
                slow = None
