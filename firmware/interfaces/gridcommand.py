# The command `grid`: export to the grid, and what it is told. Loaded when asked for, and dropped
# again. Called by commands; None as an answer has it ask again, without words, once a changed
# setting is in force.

from firmware import events


class Refused(Exception):
    """Why nothing was done, in a sentence."""


def grid(app, words, source):
    """What export does, after `start`, `stop`, `reset` or `set <W>`; Refused."""
    station = app.controller.station
    part = None if station is None else station.grid
    if part is None:
        raise Refused("this board exports nothing to a grid (boards that do: pico_w_home)")
    by = events.number(events.SOURCES, source)
    text = ""
    if words == ["start"]:
        text = part.start(by)
    elif words == ["stop"]:
        part.stop(by)
    elif words == ["reset"]:
        text = part.reset(by)
    elif words[:1] == ["set"] and len(words) in (2, 3):
        _set(app, part, " ".join(words[1:]))
        return None
    elif words:
        raise Refused("usage: grid [start | stop | reset | set <W>]")
    if text:
        app.journal.note(events.REFUSED, -1, events.GRID, 0, by)
        raise Refused(text)
    found = part.report()["grid"]
    found["unsaved"] = app.settings.changed()
    return found


def _set(app, part, text):
    """What is to be exported at most, W."""
    word = text[:-1].strip() if text[-1:] in ("W", "w") else text
    most = part.logic.most_w
    if not word.isdigit() or len(word.encode()) > 5 or int(word) > most:
        raise Refused(
            "'%s' is not allowed (allowed: 0 to %d W, the smaller of grid.most_w and "
            "grid.rating_w)" % (text[:24], most)
        )
    app.settings.hold()
    app.settings.set("grid.power_w", word)
