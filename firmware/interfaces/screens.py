"""Results of commands as lines for people: aligned tables, a status that fits 80 x 24.

Role: formatting only; every function yields lines, so that no long text is built in RAM.
Called by: the outer lane (console task).
"""

from micropython import const

from firmware import events, pieces, report
from firmware.storage import journal

_BAR = const(10)
_WRAP = const(72)
_USAGE = const(29)  # columns of the left side of `help`
_INDENT = const(12)
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


def event(app, record) -> str:  # on demand
    """`<seq> <h:mm:ss.mmm> <outlet|-> <kind> <reason> <value|->` of a journal record."""
    kind = record[journal.KIND]
    reason = record[journal.REASON]
    outlet = record[journal.OUTLET]
    outlets = app.board.outlets
    value = "-"
    if kind == events.SETTING and reason == events.COMMAND:
        value, _, text = app.settings.of_number(outlet, record[journal.VALUE])
        if text:
            value += " = " + text
    else:
        meaning = events.value_meaning(kind, reason)
        if meaning is not None:
            value = number(record[journal.VALUE] / meaning[1], meaning[3])
            if meaning[0] == "state":
                value = report.export_state(kind, record[journal.VALUE])
            elif meaning[2]:
                value += " " + meaning[2]
            elif meaning[0] == "code":
                value = report.which(app, record[journal.REASON], record[journal.VALUE]) or "-"
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
    text = "link     " + ", ".join(
        ["%s %s" % (key, link[key]) for key in ("mqtt", "wifi") if key in link]
    )
    if state.get("time"):
        text += "   time " + state["time"]
    yield text[:_COLUMNS]
    if state.get("power"):
        for text in _exports(state["power"]):
            yield text[:_COLUMNS]
    if state.get("limits_percent", 100) < 100:
        yield "hot      all limits are at %d %%" % state["limits_percent"]
    if state.get("disabled"):
        yield ("disabled " + " ".join(state["disabled"]))[:_COLUMNS]
    if state.get("settings"):
        yield ("settings " + _word(state["settings"]))[:_COLUMNS]
    last = app.journal.get(state["last_event"]) if state["last_event"] else None
    yield ("last     " + (_last(app, last, state) if last else "no event yet"))[:_COLUMNS]


