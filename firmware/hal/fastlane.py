# The fast lane's state and what the other lanes may do with it: limits, lease, relays, windows,
# waveforms. The samplers (rp2.py, portable.py) build on it and add converter, timer and pins.
# Called by: boot (set-up), control task (windows, relays, lease). The scan itself is
# sensing/kernel*.py, called by the timer.

from array import array

import machine
from micropython import const

_RING_SLOTS = const(16)
_WAVE_MS = const(300)
_WAVE_POST_MS = const(60)
_NOBODY = const(-1)  # wave_outlet: nothing is kept
_LOOK = const(-2)  # kept for somebody who wants to see the present
_BLANK = b"\xff" * 64
_LEASE_MS = const(3000)
_MID = const(2048)
_PEAK_MARGIN = const(16)
_MAX_WINDOW = const(64)
# The layout of the state block and of a window, as sensing/kernel.py defines it. Repeated,
# because that module is loaded only where there is no machine code; a test compares them.
_N_CH = const(0)
_SCANS = const(1)
_N = const(2)
_N_LIMIT = const(3)
_N_MIN = const(4)
_N_MAX = const(5)
_SLOT_HEAD = const(6)
_N_FREE = const(6)
_HYST = const(9)
_LEASE = const(10)
_LEASE_TRIPPED = const(11)
_PEAK_TRIPS = const(12)
_SHORT_TRIPS = const(13)
_HEAD = const(15)
_C_TRIP = const(16)
_CH_WORDS = const(26)
_TAIL = const(16)
_SLOTS = const(17)
_MERGED = const(18)
_LOST = const(19)
_WAVE_POS = const(20)
_WAVE_SCANS = const(21)
_WAVE_HOLD = const(22)
_WAVE_POST = const(23)
_N_VOLT = const(27)
_PEAK_SCANS = const(28)
_ALL_MASK = const(29)
_ALL_BITS = const(31)
_SILENT = const(32)
_OVERRUNS = const(33)
_E11 = const(34)
_BUSY = const(38)
_WAITING = const(39)
_GROUND_TRIPS = const(41)
_IN_MASK = const(42)
_IN_INVERT = const(43)
_IN_BITS = const(45)
_IN_RELAYS = const(46)
_E11_WIDE = const(48)
_E11_BESIDE = const(49)
_SENSE = const(50)
_EXPORT_MASK = const(57)
_HEAD_WORDS = const(58)
_E11_HITS = const(128)
_SLOT_CH = const(6)
_C_MIN = const(3)
_C_MAX = const(4)
_C_ZERO = const(5)
_C_PEAK = const(6)
_C_VSEL = const(8)
_C_BIT = const(9)
_C_MASK = const(10)
_C_MUX = const(11)
_C_TWICE = const(23)
_C_SHORT = const(12)
_C_SHORT_MAX = const(14)
_C_COUNT = const(18)
_C_MAKE = const(19)
_C_BREAK = const(20)
_C_WAIT = const(21)
_C_MOST = const(22)
_SCAN_MASK = const(0x1FFFFFFF)
_SOON = const(1000)  # no switching is planned so many scans ahead
_NO_BREAK = const(8191)
_BREAK_TOP = const(1832)  # a zero off by 200 counts, and the same margin


