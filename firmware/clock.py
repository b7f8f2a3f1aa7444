# Uptime without wrap, and the time of day when somebody has told it. Called by the control task
# (update, allocates nothing) and by the outer lane (the rest). Who tells it: timekeeper.py.

import time

# seconds from 1970 to the year that the port's own clock counts from
_SINCE_1970 = 946_684_800 if time.gmtime(0)[0] == 2000 else 0


class Clock:
    """`update()` at least every few days; `ticks_ms` wraps after 12.4 of them.

    The time of day is the uptime and an offset: nothing but timekeeper.tell() makes it step, and
    whatever measures a time takes the uptime."""

    def __init__(self):
        self.now_s = 0
        self.now_ms = 0  # 0 to 999
        self.offset_s = 0  # seconds since 1970 at uptime 0; 0: nobody has told the time
        self.told_s = 0  # uptime when it was told last
        self.told_by = 0  # of events.SOURCES
        self.note = ""  # what became of the last question to the time servers
        self._last = time.ticks_ms()

    def update(self) -> int:
        """Take up the time that has passed; returns it in ms."""
        now = time.ticks_ms()
        passed = time.ticks_diff(now, self._last)
        self._last = now
        ms = self.now_ms + passed
        if ms >= 1000:
            self.now_s += ms // 1000
            ms %= 1000
        self.now_ms = ms
        return passed

    def since_ms(self) -> int:
        """Time since the last update()."""
        return time.ticks_diff(time.ticks_ms(), self._last)

    def uptime_ms(self) -> int:
        return self.now_s * 1000 + self.now_ms

    def uptime_s(self) -> int:
        return self.now_s

    def wall(self) -> int:
        """Seconds since 1970 (UTC), or 0 when nobody has told the time."""
        return self.offset_s + self.now_s if self.offset_s else 0


def iso(epoch: int) -> str:
    """`2026-11-22T19:00:04Z` of seconds since 1970."""
    return "%04d-%02d-%02dT%02d:%02d:%02dZ" % time.gmtime(epoch - _SINCE_1970)[:6]
