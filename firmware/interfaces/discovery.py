"""What Home Assistant is told of this device, first half: head and readings.

Role: builds one retained device-discovery message piece by piece, so that its 20 KB never lie in
the heap at once; discovery_controls.py goes on, so that neither do these two modules.
Called by: interfaces/mqtt.py (task). Topic: homeassistant/device/<device_id>/config.

Ids are made of the device id and the board's outlet names, never of the names for people, so
entities keep their history when something is renamed. Only figures that report.state() really
holds are announced.
"""

import json

# field on the wire: (label, device_class, unit, state_class). Energy must be total_increasing for
# the Energy dashboard; every other figure that is to be charted is a measurement.
_POWER = ("power", "power", "W", "measurement")
_CURRENT = ("current", "current", "A", "measurement")
_VOLTAGE = ("voltage", "voltage", "V", "measurement")
_ENERGY = ("energy", "energy", "kWh", "total_increasing")
_PERCENT = (None, "%", "measurement")
_OUTLET = {
    "power_w": _POWER,
    "current_a": _CURRENT,
    "voltage_v": _VOLTAGE,
    "energy_kwh": _ENERGY,
    "apparent_va": ("apparent power", "apparent_power", "VA", "measurement"),
    "power_factor": ("power factor", "power_factor", None, "measurement"),
    "load_percent": ("load",) + _PERCENT,
    "heat_percent": ("heat",) + _PERCENT,
}
_LEG = {"current_a": _CURRENT}
_TOTAL = {"power_w": _POWER, "energy_kwh": _ENERGY}
_SUPPLY = {
    "voltage_v": _VOLTAGE,
    "l1_v": ("L1 voltage", "voltage", "V", "measurement"),
    "l2_v": ("L2 voltage", "voltage", "V", "measurement"),
    "frequency_hz": ("frequency", "frequency", "Hz", "measurement"),
}
_DEVICE = {"temperature_c": ("temperature", "temperature", "°C", "measurement")}
_WORD = (None, None, None)
_TRIPS = {"trips": ("trips", None, None, "total_increasing")}
_DIAGNOSTICS = {
    "uptime_s": ("uptime", "duration", "s", "total_increasing"),
    "reset_cause": ("last reset",) + _WORD,
    "version": ("firmware",) + _WORD,
    "last_event": ("last event", None, None, "measurement"),
    "limits_percent": ("limits",) + _PERCENT,
    "blind_ms": ("blind time", "duration", "ms", "total_increasing"),
    "contactor": ("contactor",) + _WORD,
    "selftest": ("self-test",) + _WORD,
}
_LINK = {
    "wifi": ("Wi-Fi",) + _WORD,
    "rssi_dbm": ("Wi-Fi signal", "signal_strength", "dBm", "measurement"),
}
# (key, label, device class, when it is on)
_DEVICE_PROBLEMS = (
    ("blocked", "contactor blocked", "problem", "value_json.contactor == 'blocked'"),
    ("derated", "limits reduced by heat", "heat", "value_json.limits_percent < 100"),
    ("unprotected", "protection switched off", "problem", "value_json.disabled"),
)
# States of an outlet that are nothing to worry about; shed outlets come back by themselves.
_FINE = ("on", "off", "closing", "shed")


# Announced, but for those who want them to switch on.
_SPARE = ("apparent_va", "power_factor", "load_percent")


def _json(value):
    return json.dumps(value, separators=(",", ":"))


def _sensor(device_id, key, name, path, entry, diagnostic, spare):
    label, device_class, unit, state_class = entry
    component = {
        "p": "sensor",
        "name": (name + " " + label) if name else label,
        "unique_id": device_id + "_" + key,
        "val_tpl": "{{ value_json%s }}" % path,
    }
    if state_class:
        component["stat_cla"] = state_class
    if device_class:
        component["dev_cla"] = device_class
    if unit:
        component["unit_of_meas"] = unit
    if diagnostic:
        component["ent_cat"] = "diagnostic"
    if spare:
        component["en"] = False
    return component


def _figures(device_id, key, name, path, figures, table, diagnostic=False):
    for field in table:
        if figures.get(field) is not None:
            component = key + field
            yield (
                component,
                _sensor(
                    device_id,
                    component,
                    name,
                    path + "." + field,
                    table[field],
                    diagnostic,
                    field in _SPARE,
                ),
            )


def _state_topic(base, name):
    return "%soutlet/%s/state" % (base, name)


def _outlet(device_id, base, name, shown):
    """State and problem of one outlet."""
    state = _state_topic(base, name)
    yield (
        name + "_state",
        {
            "p": "sensor",
            "name": shown + " state",
            "unique_id": "%s_%s_state" % (device_id, name),
            "stat_t": state,
            "val_tpl": "{{ value_json.state }}",
            "json_attr_t": state,
        },
    )
    yield (
        name + "_problem",
        {
            "p": "binary_sensor",
            "name": shown + " problem",
            "unique_id": "%s_%s_problem" % (device_id, name),
            "stat_t": state,
            "val_tpl": "{{ 'OFF' if value_json.state in %s else 'ON' }}" % (list(_FINE),),
            "json_attr_t": state,
            "dev_cla": "problem",
        },
    )


def components(device_id, base, outlets, state):
    """Generator of (id, dict) of all entities that show something.

    base: topic prefix with its final slash; outlets: sequence of (name, name for people);
    state: what report.state() returned.
    """
    rows = state.get("outlets", {})
    for name, shown in outlets:
        yield from _outlet(device_id, base, name, shown)
        path = ".outlets['%s']" % name
        figures = rows.get(name, {})
        yield from _figures(device_id, name + "_", shown, path, figures, _OUTLET)
        yield from _figures(device_id, name + "_", shown, path, figures, _TRIPS, True)
    rows = state.get("legs", {})
    for name in rows:
        path = ".legs['%s']" % name
        yield from _figures(device_id, name + "_", name.upper(), path, rows[name], _LEG)
    for group, table in (("total", _TOTAL), ("supply", _SUPPLY)):
        figures = state.get(group, {})
        yield from _figures(device_id, group + "_", group, "." + group, figures, table)
    yield from _figures(device_id, "", "", "", state, _DEVICE)
    yield from _figures(device_id, "", "", "", state, _DIAGNOSTICS, True)
    if state.get("link", {}).get("wifi", "none") != "none":
        yield from _figures(device_id, "link_", "", ".link", state["link"], _LINK, True)
    for key, label, device_class, when in _DEVICE_PROBLEMS:
        if when.split(" ")[0][11:] in state:
            yield (
                key,
                {
                    "p": "binary_sensor",
                    "name": label,
                    "unique_id": device_id + "_" + key,
                    "val_tpl": "{{ 'ON' if %s else 'OFF' }}" % when,
                    "dev_cla": device_class,
                    "ent_cat": "diagnostic",
                },
            )


def parts(device_id, device_name, model, version, base, outlets, state, board, allow):
    """Generator of the message's first half as pieces of text; the same each time for the same
    arguments. discovery_controls.py has the other half, and the arguments that are not used."""
    head = {
        "dev": {
            "ids": [device_id],
            "name": device_name,
            "mf": "Tailgate",
            "mdl": model,
            "sw": version,
        },
        "o": {"name": "Tailgate", "sw": version},
        "avty_t": base + "availability",
        "stat_t": base + "state",
        "qos": 0,
    }
    yield _json(head)[:-1]
    comma = ',"cmps":{'
    for key, component in components(device_id, base, outlets, state):
        yield '%s"%s":%s' % (comma, key, _json(component))
        comma = ","
