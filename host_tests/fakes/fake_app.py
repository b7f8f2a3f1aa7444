# An app for tests of the interfaces: the real board, settings, journal and commands around a
# controller and a report that only remember what they were told. Runs on CPython (after
# tools.cpython.install()) and on MicroPython. It is its own `report` module: Mqtt(app, app).

import time

from firmware import events
from host_tests.fakes.bare_app import BareApp, BareController


class FakeController(BareController):
    """`veto`: sentence with which every command is refused; `log`: (verb, index, ticks_ms)."""

    veto = ""

    def command(self, verb, index, source, force=False):
        app = self._app
        self.log.append((verb, index, time.ticks_ms()))  # type: ignore[attr-defined]
        if self.veto:
            return self.veto
        if verb == "on" and app.states[index] == "tripped":
            app.journal.add(events.REFUSED, index, events.LATCHED, 0, source)
            return "tripped: reset it first"
        return self.switch(verb, index, source)


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


class FakeApp(BareApp):
    """What interfaces see of the app, report included."""

    version = "0.0.1"
    no_reason = ""

    def __init__(self, **settings):
        """`settings`: values by name, with `__` for the dot: mqtt__host="127.0.0.1"."""
        BareApp.__init__(self, "simulated", "", 256, FakeController)
        for name in settings:
            self.settings.set(name.replace("__", "."), settings[name])
        self.device_id = self.settings.get("device.id") or "tailgate-0a0b0c"
        self.keeper = FakeKeeper()
        self.energy_kwh = [0.0] * len(self.board.outlets)

    def breathe(self):
        """The control lane's turn, in the midst of what takes long: there is none here."""

    def selftest(self):
        return [("relays", True, "all follow", 1)]

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
