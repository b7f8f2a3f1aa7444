# An app for tests of console and commands: the real board, settings, journal and commands; the
# controller, the report and the port only do what a test tells them. Runs on CPython (after
# tools.cpython.install()) and on MicroPython. It is its own `report` module.

import asyncio

from host_tests.fakes.bare_app import BareApp, BareController


class FakeController(BareController):
    """`veto`: outlet index -> sentence with which it is refused; `log`: (verb, index, source,
    force)."""

    def __init__(self, app):
        BareController.__init__(self, app)
        self.veto = {}

    def command(self, verb, index, source, force=False):
        self.log.append((verb, index, source, force))
        if len(self.log) > 50:  # or a long test would look like a leak
            self.log.pop(0)
        if index in self.veto and not force:
            return self.veto[index]
        return self.switch(verb, index, source)

    def warning(self, name):
        if name == "leg.limit_a":
            return "leg l1 carries 31.0 A now: what is too much will be shed by the curve"
        return ""


class FakeApp(BareApp):
    """What console and commands see of the app. `amps` are by outlet."""

    version = "0.1.0"
    device_id = "tg-0123456789"

    def __init__(self, board_name="simulated", folder="data"):
        BareApp.__init__(self, board_name, folder, 64, FakeController)
        self.amps = [0.0] * len(self.board.outlets)
        self.temperature_c = 31.25
        self.breaths = 0  # turns of the control lane in the middle of something
        self.tests = [
            ("relays", True, "all follow", 1),
            ("settings", True, "checksum is right", None),
        ]

    def breathe(self):
        self.breaths += 1

    def selftest(self):
        return self.tests

    def trip(self, index, milliamps=27300):
        self.amps[index] = 0.0
        BareApp.trip(self, index, milliamps)

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
        told = BareApp.event(self, app, record)
        told["value"] = record[4]
        return told


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
