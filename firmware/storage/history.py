"""Energy by hour, day and month on flash: 48 hours, 366 days, 120 months.

Role: what `energy hours|days|months` shows, and today against yesterday.
Called by: boot (load) and the outer lane's storage task (tick, once a minute; the readers).

A record says what the counters stood at when its period ended, so a period's energy is the
difference to the record before it: nothing is lost by rounding, a record that is written twice is
the same, and a period in which the device was off is simply missing. Hours are counted in UTC
(no hour comes twice when the clocks change), days and months in local time.

Record: period number, Wh of every counter (32 bits each: 4 GWh), CRC-32; at slot number % slots.
Wear: one hour's record each hour, rewriting one block of 4 KiB: 87 600 erases in ten years over
the 200 free blocks that littlefs spreads them on, 440 each; days and months add 4 %.
"""

import binascii
import struct

from micropython import const

from firmware.storage import files
from firmware.timezone import civil_from_days, days_from_civil

HOURS = const(0)
DAYS = const(1)
MONTHS = const(2)
KINDS = ("hours", "days", "months")
# One more than promised: the oldest record is only what the next one is measured against.
_SLOTS = (49, 367, 121)
_CRC = 0x54474831  # of an empty record, so that a file of zeros is not one
_WH = const(1000)  # mWh


def period(kind: int, utc: int, local: int) -> int:
    """Number of the period that holds the second `utc` since 1970 (`local`: in local time)."""
    if kind == HOURS:
        return utc // 3600
    if kind == DAYS:
        return local // 86400
    year, month, _ = civil_from_days(local // 86400)
    return year * 12 + month - 1


def begin(kind: int, number: int) -> int:
    """First second of a period: UTC for hours, local for days and months."""
    if kind == HOURS:
        return number * 3600
    if kind == DAYS:
        return number * 86400
    return days_from_civil(number // 12, number % 12 + 1, 1) * 86400


class History:
    """Three rings of records in `folder`. `count`: how many counters a record has."""

    def __init__(self, folder: str, count: int):
        self._folder = folder
        self._count = count
        self._format = "<%dI" % (count + 2)
        self._size = 4 * (count + 2)
        self._last = [-1, -1, -1]  # newest period recorded
        self._base = [[0] * count for _ in KINDS]  # Wh at its end
        self._resume: tuple | None = None
        self.note = ""

    def _path(self, kind):
        return files.join(self._folder, KINDS[kind] + ".dat")

    def resume(self, utc: int, local: int, totals_mwh):
        """At boot: the counters as last saved, and when that was (0: unknown). Energy of a period
        before a long pause then counts in that period."""
        if utc:
            self._resume = (utc, local, [int(x) // _WH for x in totals_mwh])

    def _read(self, file, kind, number):
        """Counters of a record, or None."""
        slot = number % _SLOTS[kind]
        file.seek(slot * self._size)
        raw = file.read(self._size)
        if len(raw) != self._size:
            return None
        row = struct.unpack(self._format, raw)
        if row[0] != number or row[-1] != binascii.crc32(raw[:-4], _CRC) & 0xFFFFFFFF:
            return None
        return row[1:-1]

    def _find_last(self, kind, before):
        """Take up the newest record older than the period `before`."""
        try:
            with open(self._path(kind), "rb") as file:
                for number in range(before - 1, before - _SLOTS[kind], -1):
                    row = self._read(file, kind, number)
                    if row is not None:
                        self._last[kind] = number
                        self._base[kind] = list(row)
                        return
        except OSError:
            pass
        self._last[kind] = -1

    def _write(self, kind, number, wh):
        raw = struct.pack("<I", number) + struct.pack("<%dI" % self._count, *wh)
        raw += struct.pack("<I", binascii.crc32(raw, _CRC) & 0xFFFFFFFF)
        path = self._path(kind)
        at = number % _SLOTS[kind] * self._size
        have = files.size(path)
        if have < 0:
            files.make_folder(self._folder)
        try:
            with open(path, "r+b" if have >= 0 else "wb") as file:
                if have < at:
                    file.seek(max(have, 0))
                    for _ in range(at - max(have, 0)):
                        file.write(b"\0")
                file.seek(at)
                file.write(raw)
        except OSError as error:
            raise files.StorageError("cannot write %s: %s" % (path, files.why(error)))
        self._last[kind] = number
        self._base[kind] = wh

    def tick(self, utc: int, local: int, totals_mwh) -> bool:
        """Record the periods that have ended; returns whether something was written. `utc` must be
        real time. Raises files.StorageError; the older records are intact then."""
        wrote = False
        for kind in range(3):
            now = period(kind, utc, local)
            if self._last[kind] < 0 or self._last[kind] >= now:
                # first time since boot, or the clock was set back
                self._find_last(kind, now)
            if self._last[kind] == now - 1:
                continue
            if self._resume is not None:
                then = period(kind, self._resume[0], self._resume[1])
                if self._last[kind] < then < now:
                    self._write(kind, then, self._resume[2])
            if self._last[kind] != now - 1:
                self._write(kind, now - 1, [int(x) // _WH for x in totals_mwh])
            wrote = True
        self._resume = None
        return wrote

    def running(self, kind: int, totals_mwh) -> list:
        """Wh of every counter in the running period, so far; zeros while the time is unknown."""
        if self._last[kind] < 0:
            return [0] * self._count
        base = self._base[kind]
        return [max(int(x) // _WH - base[i], 0) for i, x in enumerate(totals_mwh)]

    def rows(self, kind: int, now: int, count: int = 0):
        """Yield (period, [Wh]) of the last `count` periods before the period `now`, oldest first
        (0: all there are). Periods without a record are left out."""
        count = min(count or _SLOTS[kind] - 1, _SLOTS[kind] - 1)
        try:
            file = open(self._path(kind), "rb")
        except OSError:
            return
        try:
            before = None
            # The difference needs the newest record before the first one that is shown.
            for number in range(now - _SLOTS[kind], now):
                row = self._read(file, kind, number)
                if row is None:
                    continue
                if before is not None and number >= now - count:
                    yield number, [max(row[i] - before[i], 0) for i in range(self._count)]
                before = row
        finally:
            file.close()
