# The twin of checksum.py in machine code; see there. Called by a task of the outer lane.

import micropython


@micropython.viper
def fold(buf: ptr32, at: int, n: int, mask: int, stride: int, count: int, h: int) -> int:  # noqa: F821
    """Fold the words of `count` records that `mask` chooses into a sum of 30 bits."""
    while count > 0:
        i = 0
        while i < n:
            if mask >> i & 1:
                w = buf[at + i]
                h = h * 31 + w + (w >> 30 & 3) * 7 & 0x3FFFFFFF
            i += 1
        at += stride
        count -= 1
    return h
