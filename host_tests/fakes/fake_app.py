# An app for tests of the interfaces: the real board, settings, journal and commands around a
# controller and a report that only remember what they were told. Runs on CPython (after
# tools.cpython.install()) and on MicroPython. It is its own `report` module: Mqtt(app, app).

import time

from firmware import board, events
from firmware.interfaces.commands import Commands
from firmware.storage.journal import Journal
from firmware.storage.settings import Settings


class FakeClock:
    """`wall_s` is what wall() answers: 0 while nobody has set the clock."""

    def __init__(self):
        self.wall_s = 0

    def wall(self):
        return self.wall_s


class FakeController:
    """Switches instantly. `veto`: sentence with which every command is refused."""

    def __init__(self, app):
        self._app = app
        self.veto = ""
        self.log = []  # (verb, outlet index, ticks_ms)

    def command(self, verb, index, source, force=False):
        app = self._app
        self.log.append((verb, index, time.ticks_ms()))
        if self.veto:
            return self.veto
        if verb == "on" and app.states[index] == "tripped":
            app.journal.add(events.REFUSED, index, events.LATCHED, 0, source)
            return "tripped: reset it first"
        kinds = {"on": events.ON, "off": events.OFF, "reset": events.RESET}
        app.states[index] = "on" if verb == "on" else "off"
        app.reasons[index] = ""
        app.journal.add(kinds[verb], index, events.COMMAND, 0, source)
        return ""


class FakeApp:
    """What interfaces see of the app, report included."""

    version = "0.0.1"
    network = None
    mqtt = None

    def __init__(self, **settings):
        """`settings`: values by name, with `__` for the dot: mqtt__host="127.0.0.1"."""
        self.board = board.load("simulated")
        self.settings = Settings(self.board, "")
        for name in settings:
            self.settings.set(name.replace("__", "."), settings[name])
        self.journal = Journal(256)
        self.clock = FakeClock()
        self.states = ["off"] * len(self.board.outlets)
        self.reasons = [""] * len(self.board.outlets)
        self.energy_kwh = [0.0] * len(self.board.outlets)
        self.controller = FakeController(self)
        self.commands = Commands(self, self)
        self.stopped = ""

    def stop(self, why):
        self.stopped = why

    def selftest(self):
        return [("relays", True, "all follow")]

    def trip(self, index):
        """An outlet trips, as the control lane would record it."""
        self.states[index] = "tripped"
        self.reasons[index] = "thermal"
        self.journal.add(events.TRIPPED, index, events.THERMAL, 27000, events.BY_CONTROL)

    # -- report

    def outlet(self, app, index):
        on = self.states[index] == "on"
        return {
            "state": self.states[index],
            "reason": self.reasons[index],
            "current_a": 8.25 if on else 0.0,
            "voltage_v": 120.1,
            "power_w": 985 if on else 0,
            "apparent_va": 991 if on else 0,
            "power_factor": 0.994,
            "energy_kwh": self.energy_kwh[index],
            "heat_percent": 12.5,
        }

    def state(self, app):
        outlets = {}
        for i, outlet in enumerate(self.board.outlets):
            outlets[outlet.name] = self.outlet(app, i)
        return {
            "outlets": outlets,
            "legs": {
                "l1": {"current_a": 8.25, "voltage_v": 120.1},
                "l2": {"current_a": 0.0, "voltage_v": 119.9},
            },
            "frequency_hz": 60.0,
            "power_w": 985,
            "uptime_s": 12,
        }

    def event(self, app, record):
        return {
            "seq": record[0],
            "kind": events.name(events.KINDS, record[1]),
            "outlet": self.board.outlets[record[2]].name if record[2] >= 0 else None,
            "reason": events.name(events.REASONS, record[3]),
            "value": record[4],
            "source": events.name(events.SOURCES, record[5]),
        }
