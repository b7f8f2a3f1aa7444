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
        self.home = None
        self.vehicle = None
        self.grid = None
        self.battery = None
        self.modes = None
        self.parts: list = []
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
        for part in self.parts:
            part.window(ms)

    def blocks(self, index: int) -> tuple:
        """(reason, sentence) for which an outlet may not be switched on, or (0, "")."""
        for part in self.parts:
            reason, text = part.blocks(index)
            if reason:
                return reason, text
        return 0, ""

    def configure(self):
        """The settings have changed."""
        for part in self.parts:
            part.configure()

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
    """The station of an app, or None: a board without `power` and without a battery to watch
    needs none."""
    if app.board.power is None:
        return None
    from firmware.hal.contacts import Contacts

    station = Station(app)
    station.contacts = Contacts(app.board.power)
    return station
