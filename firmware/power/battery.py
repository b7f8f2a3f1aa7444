# The battery that everything is fed from: how full it is, how long it lasts, what is kept back.
# Called by the outer lane (reports of the state of charge, readers) and once a second by the
# control task (second()). Pure integers in Wh, mWs and per mille.
#
# Nobody but the vehicle knows the state of charge. It tells us from time to time (MQTT, console);
# in between the energy that flows is counted. What was told is believed when it goes with what was
# counted. What is old, or jumps, counts as unknown until it was told twice.

from micropython import const

# what is to be done
FULL = const(0)  # enough for everything
LOW = const(1)  # warn
SHED = const(2)  # the less important outlets are switched off
EMPTY = const(3)  # nothing is taken any more
LEVELS = ("good", "low", "shed", "empty")

_WARN = const(50)  # per mille above the reserve
_SHED = const(20)
_BACK = const(10)  # so much more until a level is left again
_JUMP = const(50)  # per mille that a report may differ from what was counted
_DRIFT = const(10)  # and so much more for each hour since the last one
_SAME = const(20)  # two reports that agree to this are believed
_STALE_S = const(6 * 3600)
_LOSS = const(1080)  # per mille: what the battery gives for what flows out (inverter, 92.6 %)
_SLOW_S = const(24 * 3600)  # time constants of the averages of the power
_FAST_S = const(3600)


class Battery:
    """`known`: the state of charge is; `permille`: of the usable capacity, counted on from the
    last report; `level`: what is to be done; `jumps`: reports that were not believed."""

    def __init__(self):
        self.capacity_wh = 0  # 0: none is set, and nothing is limited
        self.reserve = 0
        self.known = False
        self._ever = False  # it was told since the start
        self.permille = 0
        self.level = FULL
        self.jumps = 0
        self.age_s = _STALE_S
        self._doubt = -1  # a report that was not believed
        self._wh = 0
        self._ws = 0  # less than a Wh
        self._fast_w = 0  # averages of the power
        self._slow_w = 0
        self._seen_s = 0  # for so long there have been any
        self._fast_left = 0  # what the division leaves over
        self._slow_left = 0

    def configure(self, usable_wh: int, extender_wh: int, reserve: int):
        """`usable_wh`: of the vehicle's battery, 0 to 1 000 000 (0: none is known); `extender_wh`:
        of a range extender, beside it; `reserve`: per mille that are kept back, 0 to 900."""
        capacity = usable_wh + extender_wh
        if capacity != self.capacity_wh:
            self.capacity_wh = capacity
            self._wh = self.permille * capacity // 1000
            self.known = False  # per mille of something else now
            self.age_s = _STALE_S
        self.reserve = reserve
        self._judge()

    # -- outer lane ------------------------------------------------------------------------------

    def told(self, permille: int) -> str:
        """The vehicle, or its owner, says how full it is, 0 to 1000. Returns "" or what is wrong
        with that; ValueError when it cannot be."""
        if not 0 <= permille <= 1000:
            raise ValueError("a state of charge is 0 to 100 %")
        if not self.capacity_wh:
            return "set battery.usable_kwh first"
        may = _JUMP + _DRIFT * self.age_s // 3600
        if self.age_s < _STALE_S and abs(permille - self.permille) > may:
            if abs(permille - self._doubt) > _SAME or self._doubt < 0:
                self._doubt = permille
                self.jumps += 1
                was = self.permille // 10
                self.known = False
                self._judge()
                return "%d %% where %d %% were counted: unknown until it is told again" % (
                    permille // 10,
                    was,
                )
        self._doubt = -1
        self.known = self._ever = True
        self.age_s = 0
        self.permille = permille
        self._wh = self.capacity_wh * permille // 1000
        self._ws = 0
        self._judge()
        return ""

    def power_w(self) -> int:
        """The power to reckon with, W: the larger of the last hour's and the last day's, so that
        a promise is kept rather than not."""
        return max(self._fast_w, self._slow_w, 0)

    def left_s(self) -> int:
        """How long it lasts down to the reserve, s, up to 30 days; -1: unknown. 123 kWh at 30 kWh
        a day: 4 days and 2 hours without a reserve (less the inverter's losses)."""
        if not self.known or not self.capacity_wh:
            return -1
        usable = self._wh - self.capacity_wh * self.reserve // 1000
        watts = self.power_w() * _LOSS // 1000
        if usable <= 0:
            return 0
        return min(usable * 3600 // watts, 2_592_000) if watts > 0 else 2_592_000

    # -- control lane ----------------------------------------------------------------------------

    def second(self, watts: int):
        """Once a second: the power that is taken, W; negative: it is charged. +-50 000."""
        # plain means until there is an hour or a day of them, or the first ones would last
        n = self._seen_s
        if n < _SLOW_S:
            n += 1
            self._seen_s = n
        out = watts if watts > 0 else 0
        self._slow_left += out - self._slow_w
        step = self._slow_left // n
        self._slow_w += step
        self._slow_left -= step * n
        if n > _FAST_S:
            n = _FAST_S
        self._fast_left += out - self._fast_w
        step = self._fast_left // n
        self._fast_w += step
        self._fast_left -= step * n
        if not self.capacity_wh:
            return
        if self.age_s < _STALE_S:
            self.age_s += 1
            if self.age_s == _STALE_S:
                self.known = False
        self._ws -= watts * _LOSS // 1000 if watts > 0 else watts
        whole = self._ws // 3600
        if whole:
            self._ws -= whole * 3600
            self._wh = min(max(self._wh + whole, 0), self.capacity_wh)
            self.permille = self._wh * 1000 // self.capacity_wh  # both up to 1 000 000
        self._judge()

    def _judge(self):
        """The level; unknown is as bad as low, and what was worse stays. Before it is told for the
        first time there is nothing to shed for: the vehicle looks after its battery itself."""
        if not self.capacity_wh:
            self.level = FULL
            return
        if not self._ever:
            self.level = LOW
            return
        margin = self.permille - self.reserve
        if self.level == FULL:
            self.level = LOW if margin < _WARN else FULL
        elif margin >= _WARN + _BACK:
            self.level = FULL
        if self.level != FULL:
            if margin <= 0:
                self.level = EMPTY
            elif margin <= _SHED:
                if self.level < SHED:
                    self.level = SHED
                elif self.level == EMPTY and margin > _BACK:
                    self.level = SHED
            elif margin > _SHED + _BACK or self.level == LOW:
                self.level = LOW
        if not self.known and self.level == FULL:
            self.level = LOW
