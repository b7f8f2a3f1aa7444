# Which mode holds, and what follows from it: limits, priorities, reserve, quiet hours. A part of
# the station. A mode never switches anything on; what no longer fits is shed by the dispatcher.
# Called by station.py; what a mode means is profile.py's, when which one holds schedule.py's.

from firmware import events, pieces

_DAY_S = 86_400
_NOBODY = -2  # no look at the schedule yet


class Modes:
    """`now`: index of the mode in force; `quiet`: its quiet hours are; `total_w`, `leg_ma`: its
    limits, `rank`: its priorities (0: as the outlet's own setting), for Controller.configure()."""

    def __init__(self, station):
        self.station = station
        self._app = station.app
        self.now = 0
        self.name = "outlets"
        self.by = events.BY_BOOT
        self.quiet = False
        self.total_w = 1 << 29
        self.leg_ma = 1 << 29
        self.fed_w = self.fed_ma = 1 << 29  # the same while the vehicle feeds the home
        self.rank = [0] * len(station.app.board.outlets)
        self.note = ""  # what is wrong with the stored schedule or profile
        self._profile = None
        self._rows: tuple = ()
        self._wanted = -1  # what the schedule has said last
        self._texts: tuple = ()
        self._minute = -1
        self._looked = -1  # minute since 1970 that was looked at last
        self._read()
        self.now = self._names.index(self._default())
        self.enter(self.now, events.BY_BOOT)

    def _default(self):
        name = self._app.settings.get("mode.default")
        return name if name in self._names else "outlets"

    def _read(self):
        """Schedule and profiles anew."""
        from firmware.power import schedule

        profile = pieces.once("firmware.power.profile")
        settings = self._app.settings
        self._names = profile.names(self._app.board)
        self.note = ""
        try:
            self._rows = schedule.parse(settings.get("mode.schedule"), self._names)
        except schedule.ScheduleError as error:
            self._rows = ()
            self.note = "mode.schedule: %s" % error
        self._texts = self._text()

    def _text(self):
        get = self._app.settings.get
        mine = (get("mode.schedule"), get("mode.default"), get("mode." + self.name))
        return mine, [self._priority(x) for x in self._app.board.outlets]

    def _priority(self, outlet):
        return self._app.settings.outlet(outlet.index, "priority")

    # -- outer lane --------------------------------------------------------------------------

    def enter(self, index: int, by: int):
        """This mode holds from now on; `by`: who wants it, of events.SOURCES."""
        profile = pieces.once("firmware.power.profile")
        changed = index != self.now
        name = self._names[index]
        try:
            found = profile.parse(self._app.settings.get("mode." + name), index, self._app.board)
        except profile.ProfileError as error:  # the board is another one than it was
            found = profile.parse("", index, self._app.board)
            self.note = "mode.%s: %s" % (name, error)
        self.now = index
        self.name = name
        self.by = by
        self._profile = found
        self._texts = self._text()
        if changed:
            self._app.journal.add(events.MODE, -1, events.COMMAND, index, by)
        self._judge(True)

    def choose(self, name: str, by: int) -> str:
        """The owner wants the mode `name`; "" or why not. With a schedule it holds until the
        schedule's next change, else until another one is wanted (setting mode.default)."""
        if name not in self._names:
            return "unknown mode '%s' (there are: %s)" % (name[:24], " ".join(self._names))
        if name != self.name:
            self.enter(self._names.index(name), by)
        if not self._rows:
            self._app.settings.set("mode.default", name)
        return ""

    def _judge(self, anew: bool):
        """Limits and priorities as mode and time of day have them; `anew`: in any case."""
        found = self._profile
        quiet = self._minute >= 0 and found.is_quiet(self._minute)
        if not anew and quiet == self.quiet:
            return
        if quiet != self.quiet:
            self.quiet = quiet
            kind = events.MODE
            self._app.journal.add(kind, -1, events.QUIET, self.now, events.BY_SCHEDULE)
        self.total_w = min(found.total_w, found.quiet_w) if quiet else found.total_w
        self.leg_ma = found.leg_ma
        self.fed_w = min(found.fed_w, found.quiet_w) if quiet else found.fed_w
        self.fed_ma = found.fed_ma
        order = found.order
        outlets = self._app.board.outlets
        own = [self._priority(outlet) for outlet in outlets]
        rest = [own[outlet.index] for outlet in outlets if outlet.name not in order]
        for i, outlet in enumerate(outlets):
            rank = 0
            if outlet.name in order:
                rank = order.index(outlet.name) + 1
            elif order:  # behind those, in the order of its own priority
                rank = len(order) + 1 + len([x for x in rest if x < own[i]])
            self.rank[i] = rank
        if self.station.battery is not None:
            self.station.battery.keep(found.reserve)
        self.station.controller.configure()

    def configure(self):
        """Settings have changed: some of them may be ours."""
        if self._text() != self._texts:
            schedule, default, _ = self._texts[0]
            self._read()
            index = self.now
            found = self._texts[0]
            anew = found[0] != schedule
            if anew:
                self._wanted = _NOBODY  # what was chosen by hand held until now
            if not self._rows and (anew or found[1] != default):
                index = self._names.index(self._default())
            self.enter(index, events.BY_CONTROL)
            self._looked = -1  # and the schedule is looked at within a second

    def _local(self) -> int:
        """Seconds since 1970 of local time, or -1."""
        utc = self._app.clock.wall()
        if not utc:
            return -1
        zone = pieces.once("firmware.timezone").Zone(self._app.settings.get("time.zone"))
        return utc + zone.offset(utc)

    def run_s(self, now_s: int):
        """Once a second: what the schedule and the quiet hours want, when another minute has
        begun, or the clock was set."""
        minute = self._app.clock.wall() // 60
        if minute == self._looked:
            return
        self._looked = minute
        local = self._local()
        if local < 0:
            return
        self._minute = local % _DAY_S // 60
        if self._rows:
            from firmware.power import schedule

            wanted = schedule.at(self._rows, local)
            if wanted != self._wanted:
                self._wanted = wanted
                index = wanted if wanted >= 0 else self._names.index(self._default())
                if index != self.now:
                    self.enter(index, events.BY_SCHEDULE)
                    return
        self._judge(False)

    def blocks(self, index: int) -> tuple:
        return 0, ""

    def report(self) -> dict:
        found = {"mode": self.name, "modes": list(self._names), "quiet": self.quiet}
        if self._rows:
            local = self._local()
            found["next"] = found["next_min"] = None
            if local >= 0:
                from firmware.power import schedule

                wait, then = schedule.next_change(self._rows, local)
                if wait:
                    found["next"] = self._names[then] if then >= 0 else self._default()
                    found["next_min"] = wait
        if self.note:
            found["damaged"] = self.note
        return found

    # -- control lane ------------------------------------------------------------------------

    def turn(self, ms: int):
        pass

    def window(self, ms: int):
        pass

    def second(self):
        pass
