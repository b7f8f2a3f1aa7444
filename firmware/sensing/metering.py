# Finished windows -> corrected sums, RMS, power, energy, frequency. Integers only, no allocation:
# called by the control task once a mains cycle. What people read (floats, SI units) is made from
# the ten-cycle sums by report.py, in the outer lane.
#
# Units: counts are converter codes minus the channel's zero. A channel's `ma_q8` is mA per count
# x 256 (current) or mV per count x 256 (voltage).

from micropython import const

from firmware.sensing import kernel as k

_W_N = const(0)
_W_PERIODS = const(1)
_W_LOCKED = const(2)
_W_BEFORE = const(3)
_W_AFTER = const(4)
_SLOT_HEAD = const(6)
_BLOCK_CYCLES = const(10)  # IEC 61000-4-30 uses 10 cycles (50 Hz) or 12 (60 Hz) for display
_ACC_SHIFT = const(4)  # ten windows of squares must stay below 2**30
_LEARN_CURRENT = const(3)  # zero tracking: 1/8 of the difference a window
_LEARN_VOLTAGE = const(6)  # slower: a window is a cycle give or take a scan
_LEARN_NOISE = const(4)
_NOISE_LIMIT = const(100)  # counts^2: 10 counts RMS and more is current, not noise
_DEFICIT = const(-(1 << 28))
_RESIDUE_LIMIT = const(160)  # 1/256 counts: above it the kernel's integer zero moves
_MWH_JOULES = 3.6


class ChannelMeter:
    """Sums of one channel: the last cycle for protection, ten cycles for display."""

    def __init__(self, channel, unit_per_count: float):
        self.channel = channel
        self.index = channel.index
        self.offset = k.SLOT_HEAD + 5 * channel.index
        self.unit_per_count = unit_per_count  # mA, mV
        self.noise_q8 = 0  # variance of the noise, counts^2 x 256, learnt while nothing flows
        self.residue = 0  # true zero minus the kernel's zero, 1/256 counts
        # one cycle
        self.raw_sq = 0  # sum of squares, counts^2, zero removed
        self.sq = 0  # the same without the noise; may be slightly negative
        self.rms_q3 = 0  # RMS, counts x 8
        self.mean_q4 = 0  # mean, counts x 16
        self.low = 0  # smallest and largest code
        self.high = 0
        # the open ten-cycle block and the last finished one: scans, squares >> 4, power >> 4
        self._n = 0
        self._sq = 0
        self._vx = 0
        self.block_n = 0
        self.block_sq = 0
        self.block_vx = 0

    def close_block(self):
        self.block_n = self._n
        self.block_sq = self._sq
        self.block_vx = self._vx
        self._n = self._sq = self._vx = 0

    def rms(self) -> float:
        """RMS over the last ten cycles, mA or mV (allocates: outer lane only)."""
        if not self.block_n or self.block_sq <= 0:
            return 0.0
        return (self.block_sq * 16.0 / self.block_n) ** 0.5 * self.unit_per_count


class Energy:
    """A counter of energy from sums of v x i: exact, because the remainder is carried."""

    def __init__(self, sum_per_mwh: int):
        self.sum_per_mwh = sum_per_mwh
        self._rest = 0
        self.mwh = 0  # below one kWh
        self.kwh = 0

    def add(self, vx: int):
        """Add one window's sum (counts^2); negative sums (export) take away from the rest."""
        rest = self._rest + vx
        if rest >= self.sum_per_mwh:
            step = rest // self.sum_per_mwh
            rest -= step * self.sum_per_mwh
            self.mwh += step
            if self.mwh >= 1_000_000:
                self.mwh -= 1_000_000
                self.kwh += 1
        elif rest < _DEFICIT:
            # A counter never runs backwards; noise may dip below zero, or its rectified part
            # would count as energy.
            rest = _DEFICIT
        self._rest = rest

    def total_kwh(self) -> float:
        return self.kwh + self.mwh / 1_000_000

    def restore(self, kwh: int, mwh: int):
        self.kwh = kwh
        self.mwh = mwh


