# Snapshot and events as plain dicts in SI units, the same for console and MQTT.
# Called by the outer lane only: floats and dicts allocate.

import json
from collections import OrderedDict

from micropython import const

from firmware import events, pieces
from firmware.clock import iso
from firmware.protection import outlet as o
from firmware.protection.dispatch import WAITS
from firmware.sensing import ntc, plausibility
from firmware.storage.energy import whole_wh

_M_LOW = const(6)  # reduce.M_LOW, reduce.M_HIGH
_M_HIGH = const(7)


_reasons: dict = {}


def _r(value: float, digits: int):
    """Rounded, and 0.0 instead of -0.0."""
    return round(value, digits) + 0.0


def _reason(number: int) -> str:
    # asked for with each message; few different ones
    if number not in _reasons:
        _reasons[number] = events.name(events.REASONS, number)
    return _reasons[number]


def outlet(app, index: int) -> dict:
    """One outlet: readings as meter.rms() has them, state, limits."""
    controller = app.controller
    meter = controller.meter
    oc = controller.outlets[index]
    energised = o.energised(oc.state)
    amps = oc.meter.rms() / 1000
    watts = meter.watts(index)
    volts = meter.supply_mv(oc.outlet.volts) / 1000
    if not energised and not oc.fault_now:
        # The relay is open and no current was found: what is left is the converter's noise.
        amps = watts = 0.0
    apparent = volts * amps
    factor = watts / apparent if apparent > 1 else 0.0
    if not energised:
        volts = 0.0
    row = {
        "state": o.STATES[oc.state],
        "reason": _reason(oc.reason),
        "on": energised,
        "current_a": _r(amps, 3),
        "voltage_v": _r(volts, 1),
        "power_w": _r(watts, 1),
        "apparent_va": _r(apparent, 1),
        "power_factor": _r(max(-1.0, min(1.0, factor)), 3),
        "energy_kwh": _r(meter.energy_mwh(index) / 1e6, 4),
        "frequency_hz": _r(meter.hertz(), 3),
        "limit_a": oc.limit_ma / 1000,
        "load_percent": _r(amps * 100000 / oc.limit_ma, 1),
        "heat_percent": _r(oc.thermal.permille() / 10, 1),
        "priority": controller.priorities[index],
        "trips": oc.trips,
        "operations": controller.switching.operations(index),
    }
    check = controller.checks.text(oc)
    if check:
        row["check"] = check
    if oc.state == o.SHED:
        row["waits"] = WAITS[controller.dispatch.waits(index)]
    return row


def parts(value, depth: int = 3, separators=(",", ":")):
    """Generator of the JSON of a value, in pieces of a few hundred bytes; the same each time.
    What is deeper than `depth` is one piece. To make all of it at once takes 20 ms."""
    is_dict = isinstance(value, dict)
    if not depth or not value or not (is_dict or isinstance(value, list)):
        yield json.dumps(value, separators=separators)
        return
    lead = "{" if is_dict else "["
    for item in value:
        if is_dict:
            yield "%s%s%s" % (lead, json.dumps(item), separators[1])
            item = value[item]
        else:
            yield lead
        for piece in parts(item, depth - 1, separators):
            yield piece
        lead = separators[0]
    yield "}" if is_dict else "]"


def relays(app, outlets: dict):
    """Add to each outlet of state() what its relay has gone through."""
    app.controller.switching.setup("report", outlets)


def supply(app) -> dict:
    """Voltages, frequency."""
    meter = app.controller.meter
    one = meter.supply_mv(0) / 1000
    two = meter.supply_mv(1) / 1000
    return {
        "voltage_v": _r(meter.supply_mv(2) / 1000, 1),
        "frequency_hz": _r(meter.hertz(), 3),
        "l1_v": _r(one, 1),
        "l2_v": _r(two, 1),
    }


def temperature(app):
    """Degrees Celsius of the board's NTC, or None."""
    board = app.board
    index = board.aux("temperature")
    if index < 0:
        return None
    m = app.controller.meter.channels[index]
    mid = (m.word(_M_LOW) + m.word(_M_HIGH)) // 2
    celsius = ntc.celsius(mid)
    return None if celsius is None else _r(celsius, 1)


