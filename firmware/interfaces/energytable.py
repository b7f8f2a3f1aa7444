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
        return pieces.once("firmware.interfaces.energychart").Chart(app, words[1], names(app))
    if len(words) > 1:
        count = int(words[1]) if words[1].isdigit() and len(words[1]) < 5 else 0
    most = history.KEPT[kind]
    if len(words) > 2 or not 1 <= count <= most:
        raise ValueError(
            "energy %s: the count is 1 to %d, not '%s'"
            % (words[0], most, " ".join(words[1:])[:32])
        )
    pieces.breathe()
    totals = app.totals_mwh()
    pieces.breathe()
    running = history.running(app.energy, kind, totals)
    if running is None:
        raise ValueError("the time is not known yet, so there are no %s (see: time)" % words[0])
    pieces.breathe()
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
        pieces.breathe()
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
