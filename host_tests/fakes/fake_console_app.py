# An app for tests of console and commands: the real board, settings, journal and commands; the
# controller, the report and the port only do what a test tells them. Runs on CPython (after
# tools.cpython.install()) and on MicroPython. It is its own `report` module.

import asyncio

from firmware import board, events
from firmware.clock import Clock
from firmware.interfaces.commands import Commands
from firmware.storage.energy import Energy
from firmware.storage.journal import Journal
from firmware.storage.settings import Settings


class FakeController:
    """Switches instantly. `veto`: outlet index -> sentence with which it is refused."""

    def __init__(self, app):
        self._app = app
        self.station = None
        self.veto = {}
        self.log = []  # (verb, outlet index, source, force)

    def command(self, verb, index, source, force=False):
        self.log.append((verb, index, source, force))
        if len(self.log) > 50:  # or a long test would look like a leak
            self.log.pop(0)
        if index in self.veto and not force:
            return self.veto[index]
        app = self._app
        kinds = {"on": events.ON, "off": events.OFF, "reset": events.RESET}
        app.states[index] = "on" if verb == "on" else "off"
        app.reasons[index] = "none"
        app.journal.add(kinds[verb], index, events.COMMAND, 0, source)
        return ""

    def later(self, index, source, force=False):
        return self.command("on", index, source, force)

    def warning(self, name):
        if name == "leg.limit_a":
            return "leg l1 carries 31.0 A now: what is too much will be shed by the curve"
        return ""


class FakeApp:
    """What console and commands see of the app. `amps`, `states`, `reasons` are by outlet."""

    version = "0.1.0"
    device_id = "tg-0123456789"
    network = None
    mqtt = None

    def __init__(self, board_name="simulated", folder="data"):
        self.board = board.load(board_name)
        self.settings = Settings(self.board, folder)
        self.journal = Journal(64)
        self.states = ["off"] * len(self.board.outlets)
        self.reasons = ["none"] * len(self.board.outlets)
        self.amps = [0.0] * len(self.board.outlets)
        self.temperature_c = 31.25
        self.controller = FakeController(self)
        self.commands = Commands(self, self)
        self.stopped = ""
        self.breaths = 0  # turns of the control lane in the middle of something
        self.clock = Clock()
        self.energy = Energy("", len(self.board.outlets))
        self.tests = [
            ("relays", True, "all follow", 1),
            ("settings", True, "checksum is right", None),
        ]

    def totals_mwh(self):
        kwh = [self.outlet(self, i)["energy_kwh"] for i in range(len(self.board.outlets))]
        return [int(x * 1000000) for x in kwh]

    def stop(self, why, by):
        self.stopped = why
        self.stopped_by = by

    def breathe(self):
        self.breaths += 1

    def selftest(self):
        return self.tests

    def trip(self, index, milliamps=27300):
        """An outlet trips, as the control lane would record it."""
        self.states[index] = "tripped"
        self.reasons[index] = "thermal"
        self.amps[index] = 0.0
        self.journal.add(events.TRIPPED, index, events.THERMAL, milliamps, events.BY_CONTROL)

    # -- report

    def outlet(self, app, index):
        item = self.board.outlets[index]
        amps = self.amps[index]
        limit_a = self.settings.outlet(index, "limit_a")
        volts = 240.0 if item.volts == 2 else 120.0
        return {
            "state": self.states[index],
            "reason": self.reasons[index],
            "on": self.states[index] == "on",
            "current_a": amps,
            "voltage_v": volts,
            "power_w": volts * amps,
            "apparent_va": volts * amps,
            "power_factor": 1.0,
            "energy_kwh": 1.2345,
            "frequency_hz": 60.0,
            "limit_a": limit_a,
            "load_percent": amps * 100 / limit_a,
            "heat_percent": 12.5,
            "priority": self.settings.outlet(index, "priority"),
        }

    def relays(self, app, outlets):
        for row in outlets.values():
            row["relay"] = {"operations": 12, "load_breaks": 3, "largest_break_a": 18}

    def state(self, app):
        outlets = {}
        watts = 0.0
        legs = {
            "l1": {"current_a": 0.0, "limit_a": 40.0},
            "l2": {"current_a": 0.0, "limit_a": 40.0},
        }
        for item in self.board.outlets:
            row = self.outlet(app, item.index)
            outlets[item.name] = row
            watts += row["power_w"]
            for leg in item.legs:
                legs[self.board.legs[leg]]["current_a"] += row["current_a"]
        return {
            "device": self.device_id,
            "version": self.version,
            "uptime_s": 3723,
            "mode": "outlets",
            "contactor": "closed",
            "supply": {"voltage_v": 240.2, "frequency_hz": 60.0, "l1_v": 120.1, "l2_v": 120.1},
            "total": {"power_w": watts, "limit_w": 9600},
            "legs": legs,
            "temperature_c": self.temperature_c,
            "outlets": outlets,
            "link": {"wifi": "none", "mqtt": "off"},
            "last_event": self.journal.last_seq,
        }

    def event(self, app, record):
        seq, kind, index, reason, value, source, uptime_s, ms, _when = record
        return {
            "seq": seq,
            "uptime_s": uptime_s + ms / 1000,
            "outlet": self.board.outlets[index].name if index >= 0 else None,
            "event": events.name(events.KINDS, kind),
            "reason": events.name(events.REASONS, reason),
            "source": events.name(events.SOURCES, source),
            "value": value,
        }


class FakePort:
    """A serial port. `send` puts bytes in; `out` is what came out; `open` False: nobody reads.

    A `None` among the bytes is a pause long enough to end a key press or a line."""

    def __init__(self):
        self.out = bytearray()
        self.open = True
        self.chunk = 64
        self.ended = False
        self._in = []
        self._pause = False

    def send(self, data):
        self._in.extend(data)

    def type(self, text):
        """Keys that come one by one."""
        for byte in text.encode():
            self._in.append(byte)
            self._in.append(None)

    async def first(self):
        while True:
            while self._in and self._in[0] is None:
                self._in.pop(0)
            if self._in:
                await asyncio.sleep(0)
                return self._in.pop(0)
            if self.ended:
                return -1
            await asyncio.sleep(0.001)

    def more(self):
        if not self._in or self._in[0] is None:
            return -1
        return self._in.pop(0)

    def is_idle(self):
        return not any(byte is not None for byte in self._in)

    def writable(self):
        return self.open

    def write(self, data):
        self.out.extend(data)
        return len(data)

    def text(self):
        """What came out since the last call."""
        text = bytes(self.out).decode()
        self.out = bytearray()
        return text
