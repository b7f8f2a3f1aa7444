# A NOR flash as a block device that can lose its power in the middle of a write or an erase. For
# MicroPython: littlefs is mounted on it, and the firmware's raw appends go to it.
#
# Programming can only clear bits; an erase sets a whole block. Power ends after `left` more bytes
# (an erase counts as a block). What was in flight is torn: of the page that was being programmed
# a beginning is written, or some of its bits; of the block that was being erased some bytes are
# erased, some are not, some read as anything.

import random

from micropython import const

BLOCK = const(4096)
PAGE = const(256)
_EIO = const(5)
_EROFS = const(30)
_BLANK = b"\xff" * BLOCK


class TornFlash:
    """`blocks` of 4 KiB. Without power every call fails; nothing is allocated then, because files
    that were open are closed by the collector, under a locked heap.

    `before`: the same cells before their power went. The old object stays dead: whatever still
    has a file open on it, and is collected later, cannot reach the cells any more."""

    def __init__(self, blocks: int, before=None):
        self.blocks = blocks
        self.data = before.data if before else bytearray(_BLANK * blocks)
        self.left = -1  # bytes until the power goes; -1: it stays
        self.dead = False
        self.read_only = False
        self.refused = 0  # writes that a read-only flash has refused
        self.torn = 0  # cuts that came while something was in flight
        self.programmed = 0  # bytes
        self.erases = before.erases if before else bytearray(4 * blocks)  # of each, 32 bits
        self.on_cut = None  # called when the power goes in the middle of something
        self.overwritten = 0  # bytes that a write wanted other than the cells can become

    def cut(self):
        """The power goes now."""
        self.dead = True

    def _die(self):
        self.dead = True
        if self.on_cut is not None:
            self.on_cut()

    def erased(self, block: int) -> int:
        """How often a block was erased."""
        return int.from_bytes(self.erases[4 * block : 4 * block + 4], "little")

    # -- the block device ------------------------------------------------------------------------

    def readblocks(self, block, buffer, offset=0):
        if self.dead:
            return -_EIO
        at = block * BLOCK + offset
        size = len(buffer)
        assert at + size <= len(self.data), "beyond the end"
        buffer[:] = memoryview(self.data)[at : at + size]
        return 0

    def writeblocks(self, block, buffer, offset=None):
        if self.dead:
            return -_EIO
        if self.read_only:
            self.refused += 1
            return -_EROFS
        if offset is None:  # the simple interface erases by itself
            if self._erase(block):
                return -_EIO
            offset = 0
        at = block * BLOCK + offset
        size = len(buffer)
        assert at + size <= len(self.data), "beyond the end"
        if 0 <= self.left < size:
            self._tear_page(at, memoryview(buffer), self.left)
            self._die()
            return -_EIO
        if self.left >= 0:
            self.left -= size
        self._program(at, buffer)
        return 0

    def ioctl(self, op, arg):
        if op == 4:
            return self.blocks
        if op == 5:
            return BLOCK
        if op == 6:
            if self.dead:
                return -_EIO
            if self.read_only:
                self.refused += 1
                return -_EROFS
            return self._erase(arg)
        return 0

    # -- cells -----------------------------------------------------------------------------------

    def _program(self, at, buffer):
        size = len(buffer)
        self.programmed += size
        cells = memoryview(self.data)[at : at + size]
        if cells == memoryview(_BLANK)[:size]:
            cells[:] = buffer
            return
        for i in range(size):
            byte = buffer[i]
            if byte & ~cells[i]:
                self.overwritten += 1
            cells[i] &= byte

    def _erase(self, block):
        if 0 <= self.left < BLOCK:
            self._tear_erase(block * BLOCK)
            self._die()
            return -_EIO
        if self.left >= 0:
            self.left -= BLOCK
        self.data[block * BLOCK : (block + 1) * BLOCK] = _BLANK
        count = self.erased(block) + 1
        self.erases[4 * block : 4 * block + 4] = count.to_bytes(4, "little")
        return 0

    def _tear_page(self, at, buffer, done):
        """Whole pages up to `done` bytes are programmed, the one that it lies in is torn."""
        whole = done // PAGE * PAGE
        self._program(at, buffer[:whole])
        self.torn += 1
        cells = memoryview(self.data)[at + whole : at + min(whole + PAGE, len(buffer))]
        how = random.getrandbits(2)
        if how == 0:  # in order, as far as it came
            for i in range(done - whole):
                cells[i] &= buffer[whole + i]
        elif how == 1:  # all cells at once: some bits have flipped, some have not
            for i in range(len(cells)):
                cells[i] &= buffer[whole + i] | random.getrandbits(8)
        elif how == 2:  # nearly done: few bits are missing
            for i in range(len(cells)):
                mask = random.getrandbits(8) if random.getrandbits(5) == 0 else 0
                cells[i] &= buffer[whole + i] | mask
        # else the command was sent, and nothing happened yet

    def _tear_erase(self, at):
        self.torn += 1
        how = random.getrandbits(2)
        if how == 0:
            return  # nothing happened yet
        cells = memoryview(self.data)[at : at + BLOCK]
        if how == 1:  # some bytes are blank
            n = random.getrandbits(12)
            cells[:n] = memoryview(_BLANK)[:n]
            return
        for i in range(0, BLOCK, 4):
            x = random.getrandbits(32)
            for k in range(4):
                if how == 2:  # bits have risen here and there
                    cells[i + k] |= x & 255
                else:  # most of it is blank, some bytes read as anything
                    cells[i + k] = 255 if x & 3 else x & 255
                x >>= 8
