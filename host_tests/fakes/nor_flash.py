"""A NOR flash as a block device: programming only clears bits, an erase sets a block, and both may
be torn. Every erase and every page is reported, for tests of when they come."""

from __future__ import annotations

import os
from collections.abc import Callable

BLOCK = 4096
PAGE = 256


class PowerCut(Exception):
    """The supply ended in the middle of a write or an erase."""


class NorFlash:
    """`blocks` blocks that all belong to the strip. `cut_after`: bytes until the power goes (an
    erase counts as a block); None: never. `stuck`: addresses of cells that cannot be cleared,
    `worn`: of those that an erase does not set any more."""

    def __init__(self, blocks: int = 30) -> None:
        self.data = bytearray(b"\xff" * (BLOCK * blocks))
        self.blocks = blocks
        self.erases = [0] * blocks
        self.pages = 0
        self.cut_after: int | None = None
        self.stuck: set[int] = set()
        self.worn: set[int] = set()
        self.fails = 0  # so many writes to come are answered with an error
        self.on_erase: Callable[[int], None] = lambda block: None
        self.on_page: Callable[[], None] = lambda: None
        for block in range(blocks):
            name = b"TGs1" + os.urandom(12)
            self.data[block * BLOCK : block * BLOCK + 16] = name

    def numbers(self) -> range:
        return range(self.blocks)

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> int:
        at = block * BLOCK + offset
        assert offset + len(buffer) <= BLOCK
        buffer[:] = self.data[at : at + len(buffer)]
        return 0

    def writeblocks(self, block: int, buffer: bytes, offset: int) -> int:
        # what rp2.Flash asks for: whole pages
        assert offset % PAGE == 0 and len(buffer) == PAGE
        self.on_page()
        if self.fails:
            self.fails -= 1
            return -5
        self.pages += 1
        at = block * BLOCK + offset
        for i in range(self._reach(PAGE)):
            if at + i not in self.stuck:
                assert not buffer[i] & ~self.data[at + i], "a bit that only an erase sets"
                self.data[at + i] &= buffer[i]
        self._cut()
        return 0

    def ioctl(self, op: int, arg: int) -> int:
        if op == 4:
            return self.blocks
        if op == 5:
            return BLOCK
        if op == 6:
            self.on_erase(arg)
            if self.fails:
                self.fails -= 1
                return -5
            n = self._reach(BLOCK)
            for at in range(arg * BLOCK, arg * BLOCK + n):
                self.data[at] = 0 if at in self.worn else 255
            self._cut()
            self.erases[arg] += 1
        return 0

    def _reach(self, size: int) -> int:
        if self.cut_after is None:
            return size
        n = min(size, self.cut_after)
        self.cut_after -= n
        return n

    def _cut(self) -> None:
        if self.cut_after == 0:
            raise PowerCut
