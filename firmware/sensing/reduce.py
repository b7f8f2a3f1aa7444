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
B_FLAGS = const(5)  # the flags of voltages and outlets together
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
M_LEARN = const(24)  # 0: follow drift only; else shift of the zero's tracking, + 16: and noise
M_ZERO = const(25)  # the kernel's zero, a code
M_DRIFT = const(26)  # tracking of the zero: what is not yet a step of 1/256 count
M_MOVED = const(27)  # what it has moved the zero since that was learnt, 1/256 count
M_NOISE_N = const(28)  # windows in the mean of the noise
M_NOISE_REST = const(29)
M_SKEW = const(30)  # scans by which its conversion lies after its voltage's, x 1024
M_LEAD = const(31)  # lead of its sensor, scans in a window of one scan, x 65536
M_AVG_N = const(32)  # running mean of the blocks: how many, mean square, mean v x i, both x 64
M_AVG_SQ = const(33)
M_AVG_SQ_REST = const(34)
M_AVG_VX = const(35)
M_AVG_VX_REST = const(36)
M_AVG_SQ_OFF = const(37)  # 4 x by how much the last blocks lay off that mean, both x 64
M_AVG_VX_OFF = const(38)
M_AVG_SQ_WIDTH = const(39)  # by how much single blocks differ from it, x 32
M_AVG_VX_WIDTH = const(40)
M_WORDS = const(41)

# flags
F_RAIL = const(1)  # the whole window at one end of the range
F_FROZEN = const(2)  # all codes equal
# Far from mid-scale: all codes on one side of it, which no current does whose voltage
# alternates; and, while the zero is learnt, the middle of the codes.
F_ZERO = const(4)
# only while the zero is learnt, that is, at rest:
F_FLOW = const(8)  # current flows
F_CLIP = const(16)  # some codes at an end of the range (always looked at, as F_RAIL)
F_NOISE = const(32)  # much alternates, and next to nothing of it with the mains

