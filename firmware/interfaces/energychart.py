# `energy hours <of>`: today against yesterday, hour by hour, with the sums, the highest quarter of
# an hour and what it costs at the tariff; for people and as JSON. Loaded when asked for, and
# dropped again. Called by energytable.py.

from firmware import pieces, timezone
from firmware.storage import history

_DAYS = ("yesterday", "today")


class Chart:
    """Of one outlet, of a feed (`home`, `grid`: out; `vehicle`: bed240), or of all outlets
    (`total`). `names`: what is counted."""

    def __init__(self, app, word, names):
        self._of = word + "_out" if word + "_out" in names else word
        if word == "vehicle" and app.board.power is not None:
            self._of = "bed240"
        if self._of in names:
            self._index = names.index(self._of)
        elif word == "total":
            self._index = -1
        else:
            raise ValueError(
                "energy hours: '%s' is neither a count nor one of: %s total"
                % (word[:32], " ".join(names))
            )
        energy = app.energy
        running = history.running(energy, history.HOURS, app.totals_mwh())
        if running is None:
            raise ValueError("the time is not known yet, so there are no hours (see: time)")
        zone = timezone.Zone(app.settings.get("time.zone"))
        now, wh = running
        today = zone.local(now * 3600) // 86400
        rates = _rates(app.settings, self._of == "grid_out")
        self._rows: dict = {}  # minute of the day: [Wh yesterday, Wh today]
        self._wh = [None, None]  # of the days
        self._ct = [None, None]
        for number, row in list(history.rows(energy, history.HOURS, now)) + [(now, wh)]:
            pieces.breathe()
            local = zone.local(number * 3600)
            day = local // 86400 - today + 1
            if day in (0, 1):
                pair = self._rows.setdefault(local % 86400 // 60, [None, None])
                value = sum(row[: energy.summed]) if self._index < 0 else row[self._index]
                pair[day] = (pair[day] or 0) + value  # an hour that comes twice
                self._wh[day] = (self._wh[day] or 0) + value
                if rates:
                    price = value / 1000 * _ct(rates, local)
                    self._ct[day] = (self._ct[day] or 0) + price
        self._peaks = [None if x is None else x[self._index] for x in energy.peaks]

    def parts(self):
        """The JSON object in pieces, from behind its opening brace."""
        yield '"period":"hours","of":"%s","rows":[' % self._of
        lead = ""
        for minute in sorted(self._rows):
            words = [_word(x, 1000, 3) for x in self._rows[minute]]
            row = (lead, minute // 60, minute % 60, words[0], words[1])
            yield '%s{"hour":"%02d:%02d","yesterday_kwh":%s,"today_kwh":%s}' % row
            lead = ","
        yield "]"
        for day, name in enumerate(_DAYS):
            yield ',"%s":{"kwh":%s,"peak_w":%s,"cost":%s}' % (
                name,
                _word(self._wh[day], 1000, 3),
                _word(self._peaks[day], 1, 0),
                _word(self._ct[day], 100, 2),
            )
        yield "}"

    def lines(self):
        """Two bars an hour, for people."""
        most = max([1] + [x or 0 for pair in self._rows.values() for x in pair])
        yield "%-8s%-32s  %s" % ("hour", "yesterday kWh", self._of + ": today kWh")
        for minute in sorted(self._rows):
            text = "%02d:%02d   " % (minute // 60, minute % 60)
            for x in self._rows[minute]:
                bar = "#" * ((x or 0) * 22 // most)
                text += "%8s %-22s   " % (_word(x, 1000, 3, "-"), bar)
            yield text.rstrip()
        for name, pair, divisor, digits in (
            ("kWh", self._wh, 1000, 3),
            ("peak W", self._peaks, 1, 0),
            ("cost", self._ct, 100, 2),
        ):
            if pair != [None, None]:
                one, two = [_word(x, divisor, digits, "-") for x in pair]
                yield "%-8s%8s %-22s   %8s" % (name, one, "", two)


def _word(value, divisor, digits, nothing="null"):
    return nothing if value is None else "%.*f" % (digits, value / divisor)


def _rates(settings, earns):
    """(ct a kWh, ct at the peak, rows of the peak's schedule, what reads them), or None without a
    tariff."""
    name = "tariff.export" if earns else "tariff.import"
    normal = settings.get(name + "_ct")
    dear = settings.get(name + "2_ct")
    rows: tuple = ()
    at = None
    if settings.get("tariff.peak"):
        schedule = pieces.once("firmware.power.schedule")
        at = schedule.at
        rows = schedule.parse(settings.get("tariff.peak") + " peak", ("peak",))
    return (normal, dear, rows, at) if normal or (dear and rows) else None


def _ct(rates, local):
    """Ct a kWh in the hour that begins at a second of local time: of its quarters, in which the
    peak begins and ends."""
    normal, dear, rows, at = rates
    if not rows:
        return normal
    found = 0
    for quarter in range(4):
        found += dear if at(rows, local + quarter * 900) == 0 else normal
    return found / 4
