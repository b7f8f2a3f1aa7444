# The twin of reduce.py in machine code; see there for the meaning of every step.
# Called by the control task through metering.Meter. The constants repeat reduce.py's, because
# `const` is inlined within one module only; a test compares them.

import micropython
from micropython import const

B_CHANNELS = const(0)
B_VOLTS = const(1)
B_N = const(2)
B_PERIODS = const(3)
B_BLOCK = const(4)
B_FLAGS = const(5)
B_MOVE = const(6)
B_HEAD = const(7)
M_RESIDUE = const(0)
M_NOISE = const(1)
M_RAW = const(2)
M_SQ = const(3)
M_RMS = const(4)
M_MEAN = const(5)
M_LOW = const(6)
M_HIGH = const(7)
M_ACC_N = const(8)
M_ACC_SQ = const(9)
M_ACC_VX = const(10)
M_BLK_N = const(11)
M_BLK_SQ = const(12)
M_BLK_VX = const(13)
M_VX = const(14)
M_VSEL = const(15)
M_W_DIV = const(16)
M_POWER = const(17)
M_E_REST = const(18)
M_E_UNIT = const(19)
M_E_MWH = const(20)
M_E_KWH = const(21)
M_FLAGS = const(22)
M_WELD = const(23)
M_LEARN = const(24)
M_ZERO = const(25)
M_DRIFT = const(26)
M_MOVED = const(27)
M_NOISE_N = const(28)
M_NOISE_REST = const(29)
M_SKEW = const(30)
M_LEAD = const(31)
M_AVG_N = const(32)
M_AVG_SQ = const(33)
M_AVG_SQ_REST = const(34)
M_AVG_VX = const(35)
M_AVG_VX_REST = const(36)
M_AVG_SQ_OFF = const(37)
M_AVG_VX_OFF = const(38)
M_AVG_SQ_WIDTH = const(39)
M_AVG_VX_WIDTH = const(40)
M_WORDS = const(41)
F_RAIL = const(1)
F_FROZEN = const(2)
F_ZERO = const(4)
F_FLOW = const(8)
F_CLIP = const(16)
F_NOISE = const(32)
_RAIL_LOW = const(31)
_RAIL_HIGH = const(4064)
_MID = const(2048)
_ZERO_BAND = const(200)
_BLOCK_CYCLES = const(10)
_MOVE = const(160)
_RESIDUE_MAX = const(2000)
_NOISE_WINDOWS = const(1024)
_NOISE_MAX = const(100)
_NOISE_FLAG = const(144)
_VOLTS_LEAST = const(480)
_PART_MAX = const(8191)
_ACROSS_MAX = const(1 << 26)
_SYMMETRY = const(2)
_SIZE_LEAST = const(16)
_CALM = const(8)
_DRIFT_STEP = const(1024)
_DRIFT_MAX = const(3072)
_AVG_BLOCKS = const(24)
_AVG_OFF_FROM = const(12)
_AVG_SQ_STEP = const(2)
_AVG_VX_STEP = const(32000)
_AVG_VX_OFF = const(64000)
_DEFICIT = const(-(1 << 28))
_KWH = const(1_000_000)
_DC_MAX = const(32767)


