# What is exported beside the outlets, as one part of the control lane: home, vehicle, grid,
# battery, modes. Made at boot where it is wired and wanted; the controller calls turn() each turn
# and window() for each finished window, before its own stages. Nothing of it allocates there.
#
# A part has: turn(ms), window(ms), second() (control lane), blocks(index) -> (reason, sentence) or
# (0, "") (outer lane: why the outlet may not be switched on), report() -> dict (outer lane, SI
# units), configure() (outer lane: settings changed), run_s(now) (outer lane, once a second).

from micropython import const

_SECOND_MS = const(1000)


class Station:
    """`home`, `vehicle`, `grid`, `battery`, `modes`: the parts, None where there is none."""

    def __init__(self, app):
        self.app = app
        self.controller = app.controller
        self.contacts = None  # hal.contacts.Contacts
        self.testing = False  # the ground-fault input is being tested: what it says is no fault
        self.sense = None  # sensing.gridsense.GridSense
        self.home = None
        self.vehicle = None
        self.grid = None
        self.flows = None
        self.battery = None
        self.modes = None
        self.parts: list = []
        self._turns: list = []  # bound once each: what the control lane calls
        self._windows: list = []
        self.lowered = False  # the mode's limits are below those that its owner has set
        self.feeds = False  # the vehicle feeds the home, or is about to again
        self._own_w = self._own_ma = 1 << 29
        self._ms = 0
        self._scan_us = app.fast.period_us
        self._us = 0

    def add(self, name: str, part, turns: bool = True, windows: bool = True):
        """`part` becomes the attribute `name`, and is called from now on; without `turns` or
        `windows` not for these, because it does nothing then."""
        setattr(self, name, part)
        self.parts.append(part)
        if turns:
            self._turns.append(part.turn)
        if windows:
            self._windows.append(part.window)

    def turn(self, ms: int):
        """One turn of the control task, `ms` after the last one."""
        for turn in self._turns:
            turn(ms)
        self._ms += ms
        if self._ms >= _SECOND_MS:
            self._ms -= _SECOND_MS
            for part in self.parts:
                part.second()

    def window(self, scans: int):
        """A finished window of so many scans."""
        self._us += scans * self._scan_us
        ms = self._us // 1000
        self._us -= ms * 1000
        if self.sense is not None:
            self.sense.window(ms)
        for window in self._windows:
            window(ms)

    def limit(self, controller):
        """Take the mode's limits and priorities into account (Controller.configure())."""
        modes = self.modes
        if modes is not None:
            self._own_w = controller._total_w
            self._own_ma = controller._leg_ma
            self._least()
            for i in range(len(modes.rank)):
                controller.priorities[i] = modes.rank[i] or controller.priorities[i]

    def _least(self):
        """The lower ones of the owner's limits and the mode's."""
        controller = self.controller
        modes = self.modes
        total_w = modes.fed_w if self.feeds else modes.total_w
        leg_ma = modes.fed_ma if self.feeds else modes.leg_ma
        self.lowered = total_w < self._own_w or leg_ma < self._own_ma
        controller._total_w = min(self._own_w, total_w)
        controller._leg_ma = min(self._own_ma, leg_ma)

    def feed(self, on: bool):
        """The vehicle feeds the home from now on, or no more (control lane): other limits."""
        self.feeds = on
        if self.modes is not None:
            self._least()
            self.controller.set_limits(self.controller.conditions.tenths)

    def holds(self, index: int) -> bool:
        """Whether a shed outlet may not come back yet (control lane)."""
        if self.battery is not None and self.battery.held >> index & 1:
            return True
        return self.home is not None and self.home.restores(index)

    def eases(self, index: int) -> bool:
        """Whether export is being lowered to make room for an outlet, so that it closes a moment
        later (outer lane)."""
        return self.grid is not None and self.grid.eases(index)

    def opened(self, outlet):
        """A pole of a gang has been opened, whoever did it (control lane, in the same turn)."""
        if self.home is not None:
            self.home.opened(outlet)

    def blocks(self, index: int) -> tuple:
        """(reason, sentence) for which an outlet may not be switched on, or (0, "")."""
        for part in self.parts:
            reason, text = part.blocks(index)
            if reason:
                return reason, text
        return 0, ""

    def resists(self, index: int) -> tuple:
        """(reason, sentence) for which a latched pole may not be reset, or (0, "")."""
        return (0, "") if self.home is None else self.home.resists(index)

    def configure(self):
        """The settings have changed."""
        if self.sense is not None:
            self.sense.configure()
        for part in self.parts:
            part.configure()

    def mode(self) -> str:
        """The mode's name."""
        return "outlets" if self.modes is None else self.modes.name

    def report(self) -> dict:
        """What there is to say, for console, MQTT and state messages alike."""
        found = {}
        for part in self.parts:
            found.update(part.report())
        return found

    async def run(self, sleep_ms):
        """Task of the outer lane: once a second."""
        while True:
            await sleep_ms(_SECOND_MS)
            for part in self.parts:
                part.run_s(self.app.clock.now_s)


def make(app):
    """The station of an app: App._make_station() says when it wants one."""
    station = Station(app)
    app.controller.station = station
    if app.board.power is not None:
        from firmware.hal.contacts import Contacts

        station.contacts = Contacts(app.board.power)
        from firmware.hal import kernels
        from firmware.sensing import gridsense

        twins = gridsense
        if kernels.VIPER:
            from firmware.sensing import gridsense_viper as twins  # type: ignore[no-redef]
        station.sense = gridsense.GridSense(  # type: ignore[assignment]
            app, (twins.share, twins.root, twins.hertz)
        )
        from firmware.power.export import Exporter
        from firmware.power.flows import Flows
        from firmware.power.home import Home

        station.add("home", Home(station))

        station.add("flows", Flows(station), turns=False)
        station.add("grid", Exporter(station))
    from firmware.power.modes import Modes
    from firmware.power.reserve import Reserve

    station.add("battery", Reserve(station), False, False)
    station.add("modes", Modes(station), False, False)
    if app.board.power is not None:
        from firmware.power.charger import Charger

        station.add("vehicle", Charger(station))
    app.controller.configure()  # with the mode's limits
    return station
