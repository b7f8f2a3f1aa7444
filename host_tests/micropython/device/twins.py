# Runs on MicroPython: the plain kernels and their viper twins on the same input, word by word.
# Prints "equal <cases>" or the first difference. Arguments: seed, and optionally a file with
# recorded codes (16-bit words, CHANNELS of them per scan). The emulated chip imports it and calls
# main() with fewer scans.

import random
import sys
from array import array

import uctypes

from firmware.protection import thermal, thermal_viper
from firmware.sensing import kernel, kernel_viper, reduce, reduce_viper

try:
    from firmware.sensing import gridsense, gridsense_viper
except ImportError:  # not among the few files on the emulated chip
    gridsense = None

CHANNELS = 8
SLOTS = 4
WAVE = 50
ELEMENTS = 8
recorded = None


def make_state(n_volt):
    """A state block as FastLane makes it, with limits that random codes do reach."""
    st = array("i", bytes(4 * (kernel.HEAD_WORDS + kernel.CH_WORDS * CHANNELS)))
    st[kernel.N_CH] = CHANNELS
    st[kernel.N_VOLT] = n_volt
    st[kernel.SLOTS] = SLOTS
    st[kernel.HYST] = 60
    st[kernel.PEAK_SCANS] = 2
    st[kernel.WAVE_SCANS] = WAVE
    st[kernel.WAVE_HOLD] = -1
    st[kernel.WAVE_POST] = 20
    st[kernel.ALL_BITS] = 31
    st[kernel.ALL_MASK] = 0x7C
    st[kernel.EXPORT_MASK] = random.choice((0, 2))
    st[kernel.LEASE] = random.randint(0, 400)
    st[kernel.N_FREE] = st[kernel.N_LIMIT] = 40
    st[kernel.N_MIN] = 30
    st[kernel.N_MAX] = 60
    st[kernel.E11] = random.choice((0, -1))
    for i in range(CHANNELS):
        c = kernel.HEAD_WORDS + kernel.CH_WORDS * i
        st[c + kernel.C_ZERO] = 2048 + random.randint(-9, 9)
        st[c + kernel.C_MIN] = 4095
        st[c + kernel.C_PEAK] = random.choice((300, 1500, 1900, 8191))
        st[c + kernel.C_SHORT] = random.choice((1000, 100000, 1 << 24))
        st[c + kernel.C_SHORT_MAX] = random.choice((40, 90, 1 << 29))
        if 2 <= i < 7:
            st[c + kernel.C_BIT] = 1 << (i - 2)
            st[c + kernel.C_MASK] = 4 << (i - 2) | st[kernel.EXPORT_MASK]
            st[c + kernel.C_VSEL] = (0, 1, 0, 1, 2)[i - 2]
        st[c + kernel.C_TWICE] = i & 1
        st[c + kernel.C_MUX] = (i + 1) % CHANNELS << 18
        st[c + kernel.C_BREAK] = random.choice((200, 1600, 8191))
        st[c + kernel.C_WAIT] = random.randint(1, 50)
    if random.getrandbits(1):
        st[kernel.SENSE] = kernel.HEAD_WORDS + kernel.CH_WORDS * random.choice((0, 1, 7))
    if random.getrandbits(1):
        st[kernel.IN_MASK] = 1 << 8
        st[kernel.IN_INVERT] = random.choice((0, 1 << 8))
        st[kernel.IN_BITS] = random.getrandbits(5)
        st[kernel.IN_RELAYS] = st[kernel.IN_BITS] << 2
    return st


def command(st, st2, scratch):
    """What the control lane and the world do between two scans, to both."""
    kind = random.getrandbits(6)
    if kind == 0:
        c = kernel.HEAD_WORDS + kernel.CH_WORDS * random.randint(2, 6)
        st[c + kernel.C_COUNT] = st2[c + kernel.C_COUNT] = random.randint(0, 60)
        st[c + kernel.C_MAKE] = st2[c + kernel.C_MAKE] = random.getrandbits(1)
        st[kernel.BUSY] = st2[kernel.BUSY] = 1
    elif kind == 1:
        for word in (kernel.PEAK_TRIPS, kernel.SHORT_TRIPS, kernel.GROUND_TRIPS, kernel.CLOSED):
            st[word] = st2[word] = 0
        st[kernel.LEASE_TRIPPED] = st2[kernel.LEASE_TRIPPED] = 0
        st[kernel.LEASE] = st2[kernel.LEASE] = random.randint(0, 400)
    elif kind < 4:
        scratch[1] = random.getrandbits(9)
        st[kernel.PINS] = st2[kernel.PINS] = scratch[1]