@micropython.viper
def reduce(b: ptr32, ring: ptr32, at: int):  # noqa: F821
    """Account for the window at offset `at` of the kernel's ring. Allocates nothing."""
    # Never `x[at]`: MicroPython 1.26 shifts an index that lives in a register in its place, and
    # compiled on an RP2040 the third argument does.
    r = at + 6
    n = ring[r - 6]
    periods = ring[r - 5]
    if periods > 1:
        n //= periods
    b[B_N] = n
    b[B_PERIODS] = periods
    b[B_FLAGS] = 0
    b[B_MOVE] = 0
    b[B_BLOCK] = b[B_BLOCK] + 1
    block = b[B_BLOCK] >= _BLOCK_CYCLES
    if block:
        b[B_BLOCK] = 0
    sv1 = ring[r]
    sv2 = 0 - sv1
    if b[B_VOLTS] > 1:
        sv2 = ring[r + 6]
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
            sq += (((n * residue) >> 8) - 2 * sx) * residue >> 8
            if vsel == 0:
                sv = sv1
            elif vsel == 1:
                sv = sv2
            else:
                sv = sv1 - sv2
            vx -= (sv * residue) >> 8
        in_phase = vx
        if b[c + M_W_DIV]:
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
        b[c + M_ACC_N] = b[c + M_ACC_N] + n
        b[c + M_ACC_SQ] = b[c + M_ACC_SQ] + ((sq + 8) >> 4)
        b[c + M_ACC_VX] = b[c + M_ACC_VX] + ((vx + 8) >> 4)
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
                        b[c + M_E_KWH] = b[c + M_E_KWH] + 1
                    b[c + M_E_MWH] = step
                elif rest < _DEFICIT:
                    rest = _DEFICIT
            b[c + M_E_REST] = rest
        flags = 0
        if high <= _RAIL_LOW or low >= _RAIL_HIGH:
            flags = F_RAIL
            if i < b[B_VOLTS]:
                b[c + M_RMS] = 0
        elif low <= _RAIL_LOW or high >= _RAIL_HIGH:
            flags = F_CLIP
        if low == high:
            flags |= F_FROZEN
        if low > _MID + _ZERO_BAND or high < _MID - _ZERO_BAND:
            flags |= F_ZERO
        learn = b[c + M_LEARN]
        if learn:
            middle = ((low + high) >> 1) - _MID
            if middle > _ZERO_BAND or middle < -_ZERO_BAND:
                flags |= F_ZERO
            dc = sx - ((n * residue) >> 8)
            if dc > _DC_MAX or dc < -_DC_MAX:
                swing = raw
                if square > b[c + M_WELD]:
                    flags |= F_FLOW
            else:
                swing = raw - dc * dc // n
                square = swing // n - (b[c + M_NOISE] >> 8)
                if square > b[c + M_WELD]:
                    volts = b[B_HEAD + M_RMS]
                    if vsel and b[B_VOLTS] > 1:
                        across = b[B_HEAD + M_WORDS + M_RMS]
                        if vsel == 1:
                            volts = across
                        else:
                            volts += across
                    elif vsel == 2:
                        volts += volts
                    part = across = 0
                    if volts > _VOLTS_LEAST:
                        part = (in_phase // n << 6) // volts
                        if part > _PART_MAX or part < -_PART_MAX:
                            part = _PART_MAX
                        across = dx
                        if across > _ACROSS_MAX or across < -_ACROSS_MAX:
                            across = _ACROSS_MAX
                        across = (across >> 4) * 163 // volts
                        if across > _PART_MAX or across < -_PART_MAX:
                            across = _PART_MAX
                    if part * part + across * across >= 12 * square:
                        flags |= F_FLOW
                    elif square > _NOISE_FLAG:
                        flags |= F_NOISE
        b[c + M_FLAGS] = flags
        if b[c + M_W_DIV] or i < b[B_VOLTS]:
            b[B_FLAGS] = b[B_FLAGS] | flags
        step = 0
        if learn:
            if not flags & (F_RAIL | F_ZERO | F_FLOW | F_CLIP | F_NOISE):
                d = (sx << 8) // n - residue
                k = learn & 15
                if learn > 15 and d < 256 and d > -256:
                    k = 3
                    if b[c + M_NOISE_N] >= 128:
                        k = 7
                    elif b[c + M_NOISE_N] >= 32:
                        k = 5
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
            zero = b[c + M_ZERO]
            size = high - zero
            if zero - low > size:
                size = zero - low
            error = ((sx << 8) // n - residue + 8) >> 4
            d = high + low - zero - zero - (residue >> 7)
            if d < 0:
                d = 0 - d
            if size < _SIZE_LEAST:
                q = error * error >> 2
                if q > 64:
                    q = 64
                calm = b[c + M_AVG_SQ] - q < _CALM
            else:
                calm = d <= _SYMMETRY + (size >> 4)
            d = 32 + (size >> 3)
            if calm and error <= d and error >= 0 - d:
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
                residue = 0 - _RESIDUE_MAX
            b[c + M_RESIDUE] = residue
        if residue > _MOVE or residue < -_MOVE:
            b[B_MOVE] = b[B_MOVE] | (1 << i)
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
            if d > q or d < 0 - q:
                k = -1
            else:
                q = d
                if d < 0:
                    q = 0 - d
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
                    off = 0 - off
                if off > q:
                    soft = 1
                if off > q + q:
                    k = -1
            s = b[c + M_AVG_VX]
            d = (vx >> 1) - (s >> 1)
            if s < 0:
                s = 0 - s
            width = b[c + M_AVG_VX_WIDTH]
            q = (s >> 7) + (width << 2) + _AVG_VX_STEP
            if d > q or d < 0 - q:
                k = -1
            else:
                q = d
                if d < 0:
                    q = 0 - d
                b[c + M_AVG_VX_WIDTH] = width + (q - width >> 2)
            if k >= _AVG_OFF_FROM:
                d += d
                off = b[c + M_AVG_VX_OFF]
                off += d - (off >> 2)
                b[c + M_AVG_VX_OFF] = off
                q = (s >> 4) + _AVG_VX_OFF
                if off < 0:
                    off = 0 - off
                if off > q:
                    soft = 1
                if off > q + q:
                    k = -1
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
                    vx = 0 - vx
                b[c + M_AVG_VX_WIDTH] = vx >> 5
            else:
                if soft:
                    k = 4
                    b[c + M_AVG_SQ] = b[c + M_AVG_SQ] + (b[c + M_AVG_SQ_OFF] >> 2)
                    b[c + M_AVG_VX] = b[c + M_AVG_VX] + (b[c + M_AVG_VX_OFF] >> 2)
                    b[c + M_AVG_SQ_OFF] = 0
                    b[c + M_AVG_VX_OFF] = 0
                if k < _AVG_BLOCKS:
                    k += 1
                    b[c + M_AVG_N] = k
                d = sq - b[c + M_AVG_SQ] + b[c + M_AVG_SQ_REST]
                q = d // k
                b[c + M_AVG_SQ] = b[c + M_AVG_SQ] + q
                b[c + M_AVG_SQ_REST] = d - q * k
                d = vx - b[c + M_AVG_VX] + b[c + M_AVG_VX_REST]
                q = d // k
                b[c + M_AVG_VX] = b[c + M_AVG_VX] + q
                b[c + M_AVG_VX_REST] = d - q * k
        r += 6
        c += M_WORDS
