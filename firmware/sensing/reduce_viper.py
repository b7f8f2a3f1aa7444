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
M_WORDS = const(25)
F_RAIL = const(1)
F_FROZEN = const(2)
F_ZERO = const(4)
F_FLOW = const(8)
_RAIL_LOW = const(15)
_RAIL_HIGH = const(4080)
_MID = const(2048)
_ZERO_BAND = const(200)
_BLOCK_CYCLES = const(10)
_MOVE = const(160)
_RESIDUE_MAX = const(2000)
_NOISE_SHIFT = const(4)
_NOISE_MAX = const(100)
_DEFICIT = const(-(1 << 28))
_KWH = const(1_000_000)
_DC_MAX = const(32767)


@micropython.viper
def reduce(b: ptr32, ring: ptr32, at: int):  # noqa: F821
    """Account for the window at offset `at` of the kernel's ring. Allocates nothing."""
    n = ring[at]
    periods = ring[at + 1]
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
    r = at + 6
    sv1 = ring[r]
    sv2 = 0 - sv1
    if b[B_VOLTS] > 1:
        sv2 = ring[r + 5]
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
        if residue != 0:
            sq += (((n * residue) >> 8) - 2 * sx) * residue >> 8
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
            while d > 1 or d < 0 - 1:
                q = (root + s // root) >> 1
                d = q - root
                root = q
        b[c + M_RMS] = root
        if b[c + M_W_DIV] != 0:
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
        if low == high:
            flags |= F_FROZEN
        learn = b[c + M_LEARN]
        if learn != 0:
            middle = ((low + high) >> 1) - _MID
            if middle > _ZERO_BAND or middle < 0 - _ZERO_BAND:
                flags |= F_ZERO
            if square > b[c + M_WELD]:
                dc = sx - ((n * b[c + M_RESIDUE]) >> 8)
                if dc > _DC_MAX or dc < 0 - _DC_MAX:
                    flags |= F_FLOW
                elif square - dc * dc // n // n > b[c + M_WELD]:
                    flags |= F_FLOW
        b[c + M_FLAGS] = flags
        if b[c + M_W_DIV] != 0:
            b[B_FLAGS] = b[B_FLAGS] | flags
        if flags & (F_RAIL | F_ZERO | F_FLOW):
            learn = 0
        if learn != 0:
            residue += ((mean << 4) - residue) >> (learn & 15)
            if residue > _RESIDUE_MAX:
                residue = _RESIDUE_MAX
            elif residue < 0 - _RESIDUE_MAX:
                residue = 0 - _RESIDUE_MAX
            b[c + M_RESIDUE] = residue
            if residue > _MOVE or residue < 0 - _MOVE:
                b[B_MOVE] = b[B_MOVE] | (1 << i)
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
