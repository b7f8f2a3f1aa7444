# The fast lane's arithmetic in machine code: the twin of kernel.py, which defines it.
# Called by the hard timer interrupt on the RP2040 (converter, multiplexer and relay pins are
# registers), by the portable sampler elsewhere (the "registers" are words in RAM).
#
# The converter works on the next channel while the sums of the present one are formed, and the
# multiplexer is switched one step ahead of it, so that its output has settled.
# The constants repeat kernel.py's, because `const` is inlined within one module only; a test
# compares them.

import micropython
from micropython import const

N_CH = const(0)
SCANS = const(1)
N = const(2)
N_LIMIT = const(3)
N_MIN = const(4)
N_MAX = const(5)
N_FREE = const(6)
V_PREV = const(7)
ARMED = const(8)
HYST = const(9)
LEASE = const(10)
LEASE_TRIPPED = const(11)
PEAK_TRIPS = const(12)
SHORT_TRIPS = const(13)
OPENED = const(14)
HEAD = const(15)
TAIL = const(16)
SLOTS = const(17)
MERGED = const(18)
LOST = const(19)
WAVE_POS = const(20)
WAVE_SCANS = const(21)
WAVE_HOLD = const(22)
WAVE_POST = const(23)
V1 = const(24)
V2 = const(25)
V12 = const(26)
N_VOLT = const(27)
PEAK_SCANS = const(28)
ALL_MASK = const(29)
TRIP_SCAN = const(30)
ALL_BITS = const(31)
HEAD_WORDS = const(32)
C_SUM = const(0)
C_SQ = const(1)
C_VX = const(2)
C_MIN = const(3)
C_MAX = const(4)
C_ZERO = const(5)
C_PEAK = const(6)
C_OVER = const(7)
C_VSEL = const(8)
C_BIT = const(9)
C_MASK = const(10)
C_MUX = const(11)
C_SHORT = const(12)
C_SHORT_N = const(13)
C_SHORT_MAX = const(14)
C_CODE = const(15)
C_TRIP = const(16)
CH_WORDS = const(17)
W_N = const(0)
W_PERIODS = const(1)
W_LOCKED = const(2)
W_BEFORE = const(3)
W_AFTER = const(4)
W_SCAN = const(5)
SLOT_HEAD = const(6)
MERGE_SHIFT = const(6)
_MERGE_MAX = const(230)

# regs, array('I'): addresses of the converter's control and result registers, of the GPIO set
# and clear registers, then the control word that starts a conversion, the step in words from
# one result to the next (0 on the chip), and the mask of all multiplexer address pins
R_CONTROL = const(0)
R_RESULT = const(1)
R_SET = const(2)
R_CLEAR = const(3)
R_START = const(4)
R_STEP = const(5)
R_MUX_ALL = const(6)
_READY = const(0x100)
_WAIT = const(200)  # polls, some 15 us: a conversion takes 2 us; for ever would hang the chip here
_SILENT = const(4095)

_st = None
_ring = None
_wave = None
_regs = None


def attach(st, ring, wave, regs):
    """Use these arrays from now on (one chip, one sampler)."""
    global _st, _ring, _wave, _regs
    _st, _ring, _wave, _regs = st, ring, wave, regs


