# The strip in an ordinary file, where the raw flash cannot be reached: `make run` and tests on a
# computer. Called by the keeper at boot.

import os

from firmware.storage import files
from firmware.storage.strip import BLOCK, MAGIC, NAME

_BLOCKS = 30


class FileDevice:
    """A NOR flash of 30 blocks in a file, in which programming only clears bits."""

    def __init__(self, path: str):
        if files.size(path) != _BLOCKS * BLOCK:
            if "/" in path:
                files.make_folder(path[: path.rfind("/")])
            with open(path, "wb") as stream:
                for _ in range(_BLOCKS):
                    stream.write(MAGIC + os.urandom(NAME - len(MAGIC)))
                    stream.write(b"\xff" * (BLOCK - NAME))
        self._stream = open(path, "r+b")

    def numbers(self):
        """All its blocks."""
        return range(_BLOCKS)

    def readblocks(self, block, buffer, offset=0):
        self._stream.seek(block * BLOCK + offset)
        self._stream.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        old = bytearray(len(buffer))
        self.readblocks(block, old, offset)
        for i in range(len(old)):
            old[i] &= buffer[i]
        self._write(block, offset, old)

    def ioctl(self, op, arg):
        if op == 4:
            return _BLOCKS
        if op == 5:
            return BLOCK
        if op == 6:
            self._write(arg, 0, b"\xff" * BLOCK)
        return 0

    def _write(self, block, offset, data):
        self._stream.seek(block * BLOCK + offset)
        self._stream.write(data)
        self._stream.flush()
