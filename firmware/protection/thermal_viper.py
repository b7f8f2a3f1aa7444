# The twin of thermal.step in machine code; see there. Called by the control task.

import micropython
from micropython import const

T_LOAD = const(0)
T_HEAT = const(1)
T_REST = const(2)
T_LIMIT = const(3)
T_TAU = const(4)
T_COOL = const(5)
T_WORDS = const(6)


@micropython.viper
def step(b: ptr32, count: int, n: int, periods: int) -> int:  # noqa: F821
    """Heat `count` elements for `periods` windows of `n` scans; bits of those at the limit."""
    hot = 0
    t = 0
    for i in range(count):
        sq = b[t + T_LOAD]
        heat = b[t + T_HEAT]
        rest = b[t + T_REST]
        for _ in range(periods):
            d = sq - n * heat
            tau = b[t + T_TAU]
            if d < 0:
                tau = b[t + T_COOL]
            rest += d
            d = rest // tau
            rest -= d * tau
            heat += d
        b[t + T_HEAT] = heat
        b[t + T_REST] = rest
        if heat >= b[t + T_LIMIT]:
            hot |= 1 << i
        t += T_WORDS
    return hot
