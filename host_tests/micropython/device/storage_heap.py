# Heap that settings, journal, commands and console take, and that Journal.add takes none.
# Prints one JSON object.

import gc
import json
import sys

import micropython


def used():
    gc.collect()
    gc.collect()
    return gc.mem_alloc()


result = {}
gc.threshold(2048)  # as on boards that load their modules into the heap
gc.collect()
from firmware import board as boards  # noqa: E402
from firmware import events  # noqa: E402

board = boards.load("simulated")
used()


def measured(name, make):
    before = used()
    thing = make()
    result[name] = used() - before
    return thing


def load(name):
    __import__(name)
    return sys.modules[name]


measured("code files", lambda: load("firmware.storage.files"))
measured("code settings", lambda: load("firmware.storage.settings"))
measured("code journal", lambda: load("firmware.storage.journal"))
measured(
    "code counters+latch",
    lambda: (load("firmware.storage.counters"), load("firmware.storage.latch")),
)
measured("code commands", lambda: load("firmware.interfaces.commands"))
measured("code editor", lambda: load("firmware.interfaces.editor"))
measured("code screens", lambda: load("firmware.interfaces.screens"))
load("asyncio")
measured("code console", lambda: load("firmware.interfaces.console"))

from firmware.interfaces.console import Console  # noqa: E402
from firmware.storage.journal import Journal, JournalStore  # noqa: E402
from firmware.storage.settings import Settings  # noqa: E402
from host_tests.fakes.fake_console_app import FakeApp, FakePort  # noqa: E402

settings = measured("settings", lambda: Settings(board, ""))
journal = measured("journal 256", lambda: Journal(256))
store = measured("journal store", lambda: JournalStore("", journal))
app = FakeApp()
console = measured("console", lambda: Console(app, FakePort()))

# The control lane's part: under a locked heap any allocation raises MemoryError.
journal.now_s = 1 << 29
journal.now_ms = 990
before = gc.mem_alloc()
micropython.heap_lock()
for _ in range(1000):
    journal.tick(17)
    journal.add(events.TRIPPED, 4, events.THERMAL, (1 << 30) - 1, events.BY_CONTROL)
    journal.add(events.ON, -1, events.COMMAND, -(1 << 30), events.BY_MQTT)
micropython.heap_unlock()
result["allocated by 2000 records"] = gc.mem_alloc() - before
result["last_seq"] = journal.last_seq
result["record"] = list(journal.get(journal.last_seq))
print(json.dumps(result))
