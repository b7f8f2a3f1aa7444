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
SILENT = const(32)
OVERRUNS = const(33)
E11 = const(34)
D1 = const(35)
D2 = const(36)
D12 = const(37)
BUSY = const(38)
WAITING = const(39)
CLOSED = const(40)
GROUND_TRIPS = const(41)
IN_MASK = const(42)
IN_INVERT = const(43)
IN_COUNT = const(44)
IN_BITS = const(45)
IN_RELAYS = const(46)
PINS = const(47)
E11_WIDE = const(48)
E11_BESIDE = const(49)
SENSE = const(50)
SENSE_ARMED = const(51)
SENSE_PREV = const(52)
SENSE_N = const(53)
SENSE_SCAN = const(54)
SENSE_BEFORE = const(55)
SENSE_AFTER = const(56)
EXPORT_MASK = const(57)
HEAD_WORDS = const(58)
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
C_DX = const(17)
C_COUNT = const(18)
C_MAKE = const(19)
C_BREAK = const(20)
C_WAIT = const(21)
C_MOST = const(22)
C_TWICE = const(23)
C_FROM = const(24)
C_VAT = const(25)
CH_WORDS = const(26)
W_N = const(0)
W_PERIODS = const(1)
W_LOCKED = const(2)
W_BEFORE = const(3)
W_AFTER = const(4)
W_SCAN = const(5)
SLOT_HEAD = const(6)
SLOT_CH = const(6)
MERGE_SHIFT = const(6)
_MERGE_MAX = const(230)

# regs, array('I'): addresses of the converter's control and result registers and of the GPIO input
# register, which the set and clear registers must follow; then the control word that starts a
# conversion, the step in bytes from one result to the next (0 on the chip), and the mask of all
# multiplexer address pins
R_CONTROL = const(0)
R_RESULT = const(1)
R_GPIO = const(2)
R_START = const(3)
R_STEP = const(4)
R_MUX_ALL = const(5)
_IN = const(0)  # the GPIO registers
_SET = const(4)
_CLEAR = const(5)
_READY = const(0x100)
# Polls in a scan, 40 us: a conversion takes 2 us. Waiting for ever would hang the chip here.
_WAIT = const(200)
_NO_ANSWER = const(4095)

_st = None
_ring = None
_wave = None
_regs = None


def attach(st, ring, wave, regs):
    """Use these arrays from now on (one chip, one sampler)."""
    global _st, _ring, _wave, _regs
    _st, _ring, _wave, _regs = st, ring, wave, regs
    import uctypes

    source = regs[R_RESULT]
    for i in range(st[N_CH]):
        c = HEAD_WORDS + CH_WORDS * i
        st[c + C_FROM] = _signed(source)
        st[c + C_VAT] = _signed(uctypes.addressof(st) + 4 * (V1 + st[c + C_VSEL]))
        source += regs[R_STEP]


def _signed(address: int) -> int:
    return address - (1 << 32) if address >> 31 else address


