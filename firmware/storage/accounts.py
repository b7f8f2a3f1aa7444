"""Closes the hours, days and months of the energy history when they are over.

Role: every Wh into the period that it belongs to. Functions on the state of energy.py, which loads
them four times an hour, and when records wait to be written.
Called by: boot (load) and the outer lane's storage task (advance, flush).

Nothing is put into a period that it may not belong to. While the time is unknown the counters
count on and no period runs. When it becomes known, the energy since the start of the device is
spread evenly over the time since then. Energy of an earlier start that never knew the time counts
where it is certain (in the month, when no month has ended since), and nowhere else.

Closed periods wait in RAM until flash may be written. Wear: docs/storage.md.
"""

import binascii
import struct

from micropython import const

from firmware import pieces, timezone
from firmware.storage import files
from firmware.storage.energy import whole_wh
from firmware.storage.history import DAYS, HOURS, KEPT, find, path, size_of

_SPARE = const(1)  # as in history.py
_CRC = const(0x14474831)
# The best quarters: beside the three kinds a record of its own, in peaks.dat, of two days instead
# of beginning and end, with the total as one counter more. Written when an hour closes that has
# changed it.
_PEAKS = const(3)
_NONE = const(0xFFFFFFFF)
_PAD = const(256)  # bytes
_QUARTER_S = const(900)  # every zone is some quarters of an hour from UTC
_STEPS = const(16)  # quarters made up for at a time
# Records that are closed and not on flash yet: as many hours as are kept, and their days and month
_WAITING = const(56)
_STEP_S = const(5)  # a clock that moves by more was set


