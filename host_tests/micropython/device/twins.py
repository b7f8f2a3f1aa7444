# Runs on MicroPython: the plain kernels and their viper twins on the same input, word by word.
# Prints "equal <cases>" or the first difference. Arguments: seed, and optionally a file with
# recorded codes (16-bit words, CHANNELS of them per scan).

import random
import sys
from array import array

import uctypes

from firmware.protection import thermal, thermal_viper
from firmware.sensing import kernel, kernel_viper, reduce, reduce_viper

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
    st[kernel.LEASE] = random.randint(0, 400)
    st[kernel.N_FREE] = st[kernel.N_LIMIT] = 40
    st[kernel.N_MIN] = 30
    st[kernel.N_MAX] = 60
    for i in range(CHANNELS):
        c = kernel.HEAD_WORDS + kernel.CH_WORDS * i
        st[c + kernel.C_ZERO] = 2048 + random.randint(-9, 9)
        st[c + kernel.C_MIN] = 4095
        st[c + kernel.C_PEAK] = random.choice((300, 1500, 1900, 8191))
        st[c + kernel.C_SHORT] = random.choice((1000, 100000, 1 << 24))
        st[c + kernel.C_SHORT_MAX] = random.choice((40, 90, 1 << 29))
        if 2 <= i < 7:
            st[c + kernel.C_BIT] = 1 << (i - 2)
            st[c + kernel.C_MASK] = 4 << (i - 2)
            st[c + kernel.C_VSEL] = (0, 1, 0, 1, 2)[i - 2]
        st[c + kernel.C_MUX] = i << 18
    return st


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
    for i in range(len(one)):
        if one[i] != two[i]:
            print("differ:", name, "word", i, "plain", one[i], "viper", two[i])
            return True
    return False


def run_kernels(kind, scans):
    n_volt = random.choice((1, 2))
    st = make_state(n_volt)
    st2 = array("i", st)
    words = kernel.SLOT_HEAD + 5 * CHANNELS
    ring = array("i", bytes(4 * SLOTS * words))
    ring2 = array("i", ring)
    wave = array("H", bytes(2 * WAVE * CHANNELS))
    wave2 = array("H", wave)
    codes = array("i", bytes(4 * CHANNELS))
    kernel.attach(st, ring, wave, codes)
    scratch = array("I", [0, 0, 0])
    at = uctypes.addressof(scratch)
    regs = array("I", [at, uctypes.addressof(codes), at + 4, at + 8, 0x105, 1, 7 << 18])
    kernel_viper.attach(st2, ring2, wave2, regs)
    block = make_block(n_volt)
    block2 = array("i", block)
    for scan in range(scans):
        fill(codes, kind, scan)
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


def main(seed, path):
    global recorded
    random.seed(seed)
    cases = 0
    kinds = [0, 1, 2, 2, 0, 2]
    if path:
        with open(path, "rb") as file:
            recorded = array("H", file.read())
        kinds.extend([3, 3])
    for kind in kinds:
        if not run_kernels(kind, 1200):
            sys.exit(1)
        cases += 1200
    if not run_thermal(400):
        sys.exit(1)
    print("equal", cases + 400)


main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