_RAIL_LOW = const(31)  # an RP2040 gives 16 to 4079 for 0 V to the reference (E11)
_RAIL_HIGH = const(4064)
_MID = const(2048)
_ZERO_BAND = const(200)
_BLOCK_CYCLES = const(10)  # IEC 61000-4-30: 10 cycles (50 Hz) or 12 (60 Hz)
_MOVE = const(160)
_RESIDUE_MAX = const(2000)
_NOISE_WINDOWS = const(1024)  # 17 s: 2.25 +- 0.02 counts^2, which is 5 mA at 100 mA
_NOISE_MAX = const(100)  # counts^2: 10 counts RMS and more is not learnt
_NOISE_FLAG = const(144)  # counts^2: 12 counts RMS
_VOLTS_LEAST = const(480)  # RMS x 8, some 7 V: no reference to correlate with below
_PART_MAX = const(8191)
_ACROSS_MAX = const(1 << 26)
_SYMMETRY = const(2)  # counts by which noise makes the extremes unequal
_SIZE_LEAST = const(16)  # counts: what is smaller is not told from noise by its extremes
_CALM = const(8)  # mean square x 64 of no current at all
_DRIFT_STEP = const(1024)  # 1/16 counts x windows a step of 1/256 count: a time constant of 270 s
_DRIFT_MAX = const(3072)  # 12 counts
_AVG_BLOCKS = const(24)  # 4 s of ten-cycle blocks at 60 Hz
_AVG_OFF_FROM = const(12)  # blocks: before, the mean itself is too noisy to lie off it
_AVG_SQ_STEP = const(2)  # 1/16 count^2 x 64 / 2
_AVG_VX_STEP = const(32000)  # 1000 counts^2 x 64 / 2: 5 sigma of a block of 240 V and 1.5 counts
_AVG_VX_OFF = const(64000)  # 1000 counts^2 x 64, likewise
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
    sv2 = ring[r + 6] if b[B_VOLTS] > 1 else -sv1
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
        dx = ring[r + 5]
        if periods > 1:
            sx //= periods
            sq = (sq // periods) << 6
            vx = (vx // periods) << 6
            dx = (dx // periods) << 6
        residue = b[c + M_RESIDUE]
        vsel = b[c + M_VSEL]
        if residue:
            # sum (x - r)^2 = sum x^2 - 2 r sum x + n r^2, with r in 1/256
            sq += (((n * residue) >> 8) - 2 * sx) * residue >> 8
            # sum v (x - r) = sum v x - r sum v
            if vsel == 0:
                sv = sv1
            elif vsel == 1:
                sv = sv2
            else:
                sv = sv1 - sv2
            vx -= (sv * residue) >> 8
        in_phase = vx
        if b[c + M_W_DIV]:
            # The voltage at the instant that x shows: v + lead x (v - the v before), lead in
            # scans. dx x lead / 1024 in two parts, because the product does not fit.
            lead = b[c + M_SKEW] + (b[c + M_LEAD] * n >> 6)
            vx += (dx >> 10) * lead + ((dx & 1023) * lead >> 10)
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
        elif low <= _RAIL_LOW or high >= _RAIL_HIGH:
            flags = F_CLIP
        if low == high:
            flags |= F_FROZEN
        if low > _MID + _ZERO_BAND or high < _MID - _ZERO_BAND:
            flags |= F_ZERO
        learn = b[c + M_LEARN]
        if learn:  # a load's current has any shape, but in these channels none should flow
            middle = ((low + high) >> 1) - _MID
            if middle > _ZERO_BAND or middle < -_ZERO_BAND:
                flags |= F_ZERO
            # What flows alternates: an offset that is not learnt yet is no current.
            dc = sx - ((n * residue) >> 8)
            if dc > _DC_MAX or dc < -_DC_MAX:
                swing = raw
                if square > b[c + M_WELD]:
                    flags |= F_FLOW
            else:
                swing = raw - dc * dc // n
                square = swing // n - (b[c + M_NOISE] >> 8)
                if square > b[c + M_WELD]:
                    # Current of any load has a good part of it at the mains frequency, in phase
                    # with the voltage (sum v x) or across (sum dv x): half-wave, triac at 150
                    # degrees, SMPS with crest 3.5 all more than 3/16 of their square. White noise
                    # has 2 / n of it there, 1/20: more than 3/16 in a window of 40.
                    volts = b[B_HEAD + M_RMS]
                    if vsel and b[B_VOLTS] > 1:
                        across = b[B_HEAD + M_WORDS + M_RMS]
                        volts = across if vsel == 1 else volts + across
                    elif vsel == 2:
                        volts += volts
                    part = across = 0
                    if volts > _VOLTS_LEAST:
                        part = (in_phase // n << 6) // volts  # counts x 8
                        if part > _PART_MAX or part < -_PART_MAX:
                            part = _PART_MAX
                        across = dx
                        if across > _ACROSS_MAX or across < -_ACROSS_MAX:
                            across = _ACROSS_MAX
                        # the change of a scan is 2 pi / n; 163 / 16 = 64 / (2 pi)
                        across = (across >> 4) * 163 // volts
                        if across > _PART_MAX or across < -_PART_MAX:
                            across = _PART_MAX
                    if part * part + across * across >= 12 * square:
                        flags |= F_FLOW
                    elif square > _NOISE_FLAG:
                        flags |= F_NOISE
        b[c + M_FLAGS] = flags
        if b[c + M_W_DIV] or i < b[B_VOLTS]:  # a thermistor does not rest at mid-scale
            b[B_FLAGS] |= flags
        step = 0
        if learn:
            if not flags & (F_RAIL | F_ZERO | F_FLOW | F_CLIP | F_NOISE):
                d = (sx << 8) // n - residue
                k = learn & 15
                if learn > 15 and d < 256 and d > -256:
                    # Within a count: slower, the longer it has been learnt.
                    k = b[c + M_NOISE_N]
                    k = 3 if k < 32 else (5 if k < 128 else 7)
                d += b[c + M_DRIFT]
                step = d >> k
                b[c + M_DRIFT] = d - (step << k)
                b[c + M_MOVED] = 0
                if learn > 15 and swing < _NOISE_MAX * n:
                    k = b[c + M_NOISE_N]
                    if k < _NOISE_WINDOWS:
                        k += 1
                        b[c + M_NOISE_N] = k
                    noise = b[c + M_NOISE]
                    d = (swing << 8) // (n - 1) - noise + b[c + M_NOISE_REST]
                    q = d // k
                    b[c + M_NOISE] = noise + q
                    b[c + M_NOISE_REST] = d - q * k
        elif b[c + M_W_DIV]:
            # Current may flow. Follow the sensor's drift, in minutes, by windows in which no
            # current flows, or one that is the same both ways; never further than a sensor
            # drifts, because a direct current would be taken for drift.
            zero = b[c + M_ZERO]
            size = high - zero
            if zero - low > size:
                size = zero - low
            error = ((sx << 8) // n - residue + 8) >> 4
            d = high + low - zero - zero - (residue >> 7)
            if d < 0:
                d = -d
            if size < _SIZE_LEAST:
                # Their mean square without what a zero up to a count off adds. It has to be as
                # little as this, or a small half-wave current would be taken for drift.
                q = error * error >> 2
                if q > 64:
                    q = 64
                calm = b[c + M_AVG_SQ] - q < _CALM
            else:
                calm = d <= _SYMMETRY + (size >> 4)
            d = 32 + (size >> 3)  # 2 counts + 1/128 of the amplitude
            if calm and error <= d and error >= -d:
                d = b[c + M_DRIFT] + error
                if d > _DRIFT_STEP:
                    d -= _DRIFT_STEP
                    step = 1
                elif d < -_DRIFT_STEP:
                    d += _DRIFT_STEP
                    step = -1
                b[c + M_DRIFT] = d
                d = b[c + M_MOVED] + step
                if d > _DRIFT_MAX or d < -_DRIFT_MAX:
                    step = 0
                else:
                    b[c + M_MOVED] = d
        if step:
            residue += step
            if residue > _RESIDUE_MAX:
                residue = _RESIDUE_MAX
            elif residue < -_RESIDUE_MAX:
                residue = -_RESIDUE_MAX
            b[c + M_RESIDUE] = residue
        if residue > _MOVE or residue < -_MOVE:
            b[B_MOVE] |= 1 << i
        if block:
            k = b[c + M_ACC_N]
            sq = b[c + M_ACC_SQ]
            vx = b[c + M_ACC_VX]
            b[c + M_BLK_N] = k
            b[c + M_BLK_SQ] = sq
            b[c + M_BLK_VX] = vx
            b[c + M_ACC_N] = 0
            b[c + M_ACC_SQ] = 0
            b[c + M_ACC_VX] = 0
            # The running mean starts anew when a block lies off it by 1/64, by what noise explains
            # (sqrt((4 mean square + 2 variance) variance / 400), of which the limits are 3.4 sigma
            # or more), and by 4 x what blocks differ anyhow: pulses of two or three scans differ
            # by 1/8 from block to block, by where in them the scans fall. At first that width is
            # unknown, and 1/4 must do. Or when the last four blocks or so together lie off by
            # 1/32; by half of that, it goes on from their mean. Halves, because the largest
            # difference does not fit.
            q = sq // k
            sq = (q << 10) + (((sq - q * k) << 10) // k)
            q = vx // k
            vx = (q << 10) + (((vx - q * k) << 10) // k)
            k = b[c + M_AVG_N]
            soft = 0
            s = b[c + M_AVG_SQ]
            noise = b[c + M_NOISE]
            d = (sq >> 1) - (s >> 1)
            q = noise * 3 >> 4
            if q > s >> 5:
                q = s >> 5
            width = b[c + M_AVG_SQ_WIDTH]
            q += (s >> 7) + (noise >> 4) + (width << 2) + _AVG_SQ_STEP
            if d > q or d < -q:
                k = -1
            else:
                q = d
                if d < 0:
                    q = -d
                b[c + M_AVG_SQ_WIDTH] = width + (q - width >> 2)
            if k >= _AVG_OFF_FROM:
                d += d
                off = b[c + M_AVG_SQ_OFF]
                off += d - (off >> 2)
                b[c + M_AVG_SQ_OFF] = off
                q = noise * 3 >> 3
                if q > s >> 3:
                    q = s >> 3
                q += (s >> 4) + (noise >> 3) + (noise >> 5)
                if off < 0:
                    off = -off
                if off > q:
                    soft = 1
                if off > q + q:
                    k = -1
            s = b[c + M_AVG_VX]
            d = (vx >> 1) - (s >> 1)
            if s < 0:
                s = -s
            width = b[c + M_AVG_VX_WIDTH]
            q = (s >> 7) + (width << 2) + _AVG_VX_STEP
            if d > q or d < -q:
                k = -1
            else:
                q = d
                if d < 0:
                    q = -d
                b[c + M_AVG_VX_WIDTH] = width + (q - width >> 2)
            if k >= _AVG_OFF_FROM:
                d += d
                off = b[c + M_AVG_VX_OFF]
                off += d - (off >> 2)
                b[c + M_AVG_VX_OFF] = off
                q = (s >> 4) + _AVG_VX_OFF
                if off < 0:
                    off = -off
                if off > q:
                    soft = 1
                if off > q + q:
                    k = -1
            # The block in which a load changed has some of both: only the next one counts.
            if k < 1:
                b[c + M_AVG_N] = k + 1
                b[c + M_AVG_SQ] = sq
                b[c + M_AVG_VX] = vx
                b[c + M_AVG_SQ_REST] = 0
                b[c + M_AVG_VX_REST] = 0
                b[c + M_AVG_SQ_OFF] = 0
                b[c + M_AVG_VX_OFF] = 0
                b[c + M_AVG_SQ_WIDTH] = sq >> 5
                if vx < 0:
                    vx = -vx
                b[c + M_AVG_VX_WIDTH] = vx >> 5
            else:
                if soft:
                    k = 4
                    b[c + M_AVG_SQ] += b[c + M_AVG_SQ_OFF] >> 2
                    b[c + M_AVG_VX] += b[c + M_AVG_VX_OFF] >> 2
                    b[c + M_AVG_SQ_OFF] = 0
                    b[c + M_AVG_VX_OFF] = 0
                if k < _AVG_BLOCKS:
                    k += 1
                    b[c + M_AVG_N] = k
                d = sq - b[c + M_AVG_SQ] + b[c + M_AVG_SQ_REST]
                q = d // k
                b[c + M_AVG_SQ] += q
                b[c + M_AVG_SQ_REST] = d - q * k
                d = vx - b[c + M_AVG_VX] + b[c + M_AVG_VX_REST]
                q = d // k
                b[c + M_AVG_VX] += q
                b[c + M_AVG_VX_REST] = d - q * k
        r += 6
        c += M_WORDS