def period(kind: int, utc: int, local: int) -> int:
    """Number of the period that holds the second `utc` since 1970 (`local`: in local time)."""
    if kind == HOURS:
        return utc // 3600
    if kind == DAYS:
        return local // 86400
    year, month, _ = timezone.civil_from_days(local // 86400)
    return year * 12 + month - 1


def begin(kind: int, number: int) -> int:
    """First second of a period: UTC for hours, local for days and months."""
    if kind == HOURS:
        return number * 3600
    if kind == DAYS:
        return number * 86400
    return timezone.days_from_civil(number // 12, number % 12 + 1, 1) * 86400


def load(h, totals_mwh, mark):
    """At boot: the counters as last saved, and what mark() had given then (or None)."""
    h.wh = whole_wh(totals_mwh)
    try:
        utc, wh = mark
        wh = [int(x) for x in wh] if wh else h.wh
        # counters of flash and mark may be of different ages when a slot was damaged
        if int(utc) > 0 and len(wh) == h.count:
            h.seen = [int(utc), [min(a, b) for a, b in zip(wh, h.wh)]]
    except (TypeError, ValueError):
        pass


def advance(h, utc, up_s, rule, wh):
    """Account for the time up to `utc`, a quarter of an hour at a time."""
    local = timezone.Zone(rule).local
    offset = utc - up_s
    if h.edge == 0:
        _open(h, offset, local)
        h.edge = h.known = offset
    elif not -_STEP_S <= offset - h.offset <= _STEP_S:
        # The clock was set: the energy up to now belongs where it was counted so far.
        _tick(h, utc, local(utc), wh)
        h.edge = h.known = utc
        h.wh = wh
    h.offset = offset
    for _ in range(_STEPS):
        pieces.breathe()
        edge = (h.edge // _QUARTER_S + 1) * _QUARTER_S
        if edge > utc:
            h.known = utc
            h.wh = wh
            h.quarter = utc // _QUARTER_S
            h.day_wh = sum(h.begun[DAYS][: h.summed])
            h.is_known = True
            break
        if len(h.waiting) > _WAITING - 4 and edge + _QUARTER_S < utc:
            break  # flash first
        part = edge - h.known
        whole = utc - h.known
        at_edge = [a + (b - a) * part // whole for a, b in zip(h.wh, wh)]
        _peak(h, edge, at_edge)
        _tick(h, edge, local(edge), at_edge, utc)
        h.edge = edge


def _open(h, utc, local):
    """The first periods of this start, which began at `utc`, with the counters as loaded."""
    first = h.wh
    seen_wh = None
    seen = [-1, -1, -1]
    if h.seen:
        then, seen_wh = h.seen
        seen = [period(kind, then, local(then)) for kind in range(3)]
    for kind in range(3):
        pieces.breathe()
        now = period(kind, utc, local(utc))
        row = find(h, kind, now)
        then = seen[kind]
        start = first
        if then == now:  # all since then is in it
            past = row or find(h, kind, now - 1)
            if past:
                start = past[0] if row else past[1]
        else:
            if 0 <= then < now:
                past = find(h, kind, then)
                before = past or find(h, kind, then - 1)
                if before:
                    _put(h, kind, then, before[0] if past else before[1], seen_wh)
            if row:  # the clock says a period again that had been closed
                start = _less(first, row)
        past = find(h, kind, now - 1)
        if row:
            again = row[0] != start  # or the next start would take what came between for its own
        else:
            again = not (past and past[1] == start)
        if again:
            _put(h, kind, now, start, first)
        h.periods[kind] = now
        h.begun[kind] = start
    if h.peaks == [None, None]:
        _peaks_back(h)


def _peaks_back(h):
    """At the start: the best quarters as they were before it, of today or yesterday."""
    n = 2 * h.count + 4
    try:
        with open(_file(h, _PEAKS), "rb") as file:
            raw = file.read(4 * n)
    except OSError:
        return
    if len(raw) != 4 * n:
        return
    row = struct.unpack("<%dI" % n, raw)
    if row[-1] != binascii.crc32(raw[:-4], _CRC) & 0xFFFFFFFF:
        return
    days = [None if _NONE in part else list(part) for part in (row[1 : n // 2], row[n // 2 : -1])]
    age = h.periods[DAYS] - row[0]
    if age == 0:
        h.peaks = days
        h.peaks_kept = days[1]
    elif age == 1:
        h.peaks = [days[1], None]


def _keep_peaks(h):
    best = h.peaks[1]
    if best and best != h.peaks_kept:
        h.peaks_kept = best
        none = [_NONE] * (h.count + 1)
        _put(h, _PEAKS, h.periods[DAYS], h.peaks[0] or none, best)


def _file(h, kind):
    return files.join(h.folder, "peaks.dat") if kind == _PEAKS else path(h, kind)


def _peak(h, edge, wh):
    """A quarter of an hour has ended: its mean power, W, if it was a whole one."""
    if edge == h.peak_edge + _QUARTER_S:
        watts = [4 * (b - a) for a, b in zip(h.peak_wh, wh)]
        watts.append(sum(watts[: h.summed]))
        best = h.peaks[1]
        h.peaks[1] = [max(a, b) for a, b in zip(best, watts)] if best else watts
    h.peak_edge = edge
    h.peak_wh = wh


def _tick(h, utc, local, wh, until=0):
    """Close the periods that have ended by `utc`; hours only if still kept at `until`."""
    for kind in range(3):
        now = period(kind, utc, local)
        was = h.periods[kind]
        if now == was:
            continue
        start = h.begun[kind]
        pieces.breathe()
        if kind == HOURS:
            _keep_peaks(h)
        elif kind == DAYS:
            h.peaks = [h.peaks[1] if now == was + 1 else None, None]
        if now > was:
            if kind != HOURS or was >= until // 3600 - KEPT[HOURS]:
                _put(h, kind, was, start, wh)
            start = wh
        row = find(h, kind, now)
        if row:  # the clock was set back, before or just now: go on with what that period had
            start = _less(start, row)
        if row or now < was:  # a restart has to know
            _put(h, kind, now, start, wh)
        h.periods[kind] = now
        h.begun[kind] = start


def _put(h, kind, number, start, end):
    """Have a record written when flash may be."""
    for i, row in enumerate(h.waiting):
        if row[0] == kind and row[1] == number:
            h.waiting[i] = (kind, number, start, end)
            return
    if len(h.waiting) >= _WAITING:  # the oldest hour is not one of the last 48 any more
        for i, row in enumerate(h.waiting):
            if row[0] == HOURS:
                h.waiting.pop(i)
                break
        else:
            h.waiting.pop(0)
    h.waiting.append((kind, number, start, end))


def flush(h) -> bool:
    """Write a record that waits; returns whether more do. Raises files.StorageError; the
    older records are intact then, and the next call tries again."""
    if not h.waiting:
        return False
    kind, number, start, end = h.waiting[0]
    raw = struct.pack("<%dI" % (2 * len(end) + 1), number, *start, *end)
    raw += struct.pack("<I", binascii.crc32(raw, _CRC) & 0xFFFFFFFF)
    name = _file(h, kind)
    at = 0 if kind == _PEAKS else number % (KEPT[kind] + _SPARE) * size_of(h)
    have = files.size(name)
    if have < 0:
        files.make_folder(h.folder)
    try:
        with open(name, "r+b" if have >= 0 else "wb") as file:
            while have < at:  # up to 17 KB, the first time
                have = max(have, 0)
                file.seek(have)
                have += file.write(bytes(min(at - have, _PAD)))
                pieces.breathe()
            file.seek(at)
            file.write(raw)
    except OSError as error:
        raise files.StorageError("cannot write %s: %s" % (name, files.why(error)))
    h.waiting.pop(0)
    return len(h.waiting) > 0


def _less(wh, row):
    """Counters less the energy of a record: what they would have begun at. Not below nothing: a
    clock that was set to and fro over a restart may have a record know more than the counters."""
    return [max(x - (b - a), 0) for x, a, b in zip(wh, row[0], row[1])]
