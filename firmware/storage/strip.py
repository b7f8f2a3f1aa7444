"""The strip: records appended to flash that was erased beforehand, so that saving erases nothing.

Role: what changes often (energy, heat, trips, journal) lies here until the files follow. On the
RP2040 interrupts stand still for 45 to 400 ms while a block is erased, for 1 ms while a page is
programmed.
Called by: boot (records), the storage task (append, erase; keeper.py says when each is allowed).

A block of the strip belongs to a littlefs file of exactly one block, `strip/<n>`: littlefs keeps
no pointers in it, and moves nothing that nobody writes. strip_setup.py finds it in the raw flash
by the random name in its first bytes. From then on only raw calls touch it.

Block: name (16 bytes: magic, random), number (4), CRC-32 of both (4), records. A block without a
number is blank. Record: kind (1), length of the payload in words (1), payload, CRC-32 (4) of all
that, begun with the block's number. After each start records go on at the next page, so that none
is written over a torn one. Two bytes of what could not be read are made 0, so that it is found
once. A page is programmed several times, each time with more of its bits cleared, as NOR flash
allows.

Wear: 4072 bytes a block take 119 records of energy and heat (34 bytes). Saved each minute for ten
years: 5.26 million, and as many journal records of 34 bytes: 88 400 blocks, so 2950 erases of each
of 30 blocks; the limit is 10 000. 30 blocks hold 3570 records: 59 hours of minutes, or 48 hours
and 690 records of the journal.
"""

import os
import struct
import time
from binascii import crc32

from micropython import const

from firmware import pieces
from firmware.storage.files import StorageError

MAGIC = b"TGs1"
NAME = const(16)
BLOCK = const(4096)
_PAGE = const(256)
_FIRST = const(24)  # of the records
_ERASE = const(6)  # ioctl
_TRIES = const(3)
_SEQ_MAX = const(0x3FFFFFFF)

# kinds of records
FULL = const(1)  # totals and heat, see keeper.py
DELTA = const(2)
JOURNAL = const(3)
LATCH = const(4)  # text of latch.json
FILE = const(5)  # part of a file that is to be written
_KINDS = const(16)  # later versions may have more

_DIRTY = const(-1)  # has to be erased
_DEAD = const(-2)  # does not become blank any more
_BLANK = const(0)
_MARKS = const(8)


class Full(StorageError):
    """There is no erased block to go on with: call erase() when that is allowed."""


