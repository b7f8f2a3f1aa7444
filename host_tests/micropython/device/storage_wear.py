# Block erases of the storage classes on littlefs as the RP2040 port makes it: 212 blocks of
# 4 KiB (what a Pico W has), progsize 256. Prints one JSON object.

import json

from counting_flash import BLOCKS, mounted

from firmware import events
from firmware.storage.counters import CounterStore
from firmware.storage.journal import Journal, JournalStore
from firmware.storage.latch import LatchStore

flash = mounted()
result = {}


def erases(name, count, action):
    before = sum(flash.erases)
    for i in range(count):
        action(i)
    result[name] = (sum(flash.erases) - before) / count


names = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
counters = CounterStore("data", names)
counters.load()
erases("counters", 3000, lambda i: counters.save({n: 10**12 + 2667 * i for n in names}))

latch = LatchStore("data")
erases("latch", 500, lambda i: latch.save({"bed1": (2, i, 1000, 1800000000)}, ["cabin1"]))

journal = Journal(64)
store = JournalStore("data", journal)
store.load()


def one(i):
    journal.add(events.ON, 2, events.COMMAND, i, events.BY_CONSOLE)
    store.flush()


erases("journal, a record a flush", 3000, one)


def many(i):
    for _ in range(16):
        journal.add(events.ON, 2, events.COMMAND, i, events.BY_CONSOLE)
    store.flush()


erases("journal, 16 records a flush", 300, many)
result["worst block"] = max(flash.erases)
result["mean of used blocks"] = sum(flash.erases) / BLOCKS
print(json.dumps(result))