class FastLane:
    """State block, window ring, waveform ring and relay pins for one board."""

    reads_pins = False  # whether the scan itself reads the chip's pins
    reference = 0  # code of the chip's own temperature sensor at boot; 0: not known

    def __init__(self, board):  # on demand
        self.board = board
        self.period_us = board.scan_period_us
        self.n_ch = len(board.channels)
        self.words = _SLOT_HEAD + _SLOT_CH * self.n_ch
        self.st = st = array("i", bytes(4 * (_HEAD_WORDS + _CH_WORDS * self.n_ch)))
        self.ring = array("i", bytes(4 * _RING_SLOTS * self.words))
        wave_scans = self.scans(_WAVE_MS)
        # 65535 is no code: there the recording has not begun yet
        self.wave = array("H", b"\xff\xff" * (wave_scans * self.n_ch))
        self.wave_outlet = _NOBODY  # whose trip or fault is kept
        self.wave_event = 0  # its journal record
        self.wave_was_on = False  # its relay was closed before
        self.wave_release_s = 0  # uptime at which it may go, because it was read; 0: never
        self._pins = [machine.Pin(o.relay, machine.Pin.OUT, value=0) for o in board.outlets]
        self._contactor = None
        if board.contactor is not None:
            self._contactor = machine.Pin(board.contactor, machine.Pin.OUT, value=0)
        self.contactor_closed = False
        # The inverter's permissive, and the bits of the outlets in its path: what opens these
        # takes it away in the same instant.
        self._permit = None
        self._path = 0
        if board.power is not None:
            permit = board.power["permit"]
            self._permit = machine.Pin(permit, machine.Pin.OUT, value=0)
            if permit < 31:
                st[_EXPORT_MASK] = st[_ALL_MASK] = 1 << permit
        st[_N_CH] = self.n_ch
        st[_N_VOLT] = board.voltages
        st[_SLOTS] = _RING_SLOTS
        st[_HYST] = 60
        st[_PEAK_SCANS] = 2
        st[_WAVE_SCANS] = wave_scans
        st[_WAVE_HOLD] = -1
        st[_WAVE_POST] = self.scans(_WAVE_POST_MS)
        st[_ALL_BITS] = (1 << len(board.outlets)) - 1
        st[_E11] = -1 if board.adc_errata == "e11" else 0
        self.lease_scans = self.scans(_LEASE_MS)
        for channel in board.channels:
            c = self.base(channel.index)
            st[c + _C_ZERO] = _MID
            st[c + _C_MIN] = 4095
            st[c + _C_PEAK] = 8191  # never reached until a limit is set
            st[c + _C_SHORT] = (1 << 24) - 1  # x 64 scans is below 2**30
            st[c + _C_SHORT_MAX] = 1 << 29
            st[c + _C_TWICE] = 1 if channel.twice else 0
            if channel.kind == "sense" and not st[_SENSE]:
                st[_SENSE] = c
            mux = board.channels[(channel.index + 1) % self.n_ch].mux
            if mux is not None:
                for bit, pin in enumerate(board.mux_address):
                    if mux >> bit & 1:
                        st[c + _C_MUX] |= 1 << pin
        for outlet in board.outlets:
            c = self.base(outlet.channel)
            st[c + _C_BIT] = 1 << outlet.index
            st[c + _C_VSEL] = outlet.volts
            st[c + _C_BREAK] = _NO_BREAK
            if outlet.relay < 31:  # only the RP2040, with pins up to 29, opens by register
                st[c + _C_MASK] = 1 << outlet.relay
                st[_ALL_MASK] |= 1 << outlet.relay
        # Outlets that close() may energise at all, bits. What is closed when its bit goes is
        # opened in the same turn of the control lane, see gangs.py.
        self.allowed = st[_ALL_BITS]
        # Where an outlet's switching is planned: in its channel's words. The poles of a gang have
        # one relay, so one plan, the first one's; and what trips or holds one of them trips and
        # holds all: each has the bits of all in _C_BIT.
        self._plans = [self.base(x.channel) for x in board.outlets]
        for outlet in board.outlets:
            if outlet.gang:
                bits = 0
                for other in board.outlets:
                    if other.gang == outlet.gang:
                        bits |= 1 << other.index
                        at = min(self._plans[other.index], self._plans[outlet.index])
                        self._plans[other.index] = at
                c = self.base(outlet.channel)
                st[c + _C_BIT] = bits
                if self._permit is not None:
                    self._path |= bits
                    st[c + _C_MASK] |= st[_EXPORT_MASK]
        self._peak = [0] * self.n_ch  # limits asked for, counts; 0: none
        self.set_nominal_hz(60)

    def scans(self, ms: int) -> int:
        """How many scans `ms` milliseconds are, rounded up."""
        return (ms * 1000 + self.period_us - 1) // self.period_us

    def base(self, channel: int) -> int:
        """Offset of a channel's words in `st`."""
        return _HEAD_WORDS + _CH_WORDS * channel

    # -- limits (control task, on a settings change) ------------------------------------------

    def set_nominal_hz(self, hz: int):  # on demand
        """Length of a window without a zero crossing, and what counts as a cycle at all:
        35 to 80 Hz."""
        cycle = (1_000_000 // hz + self.period_us // 2) // self.period_us
        st = self.st
        st[_N_FREE] = cycle
        st[_N_MIN] = 1_000_000 // 80 // self.period_us
        st[_N_MAX] = min(1_000_000 // 35 // self.period_us, _MAX_WINDOW)
        if not st[_N_LIMIT]:
            st[_N_LIMIT] = cycle

    def set_peak(self, channel: int, counts: int):
        """Instantaneous limit; two consecutive scans above it open the outlet's relay.

        Lowered to what the converter can show on both sides of the channel's zero, because a
        limit beyond its range would never act."""
        self._peak[channel] = counts
        self.st[self.base(channel) + _C_PEAK] = self.peak(channel)

    def peak(self, channel: int) -> int:
        """What the limit asked for comes to, counts."""
        counts = self._peak[channel]
        zero = self.st[self.base(channel) + _C_ZERO]
        peak = min(counts, 4095 - zero - _PEAK_MARGIN, zero - _PEAK_MARGIN)
        return peak if counts else 8191

    def set_short_time(self, channel: int, mean_square: int, delay_ms: int):
        """Definite-time limit: windows above `mean_square` (counts^2) for `delay_ms` open it."""
        c = self.base(channel)
        self.st[c + _C_SHORT] = mean_square
        self.st[c + _C_SHORT_MAX] = self.scans(delay_ms)

    def set_break(self, channel: int, counts: int, wait_ms: int):
        """A peak trip that shows more than `counts` opens `wait_ms` later; 0: at once."""
        c = self.base(channel)
        self.st[c + _C_WAIT] = self.scans(wait_ms)
        self.st[c + _C_BREAK] = min(counts, _BREAK_TOP) if wait_ms else _NO_BREAK

    def watch(self, gpio: int, high: bool, outlets: int):  # on demand
        """Have the scan open the outlets of these bits when a pin is at its level for two scans;
        -1: none. Nothing happens where the scan does not read pins."""
        st = self.st
        st[_IN_MASK] = 0
        if gpio < 0 or not self.reads_pins:
            return
        relays = 0
        for outlet in self.board.outlets:
            if outlets >> outlet.index & 1:
                relays |= 1 << outlet.relay
        if outlets & self._path:
            relays |= st[_EXPORT_MASK]
        st[_IN_RELAYS] = relays
        st[_IN_BITS] = outlets
        st[_IN_INVERT] = 0 if high else 1 << gpio
        st[_IN_MASK] = 1 << gpio

    # -- lease ---------------------------------------------------------------------------------

    def renew_lease(self) -> bool:
        """The control lane is alive: relays may stay closed for another 3 s. As lease_lost()."""
        st = self.st
        st[_LEASE] = self.lease_scans
        return st[_LEASE_TRIPPED] != 0

    def lease_lost(self) -> bool:
        """Whether the lease ran out since the last acknowledge_lease()."""
        return self.st[_LEASE_TRIPPED] != 0

    def acknowledge_lease(self):
        for outlet in self.board.outlets:  # what is planned must not follow
            self.open(outlet.index)
        self.st[_LEASE_TRIPPED] = 0

    # -- relays --------------------------------------------------------------------------------

    def close(self, outlet: int, at: int = -1) -> bool:
        """Energise the relay, at the scan `at` if that is still to come, else now. False (and
        nothing done) while it is not `allowed`, a fast trip is not acknowledged or the lease is
        lost; when one comes in between, or open(), it stays open."""
        st = self.st
        pin = self._pins[outlet]
        c = self._plans[outlet]
        bits = st[c + _C_BIT]
        if bits & ~self.allowed:
            return False
        irq = machine.disable_irq()  # no calls from here on: it holds the scan up
        held = st[_PEAK_TRIPS] | st[_SHORT_TRIPS] | st[_GROUND_TRIPS] | st[_WAITING]
        free = not held & bits and not st[_LEASE_TRIPPED]
        if free:
            if st[c + _C_COUNT] and not st[c + _C_MAKE]:
                pin.value(0)  # an opening that was still to come
            left = (at - st[_SCANS]) & _SCAN_MASK
            if at < 0 or left > _SOON:
                left = 0
            st[c + _C_MAKE] = 1
            st[c + _C_COUNT] = left
            if left:
                st[_BUSY] = 1
            else:
                pin.value(1)
        machine.enable_irq(irq)
        # A soft timer is not held back by disable_irq() and may have tripped in between.
        if free and not self._is_free(bits):
            self.open(outlet)
            free = False
        return free

    def _is_free(self, bits: int) -> bool:
        st = self.st
        held = st[_PEAK_TRIPS] | st[_SHORT_TRIPS] | st[_GROUND_TRIPS] | st[_WAITING]
        return not held & bits and not st[_LEASE_TRIPPED]

    def open(self, outlet: int, at: int = -1):
        """De-energise the relay, at the scan `at` if that is still to come, else now. What was
        planned for it is forgotten, but for a trip that counts down."""
        st = self.st
        pin = self._pins[outlet]
        c = self._plans[outlet]
        left = 0
        irq = machine.disable_irq()
        if not st[_WAITING] & st[c + _C_BIT]:
            left = (at - st[_SCANS]) & _SCAN_MASK
            if at < 0 or left > _SOON:
                left = 0
            st[c + _C_MAKE] = 0
            st[c + _C_COUNT] = left
        if left:
            st[_BUSY] = 1
        else:
            pin.value(0)
        machine.enable_irq(irq)

    def permit(self, on: bool) -> bool:
        """Let the inverter export, or no more. False (and nothing permitted) while a fast trip in
        its path is not acknowledged or the lease is lost."""
        pin = self._permit
        if pin is None:
            return not on
        if not on:
            pin.value(0)
            return True
        st = self.st
        path = self._path
        irq = machine.disable_irq()  # as in close()
        held = st[_PEAK_TRIPS] | st[_SHORT_TRIPS] | st[_GROUND_TRIPS] | st[_WAITING]
        free = not held & path and not st[_LEASE_TRIPPED]
        if free:
            pin.value(1)
        machine.enable_irq(irq)
        if free and not self._is_free(path):  # as there: a soft timer has tripped
            pin.value(0)
            free = False
        return free

    def permits(self) -> bool:
        """Whether the inverter may export, as the pin says: this lane may have taken it away."""
        return self._permit is not None and self._permit.value() == 1

    def open_all(self):
        """De-energise every relay and the main contactor; nothing is exported."""
        self.permit(False)
        for outlet in self.board.outlets:
            self.open(outlet.index)
        self.contactor(False)

    def now(self) -> int:
        """Number of the last scan, modulo 2**29."""
        return self.st[_SCANS]

    def contactor(self, closed: bool):
        """The main contactor upstream of all outlets, where the board has one."""
        if self._contactor is not None:
            self._contactor.value(1 if closed else 0)
        self.contactor_closed = closed

    def astray(self, on: int) -> int:
        """Bits of the outlets whose relay pin is not at the level that `on` (bits) says, and the
        bit after theirs for the contactor. What is being switched does not count (self-test)."""
        st = self.st
        held = st[_PEAK_TRIPS] | st[_SHORT_TRIPS] | st[_GROUND_TRIPS] | st[_WAITING]
        bits = 0
        i = 0
        for pin in self._pins:
            c = self._plans[i]
            if not held >> i & 1 and not st[c + _C_COUNT] and pin.value() != on >> i & 1:
                bits |= 1 << i
            i += 1
        pin = self._contactor
        if pin is not None and pin.value() != (1 if self.contactor_closed else 0):
            bits |= 1 << i
        return 0 if st[_LEASE_TRIPPED] else bits

    def fast_trips(self) -> int:
        """Bits of the outlets that this lane has opened and nobody has acknowledged."""
        return self.st[_PEAK_TRIPS] | self.st[_SHORT_TRIPS] | self.st[_GROUND_TRIPS]

    def is_ground_trip(self, outlet: int) -> bool:
        return self.st[_GROUND_TRIPS] >> outlet & 1 == 1

    def is_peak_trip(self, outlet: int) -> bool:
        return self.st[_PEAK_TRIPS] >> outlet & 1 == 1

    def excursion(self, channel: int) -> int:
        """Largest distance from mid-scale in the open window and in those that still wait for the
        control lane, counts: what a peak trip reached."""
        st = self.st
        ring = self.ring
        c = self.base(channel)
        high = st[c + _C_MAX]
        low = st[c + _C_MIN]
        slot = st[_TAIL]
        while slot != st[_HEAD]:
            at = slot * self.words + _SLOT_HEAD + _SLOT_CH * channel
            if ring[at + 4] > high:
                high = ring[at + 4]
            if ring[at + 3] < low:
                low = ring[at + 3]
            slot += 1
            if slot >= _RING_SLOTS:
                slot = 0
        return max(high - _MID, _MID - low, st[c + _C_MOST])

    def trip_square(self, channel: int) -> int:
        """Mean square of the window that ended a short-time trip, counts^2."""
        return self.st[self.base(channel) + _C_TRIP]

    def acknowledge_trip(self, outlet: int):
        """The trip is recorded and latched by the control lane."""
        self.open(outlet)
        keep = ~(1 << outlet)
        st = self.st
        irq = machine.disable_irq()
        st[self.base(self.board.outlets[outlet].channel) + _C_MOST] = 0
        st[_PEAK_TRIPS] &= keep
        st[_SHORT_TRIPS] &= keep
        st[_GROUND_TRIPS] &= keep
        machine.enable_irq(irq)

    # -- windows -------------------------------------------------------------------------------

    def window(self) -> int:
        """Offset in `ring` of the oldest finished window, or -1. It stays valid until
        release_window()."""
        tail = self.st[_TAIL]
        if tail == self.st[_HEAD]:
            return -1
        return tail * self.words

    def release_window(self):
        tail = self.st[_TAIL] + 1
        self.st[_TAIL] = 0 if tail >= _RING_SLOTS else tail

    def pause_ms(self) -> int:
        """How long there will be nothing to do for the control lane, ms: until the open window is
        expected to end, 2 at least; 0 while a window waits."""
        st = self.st
        left = (st[_N_FREE] - st[_N]) * self.period_us // 1000  # before the look at the ring
        if st[_TAIL] != st[_HEAD]:
            return 0
        return left + 2 if left > 0 else 2

    def windows_merged(self) -> int:
        """Windows that were added to their predecessor because the control lane was late."""
        return self.st[_MERGED]

    def windows_lost(self) -> int:
        """Windows lost for good: the control lane was away for more than about 4 s."""
        return self.st[_LOST]

    def check_e11(self):
        """Is the flaw the one that the kernel corrects? (Control task, now and then.)

        A code nine steps wide is hit 2.25 times as often as the four steps beside it. Without the
        flaw it is a quarter, and where the wide code has swallowed those beside it, and shifts
        nothing, they are never hit: then the correction would be the error. The limits lie 5 sigma
        of 128 hits from each."""
        st = self.st
        wide = st[_E11_WIDE]
        beside = st[_E11_BESIDE]
        if wide + beside >= _E11_HITS:
            if not 2 * beside < 3 * wide < 48 * beside:
                st[_E11] = 0
            st[_E11_WIDE] = st[_E11_BESIDE] = 0

    def ring_khz(self) -> int:
        """Frequency of an oscillator other than the scan's, as the scan's clock sees it; 0: there
        is none (self-test)."""
        return 0

    def revive(self) -> bool:
        """Start the scan again if it stands still, which it cannot here; whether it did."""
        return False

    def silent_scans(self) -> int:
        """Scans in which the converter did not answer in time, modulo 2**29."""
        return self.st[_SILENT]

    def overruns(self) -> int:
        """Scans that came half a period late or more (soft timers only), modulo 2**29."""
        return self.st[_OVERRUNS]

    def wave_row(self, scan: int) -> int:
        """Which row of `wave` holds a scan; -1: it is not there any more, or not yet, or a record
        is kept."""
        st = self.st
        while True:
            now = st[_SCANS]
            row = st[_WAVE_POS]
            if now == st[_SCANS]:
                break
        back = (now - scan) & _SCAN_MASK
        rows = st[_WAVE_SCANS]
        if st[_WAVE_HOLD] >= 0 or back + 2 >= rows:
            return -1
        row -= back + 1
        return row + rows if row < 0 else row

    # -- waveforms -----------------------------------------------------------------------------

    def freeze_wave(self, outlet: int, event: int, was_on: bool):
        """Keep the last 300 ms, 60 ms of them still to come, as the record of this outlet's trip
        or fault (`event`: its journal record). Nothing happens while one is kept already."""
        # After a trip of its own the kernel is at it, or done.
        if self.st[_WAVE_HOLD] < 0:
            self.st[_WAVE_HOLD] = self.st[_WAVE_POST]
        if self.wave_outlet == _NOBODY:
            self.wave_outlet = outlet
            self.wave_event = event
            self.wave_was_on = was_on

    def hold_wave(self) -> bool:
        """Keep the 300 ms up to now (outer lane); False when a record is kept already."""
        st = self.st
        irq = machine.disable_irq()
        free = st[_WAVE_HOLD] < 0
        if free:
            st[_WAVE_HOLD] = 0
            self.wave_outlet = _LOOK
        machine.enable_irq(irq)
        return free

    def wave_frozen(self) -> bool:
        """The record is complete: nothing is written into `wave` any more."""
        return self.st[_WAVE_HOLD] == 0

    def run_wave(self):  # on demand
        """Forget a complete record and go on recording (outer lane)."""
        if self.st[_WAVE_HOLD]:
            return
        # The next trip may come before the ring is full again: its record must not begin with
        # the end of this one.
        wave = memoryview(self.wave)
        blank = memoryview(array("H", _BLANK))
        n = len(blank)
        for at in range(0, len(wave), n):
            if at + n > len(wave):
                n = len(wave) - at
            wave[at : at + n] = blank[:n]
        self.wave_outlet = _NOBODY
        self.wave_event = self.wave_release_s = 0
        self.st[_WAVE_HOLD] = -1

    def zero(self, channel: int) -> int:
        """The code that the kernel takes for zero."""
        return self.st[self.base(channel) + _C_ZERO]

    def move_zero(self, channel: int, counts: int):
        """Shift the code that the kernel takes for zero (control task, while it learns)."""
        self.st[self.base(channel) + _C_ZERO] += counts
        if self._peak[channel]:
            self.set_peak(channel, self._peak[channel])
