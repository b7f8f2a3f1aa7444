# RP2040 with a stock image: has functions run from the flash, where their code lies in code.bin
# (tools/pack.py), instead of from the copies in the heap that import has made. A copy is let go
# only when the flash holds the very same bytes, in blocks that belong to the open file; on any
# doubt everything stays as it is. Called by pieces.load(), before anything of a module runs.
#
# What is relied on: `id()` of a function is where its object lies, the object's fourth word is
# where its code begins, and littlefs keeps a file's blocks where they are until it is written.

from array import array

import micropython

try:
    import rp2
except ImportError:
    rp2 = None

_FILE = "firmware/code.bin"
_BLOCK = 4096


@micropython.viper
def _head(file: int, size: int, count: int) -> int:
    """The last block of an open file of `size` bytes, or -1: where littlefs keeps it."""
    words = ptr32(file)  # noqa: F821
    i = 2
    while i < 40:
        if words[i] == size and uint(words[i - 1]) < uint(count):  # noqa: F821
            return int(words[i - 1])
        i += 1
    return -1


@micropython.viper
def _before(flash: ptr32, block: int) -> int:  # noqa: F821
    """The block before `block` in its file: a block begins with that."""
    return int(flash[block << 10])


@micropython.viper
def _move(function: int, table: ptr16, flash: ptr8, blocks: ptr16, most: int) -> int:  # noqa: F821
    """Bytes that the function no longer needs in the heap; 0 when it stays. `table`: how many,
    then block of the file (of `most`), place there and size of each code, a size of 0 for those
    that are done."""
    words = ptr32(function)  # noqa: F821
    code = int(words[3])
    if code < 0x20000000 or code >= 0x20042000:
        return 0
    ram = ptr8(code)  # noqa: F821
    i = 1
    end = int(table[0]) * 3 + 1
    while i < end:
        size = int(table[i + 2])
        if int(table[i]) >= most:  # the file is damaged
            return 0
        at = (int(blocks[table[i]]) << 12) + int(table[i + 1])
        k = 0
        while k < size and ram[k] == flash[at + k]:
            k += 1
        if size and k == size:
            words[3] = int(flash) + at
            table[i + 2] = 0
            return size
        i += 3
    return 0


def _plain():
    pass


def _generator():
    yield


_KINDS = (type(_plain), type(_generator), type(_move))


class InPlace:
    """The file's blocks; settle() for each module."""

    def __init__(self):
        self.moved = 0  # bytes
        self._flash = None
        if rp2 is not None:
            try:
                with open(_FILE, "rb") as file:
                    self._find(file)
            except OSError:
                pass

    def _find(self, file):
        flash = rp2.Flash()
        count = flash.ioctl(4, 0)
        size = file.seek(0, 2)
        file.seek(0)
        blocks = []
        block = _head(id(file), size, count) if flash.ioctl(5, 0) == _BLOCK else -1
        # how many blocks: the first has no word of littlefs, each other at least one
        number = 0
        left = size - _BLOCK
        while left > 0:
            number += 1
            words = 1
            while not number >> words - 1 & 1:
                words += 1
            left -= _BLOCK - 4 * words
        while 0 <= block < count:
            blocks.append(block)
            if len(blocks) > number:
                self._flash = flash
                self._most = len(blocks)
                self._blocks = array("H", reversed(blocks))
                return
            block = _before(flash, block)  # type: ignore[arg-type]

    def settle(self, module, number: int):
        """Let the functions of a module that was just loaded run from the flash."""
        if self._flash is None:
            return
        with open(_FILE, "rb") as file:
            file.seek(2 * number)
            at = int.from_bytes(file.read(2), "little")
            if not at:
                return
            file.seek(at)
            head = file.read(2)
            count = int.from_bytes(head, "little")
            table = bytearray(head + file.read(6 * count))
        if len(table) < 2 + 6 * count:  # the file is damaged
            return
        for value in module.__dict__.values():
            if type(value) is type:
                for method in value.__dict__.values():
                    self._settle(method, table)
            else:
                self._settle(value, table)

    def _settle(self, function, table):
        if type(function) in _KINDS:
            blocks = self._blocks
            self.moved += _move(id(function), table, self._flash, blocks, self._most)  # type: ignore[arg-type]
