# The self-tests that run each ten seconds, and at boot. Called by the task of selftest.py and by
# `selftest full`; loaded each time, and dropped again.

import gc
import sys
import time
from binascii import crc32

from micropython import const

from firmware import pieces
from firmware.hal import kernels, system
from firmware.storage import files

# Numbers of checks, see selftest_report.py
_MEMORY = const(1)
_IMAGE = const(3)
_FILES = const(4)
_WATCHDOG = const(6)
_CLOCK = const(7)
_RATE = const(8)
_FLOW = const(9)
_REFERENCE = const(10)
_MAINS = const(11)
_MIDDLE = const(12)
_SETTINGS = const(13)
_HEAP = const(14)

_BLOCK = const(6)  # words that are tested with interrupts off, as in hal/memory.py
_BLOCKS = const(40)  # in a step: 0.9 ms
_WAVE = const(6)  # place of the waveform among the buffers
_BYTES = const(1024)
_HEAP_TURNS = const(6)  # a minute
_ROUND_TURNS = const(60)  # ten minutes: settings, image, files
_LEAST_US = const(1_000_000)
_HEAP_LOW = const(2500)
_MANIFEST = "firmware/files.txt"
_SCAN_MASK = const(0x1FFFFFFF)
_M_ZERO = const(25)  # reduce.M_ZERO


def words(tests, buffer: int) -> int:
    """How many words of 32 bits there are in a buffer: the waveform's are halves."""
    return len(tests.buffers[buffer]) >> (1 if buffer >= _WAVE else 0)


def memory(tests):
    """Generator: a march test of all arrays that live for ever, a millisecond a step; with the
    other pattern the next time."""
    pieces.breathe()
    if kernels.VIPER:
        from firmware.hal.memory_viper import march
    else:
        from firmware.hal.memory import march
    if sys.platform == "rp2":  # a kilobyte, which is not wanted for long
        # Elsewhere machine code has memory of its own, which is never given back.
        pieces.drop("firmware.hal.memory_viper", "firmware.hal.memory")
    pieces.breathe()
    tests.odd ^= 1
    keep = tests.keep
    good = True
    for i in range(len(tests.buffers)):
        buffer = tests.buffers[i]
        n = words(tests, i)
        at = 0
        while at < n:
            blocks = min((n - at) // _BLOCK, _BLOCKS)
            if not blocks:  # less than one is left
                at = n - _BLOCK
                blocks = 1
            bad = march(buffer, at, tests.odd, blocks, keep)
            if bad:
                good = False
                tests.note(_MEMORY, False, i * 10000 + at + max(bad - 1, 0) * _BLOCK)
            at += blocks * _BLOCK
            yield
    tests.note(_MEMORY, good)


def start(tests):
    """At boot, before the sampler runs: memory, the converter's reference."""
    for _ in memory(tests):
        pass
    code = tests.controller.fast.reference
    if code:
        # 0.706 V at 27 C, -1.72 mV/C (RP2040 data sheet 4.9.5): -40 to 120 C, 3.3 V +-7 %
        tests.note(_REFERENCE, 620 < code < 1110, code)
    tests.controller.checking = True


def turn(tests):
    """Each ten seconds, after memory()."""
    if not tests.turns % _ROUND_TURNS:
        tests.walk = stored(tests, _BYTES)
    look(tests)
    tests.turns += 1


def look(tests):
    """Clocks, sampler, control lane, watchdog, sensors' middle, heap, settings."""
    c = tests.controller
    app = tests.app
    fast = c.fast
    now = time.ticks_us()
    passed = time.ticks_diff(now, tests.us)
    scans = fast.now()
    if tests.turns and passed > _LEAST_US:
        permille = ((scans - tests.scans) & _SCAN_MASK) * 1000 // (passed // fast.period_us)
        # A soft timer stands still while Python does; a hard one makes up for it.
        low, high = (800, 1050) if fast.reads_pins else (400, 1100)
        tests.note(_RATE, low < permille < high, permille, 2)
        tests.note(_FLOW, c.windows != tests.windows, c.windows, 2)
    tests.us = now
    tests.scans = scans
    tests.windows = c.windows
    tests.note(_WATCHDOG, app.watchdog.runs())
    mhz = c.meter.frequency_mhz
    if mhz:
        nominal = app.settings.get("supply.hz") * 1000 or (60_000 if mhz > 55_000 else 50_000)
        agree = abs(mhz - nominal) * 1000 < nominal * 45
        ring = fast.ring_khz()
        if agree:
            tests.ring = ring
        moved = not agree and ring and abs(ring - tests.ring) * 100 > tests.ring * 3
        tests.note(_MAINS, agree, mhz, 2)
        if ring and tests.ring:
            tests.note(_CLOCK, not moved, ring, 2)
    middle = 0
    for m in c.meter.currents:
        middle += m.word(_M_ZERO) - 2048
    middle //= len(c.meter.currents)
    tests.note(_MIDDLE, -100 <= middle <= 100, middle, 2)
    if not tests.turns % _HEAP_TURNS and hasattr(gc, "mem_free"):
        pieces.breathe()
        free = gc.mem_free()  # 9 ms
        if free < _HEAP_LOW:
            pieces.collect()
            free = gc.mem_free()
        tests.note(_HEAP, free >= _HEAP_LOW, free, 2)
    if not tests.turns % _ROUND_TURNS:
        path = files.join(app.folder, "settings.json")
        if files.size(path) >= 0:
            tests.note(_SETTINGS, files.is_good(path))


def image(tests, size: int):
    """Generator: the image in flash against its checksum, `size` bytes a step."""
    stored = system.image()
    if stored is None:
        return
    view = memoryview(stored[0])
    for _ in range(2):  # twice, before it is believed to be bad
        seen = 0
        for at in range(0, len(view), size):
            seen = crc32(view[at : at + size], seen)
            yield
        if seen == stored[1]:
            break
    tests.note(_IMAGE, seen == stored[1])


def _files(tests):
    """Generator: the firmware's files against their checksums."""
    try:
        lines = open(_MANIFEST, "rb")
    except OSError:
        return  # frozen in, or put there by hand
    view = memoryview(bytearray(_BYTES >> 1))
    number = 0
    with lines:
        for line in lines:
            number += 1
            try:
                crc, _, path = line.decode().strip().partition(" ")
            except UnicodeError:
                crc = path = ""  # it is the list that is damaged
            for _ in range(2):
                seen = 0
                try:
                    with open(path, "rb") as stream:
                        n = stream.readinto(view)
                        while n:
                            seen = crc32(view[:n], seen)
                            yield
                            n = stream.readinto(view)
                except (OSError, ValueError):
                    seen = -1
                if "%08x" % seen == crc:
                    break
            else:
                tests.note(_FILES, False, number)
                return
    tests.note(_FILES, True, number)


def stored(tests, size: int):
    """Generator: the program as it is stored, `size` bytes of an image a step."""
    for _ in image(tests, size):
        yield
    for _ in _files(tests):
        yield


def full(tests):
    """Generator of progress: everything that can be checked without switching, at once."""
    for pattern in (1, 2):
        for _ in memory(tests):
            yield "memory, pattern %d of 2" % pattern
    for _ in stored(tests, 4096):
        yield "program"
    look(tests)
    tests.limits()
    tests.outputs()
