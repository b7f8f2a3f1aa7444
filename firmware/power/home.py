# Home backup as a part of the station: gives power/transfer.py what it has to know (grid, vehicle,
# auxiliary contacts, whether the vehicle may feed), and puts what its interlock allows onto the
# pins. Called by station.py: turn() and window() by the control task, they allocate nothing; the
# rest by commands and reports.
#
# The source's contact is the relay of the gang `home`, so it is metered and protected as any
# outlet is. Two locks are on it: the interlock's output, and the fast lane's `allowed`, which
# follows it. Whatever opens that relay opens it in the interlock in the same turn; nothing but the
# whole sequence closes it again.

from micropython import const

from firmware import events
from firmware.power import interlock as il
from firmware.power import transfer as tr
from firmware.protection import outlet as o

_TURN_MS = const(16)  # no more counts of a turn that was late: nobody has looked meanwhile
_LIMIT_MS = const(2_000)  # in which a step with contacts must end
_SURE_MS = const(200)  # the vehicle's voltage has been good for so long
_LEAST = const(880)  # permille of nominal, as in sensing/gridsense.py
_MOST = const(1100)
_LIVE = const(300)  # permille of nominal: the grid's side of the switch is live
_WATCH_MS = const(150)  # operate time, and two windows until it shows
_FALL_MS = const(100)  # the source is seen open, and two windows have shown it
_DIPS = const(10)  # so many on record at once, then one a minute
_REFILL_S = const(60)
_INFLOW_W = const(300)  # comes in from the grid; a solar inverter in the home ends within
_INFLOW_MS = const(2_500)  # 2 s of the grid (IEEE 1547), so what lasts longer is none
_LONG = const(1 << 28)
_HIGH_HZ = const(9)  # rows of protection/stages.py, as in conditions.py
_LOW_HZ = const(8)
_S_WORDS = const(4)
_R_AT = const(6)  # relays.R_AT and so on
_R_WORDS = const(10)

# reasons of power/transfer.py in the journal's words
_REASONS = (
    events.NONE,
    events.GRID,
    events.COMMAND,
    events.SOURCE,
    events.CONTACT,
    events.TOO_LONG,
)
# The vehicle's voltage is waited for, and its loss is what trips the poles; this is no reason not
# to ask for it.
_SUPPLY = (events.SUPPLY, events.UNDERVOLTAGE, events.OVERVOLTAGE, events.FREQUENCY)


