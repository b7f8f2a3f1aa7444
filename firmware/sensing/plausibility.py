# Is a current channel believable? Debounces the flags of reduce.py; called by the control task
# for every finished window; allocates nothing. A reading that cannot be true opens its outlet:
# it never counts as zero.

from micropython import const

from firmware import events

_RAIL = const(1)  # reduce.F_…
_FROZEN = const(2)
_ZERO = const(4)
_FLOW = const(8)
_RAIL_WINDOWS = const(2)
_ZERO_WINDOWS = const(3)
_FROZEN_WINDOWS = const(30)  # a live converter has 1 count of noise at least
_WELD_WINDOWS = const(6)


class ChannelCheck:
    """Debounced judgement of one channel."""

    def __init__(self):
        self.active = False  # whether a counter runs: judge() must be called for good windows too
        self._rail = 0
        self._zero = 0
        self._frozen = 0
        self._flow = 0

    def judge(self, flags: int) -> int:
        """Reason code of a fault, or 0. The caller takes the flags of zero and flow away unless
        the relay has been open long enough for no current to flow."""
        self._rail = self._rail + 1 if flags & _RAIL else 0
        self._frozen = self._frozen + 1 if flags & _FROZEN else 0
        self._zero = self._zero + 1 if flags & _ZERO else 0
        self._flow = self._flow + 1 if flags & _FLOW and not flags & _ZERO else 0
        self.active = flags != 0
        if self._rail >= _RAIL_WINDOWS or self._frozen >= _FROZEN_WINDOWS:
            return events.SENSOR
        if self._zero >= _ZERO_WINDOWS:
            return events.SENSOR
        if self._flow >= _WELD_WINDOWS:
            return events.WELDED
        return 0