class Strip:
    """Blocks of `device` by their numbers there. `device`: readblocks and writeblocks with an
    offset, ioctl(6) erases."""

    def __init__(self, device, blocks):  # on demand: strip
        self._device = device
        self._page = bytearray(_PAGE)
        self._blocks = []
        self._seqs = []  # number of each block, or _BLANK, _DIRTY
        self._now = -1  # which one is written
        self.seq = 0  # its number
        self._at = BLOCK  # next byte in it
        self.covered = 0  # blocks below this number hold nothing that the files do not have
        self.appends = 0
        self.erases = 0
        self.bad = 0  # places that could not be read, see records()
        self.torn = 0
        self._marks = []  # such places, to be marked as known
        self._good = 0  # end of the valid record that was read last
        self.blind_us = 0  # how long flash was programmed or erased, modulo 2**29
        self.worst_us = 0
        for block in blocks:
            self.add(block)

    def add(self, block: int):  # on demand: strip
        """One more block, with a name."""
        self._blocks.append(block)
        self._seqs.append(self._look(block))
        if self._seqs[-1] > self.seq:
            self.seq = self._seqs[-1]
            self._now = len(self._seqs) - 1
            self._at = self._end(block)

    def __len__(self) -> int:
        return len(self._blocks) - self._seqs.count(_DEAD)

    def blanks(self) -> int:
        """Blocks that wait erased."""
        return self._seqs.count(_BLANK)

    def left(self) -> int:
        """Bytes left in the block that is written."""
        return BLOCK - self._at

    # -- reading -------------------------------------------------------------------------------

    def _read(self, block, at, buffer):
        if self._device.readblocks(block, buffer, at):
            raise StorageError("the flash cannot be read")
        return buffer

    def _look(self, block):  # on demand: strip
        head = self._read(block, 0, bytearray(_FIRST))
        if head[NAME:] == b"\xff" * 8:
            return _BLANK if self._is_blank(block) else _DIRTY
        seq, crc = struct.unpack("<II", head[NAME:])
        if 0 < seq <= _SEQ_MAX and crc32(head[:-4]) & 0xFFFFFFFF == crc:
            return seq
        return self._guess(block, head, seq, crc)

    def _guess(self, block, head, seq, crc):  # on demand: strip
        """The number of a block with one wrong byte in its head, or _DIRTY. (When it is to be
        erased, all of its number was made 0.)"""
        if head[NAME:] != bytes(8):
            if seq and self._valid(block, seq, _FIRST, bytearray(2)) is not None:
                return seq  # the name is wrong, or the CRC
            for i in range(NAME, NAME + 4):
                was = head[i]
                for head[i] in range(256):
                    if crc32(head[:-4]) & 0xFFFFFFFF == crc:
                        return struct.unpack_from("<I", head, NAME)[0]
                head[i] = was
        return _DIRTY

    def _is_blank(self, block):  # on demand: strip
        """Whether nothing stands behind its name."""
        page = self._page
        for at in range(0, BLOCK, _PAGE):
            self._read(block, at, page)
            if at == 0:
                page[:NAME] = b"\xff" * NAME
            if page.count(b"\xff") != _PAGE:
                return False
        return True

    def _end(self, block):  # on demand: strip
        """The first page behind the last byte written. (The last bytes of a record may look like
        erased ones: what is valid counts, too.)"""
        page = self._page
        at = BLOCK
        while at:
            self._read(block, at - _PAGE, page)
            if page.count(b"\xff") != _PAGE:
                break
            at -= _PAGE
        end = _FIRST
        for _ in self._records(block, self.seq):
            end = self._good
        return max(at, -(-end // _PAGE) * _PAGE)

    def records(self):
        """Generator of (kind, payload), the oldest first; for the start. After it `bad` says at
        how many places something cannot be read, `torn`: how many of them are behind the last good
        record, as when the power went. The next append marks them, to be found once."""
        self.bad = self.torn = 0
        for seq in sorted(self._seqs):
            if seq > 0:
                yield from self._records(self._blocks[self._seqs.index(seq)], seq, True)

    def since(self, kind: int, first: int):  # on demand: strip
        """Generator of the payloads of `kind`, which begin with a number that grows, from the
        block on that has the number `first`. Blocks that are erased meanwhile are left out."""
        order = [seq for seq in sorted(self._seqs) if seq > 0]
        begin = 0
        for i, seq in enumerate(order):
            for found, payload in self._records(self._blocks[self._seqs.index(seq)], seq):
                pieces.breathe()
                if found == kind:
                    if struct.unpack("<I", payload[:4])[0] <= first:
                        begin = i
                    break
        for seq in order[begin:]:
            if seq in self._seqs:
                turn = 0
                for found, payload in self._records(self._blocks[self._seqs.index(seq)], seq):
                    turn += 1
                    if not turn & 7:
                        pieces.breathe()
                    if found == kind:
                        yield payload
                    if seq not in self._seqs:
                        break

    def _records(self, block, seq, mark=False):  # on demand: strip
        head = bytearray(2)
        at = _FIRST
        while at < BLOCK - 6:
            payload = self._valid(block, seq, at, head)
            if payload is not None:
                self.torn = 0
                at += 6 + len(payload)
                self._good = at
                yield head[0], payload
            elif head == b"\xff\xff":
                # the end of what one start has written: the next one began with a page
                at = (at // _PAGE + 1) * _PAGE
            else:
                if mark and head != b"\0\0":
                    self.bad += 1
                    self.torn += 1
                    self._mark(block, at)
                at = self._next(block, seq, at, head)

    def _valid(self, block, seq, at, head):  # on demand: strip
        """The payload of the record at `at`, or None; `head` takes its first two bytes."""
        self._read(block, at, head)
        words = head[1]
        if not 0 < head[0] < _KINDS or at + 6 + 4 * words > BLOCK:
            return None
        rest = self._read(block, at + 2, bytearray(4 * words + 4))
        payload = memoryview(rest)[:-4]
        crc = crc32(payload, crc32(head, seq)) & 0xFFFFFFFF
        return payload if struct.pack("<I", crc) == rest[-4:] else None

    def _next(self, block, seq, at, head):  # on demand: strip
        """Where it goes on behind something that cannot be read: with the next good record of the
        page, else with the next page. (Records are whole words and a CRC, and begin at even
        bytes.) 127 looks at most, some 10 ms on an RP2040."""
        end = (at // _PAGE + 1) * _PAGE
        for place in range(at + 2, min(end, BLOCK - 6), 2):
            if self._valid(block, seq, place, head) is not None:
                return place
        return end

    def _mark(self, block, at):
        """Have two bytes made 0 with the next append: somebody knows that this is damaged."""
        if len(self._marks) < _MARKS and (block, at) not in self._marks:
            self._marks.append((block, at))

    # -- writing -------------------------------------------------------------------------------

    def append(self, kind: int, payload):
        """Add a record of up to 1000 bytes, filled up to whole words with spaces. Raises Full, or
        StorageError: the flash is bad."""
        rest = -len(payload) % 4
        body = bytes((kind, (len(payload) + rest) // 4)) + payload + b" " * rest
        while self._marks:
            self._program(self._marks[-1][0], self._marks[-1][1], b"\0\0")
            self._marks.pop()
        for _ in range(_TRIES):
            if self._at + len(body) + 4 > BLOCK:
                self._open()
            crc = crc32(body, self.seq) & 0xFFFFFFFF
            at = self._at
            block = self._blocks[self._now]
            # where part of it is written, or cells do not hold: go on with another page
            self._at = ((at + len(body) + 3) // _PAGE + 1) * _PAGE
            try:
                held = self._program(block, at, body + struct.pack("<I", crc))
            except StorageError:
                if self._read(block, at, bytearray(len(body))).count(b"\xff") == len(body):
                    self._at = at  # refused as a whole: nothing is used up
                else:
                    self._mark(block, at)
                raise
            if held:
                self._at = at + len(body) + 4
                self.appends += 1
                return
            self._mark(block, at)
        raise StorageError("the flash does not hold what is written")

    def _open(self):  # on demand: strip
        """Go on with the next blank block."""
        n = len(self._blocks)
        for i in range(self._now + 1, self._now + 1 + n):
            i %= n
            if self._seqs[i] == _BLANK:
                block = self._blocks[i]
                name = self._read(block, 0, bytearray(NAME))
                number = struct.pack("<I", self.seq + 1)
                number += struct.pack("<I", crc32(name + number) & 0xFFFFFFFF)
                self._seqs[i] = _DIRTY
                if self._program(block, NAME, number):
                    self.seq += 1
                    self._seqs[i] = self.seq
                    self._now = i
                    self._at = _FIRST
                    return
        raise Full("no erased flash is left")

    def _program(self, block, at, data) -> bool:
        """Program bytes that are blank so far, page by page; False when they do not hold."""
        page = self._page
        done = 0
        while done < len(data):
            start = (at + done) % _PAGE
            part = data[done : done + _PAGE - start]
            base = at + done - start
            self._read(block, base, page)
            page[start : start + len(part)] = part
            began = time.ticks_us()
            failed = self._device.writeblocks(block, page, base)
            self._blind(began)
            if failed:
                raise StorageError("the flash cannot be written")
            self._read(block, base, page)
            if page[start : start + len(part)] != part:
                return False
            done += len(part)
        return True

    def _blind(self, began):
        took = time.ticks_diff(time.ticks_us(), began)
        self.blind_us = (self.blind_us + took) & 0x1FFFFFFF
        if took > self.worst_us:
            self.worst_us = took

    def _stale(self) -> int:
        """Place of the block that may be erased next, the oldest first (a record may take back an
        older one); -1: none."""
        best = -1
        for i, seq in enumerate(self._seqs):
            if seq == _DIRTY:
                return i
            if 0 < seq < self.covered and seq != self.seq:
                if best < 0 or seq < self._seqs[best]:
                    best = i
        return best

    def can_erase(self) -> bool:
        """Whether some block may be erased."""
        return self._stale() >= 0

    def erase(self) -> bool:  # on demand: strip
        """Erase one block that is not needed any more; False: there is none. Raises
        StorageError."""
        i = self._stale()
        if i < 0:
            return False
        block = self._blocks[i]
        name = self._read(block, 0, bytearray(NAME))
        if name[: len(MAGIC)] != MAGIC:  # damaged, or not there after an erase that was broken off
            name = MAGIC + os.urandom(8) + time.ticks_us().to_bytes(4, "little")
        if self._seqs[i] != _DIRTY:
            # A cut may leave half of it: first of all its number is made invalid.
            self._seqs[i] = _DIRTY
            self._program(block, NAME, bytes(8))
        self._marks = [mark for mark in self._marks if mark[0] != block]
        began = time.ticks_us()
        failed = self._device.ioctl(_ERASE, block)
        self._blind(began)
        if failed:
            raise StorageError("the flash cannot be erased")
        self.erases += 1
        held = self._program(block, 0, name) and self._is_blank(block)
        self._seqs[i] = _BLANK if held else _DEAD  # which is tried again after the next start
        return True
