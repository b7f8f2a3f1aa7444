"""The event journal: what happened, in order, with no number missing.

Role: `Journal` is the ring in RAM, `JournalStore` keeps it on flash.
Called by: control lane (`add`, `tick`; neither allocates), boot (`load`), outer lane (`since`,
`flush`). `add` is not for interrupts: the fast lane raises flags that the control lane turns
into records, so two writers never meet.

On flash (all appends; no record is ever rewritten in place):
  journal.t0 / .t1  up to 16 of the newest records, written in turn as a whole
  journal.0 / .1    two segments of 512 records; the older one is emptied when the newer is full
A record is 28 bytes with its own CRC. A torn or damaged one is skipped and shows up as a
`storage stored_fault` record, so that sequence numbers stay without gaps.

Wear (measured on littlefs with 4 KiB blocks, on the MicroPython unix port; test_storage.py): one
record and one flush a minute cost 0.19 block erases each, the move to a segment every 16th
record included: 277 a day, 1.0 million in ten years. littlefs moves them over the 200 free
blocks of a Pico W: 5100 each; with the counters' 1800 that is below the limit of 10 000.
"""

import struct
from array import array
from binascii import crc32

from micropython import const

from firmware import events, pieces
from firmware.storage import files

# Positions in a record as `since()` yields it.
SEQ = const(0)
KIND = const(1)
OUTLET = const(2)  # -1: none
REASON = const(3)
VALUE = const(4)
SOURCE = const(5)
UPTIME_S = const(6)
MS = const(7)  # 0 to 999, belongs to UPTIME_S
WHEN = const(8)  # see when_epoch() and when_boot()

# One record in the ring: uptime in s, packed word, value. Packed into 30 bits, so that reading
# it back gives a small integer: kind 5, reason 7, source 4, outlet + 1: 4, milliseconds 10.
_WORDS = const(3)

# Refusals and changed settings: so many at once, and one more each ten minutes. A source that does
# it without end leaves 150 records a day, and the trips of the last days stay.
_REFUSALS = const(20)
_CHANGES = const(48)
_REFILL_S = const(600)

# `WHEN` is a boot number below this, else seconds since 1970.
_BOOTS = const(0x1000000)

_FORMAT = "<IIIiHHBbBB"  # seq, uptime s, epoch, value, ms, boot, kind, outlet, reason, source
_BODY = const(24)
_SIZE = const(28)
_TAIL_RECORDS = const(16)
_FLUSH_S = const(60)
_CHUNK_RECORDS = const(16)
_JOURNAL = const(3)  # kind of such a record in the strip


def when_epoch(record) -> int:
    """Seconds since 1970 of a record, or 0 when the clock was not set."""
    return record[WHEN] if record[WHEN] >= _BOOTS else 0


def when_boot(record) -> int:
    """Boot number of a record of an earlier start without known time, else 0."""
    return record[WHEN] if record[WHEN] < _BOOTS else 0


