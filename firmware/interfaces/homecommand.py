# The command `home`: loaded when asked for, and dropped again. Called by commands.

from firmware import events


class Refused(Exception):
    """Why nothing was done, in a sentence."""


def home(app, words, source) -> dict:
    """Do what `words` say (start, stop, reset), then what home backup does and sees; Refused."""
    station = app.controller.station
    part = None if station is None else station.home
    if part is None:
        raise Refused("board %s has no transfer switch" % app.board.name)
    if words:
        by = events.number(events.SOURCES, source)
        verb = words[0]
        force = words[1:] == ["--force"]
        if verb not in ("start", "stop", "reset") or not (force or len(words) == 1):
            raise Refused("expected: home start, home stop or home reset (--force: see help home)")
        if verb == "start":
            if force:
                raise Refused("home start: nothing can be forced")
            text = part.start(by)
        elif verb == "stop":
            text = part.stop(by, force)
        else:
            text = part.reset(by, force)
        if text:
            raise Refused(text)
    return part.report()["home"]
