# What the finished windows say: RMS, power, energy, frequency. take() is called by the control
# task once a mains cycle (integers, no allocation; the arithmetic is reduce.py's). What people
# read (floats, SI units) is made from the running means in the outer lane.

import math
from array import array

from micropython import const

_W_LOCKED = const(2)
_W_BEFORE = const(3)
_W_AFTER = const(4)
_W_SCAN = const(5)
_BLOCK_CYCLES = const(10)
_LEARN_CURRENT = const(3)  # zero tracking: 1/8 of the difference a window, at first
_LEARN_VOLTAGE = const(6)  # slower: a window is a cycle give or take a scan
_LEARN_NOISE = const(16)
# Angles are made into parts of a scan at a frequency between 50 and 60 Hz; reduce.py follows the
# real one. What is left of 10 degrees at either: 0.02 degrees, and 0.15 % of the amplitude.
_DESIGN_HZ = const(55)
_NEVER = const(1 << 29)
_SCAN_MASK = const(0x1FFFFFFF)
_RECENT = const(240)  # scans: 5 cycles of 50 Hz on the RP2040
_MWH_JOULES = 3.6
# The block's layout, as reduce.py defines it (loaded only where there is no machine code); a
# test compares them.
_B_MOVE = const(6)
_B_PERIODS = const(3)
_B_N = const(2)
_B_CHANNELS = const(0)
_B_VOLTS = const(1)
_B_HEAD = const(7)
_M_RESIDUE = const(0)
_M_VSEL = const(15)
_M_W_DIV = const(16)
_M_E_UNIT = const(19)
_M_E_MWH = const(20)
_M_E_KWH = const(21)
_M_WELD = const(23)
_M_LEARN = const(24)
_M_ZERO = const(25)
_M_SKEW = const(30)
_M_LEAD = const(31)
_M_AVG_SQ = const(33)
_M_AVG_VX = const(35)
_M_WORDS = const(41)


class ChannelMeter:
    """One channel's place in the block, and its readings in mA or mV."""

    def __init__(self, block, channel):
        self.channel = channel
        self.index = channel.index
        self.at = _B_HEAD + _M_WORDS * channel.index
        self._block = block
        self.unit_per_count = channel.full_scale / 2048  # mA or mV

    def word(self, which: int) -> int:
        """A word of the block: M_RMS, M_LOW …"""
        return self._block[self.at + which]

    def set_word(self, which: int, value: int):
        self._block[self.at + which] = value

    def learn_zero(self, on: bool):
        """Track zero and noise: nothing flows in this channel (its relay is open)."""
        self._block[self.at + _M_LEARN] = _LEARN_CURRENT | _LEARN_NOISE if on else 0

    def rms(self) -> float:
        """RMS over about the last four seconds, or since it changed: ten cycles at least (outer
        lane); mA or mV."""
        return max(self.word(_M_AVG_SQ) / 64, 0.0) ** 0.5 * self.unit_per_count


def _parts(degrees: float, theta: float) -> float:
    """By how many scans, each `theta` (rad) of the mains, a sine is to be continued along its
    last change to lead itself by so many degrees: v + parts x (v - the v before).

    With e = exp(-j theta) that is 1 + parts x (1 - e), whose angle this solves for.
    """
    tan = math.tan(math.radians(degrees))
    return tan / (math.sin(theta) - tan * (1 - math.cos(theta)))


