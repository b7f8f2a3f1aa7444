# Runs on MicroPython: a record is given out in pieces while the heap has only small holes left.
# Arguments: bytes of a hole, number of holes. Prints "done <length> <longest piece>".

import gc
import sys

from heap_bench import Clock

from firmware import board as boards
from firmware.controller import Controller
from firmware.hal import kernels
from firmware.hal.fastlane import FastLane
from firmware.sensing import capture
from firmware.sensing.metering import Meter
from firmware.storage.journal import Journal
from firmware.storage.settings import Settings


def fill(holes, size, count):
    """Take all of the heap, so that it has so many holes of this size, none beside another, when
    `holes` is cleared. What is returned must be kept."""
    gc.collect()
    kept = None
    for _ in range(count):
        holes.append(bytearray(size))
        kept = (kept, bytearray(16))
    size = 65536
    while size:
        try:
            while True:
                kept = (kept, bytearray(size))
        except MemoryError:
            size >>= 1
    return kept


def main():
    size, count = int(sys.argv[1]), int(sys.argv[2])
    board = boards.load("simulated")
    lane = FastLane(board)
    settings = Settings(board, "")
    controller = Controller(
        board, lane, Meter(lane, kernels.reduce), Journal(), settings, Clock(), kernels.heat
    )
    for i in range(len(lane.wave)):
        lane.wave[i] = i * 7 & 4095
    info = {"device": "dut", "event": None, "also": []}
    whole = b"".join(
        [bytes(p, "ascii") if isinstance(p, str) else p for p in read(controller, info)]
    )
    length, _ = measure(read(controller, info))
    assert length == len(whole)
    holes = []
    kept = fill(holes, size, count)
    holes.clear()
    gc.collect()
    free = gc.mem_free()
    again, longest = measure(read(controller, info))
    assert again == length
    assert kept
    print("done", length, longest, free)


def read(controller, info):
    return capture.Record(controller, 2, True, info).parts()


def measure(parts):
    length = longest = 0
    for part in parts:
        length += len(part)
        longest = max(longest, len(part))
    return length, longest


main()
