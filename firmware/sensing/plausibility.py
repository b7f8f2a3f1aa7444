# Is a channel believable? Judged by the control task for every finished window; allocates
# nothing. A reading that cannot be true opens its outlet: it never counts as zero.

from micropython import const

from firmware import events

_RAIL_LOW = const(15)  # codes
_RAIL_HIGH = const(4080)
_RAIL_WINDOWS = const(2)  # debounce
_ZERO_BAND = const(200)  # counts from mid-scale that a sensor at rest may show
_ZERO_WINDOWS = const(3)
_FROZEN_WINDOWS = const(30)  # a live converter has 1 count of noise at least
_WELD_WINDOWS = const(6)  # after the relay's release time and an arc


class ChannelCheck:
    """Debounced judgement of one channel."""

    def __init__(self, weld_square: int):
        self.weld_square = weld_square  # counts^2: above it current flows for sure
        self._rail = 0
        self._zero = 0
        self._frozen = 0
        self._flow = 0

    def judge(self, low: int, high: int, mean: int, square: int, is_open: bool) -> int:
        """Reason code of a fault, or 0.

        `low`, `high`: extreme codes of the window; `mean`: counts from mid-scale; `square`: mean
        square in counts^2; `is_open`: the relay has been open long enough for no current to flow.
        """
        if high <= _RAIL_LOW or low >= _RAIL_HIGH:
            self._rail += 1
            if self._rail >= _RAIL_WINDOWS:
                return events.SENSOR
        else:
            self._rail = 0
        if low == high:
            self._frozen += 1
            if self._frozen >= _FROZEN_WINDOWS:
                return events.SENSOR
        else:
            self._frozen = 0
        if not is_open:
            self._zero = 0
            self._flow = 0
            return 0
        if mean > _ZERO_BAND or mean < -_ZERO_BAND:
            self._zero += 1
            if self._zero >= _ZERO_WINDOWS:
                return events.SENSOR
            return 0
        self._zero = 0
        if square > self.weld_square:
            self._flow += 1
            if self._flow >= _WELD_WINDOWS:
                return events.WELDED
        else:
            self._flow = 0
        return 0
