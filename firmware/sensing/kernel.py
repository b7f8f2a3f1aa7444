# The fast lane's arithmetic in plain Python: one call is one scan of all channels.
# This file is the definition; kernel_viper.py says the same in machine code, and a differential
# test holds the two equal bit for bit. Runs where there is no native emitter, and on CPython.
#
# Everything lives in arrays handed in by attach(): nothing here allocates.
#   st    array('i'): header (constants below), then CH_WORDS words per channel
#   ring  array('i'): SLOTS finished windows, SLOT_HEAD + SLOT_CH words per channel each
#   wave  array('H'): the last scans as raw codes, WAVE_SCANS x channels
#   codes array('i'): this scan's converter codes (0 to 4095), filled by the sampler
#
# Bounds: |x| <= 4095, at most 64 scans a window, so every sum stays below 2**30, the limit of a
# small int on the RP2040. (With E11's correction |x| may be 4111 where the zero is at an end of
# the range; it is learnt within 200 of the middle.)

from micropython import const

# header of st
N_CH = const(0)  # channels
SCANS = const(1)  # scans since start, modulo 2**29
N = const(2)  # scans in the open window
N_LIMIT = const(3)  # the open window closes at this many scans, when no crossing is due
N_MIN = const(4)  # a zero crossing counts from this many scans on
N_MAX = const(5)  # N_LIMIT while locked to the zero crossing, and the longest window at all
N_FREE = const(6)  # N_LIMIT while there is no crossing: one nominal cycle
V_PREV = const(7)  # voltage of the previous scan, counts
ARMED = const(8)  # the voltage has been below -HYST since the last crossing
HYST = const(9)
LEASE = const(10)  # scans left until every relay opens; renewed by the control lane
LEASE_TRIPPED = const(11)
PEAK_TRIPS = const(12)  # outlet bits, set here, cleared by the control lane
SHORT_TRIPS = const(13)
OPENED = const(14)  # outlet bits opened by this lane: for samplers without relay registers
HEAD = const(15)  # ring: next slot to write
TAIL = const(16)  # ring: next slot to read
SLOTS = const(17)
MERGED = const(18)  # windows merged because the reader was late
LOST = const(19)  # windows lost because even merging was full
WAVE_POS = const(20)  # next scan to write in wave
WAVE_SCANS = const(21)
WAVE_HOLD = const(22)  # -1 running, 0 frozen, else scans until frozen
WAVE_POST = const(23)  # scans kept after a trip
V1 = const(24)  # this scan's voltages, counts: L1, L2, L1-L2
V2 = const(25)
V12 = const(26)
N_VOLT = const(27)
PEAK_SCANS = const(28)  # consecutive scans above the peak limit that trip
ALL_MASK = const(29)  # relay register mask of all outlets
TRIP_SCAN = const(30)  # SCANS at the last trip of this lane
ALL_BITS = const(31)
SILENT = const(32)  # scans in which the converter did not answer in time, modulo 2**29
OVERRUNS = const(33)  # scans of a soft timer that came half a period late or more
E11 = const(34)  # -1: the converter has the flaw RP2040-E11, correct it; else 0
D1 = const(35)  # V1, V2, V12 less those of the previous scan, within +-2047
D2 = const(36)
D12 = const(37)
BUSY = const(38)  # some channel counts down, see C_COUNT
WAITING = const(39)  # outlet bits: tripped by a current above what the relay can break
CLOSED = const(40)  # outlet bits closed by this lane: for samplers without relay registers
GROUND_TRIPS = const(41)  # outlet bits, as PEAK_TRIPS
IN_MASK = const(42)  # pin of the ground-fault input; 0: none
IN_INVERT = const(43)  # the same where low means a fault
IN_COUNT = const(44)  # scans with a fault, at most 2
IN_BITS = const(45)  # outlets that it opens, and their relay register mask
IN_RELAYS = const(46)
PINS = const(47)  # levels of the chip's pins, where they are not read here
E11_WIDE = const(48)  # hits of the four wide codes, and of those beside them
E11_BESIDE = const(49)
SENSE = const(50)  # where the words of the first channel of kind "sense" begin; 0: there is none
SENSE_ARMED = const(51)  # it has been below -HYST since its last crossing
SENSE_PREV = const(52)  # the previous scan, counts
SENSE_N = const(53)  # its rising zero crossings so far, modulo 2**29
SENSE_SCAN = const(54)  # SCANS behind the last one, counts before and behind it
SENSE_BEFORE = const(55)
SENSE_AFTER = const(56)
EXPORT_MASK = const(57)  # pin of the permissive: part of masks that open, never set here
HEAD_WORDS = const(58)

