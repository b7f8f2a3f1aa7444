# The simulated chip's radio, MicroPython's `network` as the Pico W has it. What is in the air
# stands in the file radio.json of the chip's flash, which a test may change at any time; without
# that file there is no radio, and the import fails as on a chip without one.
#
#   {"networks": [{"ssid": "yard", "password": "12345678", "rssi": -60}],
#    "dns": "192.168.7.1", "dhcp": true}
#
# `password` "" is an open network; `dhcp` false: it is joined, and nobody gives an address;
# "dead": true: the radio's chip does not answer. An optional "hidden" is not found by scan().
# What the firmware asks for is written into radio.log, a line each with the milliseconds.

import json
import time

_AIR = "radio.json"
_LOG = "radio.log"
_POWER_MS = 800  # active(True), once (measured on an emulated Pico W)
_SCAN_MS = 2000
_FOUND_MS = 1500  # a join: until it is found, or not, and the password is checked
_REFUSED_MS = 2500
_DHCP_MS = 700

STA_IF = 0
AP_IF = 1

_last = [{"networks": []}]
_hostname = "PicoW"
_country = "XX"

try:
    open(_AIR).close()
except OSError:
    raise ImportError("no module named 'network'")


def _air():
    try:
        with open(_AIR) as file:
            air = json.load(file)
    except (OSError, ValueError):  # it is being written
        air = _last[0]
    _last[0] = air
    if air.get("dead"):
        raise OSError(5)
    return air


def _log(*words):
    with open(_LOG, "a") as file:
        file.write(" ".join([str(word) for word in (time.ticks_ms(),) + words]) + "\n")


def hostname(name=None):
    global _hostname
    if name is None:
        return _hostname
    if len(name) > 32:
        raise ValueError("hostname too long")
    _hostname = name
    _log("hostname", name)


def country(code=None):
    global _country
    if code is None:
        return _country
    if len(code) != 2:
        raise ValueError("invalid country code")
    _country = code


class WLAN:
    IF_STA = STA_IF
    IF_AP = AP_IF

    def __init__(self, interface=STA_IF):
        self._active = False
        self._join = None  # (ssid, password, since when)
        self._up = False  # the join has gone through; it is lost with the network

    def active(self, on=None):
        if on is None:
            return self._active
        if on and not self._active:
            _air()
            _log("active")
            time.sleep_ms(_POWER_MS)
        self._active = bool(on)

    def connect(self, ssid, key=None):
        if not self._active:
            raise OSError(1)
        if key == "":
            raise ValueError("an open network has no key")  # it would be joined as WPA, in vain
        _log("connect", ssid)
        self._join = (ssid, key or "", time.ticks_ms())
        self._up = False

    def disconnect(self):
        self._join = None
        self._up = False

    def _network(self):
        for row in _air()["networks"]:
            if self._join is not None and row["ssid"] == self._join[0]:
                return row
        return None

    def status(self, what=None):
        try:
            row = self._network()
        except OSError:
            row = None
        if what == "rssi":
            return row["rssi"] if row else 0
        if what is not None:
            raise ValueError("unknown status param")
        if self._join is None:
            return 0
        ms = time.ticks_diff(time.ticks_ms(), self._join[2])
        if self._up:
            if row is None:  # out of reach: it does not come back by itself
                self.disconnect()
                return 0
            return 3
        if ms < _FOUND_MS:
            return 1
        if row is None:
            return -2
        if row["password"] != self._join[1]:
            return -3 if ms >= _REFUSED_MS else 1
        if ms < _FOUND_MS + _DHCP_MS or not _air().get("dhcp", True):
            return 2
        self._up = True
        return 3

    def isconnected(self):
        return self.status() == 3

    def ifconfig(self):
        if not self.isconnected():
            return ("0.0.0.0", "0.0.0.0", "0.0.0.0", "0.0.0.0")
        return ("192.168.7.20", "255.255.255.0", "192.168.7.1", _air().get("dns", "0.0.0.0"))

    def scan(self):
        air = _air()
        if not self._active:
            raise OSError("STA must be active")
        _log("scan")
        time.sleep_ms(_SCAN_MS)
        found = []
        for row in air["networks"]:
            name = b"" if row.get("hidden") else row["ssid"].encode()
            found.append((name, b"\0\1\2\3\4\5", 6, row["rssi"], 5 if row["password"] else 0, 1))
        return found

    def config(self, *what, **how):
        raise ValueError("unknown config param")
