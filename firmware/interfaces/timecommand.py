# The command `time`: what a typed time means, and what the clock knows. Loaded when asked for, and
# dropped again. Called by commands.

from firmware import events, timekeeper, timezone
from firmware.clock import iso


class Refused(Exception):
    """Why the clock was not set, in a sentence."""


def answer(app, words, source) -> dict:
    """Set the clock if there are `words`, then say what it knows; Refused."""
    if words:
        by = events.number(events.SOURCES, source)
        timekeeper.tell(app, parse(" ".join(words)), by)
    return state(app)


def parse(text: str) -> int:
    """Seconds since 1970 of `2026-11-22T19:00:00Z` (or with +01:00, or a space for the T), or of
    the number itself; Refused."""
    utc = None
    if len(text.encode()) == len(text):  # no letters or digits of other scripts
        utc = int(text) if text.isdigit() and len(text) < 12 else _parts(text.replace(" ", "T"))
    if utc is None:
        shown = text if len(text) <= 32 else text[:32] + "..."
        raise Refused("'%s' is no time (like 2026-11-22T19:00:00Z, or seconds since 1970)" % shown)
    if not timekeeper.is_plausible(utc):
        raise Refused("%s is not allowed (allowed: the years 2026 to 2069)" % iso(utc))
    return utc


def _parts(text):
    """Seconds since 1970 of an ISO time, or None."""
    ahead = 0
    end = text[19:]
    if len(end) == 6 and end[0] in "+-" and end[3] == ":":
        if not (end[1:3] + end[4:]).isdigit() or int(end[4:]) > 59 or int(end[1:3]) > 15:
            return None
        ahead = (int(end[1:3]) * 60 + int(end[4:])) * (60 if end[0] == "+" else -60)
    elif end not in ("Z", "z"):
        return None
    fields = (text[:4], text[5:7], text[8:10], text[11:13], text[14:16], text[17:19])
    for field in fields:
        if not field.isdigit():
            return None
    if text[4] + text[7] + text[10].upper() + text[13] + text[16] != "--T::":
        return None
    year, month, day, hour, minute, second = [int(field) for field in fields]
    if year < 1970 or not 0 < month < 13 or hour > 23 or minute > 59 or second > 59:
        return None
    days = timezone.days_from_civil(year, month, day)
    if timezone.civil_from_days(days) != (year, month, day):
        return None
    return days * 86400 + hour * 3600 + minute * 60 + second - ahead


def state(app) -> dict:
    """What `time` answers."""
    clock = app.clock
    utc = clock.wall()
    rule = app.settings.get("time.zone")
    result = {
        "utc": iso(utc) if utc else None,
        "local": None,
        "zone": rule,
        "source": events.SOURCES[clock.told_by] if utc else None,
        "age_s": clock.now_s - clock.told_s if utc else None,
        "uptime_s": clock.now_s,
        "servers": app.settings.get("time.servers"),
        "asked": clock.note or "not yet",
    }
    if utc:
        result["local"] = timezone.text(utc, timezone.Zone(rule).offset(utc))
    return result
