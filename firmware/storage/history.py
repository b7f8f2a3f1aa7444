"""Energy by hour, day and month as flash has it: 48 hours, 366 days, 120 months.

Role: what `energy` shows. Functions on the state of energy.py, which loads them when asked.
Called by: the outer lane: accounts.py, which writes the records; the readers.

A record says what the counters stood at when its period began and when it ended, in Wh: their
difference is the period's energy, nothing is lost by rounding, and a record that is written twice
is the same. Hours are counted in UTC (no hour comes twice when the clocks change), days and
months in local time.

Record: period number, Wh at its beginning and at its end of every counter (32 bits each: 4 GWh),
CRC-32; at slot number % slots.
"""

import binascii
import struct

from micropython import const

from firmware import pieces
from firmware.storage import files
from firmware.storage.energy import whole_wh

HOURS = const(0)
DAYS = const(1)
MONTHS = const(2)
KINDS = ("hours", "days", "months")
KEPT = (48, 366, 120)
MONEY = ("paid", "earned")  # the last counters, where there are more than outlets
_SPARE = const(1)  # slots beyond these: the running period may be on flash, too
_CRC = const(0x14474831)  # of an empty record, so that a file of zeros is not one


def running(h, kind: int, totals_mwh):
    """(period, [Wh]) of the running period so far, or None while the time is unknown."""
    if not h.is_known:
        return None
    start = h.begun[kind]
    return h.periods[kind], [max(x - start[i], 0) for i, x in enumerate(whole_wh(totals_mwh))]


def size_of(h):
    """Bytes of a record."""
    return 8 * (h.count + 1)


def path(h, kind):
    return files.join(h.folder, KINDS[kind] + ".dat")


def _read(h, file, kind, number):
    """(Wh at the beginning, Wh at the end) of a record, or None."""
    for row in h.waiting:
        if row[0] == kind and row[1] == number:
            return row[2], row[3]
    if file is None:
        return None
    file.seek(number % (KEPT[kind] + _SPARE) * size_of(h))
    raw = file.read(size_of(h))
    if len(raw) != size_of(h):
        return None
    row = struct.unpack("<%dI" % (2 * h.count + 2), raw)
    if row[0] != number or row[-1] != binascii.crc32(raw[:-4], _CRC) & 0xFFFFFFFF:
        return None
    return list(row[1 : h.count + 1]), list(row[h.count + 1 : -1])


def find(h, kind, number):
    """The record of a period, or None."""
    found = None
    for row in rows(h, kind, number + 1, 1, True):  # to its end: it closes the file
        found = row[1]
    return found


def rows(h, kind: int, now: int, count: int = 0, raw: bool = False):
    """Yield (period, [Wh]) of the last `count` periods before the period `now`, oldest first
    (0: all that are kept). Periods without a record are left out. `raw`: the record itself."""
    count = min(count or KEPT[kind], KEPT[kind])
    try:
        file = open(path(h, kind), "rb")
    except OSError:
        file = None
    try:
        for number in range(now - count, now):
            if not number & 7:
                pieces.breathe()
            row = _read(h, file, kind, number)
            if row is not None:
                yield number, row if raw else [max(b - a, 0) for a, b in zip(row[0], row[1])]
    finally:
        if file is not None:
            file.close()


def totals(h, names, totals_mwh) -> dict:
    """Totals of each counter, with today's and yesterday's (None while the time is unknown, or
    when there is no record of that day), in kWh; and what the grid's part has cost and earned,
    where that is counted."""
    found = [("", whole_wh(totals_mwh)), ("today_", None), ("yesterday_", None)]
    now = running(h, DAYS, totals_mwh)
    if now is not None:
        found[1] = ("today_", now[1])
        for _, wh in rows(h, DAYS, now[0], 1):
            found[2] = ("yesterday_", wh)
    result: dict = {}
    for what, wh in found:
        pieces.breathe()
        by_name = None
        if wh is not None:
            by_name = {name: wh[i] / 1000 for i, name in enumerate(names)}
        result[(what or "energy_") + "kwh"] = by_name
        result[what + "total_kwh"] = None if wh is None else sum(wh[: h.summed]) / 1000
        for i in range(len(names), h.count):
            result[what + MONEY[i - len(names)]] = None if wh is None else wh[i] / 1000
    return result
