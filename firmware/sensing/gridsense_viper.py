# The twins of share(), root() and hertz() of gridsense.py in machine code; see there. Called by
# the control task, on boards with channels of kind "sense".

import micropython
from micropython import const

_TWO_PI = const(6434)


@micropython.viper
def share(n: int, length: int, since: int, part: int) -> int:
    """See gridsense.share."""
    width = n << 10
    turn = (width % length << 10) // length
    x = turn & 511
    p = x * (512 - x)
    s = (p << 12) // (327680 - p)
    if turn & 512:
        s = 0 - s
    s = s * length // (width * _TWO_PI >> 10)
    if s == 0:
        return 1024
    middle = (since << 10) - (width >> 1) - 512 + part
    turn = 2 * ((middle % length << 10) // length) + 256
    x = turn & 511
    p = x * (512 - x)
    c = (p << 12) // (327680 - p)
    if turn & 512:
        c = 0 - c
    return 1024 - (s * c >> 10)


@micropython.viper
def root(square: int, last: int) -> int:
    """See gridsense.root."""
    s = square << 6
    if s <= 0:
        return 0
    found = last
    if found == 0:
        found = 8192
    d = 2
    while d > 1 or d < -1:
        q = (found + s // found) >> 1
        d = q - found
        found = q
        if found == 0:
            found = 1
    return found


@micropython.viper
def hertz(total: int, cycles: int, parts: int) -> int:
    """See gridsense.hertz."""
    if total == 0:
        return 0
    return 4 * cycles * (parts // total) + 4 * cycles * (parts % total) // total
