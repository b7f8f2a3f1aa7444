"""A draft of Homie 5 from what report.state() returns; not part of the firmware.

homie.py measures what it would cost (MicroPython and CPython alike): description, values that
changed, commands. What it lacks is the last will: `$state` must become `lost` by it.
"""

import binascii
import json
from array import array

# field: (datatype, unit or format); a field of a board that has none is left out
_FLOAT = "float"
_OUTLET = {
    "on": ("boolean", None),
    "state": ("enum", "off,closing,on,tripped,lockout,shed,fault"),
    "reason": ("string", None),
    "power_w": (_FLOAT, "W"),
    "current_a": (_FLOAT, "A"),
    "voltage_v": (_FLOAT, "V"),
    "energy_kwh": (_FLOAT, "kWh"),
    "heat_percent": (_FLOAT, "%"),
    "trips": ("integer", None),
    "priority": ("integer", "1:9"),
    "limit_a": (_FLOAT, "A"),
}
_LEG = {"current_a": (_FLOAT, "A")}
_TOTAL = {"power_w": (_FLOAT, "W"), "energy_kwh": (_FLOAT, "kWh")}
_SUPPLY = {
    "voltage_v": (_FLOAT, "V"),
    "l1_v": (_FLOAT, "V"),
    "l2_v": (_FLOAT, "V"),
    "frequency_hz": (_FLOAT, "Hz"),
}
_DEVICE = {
    "temperature_c": (_FLOAT, "°C"),
    "mode": ("string", None),
    "contactor": ("enum", "open,closed,blocked"),
    "limits_percent": ("integer", "%"),
    "selftest": ("string", None),
    "uptime_s": ("integer", "s"),
    "last_event": ("integer", None),
}
_SETTABLE = ("on", "priority", "limit_a", "mode")


def _nodes(state):
    """(name, table, figures) of each node."""
    for name in state["outlets"]:
        yield name, _OUTLET, state["outlets"][name]
    for name in state["legs"]:
        yield name, _LEG, state["legs"][name]
    yield "total", _TOTAL, state["total"]
    yield "supply", _SUPPLY, state["supply"]
    yield "device", _DEVICE, state


def description(name, version, state):
    """Generator of the pieces of `$description`."""
    yield f'{{"homie":"5.0","version":{version},"name":{json.dumps(name)},"nodes":'
    comma = "{"
    for node, table, figures in _nodes(state):
        yield f'{comma}"{node}":{{"properties":'
        comma = "{"
        for field in table:
            if figures.get(field) is not None:
                kind, more = table[field]
                entry = {"datatype": kind}
                if more:
                    entry["format" if "," in more or ":" in more else "unit"] = more
                if field in _SETTABLE:
                    entry["settable"] = True
                yield f'{comma}"{field.replace("_", "-")}":{json.dumps(entry)}'
                comma = ","
        yield "}}"
        comma = ","
    yield "}}"


class Values:
    """Retained values; `_known`: a CRC of what was said last of each, because the texts would be
    many times that."""

    def __init__(self, base, state):
        self._base = base
        self._known = array("I", [0] * sum(len(table) for _, table, _ in _nodes(state)))

    def changed(self, state):
        """Generator of (topic, text) of what has changed since; all at first."""
        place = 0
        for node, table, figures in _nodes(state):
            for field in table:
                value = figures.get(field)
                if value is not None:
                    text = json.dumps(value) if table[field][0] == "boolean" else str(value)
                    crc = binascii.crc32(text.encode()) | 1
                    if self._known[place] != crc:
                        self._known[place] = crc
                        yield self._base + node + "/" + field.replace("_", "-"), text
                place += 1

    def command(self, topic, text):
        """The words of the console for a message on `<node>/<property>/set`, or None."""
        words = topic[len(self._base) :].split("/")
        if len(words) != 3 or words[2] != "set" or words[1].replace("-", "_") not in _SETTABLE:
            return None
        if words[1] == "on":
            return "on" if text == "true" else "off", words[0]
        if words[1] == "mode":
            return "mode", text
        return "set", words[0] + "." + words[1].replace("-", "_"), text
