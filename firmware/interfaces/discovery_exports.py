# What Home Assistant is told of power export beside the outlets: battery, home, another car, grid.
# Goes between the halves that discovery.py and discovery_controls.py make; loaded for that only
# where there is something to tell. Called by interfaces/mqtt.py (task).

import json

# As in discovery_controls.py.
_COMMAND = '{"id":"{{ now().timestamp() }}","cmd":"%s","args":[%s]}'
# what a field's name ends with: (device class, unit, state class)
_UNITS = (
    ("_kwh", ("energy", "kWh", "total_increasing")),
    ("_percent", (None, "%", "measurement")),
    ("_hz", ("frequency", "Hz", "measurement")),
    ("_w", ("power", "W", "measurement")),
    ("_a", ("current", "A", "measurement")),
    ("_v", ("voltage", "V", "measurement")),
    ("_h", ("duration", "h", "measurement")),
    ("_s", ("duration", "s", "measurement")),
)
# figures that are set, not measured, or of no interest for charts
_LEFT_OUT = ("capacity_kwh", "counted_percent", "age_s", "most_w", "asked_w", "limit_a", "fed_s")
_BUTTONS = ("start", "stop", "reset")
# What a battery has. It comes and goes with a setting, and Home Assistant keeps what a later
# message merely leaves out.
_BATTERY = ("soc_percent", "reserve_percent", "level", "power_w", "left_h")


def _json(value):
    return json.dumps(value, separators=(",", ":"))


def _unit(field):
    for end, found in _UNITS:
        if field.endswith(end):
            return found
    return None


def _sensor(device_id, part, field, unit):
    component = {
        "p": "sensor",
        "name": "%s %s" % (part, field[: field.rfind("_")] if unit[1] else field),
        "unique_id": "%s_%s_%s" % (device_id, part, field),
        "val_tpl": "{{ value_json.power.%s.%s }}" % (part, field),
    }
    for key, value in (("dev_cla", unit[0]), ("unit_of_meas", unit[1]), ("stat_cla", unit[2])):
        if value:
            component[key] = value
    return component


def _switches(device_id, base, power):
    """What can be switched and set, as `allow` permits switching."""
    for part in ("home", "vehicle", "grid"):
        for verb in _BUTTONS if part in power else ():
            yield (
                "%s_%s" % (part, verb),
                {
                    "p": "button",
                    "name": "%s %s" % (part, verb),
                    "unique_id": "%s_%s_%s" % (device_id, part, verb),
                    "cmd_t": base + "command",
                    "cmd_tpl": _COMMAND % (part, '"%s"' % verb),
                    "qos": 1,
                },
            )
    if "battery" in power:
        yield (
            "storm",
            {
                "p": "switch",
                "name": "storm watch",
                "unique_id": device_id + "_storm",
                "val_tpl": "{{ 'on' if value_json.power.battery.storm else 'off' }}",
                "stat_on": "on",
                "stat_off": "off",
                "pl_on": "on",
                "pl_off": "off",
                "cmd_t": base + "command",
                "cmd_tpl": _COMMAND % ("storm", '"{{ value }}"'),
                "qos": 1,
            },
        )
        yield (
            "battery_soc_set",
            {
                "p": "number",
                "name": "battery state of charge",
                "unique_id": device_id + "_battery_soc_set",
                "val_tpl": "{{ value_json.power.battery.counted_percent }}",
                "cmd_t": base + "command",
                "cmd_tpl": _COMMAND % ("battery", '"soc","{{ value }}"'),
                "min": 0,
                "max": 100,
                "step": 0.1,
                "unit_of_meas": "%",
                "mode": "box",
                "ent_cat": "config",
                "qos": 1,
            },
        )
    for part, field, verb, name, least, most, step in (
        ("vehicle", "limit_a", "limit", "vehicle current limit", 6, 32, 0.5),
        ("grid", "asked_w", "set", "grid export", 0, power.get("grid", {}).get("most_w"), 100),
    ):
        if field not in power.get(part, {}):
            continue
        yield (
            "%s_%s_set" % (part, field),
            {
                "p": "number",
                "name": name,
                "unique_id": "%s_%s_%s_set" % (device_id, part, field),
                "val_tpl": "{{ value_json.power.%s.%s }}" % (part, field),
                "cmd_t": base + "command",
                "cmd_tpl": _COMMAND % (part, '"%s","{{ value }}"' % verb),
                "min": least,
                "max": most,
                "step": step,
                "unit_of_meas": field[-1].upper(),
                "dev_cla": "power" if field[-1] == "w" else "current",
                "mode": "box",
                "qos": 1,
            },
        )


def components(device_id, base, state, allow):
    """Generator of (id, dict); `state`: what report.state() returned."""
    power = state.get("power", {})
    for part in ("battery", "home", "vehicle", "grid"):
        row = power.get(part, {})
        for field in sorted(row):
            unit = (None, None, None) if field in ("state", "level") else _unit(field)
            if unit is None or field in _LEFT_OUT or isinstance(row[field], (list, dict)):
                continue
            yield "%s_%s" % (part, field), _sensor(device_id, part, field, unit)
    if "battery" not in power:
        for field in _BATTERY:
            yield "battery_" + field, {"p": "sensor"}
        yield "storm", {"p": "switch"}
        yield "battery_soc_set", {"p": "number"}
    for key, component in _switches(device_id, base, power):
        yield key, component if "switch" in allow else {"p": component["p"]}


def parts(device_id, device_name, model, version, base, outlets, state, board, allow):
    """Generator of this part of the message, see discovery.parts()."""
    for key, component in components(device_id, base, state, allow):
        yield ',"%s":%s' % (key, _json(component))
