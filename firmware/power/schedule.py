"""Which mode when: a schedule by weekday and local time, written as one line of text.

Role: `mon-fri 22:00-06:00 home; sat,sun 8:00-20:00 worksite` as rows, and what holds at a moment.
Called by: the outer lane (parse when the setting changes, `at` once a minute).

A span belongs to the day on which it begins; one that ends at or before its beginning goes on
into the next day. Spans that overlap are refused, because then nobody could say what holds.
"""

from micropython import const

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = const(1440)
_WEEK = const(10_080)
_ROWS = const(12)  # spans in one schedule


class ScheduleError(Exception):
    """A schedule was refused; the text says which part, and what is allowed."""


def _minute(text, part):
    """Minute of the day of `7:30`, `07:30` or `24:00`."""
    hour, _, minute = text.partition(":")
    if not (hour.isdigit() and minute.isdigit() and len(hour) <= 2 and len(minute) == 2):
        raise ScheduleError("'%s': '%s' is no time (allowed: 0:00 to 24:00)" % (part, text))
    value = int(hour) * 60 + int(minute)
    if int(minute) > 59 or value > _DAY:
        raise ScheduleError("'%s': '%s' is no time (allowed: 0:00 to 24:00)" % (part, text))
    return value


def _days(text, part):
    """Bits of the days of `mon-fri`, `sat,sun`, `daily` or any of these joined by commas."""
    bits = 0
    for word in text.split(","):
        if word == "daily":
            bits |= 127
            continue
        first, dash, last = word.partition("-")
        if not dash:
            last = first
        if first not in DAYS or last not in DAYS:
            raise ScheduleError(
                "'%s': '%s' is no day (allowed: daily %s, mon-fri, sat,sun)"
                % (part, word, " ".join(DAYS))
            )
        day = DAYS.index(first)
        while True:
            bits |= 1 << day
            if day == DAYS.index(last):
                break
            day = (day + 1) % 7
    return bits


def _span(part, modes):
    words = part.split()
    if len(words) != 3:
        raise ScheduleError(
            "'%s': expected days, times and a mode: mon-fri 22:00-6:00 home" % part
        )
    times = words[1].split("-")
    if len(times) != 2:
        raise ScheduleError("'%s': '%s' is no span (allowed: 22:00-6:00)" % (part, words[1]))
    begin = _minute(times[0], part)
    end = _minute(times[1], part)
    if begin == _DAY:
        raise ScheduleError("'%s': begin at 0:00 of the next day" % part)
    if end == begin or end == 0:
        end += _DAY
    length = end - begin if end > begin else end + _DAY - begin
    if words[2] not in modes:
        raise ScheduleError(
            "'%s': no mode '%s' (there are: %s)" % (part, words[2], " ".join(modes))
        )
    return _days(words[0], part), begin, length, modes.index(words[2])


def parse(text: str, modes) -> tuple:
    """((bits of days, first minute, minutes, index of the mode), …) of a schedule; () when it is
    empty. ScheduleError says what is wrong."""
    rows = []
    parts = []
    for part in text.lower().split(";"):
        part = part.strip()
        if not part:
            continue
        if len(rows) == _ROWS:
            raise ScheduleError("at most %d spans" % _ROWS)
        rows.append(_span(part, modes))
        parts.append(part)
    _refuse_overlap(rows, parts)
    return tuple(rows)


def _refuse_overlap(rows, parts):
    for i, row in enumerate(rows):
        for day in range(7):
            if not row[0] >> day & 1:
                continue
            begin = day * _DAY + row[1]
            for k in range(i + 1):
                other = rows[k]
                for then in range(7):
                    if not other[0] >> then & 1 or (k == i and then == day):
                        continue
                    gap = (then * _DAY + other[1] - begin) % _WEEK
                    if gap < row[2] or _WEEK - gap < other[2]:
                        raise ScheduleError(
                            "'%s' and '%s' overlap on %s"
                            % (parts[k], parts[i], DAYS[then if gap < row[2] else day])
                        )


def at(rows, local_s: int) -> int:
    """Index of the mode that the schedule wants at a second since 1970 of local time; -1: none."""
    minute = (local_s // 60 + 3 * _DAY) % _WEEK  # 1970 began on a Thursday
    for days, begin, length, mode in rows:
        for day in range(7):
            if days >> day & 1 and (minute - day * _DAY - begin) % _WEEK < length:
                return mode
    return -1


def next_change(rows, local_s: int) -> tuple:
    """(minutes until another mode holds, its index or -1), or (0, -1) when nothing ever changes.
    Local time runs on as it does now: a change of the clocks is seen when it comes."""
    now = at(rows, local_s)
    minute = (local_s // 60 + 3 * _DAY) % _WEEK
    found = 0
    then = -1
    for days, begin, length, _ in rows:
        for day in range(7):
            if not days >> day & 1:
                continue
            for edge in (day * _DAY + begin, day * _DAY + begin + length):
                wait = (edge - minute) % _WEEK or _WEEK
                if found and wait >= found:
                    continue
                mode = at(rows, local_s // 60 * 60 + wait * 60)
                if mode != now:
                    found = wait
                    then = mode
    return found, then