@micropython.viper  # noqa: F821
def scan(_timer):
    """Convert and account for one scan of all channels; opens relays by register. Allocates
    nothing, calls nothing. See kernel.scan for the meaning of each step."""
    regs = ptr32(_regs)  # noqa: F821
    control = ptr32(regs[R_CONTROL])  # noqa: F821
    control[0] = regs[R_START]
    st = ptr32(_st)  # noqa: F821
    result = ptr32(regs[R_RESULT])  # noqa: F821
    wave = ptr16(_wave)  # noqa: F821
    base = int(st) + HEAD_WORDS * 4
    n_ch = st[N_CH]
    st[SCANS] = (st[SCANS] + 1) & 0x1FFFFFFF
    lease = st[LEASE]
    if lease > 0:
        st[LEASE] = lease - 1
    else:
        st[LEASE_TRIPPED] = 1
        st[OPENED] = st[OPENED] | st[ALL_BITS]
        clear = ptr32(regs[R_CLEAR])  # noqa: F821
        clear[0] = st[ALL_MASK]
    hold = st[WAVE_HOLD]
    at = 0 - 1
    if hold != 0:
        at = st[WAVE_POS]
        nxt = at + 1
        if nxt >= st[WAVE_SCANS]:
            nxt = 0
        st[WAVE_POS] = nxt
        at = at * n_ch
        if hold > 0:
            st[WAVE_HOLD] = hold - 1
    i = 0
    c_at = base
    while i < n_ch:
        c = ptr32(c_at)  # noqa: F821
        wait = _WAIT
        while not (control[0] & _READY):
            wait -= 1
            if wait == 0:
                break
        code = result[i * regs[R_STEP]]
        if wait == 0:
            code = _SILENT  # a whole window of these is a sensor fault
        i += 1
        c_at += CH_WORDS * 4
        # the next channel's address; after the last one, the first one's for the next scan
        if i < n_ch:
            nc = ptr32(c_at)  # noqa: F821
        else:
            nc = ptr32(base)  # noqa: F821
        pins = ptr32(regs[R_CLEAR])  # noqa: F821
        pins[0] = regs[R_MUX_ALL]
        pins = ptr32(regs[R_SET])  # noqa: F821
        pins[0] = nc[C_MUX]
        x = code - c[C_ZERO]
        c[C_CODE] = code
        if i == 1:
            # the first voltage: does the window close before this scan?
            st[V1] = x
            st[V2] = 0 - x
            v12 = x + x
            n = st[N]
            if x < 0 - st[HYST]:
                st[ARMED] = 1
            locked = 0 - 1
            if n >= st[N_LIMIT]:
                if st[ARMED] == 0:
                    locked = 0
                elif n >= st[N_MAX]:
                    locked = 0
            if x >= 0:
                if st[V_PREV] < 0:
                    if n >= st[N_MIN]:
                        if st[ARMED] != 0:
                            locked = 1
            if locked >= 0:
                st[ARMED] = 0
                # -- close the window (kernel._close) --
                ring = ptr32(_ring)  # noqa: F821
                if locked != 0:
                    st[N_LIMIT] = st[N_MAX]
                else:
                    st[N_LIMIT] = st[N_FREE]
                head = st[HEAD]
                nxt = head + 1
                if nxt >= st[SLOTS]:
                    nxt = 0
                merge = 0
                if nxt == st[TAIL]:
                    merge = 1
                    head -= 1
                    if head < 0:
                        head = st[SLOTS] - 1
                r = head * (SLOT_HEAD + 5 * n_ch)
                add = 1
                shift = 0
                if merge != 0:
                    st[MERGED] = st[MERGED] + 1
                    if ring[r + W_PERIODS] >= _MERGE_MAX:
                        st[LOST] = st[LOST] + 1
                        add = 0
                    else:
                        if ring[r + W_PERIODS] == 1:
                            shift = MERGE_SHIFT
                        ring[r + W_PERIODS] = ring[r + W_PERIODS] + 1
                        ring[r + W_N] = ring[r + W_N] + n
                        ring[r + W_SCAN] = st[SCANS]
                else:
                    ring[r + W_N] = n
                    ring[r + W_PERIODS] = 1
                    ring[r + W_LOCKED] = locked
                    ring[r + W_BEFORE] = st[V_PREV]
                    ring[r + W_AFTER] = x
                    ring[r + W_SCAN] = st[SCANS]
                r += SLOT_HEAD
                k = 0
                k_at = base
                while k < n_ch:
                    q = ptr32(k_at)  # noqa: F821
                    sq = q[C_SQ]
                    bit = q[C_BIT]
                    if bit != 0:
                        if sq > q[C_SHORT] * n:
                            total = q[C_SHORT_N] + n
                            q[C_SHORT_N] = total
                            if total >= q[C_SHORT_MAX]:
                                pins = ptr32(regs[R_CLEAR])  # noqa: F821
                                pins[0] = q[C_MASK]
                                st[OPENED] = st[OPENED] | bit
                                if (st[SHORT_TRIPS] & bit) == 0:
                                    st[SHORT_TRIPS] = st[SHORT_TRIPS] | bit
                                    q[C_TRIP] = sq // n
                                    st[TRIP_SCAN] = st[SCANS]
                                    if st[WAVE_HOLD] < 0:
                                        st[WAVE_HOLD] = st[WAVE_POST]
                        else:
                            q[C_SHORT_N] = 0
                    if merge != 0:
                        if add != 0:
                            ring[r] = ring[r] + q[C_SUM]
                            ring[r + 1] = (ring[r + 1] >> shift) + (sq >> MERGE_SHIFT)
                            ring[r + 2] = (ring[r + 2] >> shift) + (q[C_VX] >> MERGE_SHIFT)
                            if q[C_MIN] < ring[r + 3]:
                                ring[r + 3] = q[C_MIN]
                            if q[C_MAX] > ring[r + 4]:
                                ring[r + 4] = q[C_MAX]
                    else:
                        ring[r] = q[C_SUM]
                        ring[r + 1] = sq
                        ring[r + 2] = q[C_VX]
                        ring[r + 3] = q[C_MIN]
                        ring[r + 4] = q[C_MAX]
                    q[C_SUM] = 0
                    q[C_SQ] = 0
                    q[C_VX] = 0
                    q[C_MIN] = 4095
                    q[C_MAX] = 0
                    r += 5
                    k += 1
                    k_at += CH_WORDS * 4
                if merge == 0:
                    st[HEAD] = nxt
                n = 0
                # -- closed --
            st[V_PREV] = x
            st[N] = n + 1
        elif i == 2:
            if st[N_VOLT] > 1:
                st[V2] = x
                v12 = st[V1] - x
        if i < 3:
            if v12 > 4095:
                v12 = 4095
            elif v12 < 0 - 4095:
                v12 = 0 - 4095
            st[V12] = v12
        if i < n_ch:
            control[0] = regs[R_START]
        if code < c[C_MIN]:
            c[C_MIN] = code
        if code > c[C_MAX]:
            c[C_MAX] = code
        c[C_SUM] = c[C_SUM] + x
        c[C_SQ] = c[C_SQ] + x * x
        c[C_VX] = c[C_VX] + st[V1 + c[C_VSEL]] * x
        if at >= 0:
            wave[at] = code
            at += 1
        if x < 0:
            x = 0 - x
        if x > c[C_PEAK]:
            over = c[C_OVER] + 1
            c[C_OVER] = over
            if over >= st[PEAK_SCANS]:
                bit = c[C_BIT]
                if bit != 0:
                    pins = ptr32(regs[R_CLEAR])  # noqa: F821
                    pins[0] = c[C_MASK]
                    st[OPENED] = st[OPENED] | bit
                    if (st[PEAK_TRIPS] & bit) == 0:
                        st[PEAK_TRIPS] = st[PEAK_TRIPS] | bit
                        st[TRIP_SCAN] = st[SCANS]
                        if st[WAVE_HOLD] < 0:
                            st[WAVE_HOLD] = st[WAVE_POST]
        else:
            c[C_OVER] = 0