def _exports(power):  # on demand
    """A line for each part of power export that has something to say."""
    if power.get("quiet"):
        yield "quiet    quiet hours: less power"
    row = power.get("battery")
    if row:
        soc = row["soc_percent"]
        text = "battery  %s, %s %% kept back" % (
            "not known" if soc is None else "%s %%" % number(soc, 0),
            number(row["reserve_percent"], 0),
        )
        if row["left_h"] is not None:
            most = "over " if row["left_h"] >= 720 else ""
            text += ", lasts %s%d d %d h" % (most, row["left_h"] // 24, row["left_h"] % 24)
        yield text + ("" if row["level"] == "good" else ": " + row["level"])
    for name in ("home", "vehicle", "grid"):
        row = power.get(name)
        if row:
            yield "%-8s %-18s %6s W" % (name, row["state"], number(row.get("power_w"), 0))


def _last(app, record, state):  # on demand
    """An event in words, with its age."""
    words = event(app, record).split(" ", 5)[2:]
    if words[2] in ("none", "command"):
        words[2] = "-"
    age = int(state["uptime_s"]) - record[journal.UPTIME_S]
    unit = "s"
    for size, name in ((60, "min"), (60, "h"), (24, "days")):
        if age < 2 * size:
            break
        age //= size
        unit = name
    text = " ".join([word for word in words if word != "-"])
    return "%s, %d %s ago" % (text, max(age, 0), unit)


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
    book = app.journal
    for line in events_table(app, (book.get(row["seq"]) for row in result["events"])):
        yield line


def events_table(app, records):  # on demand
    """Lines of journal records; None: dropped meanwhile."""
    row = "%-6s %-14s %-8s %-9s %-12s %-10s %s"
    count = 0
    for record in records:
        if record is None:
            continue
        if not count:
            from firmware import timezone

            pieces.drop("firmware.timezone")
            zone = timezone.Zone(app.settings.get("time.zone"))
            yield row % ("seq", "time", "outlet", "kind", "reason", "value", "source")
        count += 1
        words = event(app, record).split(" ", 5)
        when = journal.when_epoch(record)
        if when:
            words[1] = timezone.text(when, zone.offset(when))[5:19]
        boot = journal.when_boot(record)
        words.append(events.name(events.SOURCES, record[journal.SOURCE]))
        if boot:
            words.append("(boot %d)" % boot)
        yield row % tuple(words[:6] + [" ".join(words[6:])])
    if not count:
        yield "no such event"


def _energy(app, result):  # on demand
    row = "%-8s %13s %13s %13s"
    columns = ("energy_kwh", "today_kwh", "yesterday_kwh")
    yield row % ("kWh", "total", "today", "yesterday")
    for outlet in app.board.outlets:
        found = [result[name] and result[name][outlet.name] for name in columns]
        yield row % tuple([outlet.name] + [number(kwh, 3) for kwh in found])
    found = [result[name] for name in ("total_kwh", "today_total_kwh", "yesterday_total_kwh")]
    yield row % tuple(["total"] + [number(kwh, 3) for kwh in found])
    if "paid" in result:  # by feed and direction, beside that
        for name in ("home", "grid"):
            for way in ("out", "in"):
                found = [result[x] and result[x][name + "_" + way] for x in columns]
                yield row % tuple([name + " " + way] + [number(kwh, 3) for kwh in found])
        for name in ("paid", "earned"):
            found = [result[day + name] for day in ("", "today_", "yesterday_")]
            yield row % tuple([name] + [number(money, 2) for money in found])


def _get(app, result):  # on demand
    settings = app.settings
    for name in result["settings"]:
        mark = "*" if name in result["unsaved"] else " "
        yield "%s%-20s %s" % (mark, name, settings.text(name) or '""')
        yield " %s%s" % (result["help"], " (after a reboot)" if result["needs_reboot"] else "")
        yield " allowed: %s; default: %s" % (result["allowed"], _word(result["default"]))


def _help(app, result):
    rows = result["commands"]
    width = min(max([len(row["usage"]) for row in rows]), _USAGE)
    for row in rows:
        text = "%-*s  %s" % (width, row["usage"], row["help"])
        if len(text) > _COLUMNS or len(row["usage"]) > width:
            yield row["usage"]
            text = "%-*s  %s" % (_INDENT, "", row["help"])
        yield text


def _selftest(app, result):  # on demand
    for row in result["tests"]:
        yield "%-4s %-20s %s" % ("ok" if row["ok"] else "FAIL", row["name"], row["text"])


def _cal():
    """Its screens are needed once in a device's life."""
    from firmware.interfaces import screens_cal

    pieces.drop("firmware.interfaces.screens_cal")
    return screens_cal


def _capture(app, record):
    from firmware.interfaces import waveform

    pieces.drop("firmware.interfaces.waveform")
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


def summary(name: str, result: dict) -> str:  # on demand
    """What follows `ok` on the first line, or "" when a table follows."""
    if name == "set":
        text = "%s = %s" % (result["name"], result["text"])
        if "note" in result:
            return "%s (%s)" % (text, result["note"])
        return text + (" (after save and reboot)" if result["needs_reboot"] else "")
    if name == "save":
        text = "saved " + (_word(result["saved"]) if result["saved"] else "(nothing changed)")
        if result["needs_reboot"]:
            text += " (after a reboot: %s)" % _word(result["needs_reboot"])
        return text
    if name == "settings" and not hasattr(result, "parts") and "notes" in result:  # imported
        text = "%d settings changed, not saved yet" % len(result["changed"])
        if result["needs_reboot"]:
            text += " (after a reboot: %s)" % _word(result["needs_reboot"])
        return "; ".join([text] + result["notes"])
    if name in ("on", "off", "reset"):
        return _word(result["done"]) if result["done"] else "nothing to do"
    if name == "cal":
        return _cal().summary(result)
    if name == "defaults":
        return "%d settings changed, not saved yet" % result["changed"]
    return ""


def lines(app, name: str, result: dict):  # on demand
    """Generator of the lines after `ok`."""
    if summary(name, result):
        return
    screen = _SCREENS.get(name)
    if name == "cal":
        screen = _cal().lines
    if hasattr(result, "lines"):
        for line in result.lines():
            yield line
        return
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
