# `energy hours|days|months`: the history as a table with bars for people, and as JSON in pieces,
# because a year of days has 20 KB. Loaded when asked for, and dropped again. Called by commands.

from firmware import pieces, timezone
from firmware.clock import iso
from firmware.storage import history
from firmware.storage.energy import NAMES

_DEFAULT = (24, 31, 24)  # hours, days, months


def table(app, words):
    """The Table that is asked for; ValueError with a sentence."""
    if words[0] not in history.KINDS:
        raise ValueError("usage: energy [hours | days | months [count]], energy hours <of>")
    kind = history.KINDS.index(words[0])
    count = _DEFAULT[kind]
    if len(words) == 2 and kind == history.HOURS and not words[1].isdigit():
        return Chart(app, words[1])
    if len(words) > 1:
        count = int(words[1]) if words[1].isdigit() and len(words[1]) < 5 else 0
    most = history.KEPT[kind]
    if len(words) > 2 or not 1 <= count <= most:
        raise ValueError(
            "energy %s: the count is 1 to %d, not '%s'"
            % (words[0], most, " ".join(words[1:])[:32])
        )
    running = history.running(app.energy, kind, app.totals_mwh())
    if running is None:
        raise ValueError("the time is not known yet, so there are no %s (see: time)" % words[0])
    return Table(app, kind, count, running)


class Table:
    """The last `count` periods, the running one included. MQTT asks for the parts twice: the
    periods and the energy of the running one are those of the moment when it was asked for."""

    def __init__(self, app, kind, count, running):
        self._energy = app.energy
        self._kind = kind
        self._count = count
        self._now, self._wh = running
        self._names = names(app)
        self._summed = app.energy.summed
        self._zone = timezone.Zone(app.settings.get("time.zone"))

    def _rows(self):
        """Generator of (number, [Wh]), the running period last."""
        if self._count > 1:
            for row in history.rows(self._energy, self._kind, self._now, self._count - 1):
                yield row
        yield self._now, self._wh

    def _name(self, number, for_people):
        """What a period is called: its first second, its date, its month."""
        if self._kind == history.HOURS:
            second = number * 3600
            if not for_people:
                return iso(second)
            text = timezone.text(second, self._zone.offset(second))
            return text[5:16] + text[19:]
        if self._kind == history.MONTHS:
            return "%04d-%02d" % (number // 12, number % 12 + 1)
        return "%04d-%02d-%02d" % timezone.civil_from_days(number)

    def parts(self):
        """The JSON object in pieces, from behind its opening brace."""
        names = ",".join(['"%s"' % name for name in self._names])
        yield '"period":"%s","zone":"%s","outlets":[%s],"rows":[' % (
            history.KINDS[self._kind],
            self._zone.rule,
            names,
        )
        lead = ""
        for number, wh in self._rows():
            yield '%s{"start":"%s","kwh":[%s],"total_kwh":%.3f}' % (
                lead,
                self._name(number, False),
                ",".join(["%.3f" % (x / 1000) for x in wh[: len(self._names)]]),
                sum(wh[: self._summed]) / 1000,
            )
            lead = ","
        yield "]}"

    def lines(self):
        """A table for people, with the total as a bar."""
        wide, bar = (18, 9) if self._kind == history.HOURS else (10, 16)
        most = 1
        for number, wh in self._rows():
            if not number & 3:
                pieces.breathe()
            most = max(most, sum(wh[: self._summed]))
        head = "%-*s" % (wide, history.KINDS[self._kind])
        few = self._few()
        cell, digits = 7, 3
        if len(few) > 5:
            bar = 0
            cell, digits = 6, 2
        for _, name in few:
            head += " %*s" % (cell, name[:7])
        yield head + "    total kWh"
        for number, wh in self._rows():
            text = "%-*s" % (wide, self._name(number, True))
            for i, _ in few:
                text += " %*.*f" % (cell, digits, wh[i] / 1000)
            total = sum(wh[: self._summed])
            filled = (total * bar + most // 2) // most
            yield ("%s %8.3f %s" % (text, total / 1000, "#" * filled)).rstrip()
        yield "the last one is still running"

    def _few(self):
        """[(index, name)] of the columns for people: the feeds instead of the poles of the charge
        port."""
        summed = self._summed
        if len(self._names) == summed:
            return list(enumerate(self._names))
        few = [(i, x) for i, x in enumerate(self._names[:summed]) if not x.startswith("home_")]
        return few + [(summed, "home"), (summed + 2, "grid")]


def names(app):
    """What is counted in kWh: the outlets, then feeds by direction where there are any."""
    found = [outlet.name for outlet in app.board.outlets]
    if app.energy.more:
        found.extend(NAMES)
    return found


class Chart:
    """Today against yesterday, hour by hour, of one outlet, of a feed (`home`, `grid`: out), or
    of all (`total`)."""

    def __init__(self, app, word):
        known = names(app)
        self._of = word if word in known else word + "_out"
        if self._of in known:
            self._index = known.index(self._of)
        elif word == "total":
            self._of = word
            self._index = -1
        else:
            raise ValueError(
                "energy hours: '%s' is neither a count nor one of: %s total"
                % (word[:32], " ".join(known))
            )
        energy = app.energy
        running = history.running(energy, history.HOURS, app.totals_mwh())
        if running is None:
            raise ValueError("the time is not known yet, so there are no hours (see: time)")
        zone = timezone.Zone(app.settings.get("time.zone"))
        now, wh = running
        today = zone.local(now * 3600) // 86400
        self._rows: dict = {}  # minute of the day: [Wh yesterday, Wh today]
        for number, row in list(history.rows(energy, history.HOURS, now)) + [(now, wh)]:
            pieces.breathe()
            local = zone.local(number * 3600)
            day = local // 86400 - today + 1
            if day in (0, 1):
                pair = self._rows.setdefault(local % 86400 // 60, [None, None])
                value = sum(row[: energy.summed]) if self._index < 0 else row[self._index]
                pair[day] = (pair[day] or 0) + value  # an hour that comes twice

    def parts(self):
        """The JSON object in pieces, from behind its opening brace."""
        yield '"period":"hours","of":"%s","rows":[' % self._of
        lead = ""
        for minute in sorted(self._rows):
            words = ["null" if x is None else "%.3f" % (x / 1000) for x in self._rows[minute]]
            row = (lead, minute // 60, minute % 60, words[0], words[1])
            yield '%s{"hour":"%02d:%02d","yesterday_kwh":%s,"today_kwh":%s}' % row
            lead = ","
        yield "]}"

    def lines(self):
        """Two bars an hour, for people."""
        most = max([1] + [x or 0 for pair in self._rows.values() for x in pair])
        yield "%-8s%-32s  %s" % ("hour", "yesterday kWh", self._of + ": today kWh")
        for minute in sorted(self._rows):
            text = "%02d:%02d   " % (minute // 60, minute % 60)
            for x in self._rows[minute]:
                bar = "#" * ((x or 0) * 22 // most)
                number = "-" if x is None else "%.3f" % (x / 1000)
                text += "%8s %-22s   " % (number, bar)
            yield text.rstrip()