# words per channel
C_SUM = const(0)
C_SQ = const(1)  # sum of squares
C_VX = const(2)  # sum of voltage x this
C_MIN = const(3)  # smallest and largest raw code of the window
C_MAX = const(4)
C_ZERO = const(5)
C_PEAK = const(6)  # peak limit, counts
C_OVER = const(7)  # consecutive scans above it
C_VSEL = const(8)  # 0, 1, 2: V1, V2, V12
C_BIT = const(9)  # outlet bit, 0 for channels that protect nothing
C_MASK = const(10)  # relay register mask
C_MUX = const(11)  # multiplexer address of the next channel as register mask
C_SHORT = const(12)  # short-time limit, mean square in counts^2
C_SHORT_N = const(13)  # scans above it so far
C_SHORT_MAX = const(14)  # scans that trip
C_CODE = const(15)  # last raw code
C_TRIP = const(16)  # mean square of the window that ended a short-time trip
C_DX = const(17)  # sum of the voltage's change since the previous scan x this
C_COUNT = const(18)  # scans until this outlet's relay is switched; 0: nothing is planned
C_MAKE = const(19)  # closed, not opened
C_BREAK = const(20)  # counts: a peak trip above that waits for C_WAIT scans
C_WAIT = const(21)
C_MOST = const(22)  # largest distance from zero while it waits
C_TWICE = const(23)  # the sampler converts it twice and takes the mean
C_FROM = const(24)  # addresses, for the machine code: where its code is read, and its voltage
C_VAT = const(25)
CH_WORDS = const(26)

# a finished window in ring
W_N = const(0)  # scans
W_PERIODS = const(1)  # windows merged into this one; squares and products are then >> 6
W_LOCKED = const(2)  # closed by a zero crossing
W_BEFORE = const(3)  # voltage before and after the crossing that closed it, counts
W_AFTER = const(4)
W_SCAN = const(5)  # SCANS at its end
SLOT_HEAD = const(6)
SLOT_CH = const(6)  # per channel: sum, squares, voltage x this, lowest, highest, C_DX
MERGE_SHIFT = const(6)
# Windows in one: 3.8 s, and the lease ends after 3. 64 x 2248 x 4095 >> 6, so often, fits 31 bits.
_MERGE_MAX = const(230)

_st = None
_ring = None
_wave = None
_codes = None


def attach(st, ring, wave, codes):
    """Use these arrays from now on (one chip, one sampler)."""
    global _st, _ring, _wave, _codes
    _st, _ring, _wave, _codes = st, ring, wave, codes


def straight(code):
    """What a converter without the flaw RP2040-E11 would have given (-16 to 4111).

    Codes 511, 1535, 2559 and 3583 are about nine codes wide, and what lies beyond is shifted by
    the other eight: a staircase around the middle of the range (data sheet, errata; measured
    errors of single chips, published by M. Omo and others: -15, -6, +-1, +6, +15).
    """
    t = code + 513
    code += (t >> 10 << 3) - 16
    return code if t & 1023 else code - 4


def _within(x, bound):
    if x > bound:
        return bound
    return -bound if x < -bound else x