def fill(codes, kind, scan):
    """One scan's codes: noise, a mains wave with loads, or the extremes."""
    if kind == 0:
        for i in range(CHANNELS):
            codes[i] = random.getrandbits(12)
        return
    if kind == 3:
        at = scan * CHANNELS % len(recorded)
        for i in range(CHANNELS):
            codes[i] = recorded[at + i]
        return
    if kind == 1:
        rail = 4095 if scan // 20 & 1 else 0
        for i in range(CHANNELS):
            codes[i] = rail
        return
    phase = scan % 40
    wave = (phase if phase < 20 else 40 - phase) * 2 - 20  # triangle, -20 to 20
    for i in range(CHANNELS):
        sign = -1 if i == 1 else 1
        code = 2048 + sign * wave * (70 if i < 2 else 8 * i) + random.randint(-3, 3)
        codes[i] = min(4095, max(0, code))


def difference(name, one, two):
    if one == two:  # quick: nearly always
        return False
    for i in range(len(one)):
        if one[i] != two[i]:
            print("differ:", name, "word", i, "plain", one[i], "viper", two[i])
            return True
    return False


def run_kernels(kind, scans):
    n_volt = random.choice((1, 2))
    st = make_state(n_volt)
    st2 = array("i", st)
    words = kernel.SLOT_HEAD + kernel.SLOT_CH * CHANNELS
    ring = array("i", bytes(4 * SLOTS * words))
    ring2 = array("i", ring)
    wave = array("H", bytes(2 * WAVE * CHANNELS))
    wave2 = array("H", wave)
    codes = array("i", bytes(4 * CHANNELS))
    kernel.attach(st, ring, wave, codes)
    scratch = array("I", bytes(28))  # control register, GPIO registers
    at = uctypes.addressof(scratch)
    regs = array("I", [at, uctypes.addressof(codes), at + 4, 0x105, 4, 7 << 18])
    kernel_viper.attach(st2, ring2, wave2, regs)
    for i in range(CHANNELS):  # its addresses
        c = kernel.HEAD_WORDS + kernel.CH_WORDS * i
        st[c + kernel.C_FROM] = st2[c + kernel.C_FROM]
        st[c + kernel.C_VAT] = st2[c + kernel.C_VAT]
    block = make_block(n_volt)
    block2 = array("i", block)
    for scan in range(scans):
        fill(codes, kind, scan)
        command(st, st2, scratch)
        kernel.scan(None)
        kernel_viper.scan(None)
        if difference("state", st, st2) or difference("ring", ring, ring2):
            return False
        if difference("wave", wave, wave2):
            return False
        # a reader that comes rarely, so that windows merge
        if scan % 167 == 0:
            while st[kernel.TAIL] != st[kernel.HEAD]:
                r = st[kernel.TAIL] * words
                reduce.reduce(block, ring, r)
                reduce_viper.reduce(block2, ring2, r)
                if difference("block", block, block2):
                    return False
                tail = (st[kernel.TAIL] + 1) % SLOTS
                st[kernel.TAIL] = st2[kernel.TAIL] = tail
    return True


def run_silent():
    """A converter that never answers: no plain twin, because there the sampler finds it."""
    st = make_state(2)
    st[kernel.N_LIMIT] = st[kernel.N_MAX] = 60
    st[kernel.LEASE] = 400
    ring = array("i", bytes(4 * SLOTS * (kernel.SLOT_HEAD + kernel.SLOT_CH * CHANNELS)))
    wave = array("H", bytes(2 * WAVE * CHANNELS))
    codes = array("i", [2048] * CHANNELS)
    scratch = array("I", bytes(28))
    at = uctypes.addressof(scratch)
    regs = array("I", [at, uctypes.addressof(codes), at + 4, 5, 4, 7 << 18])
    kernel_viper.attach(st, ring, wave, regs)
    for count in range(1, 4):
        kernel_viper.scan(None)
        for i in range(CHANNELS):
            code = st[kernel.HEAD_WORDS + kernel.CH_WORDS * i + kernel.C_CODE]
            if code != 4095 or st[kernel.SILENT] != count:
                print("silent: channel", i, "code", code, "count", st[kernel.SILENT])
                return False
    regs[3] = 0x105  # it answers again
    kernel_viper.scan(None)
    return st[kernel.HEAD_WORDS + kernel.C_CODE] == 2048 and st[kernel.SILENT] == 3


