# Power cuts on littlefs: a flash that stops in the middle of a write or an erase, at a random
# instant of a busy run, again and again; after each, everything on it must read as a whole.
# Arguments: seed, number of cuts. Prints one JSON object; an AssertionError is a failure.

import gc
import json
import os
import random
import sys

import vfs

from firmware import board as boards
from firmware import events
from firmware.storage import files
from firmware.storage.counters import CounterStore
from firmware.storage.journal import VALUE, Journal, JournalStore
from firmware.storage.latch import LatchStore
from firmware.storage.settings import Settings

BLOCKS = 32
seed = int(sys.argv[1])
cuts = int(sys.argv[2])
random.seed(seed)


class Flash:
    """Loses power after `left` more bytes: what was being programmed or erased is torn.

    Without power it answers with an error and allocates nothing: files that were open are closed
    by the garbage collector then, under a locked heap."""

    def __init__(self):
        self.data = bytearray(b"\xff" * (4096 * BLOCKS))
        self.left = -1
        self.dead = False

    def _spend(self, size):
        if self.left < 0:
            return size
        if self.left >= size:
            self.left -= size
            return size
        self.dead = True
        return self.left

    def readblocks(self, block, buffer, offset=0):
        if self.dead:
            return -5
        at = block * 4096 + offset
        buffer[:] = self.data[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        if self.dead:
            return -5
        at = block * 4096 + offset
        size = self._spend(len(buffer))
        self.data[at : at + size] = buffer[:size]
        return -5 if self.dead else 0

    def ioctl(self, op, arg):
        if op == 4:
            return BLOCKS
        if op == 5:
            return 4096
        if op == 6:
            if self.dead:
                return -5
            size = self._spend(4096)
            at = arg * 4096
            self.data[at : at + size] = b"\xff" * size
            return -5 if self.dead else 0
        return 0


flash = Flash()
vfs.VfsLfs2.mkfs(flash, progsize=256)
board = boards.load("simulated")
names = ("cabin1", "cabin2", "bed1", "bed2", "bed240")

# What the flash has confirmed, and what was being written when the power went.
known = {"limit": 20, "energy": 0, "trips": 0, "seq": 0}
trying = dict(known)
torn = 0


def check():
    settings = Settings(board, "data")
    settings.load()
    assert settings.load_report == "", settings.load_report
    assert settings.get("bed1.limit_a") in (known["limit"], trying["limit"])
    latch = LatchStore("data")
    latched = latch.load()
    assert latch.trusted, latch.note
    trips = latched["bed1"][1] if latched else 0
    assert trips in (known["trips"], trying["trips"])
    counters = CounterStore("data", names)
    energy = counters.load()
    assert known["energy"] <= energy["bed1"] <= trying["energy"], (energy, known, trying)
    journal = Journal(64)
    store = JournalStore("data", journal)
    store.load()
    assert store.note == "", store.note
    assert known["seq"] <= journal.last_seq <= trying["seq"], (journal.last_seq, known, trying)
    seq = journal.first_seq
    for record in journal.since(0):
        assert record[0] == seq and record[VALUE] == seq * 3
        seq += 1
    known["limit"] = trying["limit"] = settings.get("bed1.limit_a")
    known["trips"] = trying["trips"] = trips
    known["energy"] = trying["energy"] = energy["bed1"]
    known["seq"] = trying["seq"] = journal.last_seq
    return settings, latch, counters, journal, store


def work(settings, latch, counters, journal, store):
    while True:
        turn = random.getrandbits(3)
        if turn == 0:
            trying["limit"] = 1 + random.getrandbits(4)
            settings.set("bed1.limit_a", trying["limit"])
            settings.save()
            known["limit"] = trying["limit"]
        elif turn == 1:
            trying["trips"] = known["trips"] + 1
            latch.save({"bed1": (2, trying["trips"], 1000, 0)})
            known["trips"] = trying["trips"]
        elif turn == 2:
            trying["energy"] = known["energy"] + random.getrandbits(10)
            counters.save({name: trying["energy"] for name in names})
            known["energy"] = trying["energy"]
        else:
            for _ in range(random.getrandbits(4)):
                trying["seq"] += 1
                journal.add(events.ON, 2, events.COMMAND, trying["seq"] * 3, events.BY_MQTT)
            store.flush()
            known["seq"] = trying["seq"]


for _cut in range(cuts):
    fs = vfs.VfsLfs2(flash, progsize=256)
    vfs.mount(fs, "/flash")
    os.chdir("/flash")
    parts = check()
    flash.left = random.getrandbits(15)
    try:
        work(*parts)
    except (OSError, files.StorageError):
        assert flash.dead, "the flash was alive"
        torn += 1
    os.chdir("/")
    try:
        vfs.umount("/flash")
    except OSError:
        pass
    del parts, fs
    gc.collect()
    flash.dead = False
    flash.left = -1
print(json.dumps({"cuts": torn, "records": known["seq"], "seed": seed}))
