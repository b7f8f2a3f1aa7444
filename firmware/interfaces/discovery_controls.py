"""What Home Assistant is told of this device, second half: what can be switched and set.

Role: the controls of the message that discovery.py begins. Only those that mqtt.allow would obey;
Home Assistant keeps what a later message merely leaves out, so the others are named as removed.
Called by: interfaces/mqtt.py (task).
"""

import json

# As commands.py has them; a test compares.
_MODES = ("outlets", "worksite", "camp", "home", "vehicle", "grid")
_PLAIN = 3  # of a board with nothing but outlets
# What `command` expects. Home Assistant fills in the value, and a new id each time.
_COMMAND = '{"id":"{{ now().timestamp() }}","cmd":"%s","args":[%s]}'


def _json(value):
    return json.dumps(value, separators=(",", ":"))


def _switch(device_id, base, name, shown):
    """Switch and reset button of one outlet."""
    order = "%soutlet/%s/set" % (base, name)
    yield (
        name + "_switch",
        {
            "p": "switch",
            "name": shown,
            "unique_id": "%s_%s_switch" % (device_id, name),
            "stat_t": "%soutlet/%s/state" % (base, name),
            "val_tpl": "{{ 'ON' if value_json.on else 'OFF' }}",
            "cmd_t": order,
            "dev_cla": "outlet",
            "ret": False,
            "qos": 1,
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


def _number(device_id, base, setting, label, path, most, unit):
    """A setting with its range, as the schema has it; `most` is the board's."""
    key = setting.replace(".", "_") + "_set"
    component = {
        "p": "number",
        "name": label,
        "unique_id": device_id + "_" + key,
        "val_tpl": "{{ value_json%s }}" % path,
        "cmd_t": base + "command",
        "cmd_tpl": _COMMAND % ("set", '"%s",{{ value }}' % setting),
        "min": 100 if unit == "W" else 1,
        "max": most,
        "step": 0.1 if unit == "A" else 1,
        "mode": "box",
        "ent_cat": "config",
        "qos": 1,
    }
    if unit:
        component["unit_of_meas"] = unit
        component["dev_cla"] = "power" if unit == "W" else "current"
    return key, component


def _numbers(outlets, state, board, allow):
    """Priorities, and limits where the network may change those."""
    for name, shown in outlets:
        path = ".outlets['%s']." % name
        most = board.outlets[board.outlet_index(name)].rating_ma / 1000
        yield (
            "settings" in allow,
            (name + ".priority", shown + " priority", path + "priority", 9, ""),
        )
        yield "limits" in allow, (name + ".limit_a", shown + " limit", path + "limit_a", most, "A")
    yield "limits" in allow, ("total.limit_w", "total limit", ".total.limit_w", board.total_w, "W")
    for leg in state.get("legs", ()):  # one setting for all of them
        path = ".legs['%s'].limit_a" % leg
        yield (
            "limits" in allow,
            ("leg.limit_a", "leg limit", path, board.leg_limit_ma / 1000, "A"),
        )
        break


def _mode(device_id, base, board):
    yield (
        "mode",
        {
            "p": "select",
            "name": "mode",
            "unique_id": device_id + "_mode",
            "val_tpl": "{{ value_json.mode }}",
            "cmd_t": base + "command",
            "cmd_tpl": _COMMAND % ("mode", '"{{ value }}"'),
            "options": _MODES[:_PLAIN] if board.power is None else _MODES,
            "qos": 1,
        },
    )


def _save(device_id, base):
    """Makes changes last."""
    yield (
        "save",
        {
            "p": "button",
            "name": "save settings",
            "unique_id": device_id + "_save",
            "cmd_t": base + "command",
            "cmd_tpl": _COMMAND % ("save", ""),
            "ent_cat": "config",
            "qos": 1,
        },
    )


def _when(allowed, rows):
    """The components, or their removal."""
    for key, component in rows:
        yield key, component if allowed else {"p": component["p"]}


def components(device_id, base, outlets, state, board, allow):
    """Generator of (id, dict) of all controls; board: its ratings; allow: value of mqtt.allow;
    the others as discovery.components() has them."""
    for name, shown in outlets:
        # the poles of home follow the transfer switch
        if not board.outlets[board.outlet_index(name)].gang:
            yield from _when("switch" in allow, _switch(device_id, base, name, shown))
    for allowed, row in _numbers(outlets, state, board, allow):
        yield from _when(allowed, (_number(device_id, base, *row),))
    yield from _when("switch" in allow, _mode(device_id, base, board))
    yield from _when("settings" in allow or "limits" in allow, _save(device_id, base))


def parts(device_id, device_name, model, version, base, outlets, state, board, allow):
    """Generator of the message's second half, see discovery.parts()."""
    for key, component in components(device_id, base, outlets, state, board, allow):
        yield ',"%s":%s' % (key, _json(component))
    yield "}}"
