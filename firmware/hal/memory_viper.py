# The twin of memory.py in machine code; see there. Called by boot and by the outer lane.

import micropython
from machine import disable_irq, enable_irq
from micropython import const

_BLOCK = const(6)  # words with interrupts off: 17 us


# A pointer is moved where an index would do, which is twice as fast; and no index is one of the
# first three locals: MicroPython 1.26 keeps those in registers, and multiplies an index in place.


@micropython.viper
def march(buf: ptr32, bad: int, b: int, blocks: int, keep: ptr32) -> int:  # noqa: F821
    """`bad` is the first word, `b` whether the pattern is the other one: they are in registers."""
    at = int(buf) + (bad << 2)
    if b:
        b = 0x15555555  # in two steps: the whole is no small integer
        b = b << 2 | 1
    c = b ^ -1
    off = disable_irq  # here: to look for what they are takes up to 8 us
    on = enable_irq
    done = 0
    while done < blocks:
        done += 1
        found = done
        bad = 0
        end = at + 4 * _BLOCK
        buf = ptr32(at)  # noqa: F821
        k = 0
        irq = off()
        while k < _BLOCK:
            keep[k] = buf[k]
            k += 1
        while k > 0:
            k -= 1
            bad |= keep[k] ^ buf[k]
        if bad:
            found = -1
        else:
            while int(buf) < end:
                buf[0] = b
                buf = ptr32(int(buf) + 4)  # noqa: F821
            buf = ptr32(at)  # noqa: F821
            while int(buf) < end:
                bad |= buf[0] ^ b
                buf[0] = c
                buf = ptr32(int(buf) + 4)  # noqa: F821
            buf = ptr32(at)  # noqa: F821
            while int(buf) < end:
                bad |= buf[0] ^ c
                buf[0] = b
                buf = ptr32(int(buf) + 4)  # noqa: F821
            while int(buf) > at:
                buf = ptr32(int(buf) - 4)  # noqa: F821
                bad |= buf[0] ^ b
                buf[0] = c
            buf = ptr32(end)  # noqa: F821
            while int(buf) > at:
                buf = ptr32(int(buf) - 4)  # noqa: F821
                bad |= buf[0] ^ c
                buf[0] = b
            while k < _BLOCK:
                bad |= buf[k] ^ b
                buf[k] = keep[k]
                bad |= buf[k] ^ keep[k]
                k += 1
        on(irq)
        if bad:
            return found
        at = end
    return 0