def state(app, rows=None) -> dict:
    """Everything that a screen or a state message shows. `rows`: what outlet() has said of each,
    for a caller who asked it in turns of 3 ms."""
    controller = app.controller
    board = app.board
    dispatch = controller.dispatch
    outlets = OrderedDict()  # the board's order, on screens too
    watts = 0.0
    leg_a = [0.0] * len(board.legs)
    for item in board.outlets:
        if not rows:
            pieces.breathe()
        row = rows[item.index] if rows else outlet(app, item.index)
        outlets[item.name] = row
        watts += row["power_w"]
        for leg in item.legs:
            leg_a[leg] += row["current_a"]
    pieces.breathe()
    total_wh = sum(whole_wh(app.totals_mwh())[: app.energy.summed])
    today_wh = app.energy.today_wh(total_wh)
    total = {
        "power_w": _r(watts, 1),
        "limit_w": dispatch.total.limit,
        "energy_kwh": total_wh / 1000,
        "energy_today_kwh": None if today_wh is None else today_wh / 1000,
    }
    legs = OrderedDict()
    for leg, name in enumerate(board.legs):
        legs[name] = {
            "current_a": _r(leg_a[leg], 2),
            "limit_a": dispatch.legs[leg].limit / 1000,
        }
    utc = app.clock.wall()
    pieces.breathe()
    return {
        "device": app.device_id,
        "version": app.version,
        "time": iso(utc) if utc else None,
        "uptime_s": app.clock.uptime_s(),
        "reset_cause": _reason(app.cause),
        "mode": "outlets" if controller.station is None else controller.station.mode(),
        "starting": controller.starting > 0,
        "contactor": "blocked"
        if controller.contactor_blocked
        else ("closed" if controller.fast.contactor_closed else "open"),
        "supply": supply(app),
        "total": total,
        "legs": legs,
        "temperature_c": temperature(app),
        "limits_percent": controller.conditions.tenths * 10,
        "disabled": app.settings.disabled(),
        "settings": app.settings.attention(),
        "outlets": outlets,
        "link": link(app),
        "blind_ms": app.keeper.blind_ms(),
        "selftest": _unfit(app) if app.tests.bad else "good",
        "last_event": app.journal.last_seq,
        "power": {} if controller.station is None else controller.station.report(),
    }


def link(app) -> dict:
    """State of Wi-Fi and broker, in a word each."""
    found = {"wifi": "none", "mqtt": "off" if app.mqtt is None else app.mqtt.word()}
    if app.network is not None:
        status = app.network.status()
        found["wifi"] = status["state"]
        for name in ("address", "rssi_dbm"):
            if status.get(name):
                found[name] = status[name]
    return found


def _unfit(app) -> str:  # on demand
    from firmware import selftest

    return selftest.parts("report").state(app.tests)


def which(app, reason: int, code: int) -> str:  # on demand
    """The check that the code of a record stands for, "" for none."""
    if reason != events.SELFTEST:
        return plausibility.words(app.board, code)
    from firmware import selftest

    return selftest.parts("report").word(code)


_EXPORTS = (  # on demand
    ("firmware.power.profile", "NAMES"),
    ("firmware.power.transfer", "STATES"),
    ("firmware.power.evse", "STATES"),
    ("firmware.power.grid", "STATES"),
    ("firmware.power.battery", "LEVELS"),
)


def export_state(kind: int, value: int) -> str:  # on demand
    """The word for the state in a record of the kinds MODE to BATTERY."""
    name, table = _EXPORTS[kind - events.MODE]
    return events.name(getattr(pieces.once(name), table), value)


def event(app, record) -> dict:  # on demand
    """A journal record in words."""
    seq, kind, index, reason, value, source, uptime_s, ms, when = record
    result = {
        "seq": seq,
        "uptime_s": uptime_s + ms / 1000,
        "outlet": app.board.outlets[index].name if 0 <= index < len(app.board.outlets) else None,
    }
    pieces.breathe()  # each of these has to be loaded first on a stock image: up to 14 ms
    result["event"] = events.name(events.KINDS, kind)
    pieces.breathe()
    result["reason"] = events.name(events.REASONS, reason)
    pieces.breathe()
    result["source"] = events.name(events.SOURCES, source)
    meaning = events.value_meaning(kind, reason)
    pieces.breathe()
    if meaning is not None:
        field, divisor, _, decimals = meaning
        result[field] = value if divisor == 1 else _r(value / divisor, max(decimals, 1))
        if field == "code" and value:
            result["check"] = which(app, reason, value)
        if field == "state":
            result[field] = export_state(kind, value)
    if kind == events.SETTING and reason == events.COMMAND:
        result["setting"], figure, _ = app.settings.of_number(index, value)
        if figure is not None:
            result["value"] = figure
    pieces.breathe()
    if when >= 0x1000000:
        result["time"] = iso(when)
    else:
        result["boot"] = when or app.journal.boot
    return result
