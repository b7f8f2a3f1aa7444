# Finds the strip's blocks in the flash, and makes new ones. Called by the keeper: at boot, and by
# the storage task when the flash may be erased; dropped again each time.
#
# Somebody may have copied, changed or removed the files from a computer: only a block whose name
# (random bytes, its number, the time) is in the flash once, and in the file that littlefs shows,
# is the strip's. What a removed file leaves behind has a name that no file has.

import os
import time

from micropython import const

from firmware import pieces
from firmware.storage import files
from firmware.storage.strip import BLOCK, MAGIC, NAME

_BLOCKS = const(30)
_PART = const(7)  # of the flash, and no more
_SPARE = const(16)  # blocks that stay free for everything else


def wanted(device) -> int:
    """How many blocks the strip of this flash shall have; 0: it is not made for one."""
    if device.ioctl(5, 0) != BLOCK:
        return 0
    return min(_BLOCKS, device.ioctl(4, 0) // _PART)


def _path(folder, number):
    return files.join(folder, "strip/%d" % number)


def _named(device) -> dict:
    """{name: block}; block -1: there are several."""
    found: dict = {}
    head = bytearray(NAME)
    read = device.readblocks
    for block in range(device.ioctl(4, 0)):  # 212 of them: each turn counts
        if not block & 31:
            pieces.breathe()
        read(block, head, 0)
        if (head[0] == 0x54 or head[1] == 0x47) and _differ(head) < 2:
            name = bytes(head)
            found[name] = -1 if name in found else block
    return found


def _differ(head) -> int:
    """How many bytes of the magic are wrong: one does not cost the block."""
    return sum([head[i] != MAGIC[i] for i in range(4)])


def _block_of(path, found) -> int:
    """The block of a file, or -1."""
    if files.size(path) != BLOCK:
        return -1
    try:
        with open(path, "rb") as stream:
            return found.get(stream.read(NAME), -1)
    except OSError:
        return -1


def find(device, folder: str) -> dict:
    """{number of the file: block} of the files that are good. Writes nothing."""
    blocks: dict = {}
    if files.size(files.join(folder, "strip")) < 0:
        return blocks  # the first start
    found = _named(device)
    for number in range(wanted(device)):
        block = _block_of(_path(folder, number), found)
        if block >= 0:
            blocks[number] = block
    return blocks


def make(device, folder: str, number: int) -> int:
    """Make a file anew (erases); its block, or -1 when there is no room. Raises StorageError."""
    path = _path(folder, number)
    try:
        room = os.statvfs(folder)
        if room[0] * room[3] < _SPARE * BLOCK:
            return -1
        pieces.breathe()
        files.make_folder(files.join(folder, "strip"))
        files.remove(path)
        pieces.breathe()
        with open(path, "wb") as stream:
            # the number and the time, should the chip's noise be none (the emulator's is not)
            stream.write(MAGIC + os.urandom(NAME - 9) + bytes((number,)))
            stream.write(time.ticks_us().to_bytes(4, "little"))
            for i in range(15):
                stream.write(b"\xff" * 256)
                if i & 3 == 3:
                    pieces.breathe()
            stream.write(b"\xff" * (256 - NAME))
    except OSError as error:
        raise files.StorageError("cannot write %s: %s" % (path, files.why(error)))
    pieces.breathe()
    return _block_of(path, _named(device))