class Meter:
    """All channels of a board. `kernel`: reduce.reduce or its twin."""

    def __init__(self, fast, kernel):  # on demand: boot
        board = fast.board
        self.board = board
        self.fast = fast
        self.period_us = fast.period_us
        self._kernel = kernel
        self.block = array("i", bytes(4 * (_B_HEAD + _M_WORDS * len(board.channels))))
        self.block[_B_CHANNELS] = len(board.channels)
        self.block[_B_VOLTS] = board.voltages
        self.gains = [1.0] * len(board.channels)  # calibrated, against the board's nominal
        self.phases = [0.0] * len(board.channels)  # degrees by which a sensor's output leads
        self._straighten = [1.0] * len(board.outlets)
        self.channels = [ChannelMeter(self.block, c) for c in board.channels]
        self.volts = self.channels[: board.voltages]
        self.currents = [self.channels[o.channel] for o in board.outlets]
        for meter in self.channels:
            meter.set_word(_M_WELD, _NEVER)
            meter.set_word(_M_ZERO, fast.zero(meter.index))
        for meter in self.volts:
            meter.set_word(_M_LEARN, _LEARN_VOLTAGE)
        for outlet in board.outlets:
            self.currents[outlet.index].set_word(_M_VSEL, outlet.volts)
        self._scale()
        self.n = 0  # scans of the last window
        self.periods = 0  # windows merged into it
        self.scan = 0  # the scan behind it
        self.locked = False
        # frequency
        self._crossing_q10 = -1  # where the last crossing lay, 1/1024 scan
        self._crossing_scan = 0  # the scan behind it
        self._f_scans = 0
        self._f_cycles = 0
        self._f_scans_done = 0  # length of _f_cycles_done cycles in 1/1024 scans
        self._f_cycles_done = 0
        self.frequency_mhz = 0  # 0 = unknown
        self._mhz_q8 = (1_000_000_000 // self.period_us) << 8

    def set_gain(self, channel: int, gain: float):
        """Calibrated gain of a channel, 1.0 = the board's nominal."""
        self.gains[channel] = gain
        meter = self.channels[channel]
        meter.unit_per_count = meter.channel.full_scale / 2048 * gain
        self._scale()

    def set_phase(self, channel: int, degrees: float):
        """Calibrated phase of a current channel: degrees of the mains (-10 to 10) by which its
        sensor's output leads the current, as a loaded current transformer's does."""
        self.phases[channel] = degrees
        self._scale()

    def _align(self, outlet, meter):
        """Have reduce.py take the outlet's voltage at the instant that its current shows."""
        skew = self.board.skew_us
        volts = skew[0]
        if outlet.volts and len(self.volts) > 1:
            volts = skew[1] if outlet.volts == 1 else (skew[0] + skew[1]) / 2
        hz_us = _DESIGN_HZ * 1e-6
        theta = 2 * math.pi * hz_us * self.period_us
        late = 360 * hz_us * (skew[meter.index] - volts)  # degrees
        angle = late + self.phases[meter.index]
        parts = _parts(late, theta)
        meter.set_word(_M_SKEW, round(parts * 1024))
        # so many scans in a window are a cycle, and the lead is an angle of it
        lead = (_parts(angle, theta) - parts) * theta / (2 * math.pi)
        meter.set_word(_M_LEAD, round(lead * 65536))
        # Continued along a chord, a sine gets too large: its real part is to be 1 again.
        angle = math.radians(angle)
        self._straighten[outlet.index] = math.cos(angle) - math.sin(angle) * math.tan(theta / 2)

    def _scale(self):
        for outlet in self.board.outlets:
            self._align(outlet, self.currents[outlet.index])
            w = self.watts_per_count2(outlet.index)
            joules = w * self.period_us / 1e6  # of one count^2 in one scan
            meter = self.currents[outlet.index]
            meter.set_word(_M_W_DIV, int(64 / w + 0.5))
            meter.set_word(_M_E_UNIT, int(_MWH_JOULES / joules + 0.5))

    def watts_per_count2(self, outlet: int) -> float:
        """W per (voltage count x current count) of an outlet, the voltage taken as _align()
        has it taken."""
        volts = self.volts[0].unit_per_count
        which = self.board.outlets[outlet].volts
        if which and len(self.volts) > 1:
            two = self.volts[1].unit_per_count
            # across both legs the kernel adds counts of two gains: their mean is right to 1 %
            volts = two if which == 1 else (volts + two) / 2
        watts = volts * self.currents[outlet].unit_per_count / 1e6
        return watts * self._straighten[outlet]

    # -- control lane --------------------------------------------------------------------------

    def take(self, ring, at: int):
        """Account for the finished window at `at`. Allocates nothing."""
        block = self.block
        self._kernel(block, ring, at)
        self.n = block[_B_N]
        self.periods = block[_B_PERIODS]
        self.scan = ring[at + _W_SCAN]
        if block[_B_MOVE]:
            self._move_zeros()
        if ring[at + _W_LOCKED] and self.periods == 1:
            rise = ring[at + _W_AFTER] - ring[at + _W_BEFORE]
            crossing = (-ring[at + _W_BEFORE] << 10) // rise if rise > 0 else 0
            if self._crossing_q10 >= 0:
                self._f_scans += (self.n << 10) + crossing - self._crossing_q10
                self._f_cycles += 1
                if self._f_cycles >= _BLOCK_CYCLES:
                    self._count_frequency()
            self._crossing_q10 = crossing
            self._crossing_scan = ring[at + _W_SCAN]
            self.locked = True
        else:
            # merged windows have no single crossing; without one there is no frequency
            self._crossing_q10 = -1
            self._f_scans = 0
            self._f_cycles = 0
            if self.periods == 1:
                self.locked = False
                self.frequency_mhz = 0

    def _count_frequency(self):
        self.fast.check_e11()
        self._f_scans_done = self._f_scans
        self._f_cycles_done = self._f_cycles
        cycle = self._f_scans // self._f_cycles
        self.frequency_mhz = self._mhz_q8 // (cycle >> 2)
        self._f_scans = 0
        self._f_cycles = 0

    def cycle_us(self) -> int:
        """Length of a cycle in us, 0: unknown."""
        if not self.frequency_mhz:
            return 0
        return self._f_scans_done // self._f_cycles_done * self.period_us >> 10

    def since_zero_us(self, scan: int) -> int:
        """Time from the last rising zero crossing of L1 to a scan, us; -1: none in the last
        cycles, or windows came merged."""
        scans = (scan - self._crossing_scan + 1) & _SCAN_MASK
        if self._crossing_q10 < 0 or scans > _RECENT:
            return -1
        return scans * self.period_us - (self._crossing_q10 * self.period_us >> 10)

    def move_zero(self, channel: int, counts: int):
        """Shift the code that the kernel takes for a channel's zero; whoever does so says in
        M_RESIDUE what is left."""
        self.fast.move_zero(channel, counts)
        self.channels[channel].set_word(_M_ZERO, self.fast.zero(channel))

    def _move_zeros(self):
        """The learnt zero is a count or more away from the kernel's: move that one."""
        bits = self.block[_B_MOVE]
        for meter in self.channels:
            if bits >> meter.index & 1:
                residue = meter.word(_M_RESIDUE)
                counts = (residue + 128) >> 8
                self.move_zero(meter.index, counts)
                meter.set_word(_M_RESIDUE, residue - (counts << 8))

    # -- outer lane ----------------------------------------------------------------------------

    def watts(self, outlet: int) -> float:
        """Real power over the same time as rms(), W."""
        return self.currents[outlet].word(_M_AVG_VX) / 64 * self.watts_per_count2(outlet)

    def supply_mv(self, which: int) -> float:
        """RMS voltage over the same time as rms(), mV: 0 = L1, 1 = L2, 2 = L1 to L2."""
        one = self.volts[0]
        if len(self.volts) < 2:
            return one.rms() * (2 if which == 2 else 1)
        two = self.volts[1]
        if which < 2:
            return self.volts[which].rms()
        # |v1 - v2|^2 = v1^2 + v2^2 - 2 v1 v2; the product is the second channel's power sum
        u1 = one.unit_per_count
        u2 = two.unit_per_count
        squares = u1 * u1 * one.word(_M_AVG_SQ) + u2 * u2 * two.word(_M_AVG_SQ)
        squares -= 2 * u1 * u2 * two.word(_M_AVG_VX)
        return max(squares / 64, 0.0) ** 0.5

    def hertz(self) -> float:
        """Frequency over the last ten cycles, Hz; 0.0 when unknown."""
        if not self.frequency_mhz or not self._f_scans_done:
            return 0.0
        return self._f_cycles_done * 1024e6 / (self._f_scans_done * self.period_us)

    def energy_mwh(self, outlet: int) -> int:
        """Energy delivered by an outlet since its counter began, mWh."""
        meter = self.currents[outlet]
        return meter.word(_M_E_KWH) * 1_000_000 + meter.word(_M_E_MWH)

    def restore_energy(self, outlet: int, mwh: int):
        """Continue a counter that was saved."""
        meter = self.currents[outlet]
        meter.set_word(_M_E_KWH, mwh // 1_000_000)
        meter.set_word(_M_E_MWH, mwh % 1_000_000)