def scan(_timer=None):
    """Account for the scan whose codes stand in `codes`; may open relays (see OPENED)."""
    st = _st
    codes = _codes
    wave = _wave
    e11 = st[E11]
    st[SCANS] = (st[SCANS] + 1) & 0x1FFFFFFF
    if st[LEASE] > 0:
        st[LEASE] -= 1
    else:
        st[LEASE_TRIPPED] = 1
        st[OPENED] |= st[ALL_BITS]
    mask = st[IN_MASK]
    if mask:
        if (st[PINS] ^ st[IN_INVERT]) & mask:
            if st[IN_COUNT]:
                bits = st[IN_BITS]
                st[OPENED] |= bits
                if st[IN_COUNT] == 1:
                    st[GROUND_TRIPS] |= bits
                    st[TRIP_SCAN] = st[SCANS]
                    if st[WAVE_HOLD] < 0:
                        st[WAVE_HOLD] = st[WAVE_POST]
                st[IN_COUNT] = 2
            else:
                st[IN_COUNT] = 1
        else:
            st[IN_COUNT] = 0
    if st[BUSY]:
        _count_down(st)
    hold = st[WAVE_HOLD]
    at = -1
    n_ch = st[N_CH]
    if hold:
        at = st[WAVE_POS]
        nxt = at + 1
        st[WAVE_POS] = 0 if nxt >= st[WAVE_SCANS] else nxt
        at *= n_ch
        if hold > 0:
            st[WAVE_HOLD] = hold - 1
    # voltages first: the window closes before this scan is added
    v1 = (straight(codes[0]) if e11 else codes[0]) - st[HEAD_WORDS + C_ZERO]
    d1 = _within(v1 - st[V_PREV], 2047)
    if st[N_VOLT] > 1:
        v2 = straight(codes[1]) if e11 else codes[1]
        v2 -= st[HEAD_WORDS + CH_WORDS + C_ZERO]
        d2 = _within(v2 - st[V2], 2047)
    else:
        v2 = -v1
        d2 = -d1
    st[V1] = v1
    st[V2] = v2
    st[V12] = _within(v1 - v2, 4095)
    st[D1] = d1
    st[D2] = d2
    st[D12] = _within(d1 - d2, 2047)
    n = st[N]
    if v1 < -st[HYST]:
        st[ARMED] = 1
    if v1 >= 0 and st[V_PREV] < 0 and st[ARMED] and n >= st[N_MIN]:
        st[ARMED] = 0
        _close(st, 1, v1)
        n = 0
    elif n >= st[N_LIMIT] and (not st[ARMED] or n >= st[N_MAX]):
        # Armed, a crossing is due soon: waiting for it locks within a few cycles, where windows
        # of almost a cycle would creep towards it for seconds.
        st[ARMED] = 0
        _close(st, 0, v1)
        n = 0
    st[V_PREV] = v1
    st[N] = n + 1
    c = HEAD_WORDS
    for i in range(n_ch):
        code = codes[i]
        x = code - st[c + C_ZERO]
        if e11 and (code < 1536 or code > 2558):  # between them nothing is shifted
            x += straight(code) - code
            beside = code + 517 & 1023
            if beside == 4:
                st[E11_WIDE] += 1
            elif beside < 9:
                st[E11_BESIDE] += 1
        st[c + C_CODE] = code
        if code < st[c + C_MIN]:
            st[c + C_MIN] = code
        if code > st[c + C_MAX]:
            st[c + C_MAX] = code
        st[c + C_SUM] += x
        st[c + C_SQ] += x * x
        st[c + C_VX] += st[V1 + st[c + C_VSEL]] * x
        st[c + C_DX] += st[D1 + st[c + C_VSEL]] * x
        if at >= 0:
            wave[at + i] = code
        limit = st[c + C_PEAK]
        if x > limit or x < -limit:
            over = st[c + C_OVER] + 1
            st[c + C_OVER] = over
            bit = st[c + C_BIT]
            if over >= st[PEAK_SCANS] and bit:
                if x < 0:
                    x = -x
                if x > st[c + C_BREAK] and not (st[PEAK_TRIPS] | st[WAITING]) & bit:
                    # The relay cannot break that: the breaker upstream may have its time.
                    st[WAITING] |= bit
                    st[c + C_MOST] = 0
                    st[c + C_COUNT] = st[c + C_WAIT]
                    st[BUSY] = 1
                if st[WAITING] & bit:
                    if x > st[c + C_MOST]:
                        st[c + C_MOST] = x
                else:
                    _trip(st, bit)
        else:
            st[c + C_OVER] = 0
        c += CH_WORDS
    c = st[SENSE]
    if c:
        x = st[c + C_CODE] - st[c + C_ZERO]
        if x < -st[HYST]:
            st[SENSE_ARMED] = 1
        elif x >= 0 and st[SENSE_ARMED]:
            st[SENSE_ARMED] = 0
            st[SENSE_SCAN] = st[SCANS]
            st[SENSE_BEFORE] = st[SENSE_PREV]
            st[SENSE_AFTER] = x
            st[SENSE_N] = (st[SENSE_N] + 1) & 0x1FFFFFFF
        st[SENSE_PREV] = x


def _trip(st, bit):
    st[OPENED] |= bit
    if not st[PEAK_TRIPS] & bit:
        st[PEAK_TRIPS] |= bit
        st[TRIP_SCAN] = st[SCANS]
        if st[WAVE_HOLD] < 0:
            st[WAVE_HOLD] = st[WAVE_POST]


