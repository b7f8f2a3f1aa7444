# Local time from UTC by a POSIX rule: `EST5EDT,M3.2.0,M11.1.0`, `CET-1CEST,M3.5.0,M10.5.0/3`,
# `UTC0`, `<+0530>-5:30`. Called by the outer lane: days of the energy history, reports.
#
# The rule is POSIX.1-2017, 8.3 (TZ): hours WEST of Greenwich are positive. Rules by day of the
# year (Jn, n) are not accepted: no zone needs them.

from micropython import const

_DAY = const(86400)
_DEFAULT_AT = const(7200)  # changes at 2 o'clock when the rule does not say


class ZoneError(ValueError):
    """What is wrong with a rule, and what is allowed."""


def _wrong(rule):
    return ZoneError(
        "'%s' is no time zone (like UTC0, EST5EDT,M3.2.0,M11.1.0 or CET-1CEST,M3.5.0,M10.5.0/3)"
        % rule[:40]
    )


def days_from_civil(year, month, day):
    """Days since 1970-01-01 of a Gregorian date (months beyond 12 are the next year's)."""
    year += (month - 1) // 12
    month = (month - 1) % 12 + 1
    if month <= 2:  # years that begin in March: the leap day is the last one
        year -= 1
        month += 12
    return (
        365 * year
        + year // 4
        - year // 100
        + year // 400
        + (153 * month - 457) // 5
        + day
        - 719469
    )


def civil_from_days(days):
    """(year, month, day) of a day since 1970-01-01."""
    year = 1970 + days // 365
    while days_from_civil(year, 1, 1) > days:
        year -= 1
    rest = days - days_from_civil(year, 1, 1)
    month = 1
    while month < 12 and days_from_civil(year, month + 1, 1) <= days:
        month += 1
    rest = days - days_from_civil(year, month, 1)
    return year, month, rest + 1


class Zone:
    """A rule, parsed. Raises ZoneError."""

    def __init__(self, rule="UTC0"):
        self.rule = rule
        self._text = rule
        self._at = 0
        self._name()
        self._standard = -self._clock()
        self._summer = None
        self._starts = self._ends = (0, 0, 0, 0)
        if self._at < len(rule):
            self._name()
            self._summer = self._standard + 3600
            if self._at < len(rule) and rule[self._at] != ",":
                self._summer = -self._clock()
            self._starts = self._date()
            self._ends = self._date()
            if self._at < len(rule):
                raise _wrong(rule)

    def _name(self):
        text = self._text
        start = self._at
        if text[start : start + 1] == "<":
            end = text.find(">", start)
            if end < 0:
                raise _wrong(text)
            self._at = end + 1
            return
        end = start
        while end < len(text) and text[end].isalpha():
            end += 1
        if end - start < 3:
            raise _wrong(text)
        self._at = end

    def _number(self, low, high):
        text = self._text
        end = self._at
        while "0" <= text[end : end + 1] <= "9":
            end += 1
        if end == self._at or end - self._at > 3:
            raise _wrong(text)
        value = int(text[self._at : end])
        if not low <= value <= high:
            raise _wrong(text)
        self._at = end
        return value

    def _skip(self, char):
        if self._text[self._at : self._at + 1] != char:
            return False
        self._at += 1
        return True

    def _clock(self):
        """[+-]h[:mm[:ss]] in seconds."""
        sign = -1 if self._skip("-") else 1
        if sign > 0:
            self._skip("+")
        value = self._number(0, 167) * 3600
        if self._skip(":"):
            value += self._number(0, 59) * 60
            if self._skip(":"):
                value += self._number(0, 59)
        return sign * value

    def _date(self):
        """,Mm.w.d[/time] as (month, week, weekday, seconds)."""
        if not (self._skip(",") and self._skip("M")):
            raise _wrong(self._text)
        month = self._number(1, 12)
        if not self._skip("."):
            raise _wrong(self._text)
        week = self._number(1, 5)
        if not self._skip("."):
            raise _wrong(self._text)
        weekday = self._number(0, 6)
        return month, week, weekday, self._clock() if self._skip("/") else _DEFAULT_AT

    def offset(self, utc):
        """Seconds that local time is ahead of UTC, at the epoch second `utc`."""
        if self._summer is None:
            return self._standard
        year = civil_from_days((utc + self._standard) // _DAY)[0]
        start = _moment(year, self._starts) - self._standard
        end = _moment(year, self._ends) - self._summer
        if start <= end:
            summer = start <= utc < end
        else:  # south of the equator it spans the turn of the year
            summer = not end <= utc < start
        return self._summer if summer else self._standard

    def local(self, utc):
        """Local wall-clock second: `utc` plus its offset; // 86400 is the local day."""
        return utc + self.offset(utc)


def text(utc, offset):
    """`2026-11-22 20:00:04 +01:00`: a second since 1970 at so many seconds ahead of UTC."""
    second = utc + offset
    year, month, day = civil_from_days(second // _DAY)
    second %= _DAY
    minutes = abs(offset) // 60
    return "%04d-%02d-%02d %02d:%02d:%02d %s%02d:%02d" % (
        year,
        month,
        day,
        second // 3600,
        second // 60 % 60,
        second % 60,
        "-" if offset < 0 else "+",
        minutes // 60,
        minutes % 60,
    )


def _moment(year, date):
    """Local second of a rule's date in `year`."""
    month, week, weekday, at = date
    first = days_from_civil(year, month, 1)
    # 1970-01-01 was a Thursday (4)
    day = first + (weekday - (first + 4)) % 7 + 7 * (week - 1)
    if day >= days_from_civil(year, month + 1, 1):  # week 5: the last one there is
        day -= 7
    return day * _DAY + at
