# Uptime without wrap, and the time of day when somebody has told it. Called by the control task
# (update, allocates nothing) and by the outer lane (the rest).

import time

_EPOCH_2024 = 1_704_067_200  # a wall clock before this has not been set


class Clock:
    """`update()` at least every few days; `ticks_ms` wraps after 12.4 of them."""

    def __init__(self):
        self.now_s = 0
        self.now_ms = 0  # 0 to 999
        self._last = time.ticks_ms()
        self._set = False

    def update(self) -> int:
        """Take up the time that has passed; returns it in ms."""
        now = time.ticks_ms()
        passed = time.ticks_diff(now, self._last)
        self._last = now
        ms = self.now_ms + passed
        self.now_s += ms // 1000
        self.now_ms = ms % 1000
        return passed

    def uptime_ms(self) -> int:
        return self.now_s * 1000 + self.now_ms

    def uptime_s(self) -> int:
        return self.now_s

    def wall(self) -> int:
        """Seconds since 1970 (UTC), or 0 when the clock has not been set."""
        now = time.time()
        if time.gmtime(0)[0] == 2000:  # MicroPython ports that count from 2000
            now += 946_684_800
        return int(now) if self._set and now >= _EPOCH_2024 else 0

    def mark_set(self):
        """The real-time clock was set (NTP, command)."""
        self._set = True
