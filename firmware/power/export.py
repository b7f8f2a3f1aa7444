# Export to the grid as a part of the station: what the grid shows and what the other feeds leave
# goes into grid.Export, what comes of it to the inverter's permissive and set point. Called by
# station.py: turn() and window() in the control lane, which allocate nothing, the rest in the
# outer lane.
#
# The inverter connects itself behind the sensors of the charge port, so the poles of the gang
# `home` measure what it gives while their own contact is open.

from micropython import const

from firmware import events
from firmware.power import grid
from firmware.protection import outlet as o

_M_RMS = const(4)  # reduce.M_...
_M_POWER = const(17)
_GRID = const(1)  # interlock.GRID
_LONG_MS = const(1 << 28)
_SILENT_MS = const(100)  # no window: nothing is measured
_BETWEEN_MHZ = const(55_000)
_BLIND_MS = const(500)  # a voltage without a frequency
_CEASE_MORE_MS = const(100)  # beyond its own time, until an inverter counts as not ceased
_UNASKED_MS = const(500)
_UNASKED_W = const(300)
# A smaller one shows in the mean over seconds: noise of 2 counts in a window is 16 W of both
# poles, and 1 W in 256 of them. What is left is not noise: 0.1 % of the voltage that a multiplexer
# lets through into a current's channel are 35 W a pole.
_MEAN = const(8)  # 256 windows, as a power of 2
_STRAY_W = const(120)
_STRAY_MS = const(5_000)
_IDLE_MA = const(2_000)  # less is no current: 1/24 of a pole
_ABOVE_MS = const(10_000)
_ABOVE_W = const(300)  # and 10 %
_FULL = const(1000)
_SELDOM = const(7)  # windows but one between two looks at the room while nothing is exported
_EASE_MS = const(2_000)  # that an inverter has to make room for an outlet,
_EASED_MS = const(4_000)  # and as long until the outlet's own current says what it takes

# what the journal says, by stage of grid.STAGES
_REASONS = (
    events.OVERVOLTAGE,
    events.OVERVOLTAGE,
    events.UNDERVOLTAGE,
    events.UNDERVOLTAGE,
    events.FREQUENCY,
    events.FREQUENCY,
    events.FREQUENCY,
    events.FREQUENCY,
    events.ISLAND,
    events.COMMAND,
    events.CONTACT,
    events.SENSOR,
    events.SELFTEST,
    events.OVERTEMPERATURE,
    events.LATCHED,
    events.NOT_CEASED,
    events.TOTAL,
)


