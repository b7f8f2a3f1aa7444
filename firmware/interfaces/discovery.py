"""What Home Assistant is told about this device: one retained device-discovery message.

Role: builds the message piece by piece, so that its 10 KB never lie in the heap at once.
Called by: interfaces/mqtt.py (task). Topic: homeassistant/device/<device_id>/config.

Ids are made of the device id and the board's outlet names, never of the names for people, so
entities keep their history when something is renamed. Only figures that report.state() really
holds are announced.
"""

import json

# field on the wire: (label, device_class, unit, state_class). Energy must be total_increasing for
# the Energy dashboard; every other figure that is to be charted is a measurement.
_SENSORS = {
    "power_w": ("power", "power", "W", "measurement"),
    "current_a": ("current", "current", "A", "measurement"),
    "voltage_v": ("voltage", "voltage", "V", "measurement"),
    "energy_kwh": ("energy", "energy", "kWh", "total_increasing"),
    "frequency_hz": ("frequency", "frequency", "Hz", "measurement"),
    "apparent_va": ("apparent power", "apparent_power", "VA", "measurement"),
    "power_factor": ("power factor", "power_factor", None, "measurement"),
    "heat_percent": ("heat", None, "%", "measurement"),
    "temperature_c": ("temperature", "temperature", "°C", "measurement"),
    "headroom_w": ("headroom", "power", "W", "measurement"),
}
_DIAGNOSTICS = {
    "uptime_s": ("uptime", "duration", "s", "total_increasing"),
    "heap_free_b": ("free memory", "data_size", "B", "measurement"),
    "heap_free_bytes": ("free memory", "data_size", "B", "measurement"),
    "rssi_dbm": ("Wi-Fi signal", "signal_strength", "dBm", "measurement"),
    "windows_lost": ("lost windows", None, None, "total_increasing"),
    "boot": ("starts", None, None, "total_increasing"),
}
# States of an outlet that are nothing to worry about.
_FINE = ("on", "off")


def topic(device_id):
    """Where the message lives; an empty retained payload there removes the device."""
    return "homeassistant/device/%s/config" % device_id


def _sensor(device_id, key, name, path, entry, diagnostic=False):
    label, device_class, unit, state_class = entry
    component = {
        "p": "sensor",
        "name": (name + " " + label) if name else label,
        "unique_id": device_id + "_" + key,
        "val_tpl": "{{ value_json%s }}" % path,
        "stat_cla": state_class,
    }
    if device_class:
        component["dev_cla"] = device_class
    if unit:
        component["unit_of_meas"] = unit
    if diagnostic:
        component["ent_cat"] = "diagnostic"
    return component


def _find(group, index, name):
    """One outlet's or leg's part of the state and its path in a template: lists and dicts."""
    if isinstance(group, dict):
        return group.get(name, {}), "['%s']" % name
    return (group[index] if index < len(group) else {}), "[%d]" % index


def _figures(device_id, key, name, path, figures, table, diagnostic=False):
    for field in table:
        if field in figures:
            component = key + field
            yield (
                component,
                _sensor(device_id, component, name, path + "." + field, table[field], diagnostic),
            )


def _outlet(device_id, base, name, shown):
    """Switch, problem and reset button of one outlet."""
    state = "%soutlet/%s/state" % (base, name)
    order = "%soutlet/%s/set" % (base, name)
    yield (
        name + "_switch",
        {
            "p": "switch",
            "name": shown,
            "unique_id": "%s_%s_switch" % (device_id, name),
            "stat_t": state,
            "val_tpl": "{{ 'ON' if value_json.state == 'on' else 'OFF' }}",
            "cmd_t": order,
            "dev_cla": "outlet",
            "ret": False,
            "qos": 1,
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
    yield (
        name + "_reset",
        {
            "p": "button",
            "name": shown + " reset",
            "unique_id": "%s_%s_reset" % (device_id, name),
            "cmd_t": order,
            "pl_prs": "RESET",
            "ret": False,
            "qos": 1,
        },
    )


def components(device_id, base, outlets, state):
    """Generator of (id, dict) of all entities.

    base: topic prefix with its final slash; outlets: sequence of (name, name for people);
    state: what report.state() returned.
    """
    outlet_group = state.get("outlets", {})
    for i, (name, shown) in enumerate(outlets):
        yield from _outlet(device_id, base, name, shown)
        figures, path = _find(outlet_group, i, name)
        yield from _figures(device_id, name + "_", shown, ".outlets" + path, figures, _SENSORS)
    legs = state.get("legs", {})
    for i, name in enumerate(("l1", "l2")):
        figures, path = _find(legs, i, name)
        yield from _figures(device_id, name + "_", name.upper(), ".legs" + path, figures, _SENSORS)
    total = state.get("total")
    if isinstance(total, dict):
        yield from _figures(device_id, "total_", "total", ".total", total, _SENSORS)
    yield from _figures(device_id, "total_", "total", "", state, _SENSORS)
    for group in ("", "diagnostics", "supply"):
        figures = state if not group else state.get(group)
        if isinstance(figures, dict):
            path = "." + group if group else ""
            yield from _figures(device_id, "", "", path, figures, _DIAGNOSTICS, True)
    supply = state.get("supply")
    if isinstance(supply, dict):
        yield from _figures(device_id, "supply_", "supply", ".supply", supply, _SENSORS)


def parts(device_id, device_name, model, version, base, outlets, state):
    """Generator of the message as pieces of text; the same each time for the same arguments."""
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
    yield json.dumps(head)[:-1]
    comma = ', "cmps": {'
    for key, component in components(device_id, base, outlets, state):
        yield '%s"%s": %s' % (comma, key, json.dumps(component))
        comma = ", "
    yield "}}"
