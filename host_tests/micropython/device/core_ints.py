# Runs on MicroPython with 31-bit small integers: the plain kernels (what a port without native
# emitter runs) and the protection's arithmetic on the most extreme input there can be, with the
# heap locked: a value beyond 2**30 would allocate and fail. Prints "fits <cases>".

import random
import sys
from array import array

import micropython

sys.modules["machine"] = type("machine", (), {})
from firmware import board as boards  # noqa: E402
from firmware.protection import thermal  # noqa: E402
from firmware.protection.dispatch import Dispatch  # noqa: E402
from firmware.sensing import kernel, reduce  # noqa: E402

CHANNELS = 8
SLOTS = 16


def make(zero):
    st = array("i", bytes(4 * (kernel.HEAD_WORDS + kernel.CH_WORDS * CHANNELS)))
    st[kernel.N_CH] = CHANNELS
    st[kernel.N_VOLT] = 2
    st[kernel.SLOTS] = SLOTS
    st[kernel.HYST] = 60
    st[kernel.PEAK_SCANS] = 2
    st[kernel.WAVE_SCANS] = 50
    st[kernel.WAVE_HOLD] = -1
    st[kernel.ALL_BITS] = 31
    st[kernel.N_FREE] = st[kernel.N_LIMIT] = st[kernel.N_MAX] = 64
    st[kernel.N_MIN] = 30
    st[kernel.E11] = -1
    st[kernel.SCANS] = (1 << 30) - 50
    for i in range(CHANNELS):
        c = kernel.HEAD_WORDS + kernel.CH_WORDS * i
        st[c + kernel.C_ZERO] = zero
        st[c + kernel.C_MIN] = 4095
        st[c + kernel.C_PEAK] = 1800
        st[c + kernel.C_SHORT] = (1 << 24) - 1
        st[c + kernel.C_SHORT_MAX] = 1 << 29
        st[c + kernel.C_VSEL] = i % 3
        if i > 1:
            st[c + kernel.C_BIT] = 1 << (i - 2)
    return st


def kernels(zero, kind):
    """Scans at the rails through kernel and reduce, with a reader that is late at times."""
    st = make(zero)
    words = kernel.SLOT_HEAD + kernel.SLOT_CH * CHANNELS
    ring = array("i", bytes(4 * SLOTS * words))
    wave = array("H", bytes(2 * 50 * CHANNELS))
    codes = array("i", [0] * CHANNELS)
    kernel.attach(st, ring, wave, codes)
    b = array("i", bytes(4 * (reduce.B_HEAD + reduce.M_WORDS * CHANNELS)))
    b[reduce.B_CHANNELS] = CHANNELS
    b[reduce.B_VOLTS] = 2
    for i in range(CHANNELS):
        c = reduce.B_HEAD + reduce.M_WORDS * i
        b[c + reduce.M_RESIDUE] = 2000 if kind else -2000
        b[c + reduce.M_VSEL] = i % 3
        b[c + reduce.M_W_DIV] = 2147
        b[c + reduce.M_E_UNIT] = 290_000
        b[c + reduce.M_WELD] = 24
        b[c + reduce.M_LEARN] = 19 if i & 1 else 0
        b[c + reduce.M_ZERO] = zero
        b[c + reduce.M_SKEW] = 120
        b[c + reduce.M_LEAD] = 1900 if kind else -1900
    cases = 0
    micropython.heap_lock()
    for scan in range(64 * 60):
        high = 4095 if scan // (64 if kind == 2 else 20) & 1 else 0
        for i in range(CHANNELS):
            codes[i] = high if (i ^ kind) & 1 else 4095 - high
        kernel.scan(None)
        if scan % (64 * 25) == 0 or scan > 64 * 40:
            while st[kernel.TAIL] != st[kernel.HEAD]:
                reduce.reduce(b, ring, st[kernel.TAIL] * words)
                tail = st[kernel.TAIL] + 1
                st[kernel.TAIL] = 0 if tail >= SLOTS else tail
                cases += 1
    micropython.heap_unlock()
    return cases


def protection():
    """Thermal elements and limits under clipped currents on every outlet."""
    board = boards.load("simulated")
    bank = thermal.Bank(8, 2403)
    dispatch = Dispatch(board, bank.elements[5:], 2403)
    dispatch.configure([1, 2, 4, 5, 3], 40_000, 9_600, 3600, 1800, 2000)
    for element in bank.elements[:5]:
        element.configure(29_600, 300, 600)
    amps = [0] * 5
    watts = [0] * 5
    block = bank.block
    cases = restored = 0
    micropython.heap_lock()
    for k in range(400):
        idle_w = 0 if k > 200 else -393_000
        worst = k // 100 & 1 == 0
        for i in range(5):
            amps[i] = (659_000 if i == 4 else 330_000) if worst else 0
            watts[i] = (393_000 if i == 4 else 197_000) if worst else idle_w
            block[thermal.T_WORDS * i] = 64 * 2248 * 2248 if worst else 0
        dispatch.set_loads(64, amps, watts, block, 230)
        hot = bank.step(64, 230 if k % 50 == 0 else 1)
        shed = dispatch.decide(64 * 230, hot, 31 if k % 7 else 0)
        dispatch.note_demand(31)
        for i in range(5):
            if shed >> i & 1:
                dispatch.note_shed(i)
        if k % 30 == 7:
            dispatch._passed = k & 31
        if k == 200:
            dispatch.restore_scans = dispatch.min_off_scans = 60 * 2403
            dispatch.max_restarts = 15
        back = dispatch.restorable(64 * 230)
        if back >= 0:
            dispatch.note_closed(back)
            dispatch.note_gone(back)
            dispatch.note_restored(back)
            restored += 1
        cases += 1
    micropython.heap_unlock()
    assert restored, "nothing came back"
    return cases


def main():
    random.seed(1)
    cases = 0
    for zero in (1848, 2048, 2248):
        for kind in (0, 1, 2):
            cases += kernels(zero, kind)
    print("fits", cases + protection())


main()