def _count_down(st):
    """Relays that are to be switched at a scan (never closed after a trip), trips that wait."""
    busy = 0
    c = HEAD_WORDS
    for _ in range(st[N_CH]):
        k = st[c + C_COUNT]
        if k:
            k -= 1
            st[c + C_COUNT] = k
            bit = st[c + C_BIT]
            if k:
                busy = 1
            elif st[WAITING] & bit:
                st[WAITING] &= ~bit
                _trip(st, bit)
            elif st[c + C_MAKE]:
                trips = st[PEAK_TRIPS] | st[SHORT_TRIPS] | st[GROUND_TRIPS]
                if not trips & bit and not st[LEASE_TRIPPED]:
                    st[CLOSED] |= bit
            else:
                st[OPENED] |= bit
        c += CH_WORDS
    st[BUSY] = busy


def _close(st, locked, v1):
    """End the open window: short-time stage, hand the sums to the ring, start afresh."""
    ring = _ring
    n = st[N]
    n_ch = st[N_CH]
    slots = st[SLOTS]
    words = SLOT_HEAD + SLOT_CH * n_ch
    st[N_LIMIT] = st[N_MAX] if locked else st[N_FREE]
    head = st[HEAD]
    nxt = head + 1
    if nxt >= slots:
        nxt = 0
    merge = nxt == st[TAIL]
    if merge:
        head -= 1
        if head < 0:
            head = slots - 1
    r = head * words
    add = 1
    if merge:
        st[MERGED] += 1
        if ring[r + W_PERIODS] >= _MERGE_MAX:
            st[LOST] += 1
            add = 0
        else:
            shift = MERGE_SHIFT if ring[r + W_PERIODS] == 1 else 0
            ring[r + W_PERIODS] += 1
            ring[r + W_N] += n
            ring[r + W_SCAN] = st[SCANS]
    else:
        ring[r + W_N] = n
        ring[r + W_PERIODS] = 1
        ring[r + W_LOCKED] = locked
        ring[r + W_BEFORE] = st[V_PREV]
        ring[r + W_AFTER] = v1
        ring[r + W_SCAN] = st[SCANS]
    r += SLOT_HEAD
    c = HEAD_WORDS
    for _ in range(n_ch):
        sq = st[c + C_SQ]
        bit = st[c + C_BIT]
        if bit:
            if sq > st[c + C_SHORT] * n:
                total = st[c + C_SHORT_N] + n
                st[c + C_SHORT_N] = total
                if total >= st[c + C_SHORT_MAX]:
                    st[OPENED] |= bit
                    if not st[SHORT_TRIPS] & bit:
                        st[SHORT_TRIPS] |= bit
                        st[c + C_TRIP] = sq // n
                        st[TRIP_SCAN] = st[SCANS]
                        if st[WAVE_HOLD] < 0:
                            st[WAVE_HOLD] = st[WAVE_POST]
            else:
                st[c + C_SHORT_N] = 0
        if merge:
            if add:
                ring[r] += st[c + C_SUM]
                ring[r + 1] = (ring[r + 1] >> shift) + (sq >> MERGE_SHIFT)
                ring[r + 2] = (ring[r + 2] >> shift) + (st[c + C_VX] >> MERGE_SHIFT)
                ring[r + 5] = (ring[r + 5] >> shift) + (st[c + C_DX] >> MERGE_SHIFT)
                if st[c + C_MIN] < ring[r + 3]:
                    ring[r + 3] = st[c + C_MIN]
                if st[c + C_MAX] > ring[r + 4]:
                    ring[r + 4] = st[c + C_MAX]
        else:
            ring[r] = st[c + C_SUM]
            ring[r + 1] = sq
            ring[r + 2] = st[c + C_VX]
            ring[r + 3] = st[c + C_MIN]
            ring[r + 4] = st[c + C_MAX]
            ring[r + 5] = st[c + C_DX]
        st[c + C_SUM] = 0
        st[c + C_SQ] = 0
        st[c + C_VX] = 0
        st[c + C_DX] = 0
        st[c + C_MIN] = 4095
        st[c + C_MAX] = 0
        r += SLOT_CH
        c += CH_WORDS
    if not merge:
        st[HEAD] = nxt  # last: the reader must never see a half-written slot