# What makes it quick (seen in the machine code): the first two local variables live in registers,
# so these are `c` and `x`; `product + word` needs no spill, `word + product` does; a test for
# zero costs half of a comparison.
@micropython.viper
def scan(_timer):
    """Convert and account for one scan of all channels; opens relays by register. Allocates
    nothing, calls nothing. See kernel.scan for the meaning of each step."""
    c = ptr32(_regs)  # noqa: F821  # becomes the channel's words
    x = c[R_START]  # becomes the channel's code, then its difference from zero
    control = ptr32(c[R_CONTROL])  # noqa: F821
    control[0] = x
    start = x
    gpio = ptr32(c[R_GPIO])  # noqa: F821
    mux_all = c[R_MUX_ALL]
    st = ptr32(_st)  # noqa: F821
    c = ptr32(int(st) + HEAD_WORDS * 4)  # noqa: F821
    n_ch = st[N_CH]
    st[SCANS] = (st[SCANS] + 1) & 0x1FFFFFFF
    lease = st[LEASE]
    if lease > 0:
        st[LEASE] = lease - 1
    else:
        st[LEASE_TRIPPED] = 1
        st[OPENED] = st[OPENED] | st[ALL_BITS]
        gpio[_CLEAR] = st[ALL_MASK]
    n = st[IN_MASK]
    if n:
        if (gpio[_IN] ^ st[IN_INVERT]) & n:
            n = st[IN_COUNT]
            st[IN_COUNT] = 1
            if n:
                st[IN_COUNT] = 2
                gpio[_CLEAR] = st[IN_RELAYS]
                bit = st[IN_BITS]
                st[OPENED] = st[OPENED] | bit
                if n == 1:
                    st[GROUND_TRIPS] = st[GROUND_TRIPS] | bit
                    st[TRIP_SCAN] = st[SCANS]
                    if st[WAVE_HOLD] < 0:
                        st[WAVE_HOLD] = st[WAVE_POST]
        else:
            st[IN_COUNT] = 0
    if st[BUSY]:
        # -- kernel._count_down --
        st[BUSY] = 0
        left = n_ch
        k_at = int(st) + HEAD_WORDS * 4
        while left:
            left -= 1
            q = ptr32(k_at)  # noqa: F821
            k_at += CH_WORDS * 4
            n = q[C_COUNT]
            if n:
                n -= 1
                q[C_COUNT] = n
                bit = q[C_BIT]
                if n:
                    st[BUSY] = 1
                elif st[WAITING] & bit:
                    st[WAITING] = st[WAITING] ^ bit
                    gpio[_CLEAR] = q[C_MASK]
                    st[OPENED] = st[OPENED] | bit
                    if (st[PEAK_TRIPS] & bit) == 0:
                        st[PEAK_TRIPS] = st[PEAK_TRIPS] | bit
                        st[TRIP_SCAN] = st[SCANS]
                        if st[WAVE_HOLD] < 0:
                            st[WAVE_HOLD] = st[WAVE_POST]
                elif q[C_MAKE]:
                    n = st[PEAK_TRIPS] | st[SHORT_TRIPS] | st[GROUND_TRIPS]
                    if ((n & bit) | st[LEASE_TRIPPED]) == 0:
                        gpio[_SET] = q[C_MASK] ^ (q[C_MASK] & st[EXPORT_MASK])
                        st[CLOSED] = st[CLOSED] | bit
                else:
                    gpio[_CLEAR] = q[C_MASK]
                    st[OPENED] = st[OPENED] | bit
    hold = st[WAVE_HOLD]
    wave = 0  # where the next code goes
    if hold:
        at = st[WAVE_POS]
        nxt = at + 1
        if nxt >= st[WAVE_SCANS]:
            nxt = 0
        st[WAVE_POS] = nxt
        wave = int(ptr16(_wave)) + (at * n_ch << 1)  # noqa: F821
        if hold > 0:
            st[WAVE_HOLD] = hold - 1
    e11 = st[E11]
    wait = _WAIT
    volts = 2  # channels that may be a voltage and are still to come
    left = n_ch
    while left:
        if not (control[0] & _READY):
            while wait:
                wait -= 1
                if control[0] & _READY:
                    break
        x = ptr32(c[C_FROM])[0]  # noqa: F821
        if c[C_TWICE]:
            control[0] = start
            while wait:
                wait -= 1
                if control[0] & _READY:
                    break
            x = (x + ptr32(c[C_FROM])[0] + 1) >> 1  # noqa: F821
        if not wait:
            x = _NO_ANSWER  # a whole window of these is a sensor fault
        # the next channel's address; after the last one, the first one's for the next scan
        gpio[_CLEAR] = mux_all
        gpio[_SET] = c[C_MUX]
        c[C_CODE] = x
        if wave:
            ptr16(wave)[0] = x  # noqa: F821
            wave += 2
        if ((x - 1536) * 1025 + 1 >> 20) & e11:  # kernel.straight; 1536 to 2558 stay as they are
            at = x + 513
            x += (at >> 10 << 3) - 16
            at = at + 4 & 1023
            if at < 9:
                if at == 4:
                    x -= 4
                    st[E11_WIDE] = st[E11_WIDE] + 1
                else:
                    st[E11_BESIDE] = st[E11_BESIDE] + 1
        x -= c[C_ZERO]
        left -= 1
        if left:
            control[0] = start
        if volts:
            volts -= 1
            if volts:
                # the first voltage: does the window close before this scan?
                st[V1] = x
                d = x - st[V_PREV]
                if d > 2047:
                    d = 2047
                elif d < -2047:
                    d = -2047
                st[D1] = d
                if st[N_VOLT] < 2:
                    volts = 0
                    v = 0 - x
                    d = 0 - d
                n = st[N]
                if x < 0 - st[HYST]:
                    st[ARMED] = 1
                locked = -1
                if n >= st[N_LIMIT]:
                    if st[ARMED] == 0:
                        locked = 0
                    elif n >= st[N_MAX]:
                        locked = 0
                if x >= 0:
                    if st[V_PREV] < 0:
                        if n >= st[N_MIN]:
                            if st[ARMED]:
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
                    r = head * (SLOT_HEAD + SLOT_CH * n_ch)
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
                    k_at = int(st) + HEAD_WORDS * 4
                    while k < n_ch:
                        q = ptr32(k_at)  # noqa: F821
                        sq = q[C_SQ]
                        bit = q[C_BIT]
                        if bit != 0:
                            if sq > q[C_SHORT] * n:
                                total = q[C_SHORT_N] + n
                                q[C_SHORT_N] = total
                                if total >= q[C_SHORT_MAX]:
                                    gpio[_CLEAR] = q[C_MASK]
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
                                ring[r + 5] = (ring[r + 5] >> shift) + (q[C_DX] >> MERGE_SHIFT)
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
                            ring[r + 5] = q[C_DX]
                        q[C_SUM] = 0
                        q[C_SQ] = 0
                        q[C_VX] = 0
                        q[C_DX] = 0
                        q[C_MIN] = 4095
                        q[C_MAX] = 0
                        r += SLOT_CH
                        k += 1
                        k_at += CH_WORDS * 4
                    if merge == 0:
                        st[HEAD] = nxt
                    n = 0
                    # -- closed --
                st[V_PREV] = x
                st[N] = n + 1
            else:
                v = x
                d = x - st[V2]
                if d > 2047:
                    d = 2047
                elif d < -2047:
                    d = -2047
            if volts == 0:
                st[V2] = v
                st[D2] = d
                v = st[V1] - v
                if v > 4095:
                    v = 4095
                elif v < -4095:
                    v = -4095
                st[V12] = v
                d = st[D1] - d
                if d > 2047:
                    d = 2047
                elif d < -2047:
                    d = -2047
                st[D12] = d
        code = c[C_CODE]
        if code < c[C_MIN]:
            c[C_MIN] = code
        if code > c[C_MAX]:
            c[C_MAX] = code
        v_at = ptr32(c[C_VAT])  # noqa: F821
        c[C_SUM] = x + c[C_SUM]
        c[C_SQ] = x * x + c[C_SQ]
        c[C_VX] = x * v_at[0] + c[C_VX]
        c[C_DX] = x * v_at[D1 - V1] + c[C_DX]
        if x < 0:
            x = 0 - x
        if x > c[C_PEAK]:
            over = c[C_OVER] + 1
            c[C_OVER] = over
            if over >= st[PEAK_SCANS]:
                bit = c[C_BIT]
                if bit:
                    if x > c[C_BREAK]:
                        if ((st[PEAK_TRIPS] | st[WAITING]) & bit) == 0:
                            st[WAITING] = st[WAITING] | bit
                            gpio[_CLEAR] = c[C_MASK] & st[EXPORT_MASK]
                            c[C_MOST] = 0
                            c[C_COUNT] = c[C_WAIT]
                            st[BUSY] = 1
                    if st[WAITING] & bit:
                        if x > c[C_MOST]:
                            c[C_MOST] = x
                    else:
                        gpio[_CLEAR] = c[C_MASK]
                        st[OPENED] = st[OPENED] | bit
                        if (st[PEAK_TRIPS] & bit) == 0:
                            st[PEAK_TRIPS] = st[PEAK_TRIPS] | bit
                            st[TRIP_SCAN] = st[SCANS]
                            if st[WAVE_HOLD] < 0:
                                st[WAVE_HOLD] = st[WAVE_POST]
        else:
            c[C_OVER] = 0
        c = ptr32(int(c) + CH_WORDS * 4)  # noqa: F821
    x = st[SENSE]
    if x:
        c = ptr32(int(st) + (x << 2))  # noqa: F821
        x = c[C_CODE] - c[C_ZERO]
        if x < 0 - st[HYST]:
            st[SENSE_ARMED] = 1
        elif x >= 0:
            if st[SENSE_ARMED]:
                st[SENSE_ARMED] = 0
                st[SENSE_SCAN] = st[SCANS]
                st[SENSE_BEFORE] = st[SENSE_PREV]
                st[SENSE_AFTER] = x
                st[SENSE_N] = (st[SENSE_N] + 1) & 0x1FFFFFFF
        st[SENSE_PREV] = x
    if not wait:
        st[SILENT] = (st[SILENT] + 1) & 0x1FFFFFFF
