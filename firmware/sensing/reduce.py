# One finished window of all channels -> corrected sums, RMS, power, energy, plausibility flags,
# learnt zero. In plain Python: the definition; reduce_viper.py says the same in machine code, and
# a differential test holds the two equal. Called by the control task through metering.Meter.
#
# The block b, array('i'): header, then M_WORDS per channel. Allocates nothing; all values stay
# within +-2**30 for |x| <= 4095 and at most 64 scans a window.

from micropython import const

# header
B_CHANNELS = const(0)
B_VOLTS = const(1)  # voltage channels
B_N = const(2)  # scans of the window
B_PERIODS = const(3)  # windows merged into it
B_BLOCK = const(4)  # cycles in the open ten-cycle block
B_FLAGS = const(5)  # all outlets' flags together
B_MOVE = const(6)  # bits of the channels whose kernel zero has to move
B_HEAD = const(7)

# words per channel
M_RESIDUE = const(0)  # true zero minus the kernel's zero, 1/256 count
M_NOISE = const(1)  # variance of the noise, counts^2 x 256
M_RAW = const(2)  # sum of squares, counts^2, zero removed
M_SQ = const(3)  # the same without the noise; may be slightly negative
M_RMS = const(4)  # RMS, counts x 8
M_MEAN = const(5)  # mean, counts x 16, against the kernel's zero
M_LOW = const(6)  # extreme codes
M_HIGH = const(7)
M_ACC_N = const(8)  # the open ten-cycle block: scans, squares >> 4, v x i >> 4
M_ACC_SQ = const(9)
M_ACC_VX = const(10)
M_BLK_N = const(11)  # the last finished block
M_BLK_SQ = const(12)
M_BLK_VX = const(13)
M_VX = const(14)  # sum of v x i, counts^2
M_VSEL = const(15)  # 0 = L1, 1 = L2, 2 = L1-L2
M_W_DIV = const(16)  # counts^2 per W x 64; 0: no power
M_POWER = const(17)  # W, one cycle
M_E_REST = const(18)  # energy below 1 mWh, in sums of v x i
M_E_UNIT = const(19)  # the sum that is 1 mWh
M_E_MWH = const(20)  # below 1 kWh
M_E_KWH = const(21)
M_FLAGS = const(22)
M_WELD = const(23)  # mean square without its direct part, counts^2: above, current flows
M_LEARN = const(24)  # 0: hold the zero; else shift of its tracking, + 16: learn the noise too
M_WORDS = const(25)

# flags
F_RAIL = const(1)  # the whole window at one end of the range
F_FROZEN = const(2)  # all codes equal
# only while the zero is learnt, that is, at rest:
F_ZERO = const(4)  # middle of the codes far from mid-scale
F_FLOW = const(8)  # current flows

_RAIL_LOW = const(15)
_RAIL_HIGH = const(4080)
_MID = const(2048)
_ZERO_BAND = const(200)
_BLOCK_CYCLES = const(10)  # IEC 61000-4-30: 10 cycles (50 Hz) or 12 (60 Hz)
_MOVE = const(160)
_RESIDUE_MAX = const(2000)
_NOISE_SHIFT = const(4)
_NOISE_MAX = const(100)  # counts^2: 10 counts RMS and more is no noise
_DEFICIT = const(-(1 << 28))
_KWH = const(1_000_000)
_DC_MAX = const(32767)  # its square is the largest that fits


