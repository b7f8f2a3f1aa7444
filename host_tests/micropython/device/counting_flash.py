# Flash as a Pico W has it for files: 212 blocks of 4 KiB, whose erases are counted, with littlefs
# on it as the RP2040 port makes it. Imported by what measures wear.

import os

import vfs

BLOCKS = 212
_BLOCK = 4096


class Flash:
    """Block device; `erases`: of each block."""

    def __init__(self):
        self.data = bytearray(b"\xff" * (_BLOCK * BLOCKS))
        self.erases = [0] * BLOCKS

    def readblocks(self, block, buffer, offset=0):
        at = block * _BLOCK + offset
        buffer[:] = memoryview(self.data)[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        at = block * _BLOCK + offset
        self.data[at : at + len(buffer)] = buffer

    def ioctl(self, op, arg):
        if op == 4:
            return BLOCKS
        if op == 5:
            return _BLOCK
        if op == 6:
            self.erases[arg] += 1
            self.data[arg * _BLOCK : (arg + 1) * _BLOCK] = b"\xff" * _BLOCK
        return 0


def mounted() -> Flash:
    """A new one with an empty file system, in which the program is from now on."""
    flash = Flash()
    vfs.VfsLfs2.mkfs(flash, progsize=256)
    vfs.mount(vfs.VfsLfs2(flash, progsize=256), "/flash")
    os.chdir("/flash")
    return flash