class Home:
    """`transfer`, with `transfer.lock`; `why`: reason for which the vehicle may not feed the home,
    0: it may; `settle_ms`: the home has just been taken over, and nothing else starts for so
    long; `dips`: grid failures that were over before anything moved."""

    def __init__(self, station):
        self.station = station
        self.app = station.app
        c = self._c = station.controller
        self._contacts = station.contacts
        self.poles = tuple([c.outlets[i] for i in c.gang("home")])
        self.lead = self.poles[0]
        self.mask = 0
        for pole in self.poles:
            self.mask |= 1 << pole.index
        c.fast.allowed &= ~self.mask
        self.transfer = tr.Transfer()
        self.transfer.may_feed = False
        self.why = events.SELFTEST
        # "By itself" ends with a fault, and after these nobody knows what there was.
        bad = self.app._ended_badly or not self.app.keeper.latch_store.trusted
        self.hold = events.CRASH if bad else events.NONE
        self.settle_ms = 0
        self.changeovers = 0
        self.changeover_ms = 0  # from the grid's failure to the source's command, the last time
        self.fed_s = 0
        self.dips = 0
        self._stage_ms = 0
        self._bonds = self.app.settings.get("home.bond")  # how it is wired: until the next start
        self._told = tr.OFF
        self._skip = False  # a turn in which nothing was new
        self._rest = False  # a window, likewise
        self._skipped_ms = 0
        self._by = events.BY_CONTROL  # who asked for what is under way
        self._source_ms = 0
        self._bad_ms = 0  # the grid has been bad for so long
        self._watch_ms = 0  # the grid's side was dead when the source closed: it has to stay so
        self._doubt_ms = -1  # it did not: does it fall again without the source?
        self._grid = False  # good, as last believed
        self._unseen = False  # somebody wants the grid although its sensor is broken
        self._broken = False  # which is on record
        self._inflow_ms = 0
        self._budget = _DIPS
        self._noted = False  # the dip that lasts is on record
        self._refill_s = 0
        self.configure()

    def configure(self):  # on demand
        """Take over the settings (boot, outer lane)."""
        get = self.app.settings.get
        self.transfer.configure(
            tr.MODES.index(get("home.mode")),
            get("home.ride_ms"),
            get("home.stable_s") * 1000,
            get("home.start_s") * 1000,
            _LIMIT_MS,
            get("home.pause_ms"),
        )
        self.transfer.lock.configure(get("home.dead_ms"), get("home.follow_ms"), self._bonds)
        self._stage_ms = get("home.stage_s") * 1000

    # -- control lane ----------------------------------------------------------------------------

    def turn(self, ms: int):
        """Look, decide, and let the contacts follow: what opens first."""
        t = self.transfer
        c = self._c
        if ms > _TURN_MS:
            ms = _TURN_MS
        if t.lock.outputs & il.SOURCE and not o.energised(self.lead.state):
            self.opened(self.lead)  # the fast lane has not let it close
        silent = c._is_silent  # what the meter says is old
        grid = self._believes() and not silent
        if t.fed or (grid and t.state <= tr.STANDBY):
            self._bad_ms = 0
        elif self._bad_ms < _LONG:
            self._bad_ms += ms
        t.may_feed = not self.why and not silent and not self.app._stop
        seen = self._contacts.seen()
        if t.state == tr.STANDBY == self._told and grid and seen == t.lock.seen:
            # nothing moves and nothing is asked for: every other turn will do
            self._skip = not self._skip
            if self._skip and not self.settle_ms > 0:
                self._skipped_ms = ms
                return
            ms += self._skipped_ms
        self._skip = False
        self._skipped_ms = 0
        export = self.station.grid
        if export is not None:
            t.clear = export.is_clear()
            if export.cut:  # the inverter feeds a grid that is bad: so the source is closed
                seen |= il.SOURCE
        # A sag must not end what feeds the home: its poles' own stages say when it is too long.
        t.step(grid, t.fed or (self._source_ms >= _SURE_MS and t.clear), seen, ms)
        self._apply()
        if t.asks_clear:
            t.asks_clear = False
            if export is not None:
                export.leave()
        if t.state != self._told:
            self._tell(t.passed | 1 << t.state)
        feeds = t.lock.outputs & il.SOURCE != 0 or self.lead.state == o.SHED
        if feeds != self.station.feeds:
            self.station.feed(feeds)
        if self.settle_ms > 0:
            self.settle_ms -= ms

    def _believes(self) -> bool:
        """The grid is good as far as anybody knows. A sensor that is broken moves nothing by
        itself: a home on the grid, or on its way to it, stays so; fed by the vehicle likewise; and
        what is dark stays dark until somebody decides."""
        t = self.transfer
        sense = self.station.sense
        t.blind = sense.broken
        if sense.good:  # nearly always
            self._unseen = False
            self._grid = True
            return True
        state = t.state
        if not sense.broken:
            self._unseen = False
            if self._inflow_ms > 0 and state <= tr.GRID_LOST:
                return True
            good = self._grid = self._is_good()
            return good
        if state == tr.STANDBY:
            self._unseen = False
            return True
        if state == tr.LEAVING:
            return self._unseen or self._grid
        return self._unseen or state == tr.GRID_LOST or state == tr.RETURNING

    def _is_good(self) -> bool:
        """The grid is within its limits. After a dip its frequency is unknown for ten cycles: the
        home is not taken off for that."""
        sense = self.station.sense
        return sense.good or (
            tr.OFF < self.transfer.state <= tr.GRID_LOST
            and not sense.mhz
            and _LEAST <= sense.low
            and sense.high <= _MOST
        )

    def _apply(self):
        t = self.transfer
        lock = t.lock
        c = self._c
        fast = c.fast
        lead = self.lead
        out = lock.outputs
        if not out & il.SOURCE:
            fast.allowed &= ~self.mask
            if o.energised(lead.state):
                fast.open(lead.index)
                self._move(o.E_OFF, events.OFF)
                # it did not wait for the mains' zero, so it tells nothing of the relay's times
                c.switching.relays.block[lead.index * _R_WORDS + _R_AT] = -1
        self._contacts.drive(out)
        if out & il.SOURCE and not o.energised(lead.state):
            fast.allowed |= self.mask
            sense = self.station.sense
            self._watch_ms = _WATCH_MS if sense.high < _LIVE and not sense.broken else 0
            if t.reason == tr.BY_GRID:
                self.changeover_ms = self._bad_ms
            if not self._move(o.E_ON, events.ON):
                fast.allowed &= ~self.mask
                t.lost(tr.BY_SOURCE)

    def _move(self, event: int, kind: int) -> bool:
        t = self.transfer
        by = self._by if t.reason == tr.BY_COMMAND else events.BY_CONTROL
        return self._c._move(self.lead, event, kind, _REASONS[t.reason], 0, by)

    def opened(self, outlet):
        """Protection, the dispatcher or a hand has opened the poles (control lane, in the same
        turn): so it is for the interlock, and nothing closes them on its own."""
        if not self.mask >> outlet.index & 1:
            return
        t = self.transfer
        if not t.lock.outputs & il.SOURCE:  # that was ourselves
            return
        self._c.fast.allowed &= ~self.mask
        if outlet.state == o.OFF and outlet.reason == events.COMMAND:
            t.lost(tr.BY_COMMAND)
            t.go_back(True)
        else:
            self.why = outlet.reason or events.LATCHED
            t.lost(tr.BY_SOURCE)

    def _tell(self, passed: int):
        """A transition, or several in one turn (bits; the states are numbered in their order):
        after the contacts, and before anybody hears of it."""
        for state in range(tr.FAULT + 1):
            if passed >> state & 1 and state != self._told:
                self._note(state)

    def _note(self, state: int):
        t = self.transfer
        c = self._c
        was = self._told
        self._told = state
        reason = _REASONS[t.reason]
        if t.reason == tr.BY_SOURCE and self.why:
            reason = self.why
        if was == tr.STARTING and state == tr.BACKUP:
            self.changeovers += 1
            self.settle_ms = self._stage_ms
            self.fed_s = 0
        elif state == tr.FAULT:
            # on flash with the trips: a restart is no repair
            c._move(self.lead, o.E_FAULT, events.FAULT, events.CONTACT, 0, events.BY_CONTROL)
        note = True
        if state == tr.GRID_LOST or state == tr.GRID_BACK:
            note = self._noted = self._budget > 0
            if note:
                self._budget -= 1
        elif was == tr.GRID_LOST or was == tr.GRID_BACK:
            if state == tr.STANDBY:
                self.dips += 1
            if state == tr.STANDBY or state == tr.BACKUP:
                note = self._noted
        if note:
            by = self._by if t.reason == tr.BY_COMMAND else events.BY_CONTROL
            c.journal.add(events.TRANSFER, -1, reason, state, by)

    def window(self, ms: int):
        """A finished window: the vehicle's voltage, what keeps it from feeding, and whether the
        grid's side stays dead while it does."""
        c = self._c
        low1, high1, at1, low2, high2, at2 = c.conditions.band
        block = c.meter.block
        mhz = c.meter.frequency_mhz
        rows = c.conditions.stages.block
        if (
            low1 <= block[at1] <= high1
            and low2 <= block[at2] <= high2
            and -rows[_LOW_HZ * _S_WORDS] <= mhz <= rows[_HIGH_HZ * _S_WORDS]
        ):
            if self._source_ms < _SURE_MS:
                self._source_ms += ms
        else:
            self._source_ms = 0
        state = self.transfer.state
        self._rest = not self._rest and state == tr.STANDBY
        if not self._rest:  # on the grid every other window will do
            self.why = self._held()
        sense = self.station.sense
        if sense.broken != self._broken:
            self._broken = sense.broken
            kind = events.FAULT if sense.broken else events.CLEARED
            c.journal.add(kind, -1, events.SENSOR, sense.code, events.BY_CONTROL)
        if self._inflow_ms > 0 or sense.high < _LIVE:
            self._inflows(ms)
        if state == tr.STANDBY and not sense.good and not self._believes():
            self.turn(0)  # now, and not with the next turn
        if self._watch_ms > 0:
            self._watch_ms -= ms
            if self.station.sense.high >= _LIVE and self.transfer.fed:
                self._watch_ms = 0
                self._doubt_ms = 0
                self.transfer.lost(tr.BY_GRID)
        if self._doubt_ms >= 0:
            self._ask(ms)

    def _inflows(self, ms: int):
        """Energy that comes in through the closed contact of a grid that does not show: there is
        one, and the sensors lie."""
        export = self.station.grid
        if (
            export is None
            or self.station.sense.high >= _LIVE
            or export.power_w > -_INFLOW_W
            or not self.transfer.lock.is_closed(il.GRID)
            or not self.lead.at_rest
        ):
            self._inflow_ms = 0
        elif self._inflow_ms < _INFLOW_MS:
            self._inflow_ms += ms
            if self._inflow_ms >= _INFLOW_MS:
                self.station.sense.deny()

    def _ask(self, ms: int):
        """The grid came back in the very moment in which the source closed, or the grid's contact
        is closed although it says open: without the source that shows."""
        if self.transfer.lock.is_open(il.SOURCE):
            self._doubt_ms += ms
            if self._doubt_ms >= _FALL_MS:
                self._doubt_ms = -1
                if self.station.sense.high < _LIVE:
                    self.transfer.back_fed()

    def _held(self) -> int:
        """Reason for which the vehicle may not feed the home, or 0."""
        c = self._c
        state = self.lead.state
        if state != o.OFF and not o.energised(state):
            return self.lead.reason or events.LATCHED
        if self.hold:
            return self.hold
        if c.unfit or c.starting or c.checking:
            return events.SELFTEST
        if c.contactor_blocked:
            return events.CONTACTOR
        if self._doubt_ms >= 0:
            return events.CONTACT
        battery = self.station.battery
        if battery is not None and battery.held & self.mask:
            return events.RESERVE
        stages = c.conditions.stages
        for pole in self.poles:
            if pole.fault_now:
                return pole.fault_now
            if state == o.OFF and pole.thermal.is_hot():
                return events.HOT
            if stages.active:
                reason = c.conditions.blocks(pole.index)
                if reason and reason not in _SUPPLY:
                    return reason
        return 0

    def restores(self, index: int) -> bool:
        """Whether a shed outlet has to wait although the dispatcher has room for it. The home's
        own poles come back by the sequence only: from here on it may begin."""
        if not self.mask >> index & 1:
            return self.settle_ms > 0
        c = self._c
        lead = self.lead
        if lead.state == o.SHED and not self.settle_ms > 0:
            c._move(lead, o.E_OFF, events.RESTORED, lead.reason, c.dispatch.total.load, 0)
            c.dispatch.note_restored(lead.index)
        return True

    def second(self):
        if self.transfer.fed:
            self.fed_s += 1
        if self._budget < _DIPS:
            self._refill_s += 1
            if self._refill_s >= _REFILL_S:
                self._refill_s = 0
                self._budget += 1

    # -- outer lane ------------------------------------------------------------------------------

    def run_s(self, now_s: int):
        pass

    def blocks(self, index: int) -> tuple:
        """The home's inrush comes at once, behind one contact: the others wait that long."""
        if self.settle_ms > 0 and not self.mask >> index & 1:
            return events.ADMISSION, "the home has just been taken over, try in %d s" % (
                self.settle_ms // 1000 + 1
            )
        return 0, ""

    def resists(self, index: int) -> tuple:
        """What latched the poles is still so: a reset would only have a restart forget it."""
        if self.mask >> index & 1:
            export = self.station.grid
            if export is not None and export.stray:
                return events.NOT_CEASED, "the inverter still gives %d W" % export.power_w
            if self.transfer.state == tr.FAULT:
                return events.CONTACT, "a contact of the transfer switch is broken: home reset"
        return 0, ""

    def start(self, by: int) -> str:
        """Back up the home; "" or why not."""
        why = self.why = self._held()  # it may be a turn old
        self._by = by
        self._unseen = False
        self.transfer.may_feed = not why and not self._c._is_silent and not self.app._stop
        text = self.transfer.back_up()
        if text:
            self._c.journal.note(events.REFUSED, self.lead.index, why or events.SOURCE, 0, by)
            if why and self.transfer.state != tr.FAULT and self.transfer.mode != tr.M_OFF:
                text = self.words()
        return text

    def stop(self, by: int, force: bool) -> str:
        """Back to the grid; `force`: into the dark, where there is none, or to a grid that nobody
        sees. "" or why not."""
        sense = self.station.sense
        if sense.broken and not force and self.transfer.state != tr.STANDBY:
            return "%s: whether there is a grid is not known (--force connects it)" % (
                self._sensor()
            )
        self._by = by
        text = self.transfer.go_back(force and not sense.good)
        if not text:
            self._unseen = sense.broken
        return text

    def reset(self, by: int, force: bool) -> str:
        """Somebody has looked after a fault of a contact, a trip, or a restart that nobody asked
        for. "" or why not."""
        t = self.transfer
        state = self.lead.state
        latched = state != o.OFF and state != o.SHED and not o.energised(state)
        if t.state != tr.FAULT and not latched and not self.hold:
            return "there is nothing to reset"
        self._by = by
        text = t.reset() if t.state == tr.FAULT else ""
        if not text and latched:
            lead = self.lead
            text = self._c.command("reset", lead.index, by, force)
            text = text.replace("reset " + lead.name, "home reset")
        if not text:
            self.hold = events.NONE
            self.why = self._held()  # for the answer
        return text

    def words(self) -> str:  # on demand
        """Why the vehicle may not feed the home, in a sentence; "" when it may."""
        from firmware.controller import why

        reason = self.why
        state = self.lead.state
        if not reason:
            return ""
        if state == o.SHED:
            return self._c._words("waits", self.lead.index)
        if state == o.LOCKOUT:
            return "locked out after %d trips: home reset --force" % self.lead.trips
        if state != o.OFF and not o.energised(state):
            word = "tripped" if state == o.TRIPPED else "fault"
            return "%s (%s): find the cause, then home reset" % (word, why(self.lead.reason))
        if reason == events.CRASH:
            return "the firmware has ended badly: home reset, when you know why"
        if reason == events.SELFTEST:
            return "the sensors are still being measured, try in a second"
        if reason == events.RESERVE:
            return self.station.battery.why()
        if reason == events.CONTACTOR:
            return "the main contactor is open because a relay is welded"
        return "not now: " + why(reason)

    def _sensor(self) -> str:  # on demand
        """What is wrong with the grid's sensors, "" for nothing."""
        sense = self.station.sense
        names = [m.channel.name for m in sense.channels]
        if sense.broken:
            from firmware.sensing import plausibility

            return "sensor: " + plausibility.words(self.app.board, sense.code)
        if sense.low < _LIVE and sense.high >= _LEAST:
            dead = 0 if sense.permille[0] == sense.low else 1
            return "%s shows nothing beside %s: a lost leg, or its sensor" % (
                names[dead],
                names[1 - dead],
            )
        return ""

    def report(self) -> dict:  # on demand
        """What there is to say; SI units."""
        t = self.transfer
        lock = t.lock
        sense = self.station.sense
        nominal = self.app.settings.get("supply.nominal_v") / 1000
        grid = {
            "volts": [round(x * nominal, 1) for x in sense.permille],
            "hz": round(sense.mhz / 1000, 2) if sense.mhz else None,
            "good": sense.good,
        }
        sensor = self._sensor()
        if sensor:
            grid["sensor"] = sensor
        if t.state == tr.GRID_BACK:
            grid["back_in_s"] = max(0, t.stable_ms - t._ms + 999) // 1000
        contacts = {}
        for i in range(3):
            bit = 1 << i
            word = "closed" if lock.seen & bit else "open"
            if (lock.welded | lock.stuck) & bit:
                word = "welded" if lock.welded & bit else "stuck"
            contacts[il.NAMES[i]] = word
        watts = 0
        amps = []
        flows = lock.seen & il.SOURCE != 0  # else what the charge port carries is not for the home
        for pole in self.poles:
            watts += self._c.power_w[pole.index] if flows else 0
            amps.append(round(self._c.amps_ma[pole.index] / 1000, 1) if flows else 0)
        row = {
            "state": tr.STATES[t.state],
            "reason": tr.REASONS[t.reason],
            "mode": tr.MODES[t.mode],
            "grid": grid,
            "contacts": contacts,
            "vehicle_wanted": t.wants_source,
            "vehicle_good": self._source_ms >= _SURE_MS,
            "power_w": watts,
            "current_a": amps,
            "fed_s": self.fed_s,
            "changeovers": self.changeovers,
            "changeover_ms": self.changeover_ms if self.changeovers else None,
            "dips": self.dips,
        }
        if t.mode != tr.M_OFF:
            row["blocked"] = self.words()
        if self.station.flows is not None:
            row.update(self.station.flows.report("home"))
        return {"home": row}
