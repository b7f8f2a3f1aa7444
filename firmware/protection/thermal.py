# The thermal element: what a bimetal does, in integers. Used for outlets, legs and the total.
# Called by the control task once per finished window; allocates nothing. step() and gather() have
# twins in machine code (thermal_viper.py), and a differential test holds the two equal.
#
# First-order heating by the square of the current (IEC 60255-149):
#     dH/dt = (q - H) / tau,   q = mean square of the load,   trip at H >= pick-up^2
# From cold, a constant load r times the pick-up trips after t = tau * ln(r^2 / (r^2 - 1)).
#
# A closed outlet cools as fast as it heats, so that H follows the mean square of a load that
# comes and goes; cooling slower, a load of 100 % RMS over its duty cycle would settle above the
# limit. Only an open one cools by the longer constant, as that standard's stopped motor does.

from array import array

from micropython import const

# trip classes: time constants in seconds, of a closed outlet and of cooling when it is open
CLASSES = ("fast", "standard", "slow", "motor")
TAU_S = (40, 120, 300, 240)
COOL_S = (80, 240, 600, 600)

# words per element; loads and heats are mean squares in any unit below 2**24
T_LOAD = const(0)  # sum of squares over the window
T_HEAT = const(1)
T_REST = const(2)
T_LIMIT = const(3)
T_TAU = const(4)  # time constants of heating and of cooling in scans
T_COOL = const(5)
T_WORDS = const(6)

# words per outlet of gather()'s plan
P_AT = const(0)  # its words in the meter's block, and its element's load in the bank's
P_LOAD = const(1)
P_MA = const(2)  # counts x 8 -> mA x 256
P_LEGS = const(3)  # bits
P_WORDS = const(4)
M_SQ = const(3)  # of the meter's block, see sensing/reduce.py
M_RMS = const(4)
M_POWER = const(17)


def step(b, count, n, periods):
    """Heat `count` elements for `periods` windows of `n` scans; returns the bits of those whose
    heat is at the limit. Exact: the remainder of the division is carried to the next step."""
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


def gather(block, b, plan, count, amps, power, sums):
    """What `count` outlets carry: from the meter's block into the bank's, into `amps` (mA RMS) and
    `power` (W); `sums`: mA of the two legs, and W of all of them whichever way they flow."""
    total = one = two = 0
    p = 0
    for i in range(count):
        at = plan[p + P_AT]
        sq = block[at + M_SQ]
        b[plan[p + P_LOAD]] = sq if sq > 0 else 0
        ma = block[at + M_RMS] * plan[p + P_MA] >> 8
        amps[i] = ma
        watts = block[at + M_POWER]
        power[i] = watts
        total += watts if watts > 0 else 0 - watts
        legs = plan[p + P_LEGS]
        if legs & 1:
            one += ma
        if legs & 2:
            two += ma
        p += P_WORDS
    sums[0] = one
    sums[1] = two
    sums[2] = total


class Bank:
    """All thermal elements of a board, heated together. `kernel`: step() or its twin."""

    def __init__(self, count: int, scans_per_s: int, kernel=step):
        self.count = count
        self.scans_per_s = scans_per_s
        self.block = array("i", bytes(4 * T_WORDS * count))
        self._kernel = kernel
        self.elements = [Thermal(self, i) for i in range(count)]

    def step(self, n: int, periods: int) -> int:
        """Heat every element by its load; bits of the elements at their limit."""
        return self._kernel(self.block, self.count, n, periods)


class Thermal:
    """One element of a bank."""

    def __init__(self, bank: Bank, index: int):
        self._bank = bank
        self._block = bank.block
        self.at = index * T_WORDS
        self.bit = 1 << index
        self._cool = 0  # scans, when open
        self._closed = False
        self._before = 0  # restored after a reset, permille
        self.configure(1 << 23, TAU_S[1], COOL_S[1])

    def configure(self, limit: int, tau_s: int, cool_s: int):
        """`limit` = pick-up squared in the load's unit; time constants in seconds. The heat in
        per cent of the limit is kept, because the wire does not cool by a change of settings."""
        b = self._block
        at = self.at
        if b[at + T_HEAT]:
            b[at + T_HEAT] = int(b[at + T_HEAT] * (limit / b[at + T_LIMIT]))
        b[at + T_LIMIT] = limit
        b[at + T_TAU] = tau_s * self._bank.scans_per_s
        self._cool = cool_s * self._bank.scans_per_s
        b[at + T_REST] = 0
        self.energise(self._closed)

    def energise(self, closed: bool):
        """Its outlet closes or opens: which constant it cools by (control lane)."""
        self._closed = closed
        self._block[self.at + T_COOL] = self._block[self.at + T_TAU] if closed else self._cool

    def is_hot(self) -> bool:
        """Above 90 % of the limit: too hot to be switched on again."""
        return self._block[self.at + T_HEAT] * 10 > self._block[self.at + T_LIMIT] * 9

    def permille(self) -> int:
        """Heat in 1/1000 of the limit (outer lane)."""
        return self._block[self.at + T_HEAT] * 1000 // self._block[self.at + T_LIMIT]

    def share(self, parts: int) -> int:
        """Heat in 1/`parts` (64 at most) of the limit, rounded up."""
        limit = self._block[self.at + T_LIMIT]
        return (self._block[self.at + T_HEAT] * parts + limit - 1) // limit

    def derate(self, limit: int, now: int, before: int):
        """Another limit, without floats (control lane): `now` and `before` are the squares of
        the tenths of the full limit. The heat in per cent of the limit is kept."""
        b = self._block
        b[self.at + T_LIMIT] = limit
        b[self.at + T_HEAT] = b[self.at + T_HEAT] * now // before

    def set_permille(self, permille: int):
        """Restore a heat that survived a reset."""
        self._before = permille
        self._block[self.at + T_HEAT] = self._block[self.at + T_LIMIT] * permille // 1000
        self._block[self.at + T_REST] = 0

    def cool_off(self, off_s: int, since_s: int):  # on demand
        """The device was off for `off_s` before the heat was restored `since_s` ago (outer lane).

        What is left of that heat is taken to have decayed by the shorter constant since then, and
        by the longer one while off: never too cold."""
        import math

        b = self._block
        per_s = self._bank.scans_per_s
        left = self._before * math.exp(-since_s * per_s / b[self.at + T_TAU])
        gone = left * (1 - math.exp(-off_s * per_s / self._cool))
        heat = b[self.at + T_HEAT] - int(gone * b[self.at + T_LIMIT] / 1000)
        b[self.at + T_HEAT] = heat if heat > 0 else 0
        self._before = 0