class Meter:
    """All channels of a board. `take(ring, offset)` accounts for one finished window."""

    def __init__(self, fast):
        board = fast.board
        self.board = board
        self.fast = fast
        self.period_us = fast.period_us
        self.gains = [1.0] * len(board.channels)  # calibrated, against the board's nominal
        self.channels = [ChannelMeter(c, c.full_scale / 2048) for c in board.channels]
        self.volts = self.channels[: board.voltages]
        self.currents = [self.channels[o.channel] for o in board.outlets]
        self.energy = []
        self._w_div = []  # counts^2 per W x 64: power of one cycle
        self._vsel = [o.volts for o in board.outlets]
        self.power_w = [0] * len(board.outlets)  # one cycle
        for _ in board.outlets:
            self._w_div.append(1)
            self.energy.append(Energy(1))
        self._scale()
        self.n = 0  # scans of the last window
        self.periods = 0  # windows merged into it
        self.cycles = 0  # windows since start, modulo 2**30
        self.locked = False
        self._block = 0
        # frequency
        self._crossing_q10 = -1  # where the last crossing lay, 1/1024 scan
        self._f_scans = 0
        self._f_cycles = 0
        self.f_scans_q10 = 0  # finished: length of f_cycles cycles in 1/1024 scans
        self.f_cycles = 0
        self.frequency_mhz = 0  # 0 = unknown
        self._mhz_q8 = (1_000_000_000 // self.period_us) << 8

    def set_gain(self, channel: int, gain: float):
        """Calibrated gain of a channel, 1.0 = the board's nominal."""
        self.gains[channel] = gain
        meter = self.channels[channel]
        meter.unit_per_count = meter.channel.full_scale / 2048 * gain
        self._scale()

    def _scale(self):
        for outlet in self.board.outlets:
            w = self.watts_per_count2(outlet.index)
            self._w_div[outlet.index] = int(64 / w + 0.5)
            joules = w * self.period_us / 1e6  # of one count^2 in one scan
            self.energy[outlet.index].sum_per_mwh = int(_MWH_JOULES / joules + 0.5)

    def watts_per_count2(self, outlet: int) -> float:
        """W per (voltage count x current count) of an outlet."""
        current = self.channels[self.board.outlets[outlet].channel]
        return self.volts[0].unit_per_count * current.unit_per_count / 1e6

    def take(self, ring, at: int):
        """Account for the window at `at`: corrected one-cycle values, blocks, frequency.

        Energy is added for every merged window. Allocates nothing.
        """
        n = ring[at + _W_N]
        periods = ring[at + _W_PERIODS]
        self.periods = periods
        if periods > 1:
            n //= periods
        self.n = n
        self.cycles = (self.cycles + periods) & 0x3FFFFFFF
        self.locked = ring[at + _W_LOCKED] == 1
        for meter in self.channels:
            o = at + meter.offset
            sx = ring[o]
            sq = ring[o + 1]
            if periods > 1:
                sx //= periods
                sq = (sq // periods) << 6
            residue = meter.residue
            if residue:
                # sum (x - r)^2 = sum x^2 - 2 r sum x + n r^2, with r in 1/256
                sq += ((n * residue >> 8) - 2 * sx) * residue >> 8
            meter.raw_sq = sq
            sq -= n * meter.noise_q8 >> 8
            meter.sq = sq
            meter.mean_q4 = (sx << 4) // n
            meter.low = ring[o + 3]
            meter.high = ring[o + 4]
            meter._n += n
            meter._sq += (sq + 8) >> _ACC_SHIFT
            # square root by Newton's method from the last cycle's value, counts x 8
            s = (sq // n) << 6
            r = meter.rms_q3
            if s <= 0:
                r = 0
            else:
                if r == 0:
                    r = 64
                while True:
                    q = (r + s // r) >> 1
                    d = q - r
                    r = q
                    if -2 < d < 2:
                        break
            meter.rms_q3 = r
        i = 0
        for meter in self.currents:
            o = at + meter.offset
            vx = ring[o + 2]
            if periods > 1:
                vx = (vx // periods) << 6
            residue = meter.residue
            if residue:
                # the voltage's own mean is nearly zero: only its product with the residue counts
                vsel = self._vsel[i]
                sv = ring[at + self.volts[0].offset]
                if vsel and len(self.volts) > 1:
                    s2 = ring[at + self.volts[1].offset]
                    sv = s2 if vsel == 1 else sv - s2
                vx -= sv // periods * residue >> 8
            energy = self.energy[i]
            j = periods
            while j:
                energy.add(vx)
                j -= 1
            meter._vx += (vx + 8) >> _ACC_SHIFT
            self.power_w[i] = ((vx // n) << 6) // self._w_div[i]
            i += 1
        if len(self.volts) > 1:
            meter = self.volts[1]
            vx = ring[at + meter.offset + 2]
            if periods > 1:
                vx = (vx // periods) << 6
            meter._vx += (vx + 8) >> _ACC_SHIFT
        self._measure_frequency(ring, at, n, periods)
        self._block += 1
        if self._block >= _BLOCK_CYCLES:
            self._block = 0
            for meter in self.channels:
                meter.close_block()

    def _measure_frequency(self, ring, at: int, n: int, periods: int):
        if not self.locked or periods > 1:
            self._crossing_q10 = -1
            if not self.locked:
                self.frequency_mhz = 0
            return
        before = ring[at + _W_BEFORE]
        after = ring[at + _W_AFTER]
        rise = after - before
        crossing = (-before << 10) // rise if rise > 0 else 0
        if self._crossing_q10 >= 0:
            self._f_scans += (n << 10) + crossing - self._crossing_q10
            self._f_cycles += 1
            if self._f_cycles >= _BLOCK_CYCLES:
                self.f_scans_q10 = self._f_scans
                self.f_cycles = self._f_cycles
                cycle = self._f_scans // self._f_cycles
                self.frequency_mhz = self._mhz_q8 // (cycle >> 2)
                self._f_scans = 0
                self._f_cycles = 0
        else:
            self._f_scans = 0
            self._f_cycles = 0
        self._crossing_q10 = crossing

    def learn_zero(self, meter: ChannelMeter, is_current: bool):
        """Nothing flows in this channel (relay open), or it is a voltage, which has no DC part:
        track its zero, and a current's noise. Call it after take()."""
        shift = _LEARN_CURRENT if is_current else _LEARN_VOLTAGE
        residue = meter.residue  # true zero minus the kernel's, 1/256 count
        residue += ((meter.mean_q4 << 4) - residue) >> shift
        move = 0
        if residue > _RESIDUE_LIMIT:
            move = 1
        elif residue < -_RESIDUE_LIMIT:
            move = -1
        if move:
            self.fast.st[self.fast.base(meter.index) + k.C_ZERO] += move
            residue -= move << 8
        meter.residue = residue
        if is_current and meter.raw_sq < _NOISE_LIMIT * self.n:
            var = (meter.raw_sq << 8) // self.n
            meter.noise_q8 += (var - meter.noise_q8) >> _LEARN_NOISE

    def watts(self, outlet: int) -> float:
        """Real power over the last ten cycles, W (allocates: outer lane only)."""
        meter = self.currents[outlet]
        if not meter.block_n:
            return 0.0
        return meter.block_vx * 16.0 / meter.block_n * self.watts_per_count2(outlet)

    def supply_mv(self, which: int) -> float:
        """RMS voltage over ten cycles, mV: 0 = L1, 1 = L2, 2 = L1 to L2 (outer lane only)."""
        if len(self.volts) > 1:
            one, two = self.volts
            if which < 2:
                return self.volts[which].rms()
            # |v1 - v2|^2 = v1^2 + v2^2 - 2 v1 v2; the product is the second channel's power sum
            if not one.block_n:
                return 0.0
            square = (one.block_sq + two.block_sq - 2 * two.block_vx) * 16.0 / one.block_n
            return max(square, 0.0) ** 0.5 * one.unit_per_count
        return self.volts[0].rms() * (2 if which == 2 else 1)

    def hertz(self) -> float:
        """Frequency over the last ten cycles, Hz; 0.0 when unknown (outer lane only)."""
        if not self.frequency_mhz or not self.f_scans_q10:
            return 0.0
        return self.f_cycles * 1e6 * 1024 / (self.f_scans_q10 * self.period_us)
