# 380 days of the energy history on littlefs as a Pico W has it, with a restart each nine days.
# Prints one JSON object: sums of the periods against the counters, block erases, the longest list
# of waiting records. Called by test_energy_days.py.

import gc
import json

from counting_flash import mounted

from firmware.storage import accounts, history
from firmware.storage.energy import Energy, whole_wh

DAYS = 380
ZONE = "EST5EDT,M3.2.0,M11.1.0"

flash = mounted()

mwh = [0, 5_000_000, 123_456_789_012, 0, 999]
start = whole_wh(mwh)
utc = 1_795_374_000
up = 0
mark = None


class Loaded(Energy):
    """With the module that closes periods loaded for good: from source that takes long."""

    def accounts(self):
        return accounts


def begin():
    found = Loaded("data", 5)
    accounts.load(found, mwh, mark)
    return found


energy = begin()
most = 0
before = sum(flash.erases)
for hour in range(DAYS * 24):
    energy.follow(utc, up, ZONE, lambda: mwh)
    most = max(most, len(energy.waiting))
    while energy.waiting:
        energy.flush()
    if hour % 216 == 215:
        mark = energy.mark(utc, mwh)
        energy = begin()
        up = 0
        energy.follow(utc, up, ZONE, lambda: mwh)
        while energy.waiting:
            energy.flush()
    for i in range(5):
        mwh[i] += (hour * 7919 + i * 104_729) % 2_400_000
    utc += 3600
    up += 3600
energy.follow(utc, up, ZONE, lambda: mwh)
while energy.waiting:
    energy.flush()
result = {
    "erases_per_hour": (sum(flash.erases) - before) / (DAYS * 24),
    "worst_block": max(flash.erases),
    "waiting": most,
}
for kind, name in enumerate(history.KINDS):
    number, running = history.running(energy, kind, mwh)
    sums = running
    rows = 0
    last = []
    for _, wh in history.rows(energy, kind, number):
        sums = [a + b for a, b in zip(sums, wh)]
        last = wh
        rows += 1
    result[name] = {"rows": rows, "sums": sums, "running": running, "last": last}
# the hours of the last whole day: it ended at 5 o'clock UTC
today = history.running(energy, history.DAYS, mwh)[0]
of_day = [0] * 5
for number, wh in history.rows(energy, history.HOURS, utc // 3600):
    if (number - 5) // 24 == today - 1:
        of_day = [a + b for a, b in zip(of_day, wh)]
result["hours of the last day"] = of_day
result["counted"] = [a - b for a, b in zip(whole_wh(mwh), start)]
gc.collect()
print(json.dumps(result))
