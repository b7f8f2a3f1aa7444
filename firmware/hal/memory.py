# Test of memory for selftest_slow.py, in plain Python; memory_viper.py says the same in machine
# code. Called by boot and by the outer lane, on arrays that the other lanes use: nothing may come
# in between while a block is not itself, so interrupts are off for its few words.

from machine import disable_irq, enable_irq
from micropython import const

_BLOCK = const(6)  # words with interrupts off: 17 us


def march(buf, at, odd, blocks, keep):
    """March C- over `blocks` blocks of 6 words of `buf` from the word `at` on: 0, or 1 + the
    number of the first block with a word that is not what was written. What a block held is there
    again afterwards.

    `keep`: 6 words that hold it meanwhile; -1: these do not. `odd`: the pattern is 0101… instead
    of 0, for bits that stick to their neighbour. (A. J. van de Goor, Testing Semiconductor
    Memories: finds stuck-at, transition and coupling faults within the block.)"""
    b = 0x55555555 if odd else 0
    c = ~b
    up = range(_BLOCK)
    down = range(_BLOCK - 1, -1, -1)
    for block in range(blocks):
        good = True
        irq = disable_irq()
        for i in up:
            keep[i] = buf[at + i]
        for i in down:
            good = good and keep[i] == buf[at + i]
        if not good:
            enable_irq(irq)
            return -1
        for i in up:
            buf[at + i] = b
        for order, was, then in ((up, b, c), (up, c, b), (down, b, c), (down, c, b)):
            for i in order:
                good = good and buf[at + i] == was
                buf[at + i] = then
        for i in up:
            good = good and buf[at + i] == b
            buf[at + i] = keep[i]
            good = good and buf[at + i] == keep[i]
        enable_irq(irq)
        if not good:
            return block + 1
        at += _BLOCK
    return 0