class Journal:
    """Ring of the newest records. `first_seq` to `last_seq` can be read; both 0: none yet."""

    def __init__(self, capacity: int = 256):  # on demand: boot
        self.capacity = capacity
        self._ring = array("i", bytes(4 * _WORDS * capacity))
        self._when = array("I", bytes(4 * capacity))
        self._next = 0  # slot of the next record
        self.last_seq = 0
        self.first_seq = 0
        self.boot = 0  # number of this start
        self.boot_seq = 1  # first record of this start
        self.now_s = 0  # uptime, set by tick() or by the control lane itself
        self.now_ms = 0
        self.epoch_offset_s = 0  # seconds since 1970 at uptime 0; 0: the clock is not set
        # [kind, how many may be noted now, since when, how many were left out, most at once]
        self._budgets = (
            [events.REFUSED, _REFUSALS, 0, 0, _REFUSALS],
            [events.SETTING, _CHANGES, 0, 0, _CHANGES],
        )

    def tick(self, elapsed_ms: int):
        """Advance the uptime that records carry; allocates nothing."""
        ms = self.now_ms + elapsed_ms
        if ms >= 1000:
            self.now_s += ms // 1000
            ms %= 1000
        self.now_ms = ms

    def add(self, kind: int, outlet: int, reason: int, value: int, source: int):
        """Append a record (constants of firmware.events; outlet -1: none). Allocates nothing.

        value: within +-2**30, unit by kind and reason (events.value_meaning)."""
        slot = self._next
        at = slot * _WORDS
        ring = self._ring
        ring[at] = self.now_s
        ring[at + 1] = kind << 25 | reason << 18 | source << 14 | (outlet + 1) << 10 | self.now_ms
        ring[at + 2] = value
        self._when[slot] = 0
        self._advance(slot)

    def note(self, kind: int, outlet: int, reason: int, value: int, source: int):
        """add() for REFUSED and SETTING, which somebody may provoke without end: what is too much
        is left out, and counted in a record with the reason REPEATED. Allocates nothing."""
        self.settle()
        for budget in self._budgets:
            if budget[0] == kind:
                if budget[1] == 0:
                    budget[3] += 1
                    return
                budget[1] -= 1
        self.add(kind, outlet, reason, value, source)

    def settle(self):
        """Let what note() left out go on record when its time has come."""
        for budget in self._budgets:
            more = (self.now_s - budget[2]) // _REFILL_S
            if more > 0:
                budget[1] = min(budget[4], budget[1] + more)
                budget[2] += more * _REFILL_S
            if budget[3] and budget[1]:
                budget[1] -= 1
                self.add(budget[0], -1, events.REPEATED, budget[3], events.BY_CONTROL)
                budget[3] = 0

    def _advance(self, slot):
        slot += 1
        self._next = 0 if slot == self.capacity else slot
        self.last_seq += 1
        if self.first_seq == 0:
            self.first_seq = self.last_seq
        elif self.last_seq - self.first_seq >= self.capacity:
            self.first_seq = self.last_seq - self.capacity + 1

    def get(self, seq: int) -> tuple:
        """(seq, kind, outlet, reason, value, source, uptime_s, ms, when), or None."""
        back = self.last_seq - seq
        if self.first_seq == 0 or back < 0 or seq < self.first_seq:
            return None
        slot = (self._next - 1 - back) % self.capacity
        at = slot * _WORDS
        packed = self._ring[at + 1]
        uptime_s = self._ring[at]
        when = self._when[slot]
        if when == 0 and self.epoch_offset_s:
            when = self.epoch_offset_s + uptime_s
        return (
            seq,
            packed >> 25,
            (packed >> 10 & 15) - 1,
            packed >> 18 & 127,
            self._ring[at + 2],
            packed >> 14 & 15,
            uptime_s,
            packed & 1023,
            when,
        )

    def since(self, seq: int):
        """Generator of the records after `seq`; records dropped meanwhile are passed over."""
        while True:
            seq += 1
            if seq < self.first_seq:
                seq = self.first_seq
            if seq > self.last_seq or self.first_seq == 0:
                return
            yield self.get(seq)

    def _restore(  # on demand: boot
        self, seq, kind, outlet, reason, value, source, uptime_s, ms, when
    ):  # on demand: boot
        """Put back a record of an earlier start (boot only)."""
        if self.first_seq == 0 or not 0 < seq - self.last_seq <= self.capacity:
            # The first one, or a hole wider than the ring: nothing before it can be shown.
            self.first_seq = 0
            self.last_seq = seq - 1
        while self.last_seq < seq:
            slot = self._next
            at = slot * _WORDS
            self._ring[at] = uptime_s
            if self.last_seq == seq - 1:
                word = kind << 25 | reason << 18 | source << 14 | (outlet + 1) << 10 | ms
                self._ring[at + 2] = value
            else:
                word = events.STORAGE << 25 | events.STORED_FAULT << 18
                word |= events.BY_STORAGE << 14 | ms
                self._ring[at + 2] = 0
            self._ring[at + 1] = word
            self._when[slot] = when
            self._advance(slot)


