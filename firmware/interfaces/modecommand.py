# The commands `mode`, `battery` and `storm`: loaded when asked for, and dropped again. Called by
# commands; None as an answer has it ask again, without words, once a changed setting is in force.

from firmware import events


class Refused(Exception):
    """Why nothing was done, in a sentence."""


def mode(app, words, source):
    """The mode in force, after choosing another one if `words` name it; Refused."""
    from firmware.power import profile

    names = profile.names(app.board)
    if len(words) > 1:
        raise Refused("expected: mode <one of %s>" % " ".join(names))
    by = events.number(events.SOURCES, source)
    if words:
        if words[0] not in names:
            raise Refused("unknown mode '%s' (there are: %s)" % (words[0][:24], " ".join(names)))
        app.settings.hold()
        modes = _part(app, "modes")
        if modes is None and words[0] != "outlets":
            app.settings.set("mode.default", words[0])  # and with that there are modes
            app.journal.add(events.MODE, -1, events.COMMAND, names.index(words[0]), by)
            return None
        elif modes is not None:
            why = modes.choose(words[0], by)
            if why:
                raise Refused(why)
    return state(app, names)


def state(app, names) -> dict:
    """What `mode` answers."""
    modes = _part(app, "modes")
    if modes is None:
        return {"mode": "outlets", "modes": list(names), "quiet": False}
    found = modes.report()
    dispatch = app.controller.dispatch
    found["total_limit_w"] = dispatch.total.limit
    found["leg_limit_a"] = dispatch.legs[0].limit / 1000
    found["priorities"] = [app.board.outlets[i].name for i in dispatch.order]
    if modes.station.battery is not None:
        found["reserve_percent"] = modes.station.battery.reserve / 10
    found["unsaved"] = app.settings.changed()
    return found


def battery(app, words, source) -> dict:
    """What is known of the battery, after being told its state of charge; Refused."""
    part = _part(app, "battery")
    if part is None or not part.battery.capacity_wh:
        raise Refused("no battery is watched (set battery.usable_kwh first)")
    result: dict = {}
    if words:
        if len(words) != 2 or words[0] != "soc":
            raise Refused("expected: battery soc <0 to 100>")
        try:
            percent = float(words[1][:-1] if words[1].endswith("%") else words[1])
            if not 0 <= percent <= 100:
                raise ValueError
        except ValueError:
            raise Refused("'%s' is no state of charge (allowed: 0 to 100 %%)" % words[1][:24])
        doubt = part.told(percent, events.number(events.SOURCES, source))
        if doubt:
            result["doubt"] = doubt
    result.update(part.report()["battery"])
    return result


def storm(app, words, source):
    """Storm watch on or off: a larger reserve; Refused."""
    part = _part(app, "battery")
    if part is None or not part.battery.capacity_wh:
        raise Refused("no battery is watched (set battery.usable_kwh first)")
    if words:
        if words not in (["on"], ["off"]):
            raise Refused("expected: storm on, or storm off")
        wanted = words[0] == "on"
        if wanted != part.storm:
            app.settings.hold()
            app.settings.set("battery.storm_watch", wanted)  # which the part follows
            by = events.number(events.SOURCES, source)
            app.journal.add(events.BATTERY, -1, events.STORM, part.level, by)
            return None
    found = {"storm": part.storm, "reserve_percent": part.reserve / 10}
    found["unsaved"] = app.settings.changed()
    return found


def _part(app, name):
    station = app.controller.station
    return None if station is None else getattr(station, name)
