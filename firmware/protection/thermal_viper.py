# The twins of thermal.step and thermal.gather in machine code; see there. Called by the control
# task.

import micropython
from micropython import const

T_LOAD = const(0)
T_HEAT = const(1)
T_REST = const(2)
T_LIMIT = const(3)
T_TAU = const(4)
T_COOL = const(5)
T_WORDS = const(6)
P_AT = const(0)
P_LOAD = const(1)
P_MA = const(2)
P_LEGS = const(3)
P_WORDS = const(4)
M_SQ = const(3)
M_RMS = const(4)
M_POWER = const(17)


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


@micropython.viper
def gather(
    block: ptr32, b: ptr32, plan: ptr32, count: int, amps: ptr32, power: ptr32, sums: ptr32
):  # noqa: F821
    """What `count` outlets carry, see thermal.gather."""
    total = 0
    one = 0
    two = 0
    p = 0
    for i in range(count):
        at = plan[p + P_AT]
        sq = block[at + M_SQ]
        if sq < 0:
            sq = 0
        b[plan[p + P_LOAD]] = sq
        ma = block[at + M_RMS] * plan[p + P_MA] >> 8
        amps[i] = ma
        watts = block[at + M_POWER]
        power[i] = watts
        if watts < 0:
            watts = 0 - watts
        total += watts
        legs = plan[p + P_LEGS]
        if legs & 1:
            one += ma
        if legs & 2:
            two += ma
        p += P_WORDS
    sums[0] = one
    sums[1] = two
    sums[2] = total
