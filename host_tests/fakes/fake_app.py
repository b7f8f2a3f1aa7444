# An app for tests of the interfaces: the real board, settings, journal and commands around a
# controller and a report that only remember what they were told. Runs on CPython (after
# tools.cpython.install()) and on MicroPython. It is its own `report` module: Mqtt(app, app).

import time

from firmware import board, events
from firmware.clock import Clock
from firmware.interfaces.commands import Commands
from firmware.storage.energy import Energy
from firmware.storage.journal import Journal
from firmware.storage.settings import Settings


class FakeController:
    """Switches instantly. `veto`: sentence with which every command is refused."""

    def __init__(self, app):
        self._app = app
        self.station = None
        self.veto = ""
        self.log = []  # (verb, outlet index, ticks_ms)

    def command(self, verb, index, source, force=False):
        app = self._app
        self.log.append((verb, index, time.ticks_ms()))  # type: ignore[attr-defined]
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

    def later(self, index, source, force=False):
        return self.command("on", index, source, force)

    def warning(self, name):
        return ""


class FakeKeeper:
    """`published`: number of the last event that the broker has, as flash knows it, or -1. Flash
    has none of the records that the ring drops."""

    published = -1

    def __init__(self):
        self.journal_store = self

    def log(self):
        return None

    def older(self, seq, log):
        return iter(())


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
        self.device_id = self.settings.get("device.id") or "tailgate-0a0b0c"
        self.journal = Journal(256)
        self.keeper = FakeKeeper()
        self.clock = Clock()  # stands still; `offset_s` is the time of day
        self.states = ["off"] * len(self.board.outlets)
        self.reasons = [""] * len(self.board.outlets)
        self.energy_kwh = [0.0] * len(self.board.outlets)
        self.controller = FakeController(self)
        self.commands = Commands(self, self)
        self.stopped = ""
        self.energy = Energy("", len(self.board.outlets))

    def totals_mwh(self):
        kwh = [self.outlet(self, i)["energy_kwh"] for i in range(len(self.board.outlets))]
        return [int(x * 1000000) for x in kwh]

    def breathe(self):
        """The control lane's turn, in the midst of what takes long: there is none here."""

    def stop(self, why, by):
        self.stopped = why
        self.stopped_by = by

    def selftest(self):
        return [("relays", True, "all follow", 1)]

    def trip(self, index):
        """An outlet trips, as the control lane would record it."""
        self.states[index] = "tripped"
        self.reasons[index] = "thermal"
        self.journal.add(events.TRIPPED, index, events.THERMAL, 27000, events.BY_CONTROL)

    # -- report: the shapes of firmware.report

    def outlet(self, app, index):
        on = self.states[index] == "on"
        return {
            "state": self.states[index],
            "reason": self.reasons[index] or "none",
            "on": on,
            "current_a": 8.25 if on else 0.0,
            "voltage_v": 120.1 if on else 0.0,
            "power_w": 985.0 if on else 0.0,
            "apparent_va": 991.0 if on else 0.0,
            "power_factor": 0.994 if on else 0.0,
            "energy_kwh": self.energy_kwh[index],
            "frequency_hz": 60.0,
            "limit_a": 20.0,
            "load_percent": 41.3 if on else 0.0,
            "heat_percent": 12.5,
            "priority": 3,
            "trips": 0,
        }

    def relays(self, app, outlets):
        for row in outlets.values():
            row["relay"] = {"operations": 12, "load_breaks": 3, "largest_break_a": 18}

    def state(self, app, rows=None):
        outlets = {}
        for i, outlet in enumerate(self.board.outlets):
            outlets[outlet.name] = self.outlet(app, i)
        return {
            "device": self.device_id,
            "version": self.version,
            "uptime_s": 12,
            "reset_cause": "power_on",
            "mode": "outlets",
            "supply": {"voltage_v": 240.0, "frequency_hz": 60.0, "l1_v": 120.1, "l2_v": 119.9},
            "total": {"power_w": 985.0, "limit_w": 9600},
            "legs": {
                "l1": {"current_a": 8.25, "limit_a": 40.0},
                "l2": {"current_a": 0.0, "limit_a": 40.0},
            },
            "temperature_c": 31.5,
            "outlets": outlets,
            "link": {"wifi": "up", "address": "10.0.0.7", "rssi_dbm": -61, "mqtt": "up"},
            "last_event": self.journal.last_seq,
        }

    def event(self, app, record):
        return {
            "seq": record[0],
            "uptime_s": record[6] + record[7] / 1000,
            "outlet": self.board.outlets[record[2]].name if record[2] >= 0 else None,
            "event": events.name(events.KINDS, record[1]),
            "reason": events.name(events.REASONS, record[3]),
            "source": events.name(events.SOURCES, record[5]),
        }
