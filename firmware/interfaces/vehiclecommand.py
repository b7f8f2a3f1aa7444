# The command `vehicle`: charging another car, and what it is told. Loaded when asked for, and
# dropped again. Called by commands.

from firmware import events


class Refused(Exception):
    """Why nothing was done, in a sentence."""


def vehicle(app, words, source) -> dict:
    """What the charger does, after `start`, `stop`, `reset` or `limit <A>`; Refused."""
    station = app.controller.station
    part = None if station is None else station.vehicle
    if part is None:
        raise Refused("this board charges no cars (boards that do: pico_w_home)")
    text = ""
    if words == ["start"]:
        text = part.start()
    elif words == ["stop"]:
        text = part.stop()
    elif words == ["reset"]:
        text = part.reset()
    elif words[:1] == ["limit"] and len(words) in (2, 3):
        text = part.limit(_amps(" ".join(words[1:])))
    elif words:
        raise Refused("usage: vehicle [start | stop | reset | limit <A>]")
    if text:
        by = events.number(events.SOURCES, source)
        app.journal.note(events.REFUSED, part.index, events.PILOT, 0, by)
        raise Refused(text)
    return part.report()["vehicle"]


def _amps(text):
    """6 to 32 A of a word like `16`, `12.5` or `16 A`."""
    word = text[:-1].strip() if text[-1:] in ("A", "a") else text
    number, dot, part = word.partition(".")
    plain = len(word.encode()) == len(word) <= 6  # no digits of other scripts
    if plain and number.isdigit() and part.isdigit() == bool(dot):
        amps = float(word)
        if 6 <= amps <= 32:
            return amps
    raise Refused("'%s' is not allowed (allowed: 6 to 32 A, for this car)" % text[:24])
