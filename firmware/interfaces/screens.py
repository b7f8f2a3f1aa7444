"""Results of commands as lines for people: aligned tables, a status that fits 80 x 24.

Role: formatting only; every function yields lines, so that no long text is built in RAM.
Called by: the outer lane (console task).
"""

from micropython import const

from firmware import events
from firmware.sensing import plausibility
from firmware.storage import journal

_BAR = const(10)
_WRAP = const(72)
_COLUMNS = const(77)  # 80, less the indent of an answer and the last one


def bar(percent, width: int = _BAR) -> str:
    """`[####......]`; a full bar that is passed ends in `!`."""
    if percent is None:
        return "[" + " " * width + "]"
    filled = int(percent * width / 100 + 0.5)
    if filled > width:
        return "[" + "#" * width + "!"
    return "[" + "#" * filled + "." * (width - filled) + "]"


def clock(uptime_s: int, ms: int = -1) -> str:
    """`h:mm:ss`, with `.mmm` when ms is given."""
    text = "%d:%02d:%02d" % (uptime_s // 3600, uptime_s // 60 % 60, uptime_s % 60)
    return text if ms < 0 else "%s.%03d" % (text, ms)


def number(value, decimals=1):
    """With so many decimals; `-` for None."""
    return "-" if value is None else "%.*f" % (decimals, value)


def _word(value):
    if value is None or value == "":
        return "-"
    if value is True:
        return "yes"
    if value is False:
        return "no"
    if isinstance(value, dict):
        return " ".join(["%s=%s" % (key, _word(value[key])) for key in sorted(value)])
    if isinstance(value, (list, tuple)):
        return " ".join([_word(part) for part in value]) or "-"
    return str(value)


def event(app, record) -> str:
    """`<seq> <h:mm:ss.mmm> <outlet|-> <kind> <reason> <value|->` of a journal record."""
    kind = record[journal.KIND]
    reason = record[journal.REASON]
    outlet = record[journal.OUTLET]
    outlets = app.board.outlets
    value = "-"
    if kind == events.SETTING and reason == events.COMMAND:
        value = app.settings.name_at(record[journal.VALUE]) or "all"
    else:
        meaning = events.value_meaning(kind, reason)
        if meaning is not None:
            value = number(record[journal.VALUE] / meaning[1], meaning[3])
            if meaning[2]:
                value += " " + meaning[2]
            elif meaning[0] == "code":
                value = plausibility.words(app.board, record[journal.VALUE]) or "-"
    return "%d %s %s %s %s %s" % (
        record[journal.SEQ],
        clock(record[journal.UPTIME_S], record[journal.MS]),
        outlets[outlet].name if 0 <= outlet < len(outlets) else "-",
        events.name(events.KINDS, kind),
        events.name(events.REASONS, reason),
        value,
    )


def _state_word(row):
    reason = row.get("check") or row.get("waits") or row.get("reason")
    if reason in (None, "", "none", "command"):
        return row["state"]
    return "%s: %s" % (row["state"], reason)


def status(app, state):  # on demand
    """The status screen: 80 columns, 11 lines and one for each outlet."""
    supply = state["supply"]
    first = "%s   %s   v%s   mode %s   up %s   %s C" % (
        state["device"],
        app.board.name,
        state["version"],
        state["mode"],
        clock(int(state["uptime_s"])),
        number(state["temperature_c"]),
    )
    yield first[:_COLUMNS]
    yield "supply %s V  %s Hz   L1 %s V   L2 %s V   contactor %s" % (
        number(supply["voltage_v"]),
        number(supply["frequency_hz"], 2),
        number(supply.get("l1_v")),
        number(supply.get("l2_v")),
        _word(state.get("contactor")),
    )
    yield ""
    yield "%-8s %-18s %6s %6s  %-18s %5s %9s" % (
        "outlet",
        "state",
        "A",
        "W",
        "of limit",
        "heat",
        "kWh",
    )
    for outlet in app.board.outlets:
        row = state["outlets"][outlet.name]
        percent = row["load_percent"]
        yield "%-8s %-18s %6s %6s  %s %4s%% %4s%% %9s" % (
            outlet.name[:8],
            _state_word(row)[:18],
            number(row["current_a"]),
            number(row["power_w"], 0),
            bar(percent),
            number(percent, 0),
            number(row["heat_percent"], 0),
            number(row["energy_kwh"], 3),
        )
    yield ""
    for name in app.board.legs:
        row = state["legs"][name]
        yield _total("leg " + name, row["current_a"], row["limit_a"], "A", 1)
    total = state["total"]
    yield _total("total", total["power_w"], total["limit_w"], "W", 0)
    link = state["link"]
    yield ("link     " + ", ".join(["%s %s" % (key, link[key]) for key in sorted(link)]))[
        :_COLUMNS
    ]
    if state.get("limits_percent", 100) < 100:
        yield "hot      all limits are at %d %%" % state["limits_percent"]
    if state.get("disabled"):
        yield ("disabled " + " ".join(state["disabled"]))[:_COLUMNS]
    last = app.journal.get(state["last_event"]) if state["last_event"] else None
    yield ("last     " + (event(app, last) if last else "no event yet"))[:_COLUMNS]


def _total(name, value, limit, unit, decimals):  # on demand
    percent = None
    if value is not None and limit:
        percent = value * 100 / limit
    return "%-8s %-18s %6s %-6s  %s %4s%%" % (
        name,
        "of %s %s" % (number(limit, 0), unit),
        number(value, decimals),
        unit,
        bar(percent),
        number(percent, 0),
    )


def _outlets(app, result):  # on demand
    yield "%-8s %-18s %7s %4s %8s %7s %8s  %s" % (
        "outlet",
        "state",
        "limit",
        "prio",
        "closed",
        "breaks",
        "largest",
        "name",
    )
    for outlet in app.board.outlets:
        name = outlet.name
        row = result["outlets"][name]
        relay = row["relay"]
        yield "%-8s %-18s %5s A %4d %8s %7d %6d A  %s" % (
            name,
            _state_word(row),
            number(row["limit_a"], 1),
            row["priority"],
            "%d%s" % (relay["operations"], "!" if "worn" in relay else ""),
            relay["load_breaks"],
            relay["largest_break_a"],
            app.settings.get(name + ".name") or "-",
        )


def _events(app, result):  # on demand
    if not result["events"]:
        yield "no such event"
        return
    yield "%-6s %-14s %-8s %-9s %-12s %-10s %s" % (
        "seq",
        "uptime",
        "outlet",
        "kind",
        "reason",
        "value",
        "source",
    )
    for row in result["events"]:
        record = app.journal.get(row["seq"])
        if record is None:  # dropped meanwhile
            continue
        words = event(app, record).split(" ", 5)
        boot = journal.when_boot(record)
        yield "%-6s %-14s %-8s %-9s %-12s %-10s %s%s" % (
            words[0],
            words[1],
            words[2],
            words[3],
            words[4],
            words[5],
            events.name(events.SOURCES, record[journal.SOURCE]),
            " (boot %d)" % boot if boot else "",
        )


def _energy(app, result):  # on demand
    for outlet in app.board.outlets:
        kwh = result["energy_kwh"][outlet.name]
        yield "%-8s %12s kWh" % (outlet.name, number(kwh, 3))
    yield "%-8s %12s kWh" % ("total", number(result["total_kwh"], 3))


def _get(app, result):  # on demand
    settings = app.settings
    unsaved = result["unsaved"]
    for name in settings.names():
        if name not in result["settings"]:
            continue
        mark = "*" if name in unsaved else " "
        yield "%s%-20s %s" % (mark, name, settings.text(name) or '""')
    if len(result["settings"]) == 1:
        yield " %s%s" % (result["help"], " (after a reboot)" if result["needs_reboot"] else "")
        yield " allowed: %s; default: %s" % (result["allowed"], _word(result["default"]))
    elif unsaved:
        yield "* not saved yet"


def _help(app, result):
    for row in result["commands"]:
        yield "%-38s %s" % (row["usage"], row["help"])


def _selftest(app, result):  # on demand
    for row in result["tests"]:
        yield "%-4s %-20s %s" % ("ok" if row["ok"] else "FAIL", row["name"], row["text"])


def _cal():
    """Its screens are needed once in a device's life."""
    from firmware.interfaces import commands, screens_cal

    commands.unload("firmware.interfaces", "screens_cal")
    return screens_cal


def _capture(app, record):
    from firmware.interfaces import commands, waveform

    commands.unload("firmware.interfaces", "waveform")
    for line in waveform.lines(record):
        yield line


_SCREENS = {
    "status": status,
    "outlets": _outlets,
    "events": _events,
    "energy": _energy,
    "get": _get,
    "help": _help,
    "selftest": _selftest,
}


def summary(name: str, result: dict) -> str:
    """What follows `ok` on the first line, or "" when a table follows."""
    if name == "set":
        text = "%s = %s" % (result["name"], result["text"])
        if "note" in result:
            return "%s (%s)" % (text, result["note"])
        return text + (" (after save and reboot)" if result["needs_reboot"] else "")
    if name == "save":
        return "saved " + (_word(result["saved"]) if result["saved"] else "(nothing changed)")
    if name in ("on", "off", "reset"):
        return _word(result["done"]) if result["done"] else "nothing to do"
    if name == "cal":
        return _cal().summary(result)
    if name == "defaults":
        return "%d settings changed, not saved yet" % len(result["unsaved"])
    return ""


def lines(app, name: str, result: dict):  # on demand
    """Generator of the lines after `ok`."""
    if summary(name, result):
        return
    screen = _SCREENS.get(name)
    if name == "cal":
        screen = _cal().lines
    if hasattr(result, "parts"):
        screen = _capture
    if screen is not None:
        for line in screen(app, result):
            yield line
        return
    for key in sorted(result):
        value = result[key]
        if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
            yield key + ":"
            for row in value:
                yield "  " + _word(row)
        elif isinstance(value, dict):
            yield key + ":"
            for part in sorted(value):
                yield "  %-16s %s" % (part, _word(value[part]))
        elif isinstance(value, str) and len(value) > _WRAP:
            yield key + ":"
            for at in range(0, len(value), _WRAP):
                yield "  " + value[at : at + _WRAP]
        else:
            yield "%-16s %s" % (key, _word(value))