def make_block(n_volt):
    b = array("i", bytes(4 * (reduce.B_HEAD + reduce.M_WORDS * CHANNELS)))
    b[reduce.B_CHANNELS] = CHANNELS
    b[reduce.B_VOLTS] = n_volt
    for i in range(CHANNELS):
        c = reduce.B_HEAD + reduce.M_WORDS * i
        b[c + reduce.M_RESIDUE] = random.randint(-2000, 2000)
        b[c + reduce.M_NOISE] = random.randint(0, 2000)
        b[c + reduce.M_VSEL] = 0 if i < 2 else (0, 1, 0, 1, 2, 0)[i - 2]
        b[c + reduce.M_W_DIV] = random.choice((0, 4295, 2147))
        b[c + reduce.M_E_UNIT] = random.choice((581000, 290000))
        b[c + reduce.M_E_MWH] = random.randint(0, 999_999)
        b[c + reduce.M_WELD] = random.choice((16, 1 << 29))
        b[c + reduce.M_LEARN] = random.choice((0, 3, 6, 19))
        b[c + reduce.M_ZERO] = 2048 + random.randint(-9, 9)
        b[c + reduce.M_DRIFT] = random.randint(-1024, 1024)
        b[c + reduce.M_MOVED] = random.choice((0, 3071, -3071))
        b[c + reduce.M_NOISE_N] = random.choice((0, 30, 1023))
        b[c + reduce.M_SKEW] = random.randint(-120, 120)
        b[c + reduce.M_LEAD] = random.randint(-1500, 1500)
    return b


def run_thermal(steps):
    """Loads up to the largest that dispatch and clipped sensors hand in."""
    b = array("i", bytes(4 * thermal.T_WORDS * ELEMENTS))
    for i in range(ELEMENTS):
        t = thermal.T_WORDS * i
        b[t + thermal.T_LIMIT] = random.choice((1000, 29_600, 1_040_400))
        b[t + thermal.T_TAU] = 2403 * random.choice((30, 40, 120, 300))
        b[t + thermal.T_COOL] = 2403 * random.choice((30, 80, 600))
        b[t + thermal.T_HEAT] = random.randint(0, 2 * b[t + thermal.T_LIMIT])
    b2 = array("i", b)
    for _ in range(steps):
        n = random.randint(30, 64)
        periods = random.choice((1, 1, 1, 1, 7, 230))
        for i in range(ELEMENTS):
            top = random.choice((0, 30, 1000, 2248, 4000))
            b[thermal.T_WORDS * i] = b2[thermal.T_WORDS * i] = top * top * n
        one = thermal.step(b, ELEMENTS, n, periods)
        two = thermal_viper.step(b2, ELEMENTS, n, periods)
        if one != two or difference("thermal", b, b2):
            print("differ: bits", one, two)
            return False
    return True


def run_gather(cases):
    """Blocks full of anything, outlets on any legs."""
    block = array("i", bytes(4 * 200))
    plan = array("i", bytes(4 * thermal.P_WORDS * ELEMENTS))
    for _ in range(cases):
        for i in range(len(block)):
            block[i] = random.randint(-16000, 16000)
        for i in range(ELEMENTS):
            p = thermal.P_WORDS * i
            plan[p + thermal.P_AT] = random.randint(0, 180)
            plan[p + thermal.P_LOAD] = i * thermal.T_WORDS
            plan[p + thermal.P_MA] = random.randint(1, 9400)
            plan[p + thermal.P_LEGS] = random.getrandbits(2)
        found = []
        for gather in (thermal.gather, thermal_viper.gather):
            b = array("i", bytes(4 * thermal.T_WORDS * ELEMENTS))
            amps = array("i", bytes(4 * ELEMENTS))
            power = array("i", bytes(4 * ELEMENTS))
            sums = array("i", bytes(12))
            gather(block, b, plan, ELEMENTS, amps, power, sums)
            found.append((b, amps, power, sums))
        for one, two in zip(found[0], found[1]):
            if difference("gather", one, two):
                return False
    return True


def run_sense(cases):
    """Windows and cycles of 35 to 80 Hz at both scan periods, crossings before and behind."""
    for _ in range(cases):
        n = random.randint(12, 64)
        length = random.randint(14_000, 75_000)
        since = random.randint(-70, 32_000)
        part = random.randint(0, 1024)
        square = random.choice((0, 1, 900, random.randint(0, 4095 * 4095)))
        last = random.choice((0, 1, 8192, random.randint(1, 40_000)))
        total = random.choice((0, random.randint(42_000, 750_000)))
        parts = random.choice((2_403_846, 1_200_480)) << 8
        for name, words in (
            ("share", (n, length, since, part)),
            ("root", (square, last)),
            ("hertz", (total, random.choice((3, 10)), parts)),
        ):
            one = getattr(gridsense, name)(*words)
            two = getattr(gridsense_viper, name)(*words)
            if one != two:
                print("differ:", name, words, "plain", one, "viper", two)
                return False
    return True


def main(seed, path="", scans=1200):
    global recorded
    random.seed(seed)
    cases = 0
    kinds = [0, 1, 2, 2, 0, 2]
    if path:
        with open(path, "rb") as file:
            recorded = array("H", file.read())
        kinds.extend([3, 3])
    for kind in kinds:
        if not run_kernels(kind, scans):
            sys.exit(1)
        cases += scans
    if not run_silent() or not run_thermal(scans // 3) or not run_gather(40):
        sys.exit(1)
    if gridsense is not None and not run_sense(scans):
        sys.exit(1)
    print("equal", cases + scans // 3)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
