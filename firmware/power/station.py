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
        self.lowered = False  # the mode's limits are below those that its owner has set
        self._ms = 0
        self._scan_us = app.fast.period_us
        self._us = 0

    def add(self, name: str, part):
        """`part` becomes the attribute `name`, and is called from now on."""
        setattr(self, name, part)
        self.parts.append(part)

    def turn(self, ms: int):
        """One turn of the control task, `ms` after the last one."""
        for part in self.parts:
            part.turn(ms)
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
        for part in self.parts:
            part.window(ms)

    def limit(self, controller):
        """Take the mode's limits and priorities into account (Controller.configure())."""
        modes = self.modes
        if modes is not None:
            low = modes.total_w < controller._total_w or modes.leg_ma < controller._leg_ma
            self.lowered = low
            controller._leg_ma = min(controller._leg_ma, modes.leg_ma)
            controller._total_w = min(controller._total_w, modes.total_w)
            for i in range(len(modes.rank)):
                controller.priorities[i] = modes.rank[i] or controller.priorities[i]

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
        from firmware.sensing.gridsense import GridSense

        station.sense = GridSense(app)  # type: ignore[assignment]
        from firmware.power.export import Exporter
        from firmware.power.flows import Flows
        from firmware.power.home import Home

        station.add("home", Home(station))

        station.add("flows", Flows(station))
        station.add("grid", Exporter(station))
    from firmware.power.modes import Modes
    from firmware.power.reserve import Reserve

    station.add("battery", Reserve(station))
    station.add("modes", Modes(station))
    if app.board.power is not None:
        from firmware.power.charger import Charger

        station.add("vehicle", Charger(station))
    app.controller.configure()  # with the mode's limits
    return station
