# The fast lane's state and what the other lanes may do with it: limits, lease, relays, windows,
# waveforms. The samplers (rp2.py, portable.py) build on it and add converter, timer and pins.
# Called by: boot (set-up), control task (windows, relays, lease). The scan itself is
# sensing/kernel*.py, called by the timer.

from array import array
from binascii import hexlify

import machine
from micropython import const

_RING_SLOTS = const(16)
_WAVE_MS = const(300)
_WAVE_POST_MS = const(60)
_LEASE_MS = const(3000)
_MID = const(2048)
_PEAK_MARGIN = const(16)
_MAX_WINDOW = const(64)
# The layout of the state block and of a window, as sensing/kernel.py defines it. Repeated,
# because that module is loaded only where there is no machine code; a test compares them.
_N_CH = const(0)
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
_CH_WORDS = const(17)
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
_HEAD_WORDS = const(32)
_C_MIN = const(3)
_C_MAX = const(4)
_C_ZERO = const(5)
_C_PEAK = const(6)
_C_VSEL = const(8)
_C_BIT = const(9)
_C_MASK = const(10)
_C_MUX = const(11)
_C_SHORT = const(12)
_C_SHORT_MAX = const(14)


class FastLane:
    """State block, window ring, waveform ring and relay pins for one board."""

    def __init__(self, board):
        self.board = board
        self.period_us = board.scan_period_us
        self.n_ch = len(board.channels)
        self.words = _SLOT_HEAD + 5 * self.n_ch
        self.st = st = array("i", bytes(4 * (_HEAD_WORDS + _CH_WORDS * self.n_ch)))
        self.ring = array("i", bytes(4 * _RING_SLOTS * self.words))
        wave_scans = self.scans(_WAVE_MS)
        self.wave = array("H", bytes(2 * wave_scans * self.n_ch))
        self._pins = [machine.Pin(o.relay, machine.Pin.OUT, value=0) for o in board.outlets]
        self._contactor = None
        if board.contactor is not None:
            self._contactor = machine.Pin(board.contactor, machine.Pin.OUT, value=0)
        self.contactor_closed = False
        st[_N_CH] = self.n_ch
        st[_N_VOLT] = board.voltages
        st[_SLOTS] = _RING_SLOTS
        st[_HYST] = 60
        st[_PEAK_SCANS] = 2
        st[_WAVE_SCANS] = wave_scans
        st[_WAVE_HOLD] = -1
        st[_WAVE_POST] = self.scans(_WAVE_POST_MS)
        st[_ALL_BITS] = (1 << len(board.outlets)) - 1
        self.lease_scans = self.scans(_LEASE_MS)
        for channel in board.channels:
            c = self.base(channel.index)
            st[c + _C_ZERO] = _MID
            st[c + _C_MIN] = 4095
            st[c + _C_PEAK] = 8191  # never reached until a limit is set
            st[c + _C_SHORT] = (1 << 24) - 1  # x 64 scans is below 2**30
            st[c + _C_SHORT_MAX] = 1 << 29
            if channel.mux is not None:
                mask = 0
                for bit, pin in enumerate(board.mux_address):
                    if channel.mux >> bit & 1:
                        mask |= 1 << pin
                st[c + _C_MUX] = mask
        for outlet in board.outlets:
            c = self.base(outlet.channel)
            st[c + _C_BIT] = 1 << outlet.index
            st[c + _C_VSEL] = outlet.volts
            if outlet.relay < 31:  # only the RP2040, with pins up to 29, opens by register
                st[c + _C_MASK] = 1 << outlet.relay
                st[_ALL_MASK] |= 1 << outlet.relay
        self._peak = [0] * self.n_ch  # limits asked for, counts; 0: none
        self.set_nominal_hz(60)

    def scans(self, ms: int) -> int:
        """How many scans `ms` milliseconds are, rounded up."""
        return (ms * 1000 + self.period_us - 1) // self.period_us

    def base(self, channel: int) -> int:
        """Offset of a channel's words in `st`."""
        return _HEAD_WORDS + _CH_WORDS * channel

    # -- limits (control task, on a settings change) ------------------------------------------

    def set_nominal_hz(self, hz: int):
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
        c = self.base(channel)
        zero = self.st[c + _C_ZERO]
        self.st[c + _C_PEAK] = min(counts, 4095 - zero - _PEAK_MARGIN, zero - _PEAK_MARGIN)

    def set_short_time(self, channel: int, mean_square: int, delay_ms: int):
        """Definite-time limit: windows above `mean_square` (counts^2) for `delay_ms` open it."""
        c = self.base(channel)
        self.st[c + _C_SHORT] = mean_square
        self.st[c + _C_SHORT_MAX] = self.scans(delay_ms)

    # -- lease ---------------------------------------------------------------------------------

    def renew_lease(self):
        """The control lane is alive: relays may stay closed for another 3 s."""
        self.st[_LEASE] = self.lease_scans

    def lease_lost(self) -> bool:
        """Whether the lease ran out since the last acknowledge_lease()."""
        return self.st[_LEASE_TRIPPED] != 0

    def acknowledge_lease(self):
        self.st[_LEASE_TRIPPED] = 0

    # -- relays --------------------------------------------------------------------------------

    def close(self, outlet: int) -> bool:
        """Energise the relay; False (and nothing done) while a fast trip is not acknowledged
        or the lease is lost."""
        st = self.st
        bit = 1 << outlet
        irq = machine.disable_irq()
        free = not (st[_PEAK_TRIPS] | st[_SHORT_TRIPS]) & bit and not st[_LEASE_TRIPPED]
        if free:
            self._pins[outlet].value(1)
        machine.enable_irq(irq)
        # A soft timer is not held back by disable_irq() and may have tripped in between.
        if free and ((st[_PEAK_TRIPS] | st[_SHORT_TRIPS]) & bit or st[_LEASE_TRIPPED]):
            self._pins[outlet].value(0)
            free = False
        return free

    def open(self, outlet: int):
        """De-energise the relay."""
        self._pins[outlet].value(0)

    def open_all(self):
        """De-energise every relay and the main contactor."""
        for pin in self._pins:
            pin.value(0)
        self.contactor(False)

    def contactor(self, closed: bool):
        """The main contactor upstream of all outlets, where the board has one."""
        if self._contactor is not None:
            self._contactor.value(1 if closed else 0)
        self.contactor_closed = closed

    def fast_trips(self) -> int:
        """Bits of the outlets that this lane has opened and nobody has acknowledged."""
        return self.st[_PEAK_TRIPS] | self.st[_SHORT_TRIPS]

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
            at = slot * self.words + _SLOT_HEAD + 5 * channel
            if ring[at + 4] > high:
                high = ring[at + 4]
            if ring[at + 3] < low:
                low = ring[at + 3]
            slot += 1
            if slot >= _RING_SLOTS:
                slot = 0
        return max(high - _MID, _MID - low, 0)

    def trip_square(self, channel: int) -> int:
        """Mean square of the window that ended a short-time trip, counts^2."""
        return self.st[self.base(channel) + _C_TRIP]

    def acknowledge_trip(self, outlet: int):
        """The trip is recorded and latched by the control lane."""
        self.open(outlet)
        keep = ~(1 << outlet)
        st = self.st
        irq = machine.disable_irq()
        st[_PEAK_TRIPS] &= keep
        st[_SHORT_TRIPS] &= keep
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

    def windows_merged(self) -> int:
        """Windows that were added to their predecessor because the control lane was late."""
        return self.st[_MERGED]

    def windows_lost(self) -> int:
        """Windows lost for good: the control lane was away for more than about 4 s."""
        return self.st[_LOST]

    # -- waveforms -----------------------------------------------------------------------------

    def freeze_wave(self):
        """Keep the last 300 ms, 60 ms of them still to come."""
        if self.st[_WAVE_HOLD] < 0:
            self.st[_WAVE_HOLD] = self.st[_WAVE_POST]

    def wave_frozen(self) -> bool:
        return self.st[_WAVE_HOLD] == 0

    def wave_hex(self, channel: int) -> str:
        """All codes of a channel, oldest first, four hexadecimal digits each (outer lane)."""
        wave = self.wave
        n_ch = self.n_ch
        size = len(wave)
        at = self.st[_WAVE_POS] * n_ch + channel
        codes = bytearray(self.st[_WAVE_SCANS] * 2)
        i = 0
        while i < len(codes):
            if at >= size:
                at -= size
            code = wave[at]
            codes[i] = code >> 8
            codes[i + 1] = code & 255
            at += n_ch
            i += 2
        return hexlify(bytes(codes)).decode()

    def zero(self, channel: int) -> int:
        """The code that the kernel takes for zero."""
        return self.st[self.base(channel) + _C_ZERO]

    def move_zero(self, channel: int, counts: int):
        """Shift the code that the kernel takes for zero (control task, while it learns)."""
        self.st[self.base(channel) + _C_ZERO] += counts
        if self._peak[channel]:
            self.set_peak(channel, self._peak[channel])

    def run_wave(self):
        self.st[_WAVE_HOLD] = -1