def _uint(buffer, at):
    return buffer[at] | buffer[at + 1] << 8 | buffer[at + 2] << 16 | buffer[at + 3] << 24


def _is_valid(buffer):
    return crc32(memoryview(buffer)[:_BODY]) & 0xFFFFFFFF == _uint(buffer, _BODY)


class JournalStore:
    """The journal on flash. `note` says after load() what was damaged."""

    def __init__(  # on demand: boot
        self, folder: str, journal: Journal, segment_records: int = 512
    ):
        self._folder = folder
        self._journal = journal
        self._segment_records = segment_records
        self._tail = bytearray(_TAIL_RECORDS * _SIZE)
        self._one = bytearray(_BODY)
        self._tail_n = 0
        self._tail_slot = 0  # of the two tail files, the one to be written next
        self._active = 0
        self._count = 0  # slots used in the active segment, bad ones included
        self._pad = 0  # bytes of a torn record at its end, to be filled up
        self._flushed_s = 0
        self.stored_seq = 0  # last record that is on flash
        self.bad = 0
        self.note = ""

    def _segment(self, number):
        return files.join(self._folder, "journal.%d" % number)

    # -- boot ---------------------------------------------------------------------------

    def load(self):  # on demand: boot
        """Fill the journal with what the files hold, and number this start. Never raises."""
        self.bad = 0
        self.note = ""
        older = 0 if self._last(0) < self._last(1) else 1
        # Only what the ring can hold is read: boot must not wait for the whole log.
        n_newer = self._slots(1 - older)
        boot = self._replay(older, self._slots(older) - (self._journal.capacity - n_newer))
        boot = max(boot, self._replay(1 - older, n_newer - self._journal.capacity))
        self._active = 1 - older
        self._measure()
        # What the segments hold is safe; the rest of the tail must be written again.
        in_segments = self._journal.last_seq
        boot = max(boot, self._load_tail(in_segments))
        self.stored_seq = self._journal.last_seq
        self._number(boot)
        if self.bad:
            self.note = "%d damaged records in the journal" % self.bad

    def _number(self, boot):  # on demand: boot
        journal = self._journal
        journal.boot = boot + 1 & 0xFFFF
        journal.boot_seq = journal.last_seq + 1

    def take(self, record):  # on demand: boot
        """At boot, after load(): a record as encode() made it, which the files may lack."""
        if len(record) == _BODY:
            boot = self._put_back(record)
            if boot >= self._journal.boot:
                self._number(boot)
            self._journal.boot_seq = self._journal.last_seq + 1

    def _tail_path(self, slot):
        return files.join(self._folder, "journal.t%d" % slot)

    def _load_tail(self, in_segments):  # on demand: boot
        """Records of the newer tail file that no segment has; returns the highest boot number."""
        tail = b""
        newest = 0
        for slot in (0, 1):
            path = self._tail_path(slot)
            if files.size(path) == 0:
                continue  # the power went when it had just been created
            data, _, note = files.read(path)
            if note:
                self.bad += 1
            elif data and len(data) % _SIZE == 0 and len(data) <= len(self._tail):
                last = _uint(data, len(data) - _SIZE)
                if last > newest:
                    newest = last
                    tail = data
                    self._tail_slot = 1 - slot
        boot = 0
        for at in range(0, len(tail), _SIZE):
            record = tail[at : at + _SIZE]
            if _uint(record, 0) > in_segments:
                boot = max(boot, self._put_back(record))
                start = self._tail_n * _SIZE
                self._tail[start : start + _SIZE] = record
                self._tail_n += 1
        return boot

    def _slots(self, number):
        """Places for records in a segment, a torn one at the end not counted."""
        return max(files.size(self._segment(number)), 0) // _SIZE

    def _measure(self):  # on demand: boot
        """Find out how far the active segment is filled."""
        used = max(files.size(self._segment(self._active)), 0)
        self._count = (used + _SIZE - 1) // _SIZE
        self._pad = -used % _SIZE

    def _last(self, number):  # on demand: boot
        """Last sequence number in a segment, or 0."""
        buffer = bytearray(_SIZE)
        slot = self._slots(number)
        try:
            with open(self._segment(number), "rb") as stream:
                while slot > 0:
                    slot -= 1
                    stream.seek(slot * _SIZE)
                    if stream.readinto(buffer) == _SIZE and _is_valid(buffer):
                        return _uint(buffer, 0)
        except OSError:
            pass  # there is no such segment yet, or it cannot be read: it holds nothing for us
        return 0

    def _replay(self, number, slot):  # on demand: boot
        """Records from `slot` on into the ring; returns the highest boot number seen."""
        boot = 0
        buffer = bytearray(_SIZE)
        try:
            with open(self._segment(number), "rb") as stream:
                stream.seek(max(slot, 0) * _SIZE)
                while stream.readinto(buffer) == _SIZE:
                    if _is_valid(buffer):
                        boot = max(boot, self._put_back(buffer))
                    else:
                        self.bad += 1
        except OSError:
            pass
        return boot

    def _put_back(self, record):  # on demand: boot
        """One stored record into the ring; returns its boot number."""
        journal = self._journal
        row = struct.unpack(_FORMAT, record[:_BODY])
        seq, uptime_s, epoch, value, ms, boot, kind, outlet, reason, source = row
        if seq > journal.last_seq:
            when = epoch if epoch >= _BOOTS else boot
            uptime_s &= 0x3FFFFFFF
            journal._restore(seq, kind, outlet, reason, value, source, uptime_s, ms, when)
            slot = journal._next - 2
            while when != boot and journal._when[slot % journal.capacity] == boot:
                # the clock was set in that start: what was before has its time, too
                slot %= journal.capacity
                journal._when[slot] = when - uptime_s + journal._ring[slot * _WORDS]
                slot -= 1
        return boot

    # -- reading further back than the ring ---------------------------------------------

    def older(self, seq: int, log=None):  # on demand: past
        """Generator of the records from `seq` on that the files hold, and after them those that
        only the strip `log` has, as Journal.get() gives them. Damaged ones are passed over. No
        file stays open between two of them, because whoever reads may wait while the journal goes
        on."""
        for body in self._bodies():
            if _uint(body, 0) >= seq:
                yield self._row(body)
                seq = _uint(body, 0) + 1
        if log is not None:
            for body in log.since(_JOURNAL, seq):
                if _uint(body, 0) >= seq:
                    yield self._row(body)
                    seq = _uint(body, 0) + 1

    def _bodies(self):  # on demand: past
        """Generator of the records in the segments and behind them."""
        buffer = bytearray(_CHUNK_RECORDS * _SIZE)
        for number in (1 - self._active, self._active):
            slot = 0
            while True:
                n = self._read_chunk(number, slot, buffer)
                if not n:
                    break
                slot += n
                pieces.breathe()
                for at in range(0, n * _SIZE, _SIZE):
                    if _is_valid(buffer[at : at + _SIZE]):
                        yield buffer[at : at + _BODY]
        tail = self._tail[: self._tail_n * _SIZE]
        for at in range(0, len(tail), _SIZE):
            yield tail[at : at + _BODY]

    def _row(self, body):  # on demand: past
        row = struct.unpack(_FORMAT, body)
        seq, uptime_s, epoch, value, ms, boot, kind, outlet, reason, source = row
        when = epoch if epoch >= _BOOTS else boot
        if when == self._journal.boot:  # as get() has it: only of earlier starts
            when = 0
        return seq, kind, outlet, reason, value, source, uptime_s, ms, when

    def _read_chunk(self, number, slot, buffer):  # on demand: past
        """Whole records read from a segment; how many."""
        try:
            with open(self._segment(number), "rb") as stream:
                stream.seek(slot * _SIZE)
                return stream.readinto(buffer) // _SIZE
        except OSError:
            return 0

    # -- outer lane ---------------------------------------------------------------------

    def pending(self) -> int:
        """Records that are not on flash yet."""
        return self._journal.last_seq - self.stored_seq

    def due(self) -> bool:
        """True when there is something to flush and it has waited a minute, or is much."""
        self._journal.settle()
        pending = self.pending()
        if not pending:
            return False
        return pending >= _TAIL_RECORDS or self._journal.now_s - self._flushed_s >= _FLUSH_S

    def next_seq(self) -> int:
        """The first record that flush() has not taken yet."""
        return self._tail_seq() + 1

    def flush(self, older=(), most=-1) -> int:  # on demand: flush
        """Write what is pending; returns how many. Raises files.StorageError: none is lost then,
        the next call tries again. `older`: records as encode() made them, among which are those
        that the ring has dropped; `most`: ends after so many of them, for another call."""
        journal = self._journal
        self._flushed_s = journal.now_s
        if not self.pending():
            return 0
        files.make_folder(self._folder)
        written = 0
        if self._tail_seq() + 1 < journal.first_seq:
            for record in older:
                if self._tail_seq() < _uint(record, 0) < journal.first_seq:
                    if self._tail_n == _TAIL_RECORDS:
                        pieces.breathe()
                        self._append_tail()
                    self._seal(record)
                    written += 1
                    if written == most:
                        return written
        while True:
            if self._tail_n == _TAIL_RECORDS:
                pieces.breathe()
                self._append_tail()
                pieces.breathe()
            record = journal.get(max(self._tail_seq() + 1, journal.first_seq))
            if record is None:
                break
            self._seal(self.encode(record))
            written += 1
        if self._tail_n:
            pieces.breathe()
            path = self._tail_path(self._tail_slot)
            files.overwrite(path, self._tail[: self._tail_n * _SIZE])
            self._tail_slot = 1 - self._tail_slot
        self.stored_seq = self._tail_seq()
        return written

    def _tail_seq(self):
        """The newest record that is in the tail, or on flash when the tail is empty."""
        if self._tail_n:
            return _uint(self._tail, (self._tail_n - 1) * _SIZE)
        return self.stored_seq

    def encode(self, record):
        """A record as take() wants it; the buffer is used again by the next one."""
        boot = record[WHEN] if 0 < record[WHEN] < _BOOTS else self._journal.boot
        struct.pack_into(
            _FORMAT,
            self._one,
            0,
            record[SEQ],
            record[UPTIME_S],
            when_epoch(record),
            record[VALUE],
            record[MS],
            boot & 0xFFFF,
            record[KIND],
            record[OUTLET],
            record[REASON],
            record[SOURCE],
        )
        return self._one

    def _seal(self, body):
        """Put a record at the end of the tail."""
        at = self._tail_n * _SIZE
        self._tail[at : at + _BODY] = body
        struct.pack_into("<I", self._tail, at + _BODY, crc32(body) & 0xFFFFFFFF)
        self._tail_n += 1

    def _append_tail(self):  # on demand: flush
        """Move the full tail to the end of a segment."""
        number = self._active
        full = self._count >= self._segment_records
        if full:
            number = 1 - number
        try:
            with open(self._segment(number), "wb" if full else "ab") as stream:
                if self._pad and not full:
                    stream.write(bytes(self._pad))
                stream.write(self._tail)
                stream.flush()
        except OSError as error:
            # How much of it arrived is unknown: the next try starts on a record's boundary.
            self._measure()
            raise files.StorageError("cannot write the journal: " + files.why(error))
        self._active = number
        self._count = _TAIL_RECORDS if full else self._count + _TAIL_RECORDS
        self._pad = 0
        self.stored_seq = self._tail_seq()
        self._tail_n = 0