def reduce(b, ring, at):
    """Account for the window at offset `at` of the kernel's ring."""
    n = ring[at]
    periods = ring[at + 1]
    if periods > 1:
        n //= periods
    b[B_N] = n
    b[B_PERIODS] = periods
    b[B_FLAGS] = 0
    b[B_MOVE] = 0
    b[B_BLOCK] += 1
    block = b[B_BLOCK] >= _BLOCK_CYCLES
    if block:
        b[B_BLOCK] = 0
    r = at + 6
    sv1 = ring[r]
    sv2 = ring[r + 5] if b[B_VOLTS] > 1 else -sv1
    if periods > 1:
        sv1 //= periods
        sv2 //= periods
    c = B_HEAD
    for i in range(b[B_CHANNELS]):
        sx = ring[r]
        sq = ring[r + 1]
        vx = ring[r + 2]
        low = ring[r + 3]
        high = ring[r + 4]
        if periods > 1:
            sx //= periods
            sq = (sq // periods) << 6
            vx = (vx // periods) << 6
        residue = b[c + M_RESIDUE]
        if residue:
            # sum (x - r)^2 = sum x^2 - 2 r sum x + n r^2, with r in 1/256
            sq += (((n * residue) >> 8) - 2 * sx) * residue >> 8
            # sum v (x - r) = sum v x - r sum v
            vsel = b[c + M_VSEL]
            if vsel == 0:
                sv = sv1
            elif vsel == 1:
                sv = sv2
            else:
                sv = sv1 - sv2
            vx -= (sv * residue) >> 8
        raw = sq
        sq -= (n * b[c + M_NOISE]) >> 8
        mean = (sx << 4) // n
        b[c + M_RAW] = raw
        b[c + M_SQ] = sq
        b[c + M_VX] = vx
        b[c + M_MEAN] = mean
        b[c + M_LOW] = low
        b[c + M_HIGH] = high
        b[c + M_ACC_N] += n
        b[c + M_ACC_SQ] += (sq + 8) >> 4
        b[c + M_ACC_VX] += (vx + 8) >> 4
        # square root by Newton's method, from the last cycle's value
        square = sq // n
        s = square << 6
        root = b[c + M_RMS]
        if s <= 0:
            root = 0
        else:
            if root == 0:
                root = 64
            d = 2
            while d > 1 or d < -1:
                q = (root + s // root) >> 1
                d = q - root
                root = q
        b[c + M_RMS] = root
        if b[c + M_W_DIV]:
            b[c + M_POWER] = ((vx // n) << 6) // b[c + M_W_DIV]
            unit = b[c + M_E_UNIT]
            rest = b[c + M_E_REST]
            for _ in range(periods):
                rest += vx
                if rest >= unit:
                    step = rest // unit
                    rest -= step * unit
                    step += b[c + M_E_MWH]
                    if step >= _KWH:
                        step -= _KWH
                        b[c + M_E_KWH] += 1
                    b[c + M_E_MWH] = step
                elif rest < _DEFICIT:
                    # A counter never runs backwards; noise may dip below zero, or its rectified
                    # part would count as energy.
                    rest = _DEFICIT
            b[c + M_E_REST] = rest
        flags = 0
        if high <= _RAIL_LOW or low >= _RAIL_HIGH:
            flags = F_RAIL
            if i < b[B_VOLTS]:  # a broken voltage sensor is as good as no supply
                b[c + M_RMS] = 0
        if low == high:
            flags |= F_FROZEN
        learn = b[c + M_LEARN]
        if learn:  # a load's current has any shape, but in these channels none should flow
            middle = ((low + high) >> 1) - _MID
            if middle > _ZERO_BAND or middle < -_ZERO_BAND:
                flags |= F_ZERO
            if square > b[c + M_WELD]:
                # What flows alternates: an offset that is not learnt yet is no current.
                dc = sx - ((n * b[c + M_RESIDUE]) >> 8)
                if dc > _DC_MAX or dc < -_DC_MAX or square - dc * dc // n // n > b[c + M_WELD]:
                    flags |= F_FLOW
        b[c + M_FLAGS] = flags
        if b[c + M_W_DIV]:  # an outlet's: a thermistor is not expected to rest at mid-scale
            b[B_FLAGS] |= flags
        if learn and not flags & (F_RAIL | F_ZERO | F_FLOW):
            residue += ((mean << 4) - residue) >> (learn & 15)
            if residue > _RESIDUE_MAX:
                residue = _RESIDUE_MAX
            elif residue < -_RESIDUE_MAX:
                residue = -_RESIDUE_MAX
            b[c + M_RESIDUE] = residue
            if residue > _MOVE or residue < -_MOVE:
                b[B_MOVE] |= 1 << i
            if learn > 15 and raw < _NOISE_MAX * n:
                noise = b[c + M_NOISE]
                b[c + M_NOISE] = noise + (((raw << 8) // n - noise) >> _NOISE_SHIFT)
        if block:
            b[c + M_BLK_N] = b[c + M_ACC_N]
            b[c + M_BLK_SQ] = b[c + M_ACC_SQ]
            b[c + M_BLK_VX] = b[c + M_ACC_VX]
            b[c + M_ACC_N] = 0
            b[c + M_ACC_SQ] = 0
            b[c + M_ACC_VX] = 0
        r += 5
        c += M_WORDS
