# What the two apps for tests of the interfaces share: the real board, settings, journal and
# commands, around a controller that only remembers what it was told. Runs on CPython (after
# tools.cpython.install()) and on MicroPython. An app is its own `report` module.

from firmware import board, events
from firmware.clock import Clock
from firmware.interfaces.commands import Commands
from firmware.storage.energy import Energy
from firmware.storage.journal import Journal
from firmware.storage.settings import Settings

TYPE_CHECKING = False  # as in `typing`, which MicroPython has not
if TYPE_CHECKING:
    from typing import Any


class BareController:
    """Switches instantly. `log`: what it was told."""

    def __init__(self, app):
        self._app = app
        self.station = None
        self.log = []

    def switch(self, verb, index, source):
        """Do it, and put it on record."""
        app = self._app
        kinds = {"on": events.ON, "off": events.OFF, "reset": events.RESET}
        app.states[index] = "on" if verb == "on" else "off"
        app.reasons[index] = app.no_reason
        app.journal.add(kinds[verb], index, events.COMMAND, 0, source)
        return ""

    def command(self, verb, index, source, force=False):
        """Keep it in `log`, refuse it with a sentence or `switch`."""
        raise NotImplementedError

    def later(self, index, source, force=False):
        return self.command("on", index, source, force)

    def warning(self, name):
        return ""


class BareApp:
    """`states`, `reasons` are by outlet; `no_reason`: what they begin with."""

    network: "Any" = None
    mqtt: "Any" = None
    no_reason = "none"

    def __init__(self, name, folder, records, controller):
        self.board = board.load(name)
        self.settings = Settings(self.board, folder)
        self.journal = Journal(records)
        self.clock = Clock()  # stands still; `offset_s` is the time of day
        self.states = ["off"] * len(self.board.outlets)
        self.reasons = [self.no_reason] * len(self.board.outlets)
        self.controller = controller(self)
        self.commands = Commands(self, self)
        self.stopped = ""
        self.energy = Energy("", len(self.board.outlets))

    def outlet(self, app, index):
        """As firmware.report.outlet."""
        raise NotImplementedError

    def totals_mwh(self):
        kwh = [self.outlet(self, i)["energy_kwh"] for i in range(len(self.board.outlets))]
        return [int(x * 1000000) for x in kwh]

    def stop(self, why, by):
        self.stopped = why
        self.stopped_by = by

    def trip(self, index, milliamps=27000):
        """An outlet trips, as the control lane would record it."""
        self.states[index] = "tripped"
        self.reasons[index] = "thermal"
        self.journal.add(events.TRIPPED, index, events.THERMAL, milliamps, events.BY_CONTROL)

    def relays(self, app, outlets):
        for row in outlets.values():
            row["relay"] = {"operations": 12, "load_breaks": 3, "largest_break_a": 18}

    def event(self, app, record):
        return {
            "seq": record[0],
            "uptime_s": record[6] + record[7] / 1000,
            "outlet": self.board.outlets[record[2]].name if record[2] >= 0 else None,
            "event": events.name(events.KINDS, record[1]),
            "reason": events.name(events.REASONS, record[3]),
            "source": events.name(events.SOURCES, record[5]),
        }
