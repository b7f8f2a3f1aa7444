"""A power relay with its coil, armature and faults. Called by truck.py.

A contact follows its coil after the operate or release time; a coil that changes its mind before
that cancels the movement. What happens to the current at opening (an arc until the next current
zero) is the outlet's matter, not the relay's: see truck.py.
"""

from __future__ import annotations

from tools.simulator.supply import NEVER_US
from tools.simulator.wiring import SimError

OPERATE_US = 8000  # data sheets of 30 A power relays: 10 to 15 ms at most, 7 to 8 ms typical
RELEASE_US = 4000
_BOUNCE_GAP_US = 500


class Relay:
    """One relay. `closed` is the mechanical contact; `coil` what the pin asks for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.coil = False
        self.closed = False
        self.fault = "ok"  # ok, welded, stuck
        self.operate_us = OPERATE_US
        self.release_us = RELEASE_US
        self.bounces = 0
        self.weld_amps = 0.0  # 0 = never welds by itself
        self.closed_us = 0
        self._plan: list[tuple[int, bool]] = []

    @property
    def next_us(self) -> int:
        """Time of the next movement of the contact."""
        return self._plan[0][0] if self._plan else NEVER_US

    def drive(self, on: bool, t_us: int) -> None:
        """The coil pin changed."""
        if on == self.coil:
            return
        self.coil = on
        self._follow_coil(t_us)

    def _follow_coil(self, t_us: int) -> None:
        self._plan.clear()
        if self.fault != "ok" or self.coil == self.closed:
            return
        if not self.coil:
            self._plan.append((t_us + self.release_us, False))
            return
        at = t_us + self.operate_us
        self._plan.append((at, True))
        for n in range(self.bounces):
            self._plan.append((at + (2 * n + 1) * _BOUNCE_GAP_US, False))
            self._plan.append((at + (2 * n + 2) * _BOUNCE_GAP_US, True))

    def step(self, t_us: int) -> bool:
        """Make the movement that is due; True when the contact changed."""
        if not self._plan or t_us < self._plan[0][0]:
            return False
        _, closed = self._plan.pop(0)
        return self._move(closed, t_us)

    def _move(self, closed: bool, t_us: int) -> bool:
        changed = closed != self.closed
        self.closed = closed
        if changed and closed:
            self.closed_us = t_us
        return changed

    def set_fault(self, fault: str, t_us: int) -> bool:
        """Set `ok`, `welded` (closed from now on) or `stuck` (open); True if the contact moved.

        `ok` leaves the contact where it is and lets it follow the coil after the usual time.
        """
        if fault not in ("ok", "welded", "stuck"):
            raise SimError(f"no relay state '{fault}'; there is: ok welded stuck")
        self.fault = fault
        self._plan.clear()
        if fault == "ok":
            self._follow_coil(t_us)
            return False
        return self._move(fault == "welded", t_us)

    def configure(
        self,
        operate_ms: float | None = None,
        release_ms: float | None = None,
        bounce: float | None = None,
        weld_amps: float | None = None,
    ) -> None:
        """Change times (ms), bounces at closing, and the closing current (A) that welds."""
        for name, value, top in (
            ("operate_ms", operate_ms, 1000),
            ("release_ms", release_ms, 1000),
            ("bounce", bounce, 20),
            ("weld_amps", weld_amps, 1e5),
        ):
            if value is not None and not 0 <= value <= top:
                raise SimError(f"relay {name}={value:g} is outside 0 to {top:g}")
        if operate_ms is not None:
            self.operate_us = round(operate_ms * 1000)
        if release_ms is not None:
            self.release_us = round(release_ms * 1000)
        if bounce is not None:
            self.bounces = int(bounce)
        if weld_amps is not None:
            self.weld_amps = weld_amps