class Exporter:
    """`logic`: the states; `wanted`: it shall export as soon as it may; `stray`: the inverter
    gives current that nobody permits; `cut`: to a grid that is bad, so that the home, and the
    inverter with it, has to be taken off: for the transfer switch the source is closed."""

    def __init__(self, station):
        self.station = station
        self.controller = station.controller
        self.logic = grid.Export()
        self.wanted = False
        self.stray = False
        self.cut = False
        self.power_w = 0  # out of the charge port
        self.room_w = 0
        self._poles = [x for x in self.controller.outlets if x.outlet.gang == "home"]
        legs = self.controller.dispatch.legs
        self._legs = [(x, x.index, legs[x.outlet.legs[0]]) for x in self._poles]
        self._mask = 0
        for pole in self._poles:
            self._mask |= 1 << pole.index
        self._enabled = False
        self._island = False  # its input is wired
        self._rating_w = 1
        self._nominal_mv = 0
        self._cease_ms = 0
        self._by = events.BY_CONTROL
        self._carrying = self._carries = False
        self._turn = 0
        self._ease_w = 0  # kept free for an outlet that is about to close,
        self._ease_ma = 0  # of the lower leg
        self._ease_ms = 0  # for so long already
        self._eased = -1  # which one
        self._misfit = False  # the profile is for another mains frequency
        self._clear = True  # nothing has flowed since the permission ended
        self._silent_ms = 0
        self._blind_ms = 0
        self._stray_ms = 0
        self._mean = 0  # of what flows unasked, W x 256
        self._small_ms = 0
        self._above_ms = 0
        self.configure()

    def configure(self):
        """Take over the settings."""
        get = self.station.app.settings.get
        profile = get("grid.profile")
        index = 0
        for i, row in enumerate(grid.PROFILES):
            if row[0] == profile:
                index = i
        hertz = get("supply.hz")
        self._misfit = profile != "none" and hertz and hertz != grid.PROFILES[index][3]
        enabled = get("grid.enabled") and profile != "none" and not self._misfit
        if enabled != self._enabled:
            self._enabled = enabled
            # a start after a hang or a crash exports nothing by itself
            self.wanted = enabled and get("grid.start") == "auto" and self._started_well()
        self._cease_ms = get("grid.cease_ms")
        self._rating_w = get("grid.rating_w")
        self._nominal_mv = int(get("supply.nominal_v") * 1000)
        logic = self.logic
        logic.lead_ms = self._cease_ms
        most_w = min(get("grid.most_w"), self._rating_w)
        logic.configure(index, self.wanted, most_w, get("grid.power_w"))
        inputs = self.controller.conditions.inputs
        self._island = False
        if inputs is not None:
            inputs.configure("island", get("grid.island_input"))
            self._island = inputs.has("island")

    def _started_well(self) -> bool:
        app = self.station.app  # as home.py: a latch that is not trusted may have been not_ceased
        return not app._ended_badly and app.keeper.latch_store.trusted

    # -- commands (outer lane) -------------------------------------------------------------------

    def start(self, source: int) -> str:
        """Export as soon as the grid lets it; "" or why not."""
        if self._misfit:
            return (
                "grid.profile ieee1547 is for 60 Hz, and supply.hz is 50: there is none for that"
            )
        if not self._enabled:
            return "export is off (set grid.enabled on and grid.profile ieee1547)"
        mhz = self.station.sense.mhz
        if 0 < mhz < _BETWEEN_MHZ:
            return "grid.profile ieee1547 is for 60 Hz, and the grid has %.1f Hz" % (mhz / 1000)
        if self.logic.state == grid.FAULT:
            return "fault (%s): grid reset first" % grid.STAGES[self.logic.why]
        if not self.logic.asked_w:
            return "nothing is to be exported: grid set <W> first"
        self.wanted = True
        self._by = source
        return ""

    def stop(self, source: int):
        """Export no more, until start()."""
        self.wanted = False
        self._by = source

    def reset(self, source: int) -> str:
        """Leave the fault, when its cause is gone; "" or why not."""
        if self.logic.state != grid.FAULT:
            return "there is no fault"
        if self.stray:
            return "the inverter still gives %d W" % self.power_w
        for pole in self._poles:
            if pole.reason == events.NOT_CEASED and pole.state == o.FAULT:
                text = self.controller.command("reset", pole.index, source)
                if text:
                    return text
        self.wanted = False
        self.logic.reset()
        self._changed(source)
        return ""

    # -- control lane ----------------------------------------------------------------------------

    def turn(self, ms: int):
        """What need not wait for a window stops it at once."""
        if self._silent_ms < _LONG_MS:
            self._silent_ms += ms
        if self.logic.permitted:
            held = self._held()
            fast = self.controller.fast
            if held < 0 and not fast.permits():  # the fast lane has taken it away
                blind = self.controller._is_silent or fast.lease_lost()
                held = grid.SENSOR if blind else grid.POLE
            if held >= 0 and self.logic.cease(held):
                self._changed(events.BY_CONTROL)

    def window(self, ms: int):
        """A finished window of `ms`."""
        sense = self.station.sense
        if sense is None:
            return
        self._silent_ms = 0
        logic = self.logic
        contacts = self.station.contacts
        fast = self.controller.fast
        block = self.controller.meter.block
        watts = 0
        most_ma = 0
        own = False  # the contact of the poles is closed, or has just been
        for pole in self._poles:
            at = pole.base
            watts += block[at + _M_POWER]
            ma = block[at + _M_RMS] * pole.ma_q8 >> 8
            if ma > most_ma:
                most_ma = ma
            if not pole.at_rest or o.energised(pole.state):
                own = True
        self.power_w = watts
        if sense.mhz or sense.low < _FULL >> 1:
            self._blind_ms = 0
        elif self._blind_ms < _LONG_MS:
            self._blind_ms += ms
        logic.enabled = self.wanted
        self._turn = (self._turn + 1) & _SELDOM
        if logic.permitted or not self._turn:
            self.room_w = self._room()
        if self._eased >= 0:
            self._ease_ms += ms
            if self._ease_ms >= _EASED_MS:
                self._eased = -1
                self._ease_w = self._ease_ma = 0
        held = self._held() if self.wanted else -1
        if logic.step(sense.low, sense.high, sense.mhz, held, self.room_w, ms, sense.quick_mhz):
            self._changed(self._by)
            self._by = events.BY_CONTROL
        if logic.permitted:
            contacts.set_point(logic.set_point_w * _FULL // self._rating_w)
            self._above(watts, ms)
        else:
            if not self._turn:
                fast.permit(False)
            self._watch(watts, most_ma, own, ms)
        self._carry(own)
        if not self.stray:
            self.cut = False
        elif not sense.good:
            self.cut = True

    def second(self):
        """An inverter that did not cease before a restart is no better afterwards."""
        if self.logic.state != grid.FAULT:
            for pole in self._poles:
                if pole.reason == events.NOT_CEASED and pole.state == o.FAULT:
                    self.logic.fail(grid.NOT_CEASED)

    def _changed(self, by: int):
        """Open first, record second."""
        logic = self.logic
        contacts = self.station.contacts
        self.controller.fast.permit(logic.permitted)
        dispatch = self.controller.dispatch
        if logic.permitted:
            dispatch.yields |= self._mask  # it takes what the others leave
        else:
            dispatch.yields &= ~self._mask
            contacts.set_point(0)
            self._stray_ms = 0
        if logic.state == grid.WAITING or logic.permitted:
            reason = events.NONE
        else:
            reason = _REASONS[logic.why]
        self.controller.journal.add(events.EXPORT, -1, reason, logic.state, by)

    def is_clear(self) -> bool:
        """Nothing is permitted and nothing flows, or it will not end: the transfer switch may
        move."""
        return not self.logic.permitted and (self._clear or self.stray)

    def leave(self):
        """The transfer switch wants to take the home off the grid: stop now."""
        if self.logic.cease(grid.HOME):
            self._changed(events.BY_CONTROL)

    def _held(self) -> int:
        """What forbids export beside the grid's stages, of grid.STAGES, or -1."""
        station = self.station
        controller = self.controller
        if self._silent_ms > _SILENT_MS or self._blind_ms > _BLIND_MS or controller.starting:
            return grid.SENSOR
        if station.sense.broken:
            return grid.SENSOR
        around = controller.conditions
        if self._island and around.inputs.read("island"):
            return grid.ISLAND
        contacts = station.contacts
        if not contacts.outputs & contacts.seen() & _GRID:
            return grid.HOME
        if controller.unfit:
            return grid.SELFTEST
        for pole in self._poles:
            if pole.state != o.OFF:
                return grid.POLE
            if around.stages.active & around.masks[pole.index]:
                reason = around.blocks(pole.index)
                if reason == events.OVERTEMPERATURE or reason == events.GROUND_FAULT:
                    return grid.HEAT
        return -1

    def _room(self) -> int:
        """What the others and the battery leave of the source, W: it gives the same current on
        both legs."""
        station = self.station
        battery = station.battery
        if battery is not None and battery.level:
            return 0  # the first to go: before its reserve is near, and while it is not known
        controller = self.controller
        amps_ma = controller.amps_ma
        power_w = controller.power_w
        total = controller.dispatch.total
        kept_w = self._ease_w
        kept_ma = self._ease_ma
        if kept_w:  # less what it draws already
            kept_w = max(kept_w - abs(power_w[self._eased]), 0)
            kept_ma = max(kept_ma - amps_ma[self._eased], 0)
        room = total.limit - total.load - kept_w  # the load is the last window's, as these are
        ma = 1 << 20
        for pole, i, leg in self._legs:
            room += abs(power_w[i])
            left = leg.limit - leg.load + amps_ma[i] - kept_ma
            if left < ma:
                ma = left
            if pole.limit_ma < ma:
                ma = pole.limit_ma
        # of the lower leg, so that the current stays within its limit
        watts = ma * (self._nominal_mv * station.sense.low // _FULL // 100) // 10_000
        return min(room, watts * len(self._poles))

    def _above(self, watts: int, ms: int):
        """An inverter that gives more than it is told."""
        point = self.logic.set_point_w
        if watts > point + point // 10 + _ABOVE_W:
            self._above_ms += ms
            if self._above_ms >= _ABOVE_MS:
                self.logic.fail(grid.ABOVE)
                self._changed(events.BY_CONTROL)
        else:
            self._above_ms = 0
        self._clear = False

    def _watch(self, watts: int, ma: int, own: bool, ms: int):
        """An inverter that does not stop, or begins, although it is not permitted. What flows in
        (the vehicle is charged) is none of that, once it has stopped."""
        self._above_ms = 0
        if own:
            self._clear = True
            self._stray_ms = self._mean = self._small_ms = 0
            self.stray = False
            return
        limit_ms = _UNASKED_MS
        flows = watts > _UNASKED_W
        if not self._clear:
            limit_ms = self._cease_ms + _CEASE_MORE_MS
            flows = ma > _IDLE_MA
        if not self._clear or flows:
            self._mean = self._small_ms = 0
        else:
            self._mean += watts - (self._mean >> _MEAN)
            if self._mean <= _STRAY_W << _MEAN:
                self._small_ms = 0
            elif self._small_ms < _STRAY_MS:
                self._small_ms += ms
        if not flows:
            self._clear = True
            self._stray_ms = 0
            small = self._small_ms >= _STRAY_MS
            if small and not self.stray:
                self._not_ceased(ma)
            self.stray = small
        elif self._stray_ms < _LONG_MS:
            self._stray_ms += ms
            if self._stray_ms >= limit_ms and not self.stray:
                self._not_ceased(ma)

    def _not_ceased(self, ma: int):
        """Open what can be opened, and latch it: the transfer switch takes the source for closed
        from now on (`stray`)."""
        self.stray = True
        controller = self.controller
        controller.fast.permit(False)
        for pole in self._poles:
            controller.fast.open(pole.index)
        for pole in self._poles:
            if pole.state != o.FAULT:
                controller._move(
                    pole, o.E_FAULT, events.FAULT, events.NOT_CEASED, ma, events.BY_CONTROL
                )
        if self.logic.state != grid.FAULT:
            self.logic.fail(grid.NOT_CEASED)
            self._changed(events.BY_CONTROL)

    def _carry(self, own: bool):
        """While the home is on the grid, current in the poles is no sign of a welded contact: the
        inverter's own, or one that charges the vehicle."""
        gangs = self.controller.gangs
        on = self.station.contacts.outputs & _GRID or self.stray or not self._clear
        carries = on and not own
        if carries:
            if not self._carries:  # its own contact has been closed in between, or never
                gangs.carry("home", True)
            self._carrying = True
        elif self._carrying and not on:
            self._carrying = False
            gangs.carry("home", False)
        self._carries = carries

    # -- outer lane --------------------------------------------------------------------------

    def run_s(self, now_s: int):
        pass

    def blocks(self, index: int) -> tuple:
        return 0, ""

    def eases(self, index: int) -> bool:
        """Whether export is being lowered for this outlet, which fits beside what is left of it
        only: it closes when that is done, or the inverter has had its time. Ask again until
        then."""
        if not self.logic.permitted:
            return False
        if self._eased == index and self._ease_ms >= _EASE_MS:
            return False
        dispatch = self.controller.dispatch
        full = False
        ma = watts = 0
        for limit in dispatch.limits:
            if limit.mask >> index & 1:
                total = limit is dispatch.total
                need = dispatch.demand(index, limit)
                if not need:  # never seen: as much as it may draw
                    need = (dispatch._most_w if total else dispatch._most_ma)[index]
                if total:
                    watts = need
                else:
                    ma = need
                full = full or limit.load + need > limit.limit
        if full and self._eased != index:
            self._ease_w = watts
            self._ease_ma = ma
            self._ease_ms = 0
            self._eased = index
        return full

    def report(self) -> dict:  # on demand
        """What `grid` says."""
        logic = self.logic
        sense = self.station.sense
        volts = self._nominal_mv / 1_000_000
        calm = logic.permitted or logic.state == grid.WAITING
        watts = self.power_w
        if not logic.permitted and abs(watts) <= _UNASKED_W:
            watts = self._mean >> _MEAN
            if abs(watts) <= _STRAY_W:
                watts = 0
        found = {
            "state": grid.STATES[logic.state],
            "why": "" if calm else grid.STAGES[logic.why],
            "enabled": self._enabled,
            "started": self.wanted,
            "waits_s": logic.waits_s(),
            "set_point_w": logic.set_point_w,
            "asked_w": logic.asked_w,
            "most_w": logic.most_w,
            "room_w": max(self.room_w, 0),
            "power_w": watts,
        }
        if sense is not None:
            found["l1_v"] = round(sense.permille[0] * volts, 1)
            found["l2_v"] = round(sense.permille[1] * volts, 1)
            found["frequency_hz"] = sense.mhz / 1000
        flows = self.station.flows
        if flows is not None:
            found.update(flows.report("grid"))
        return {"grid": found}
