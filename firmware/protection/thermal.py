# The thermal element: what a bimetal does, in integers. Used for outlets, legs and the total.
# Called by the control task once per finished window; allocates nothing.
#
# First-order heating by the square of the current (IEC 60255-149):
#     dH/dt = (q - H) / tau,   q = mean square of the load,   trip at H >= pick-up^2
# From cold, a constant load r times the pick-up trips after t = tau * ln(r^2 / (r^2 - 1)).

# trip classes: heating and cooling time constants in seconds
CLASSES = ("fast", "standard", "slow", "motor")
TAU_S = (40, 120, 300, 240)
COOL_S = (80, 240, 600, 600)


class Thermal:
    """One element. Load and heat are mean squares in any unit below 2**24 (so that a window of
    60 scans stays below 2**30)."""

    def __init__(self, scans_per_s: int):
        self.scans_per_s = scans_per_s
        self.heat = 0
        self.limit = 1 << 24
        self._rest = 0
        self._tau = 1
        self._cool = 1
        self.configure(1 << 24, TAU_S[1], COOL_S[1])

    def configure(self, limit: int, tau_s: int, cool_s: int):
        """`limit` = pick-up squared in the load's unit; time constants in seconds. The heat in
        per cent of the limit is kept, because the wire does not cool by a change of settings."""
        if self.heat:
            self.heat = int(self.heat * (limit / self.limit))
        self.limit = limit
        self._tau = tau_s * self.scans_per_s
        self._cool = cool_s * self.scans_per_s
        self._rest = 0

    def step(self, sq: int, n: int) -> bool:
        """Heat by `sq` = sum of squares over `n` scans; True while the heat is at the limit.

        Exact: the remainder of the division is carried to the next step.
        """
        rest = sq - n * self.heat
        tau = self._tau if rest >= 0 else self._cool
        rest += self._rest
        step = rest // tau
        self._rest = rest - step * tau
        self.heat += step
        return self.heat >= self.limit

    def is_hot(self) -> bool:
        """Above 90 % of the limit: too hot to be switched on again."""
        return self.heat * 10 > self.limit * 9

    def permille(self) -> int:
        """Heat in 1/1000 of the limit (outer lane)."""
        return self.heat * 1000 // self.limit

    def set_permille(self, permille: int):
        """Restore a heat that survived a reset."""
        self.heat = self.limit * permille // 1000
        self._rest = 0
