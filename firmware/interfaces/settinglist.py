# Many settings at once: the answers of `get` and of `settings export`, line by line and piece by
# piece, because a table of all of them would take 20 KB. Loaded when asked for, and dropped
# again. Called by the outer lane (commands).

import json

from micropython import const

from firmware.storage.settings import SECRET

_PIECE = const(160)  # characters handed over at a time
_NEW_GROUP = const(100)  # a line of an export that long is ended when a group does
_LONG = const(370)  # and one that long in any case; the console takes 512 bytes


def _json(value):
    return json.dumps(value, separators=(",", ":"))


class Listing:
    """The settings whose names begin with `start`, as they are now: later changes do not show,
    because MQTT asks for the parts twice and they must be the same.

    `changed`: only those that differ from their default or are not saved yet."""

    def __init__(self, settings, start: str = "", changed: bool = False):
        self._settings = settings
        self._start = start
        self._only = changed
        self._values = settings.snapshot()
        self._unsaved = settings.changed()
        self._waiting = settings.needs_reboot()

    def _rows(self):
        for row in self._settings.rows(self._values, self._start):
            if not self._only or row[2] != row[3] or row[0] in self._unsaved:
                yield row

    def parts(self):
        """The JSON object in pieces, from behind its opening brace."""
        text = '"settings":{'
        lead = ""
        for name, flags, _, value, shown in self._rows():
            if flags & SECRET:
                value = shown
            text += '%s"%s":%s' % (lead, name, _json(value))
            lead = ","
            if len(text) > _PIECE:
                yield text
                text = ""
        yield text + '},"unsaved":%s,"needs_reboot":%s}' % (
            _json(self._unsaved),
            _json(self._waiting),
        )

    def lines(self):
        """A line each, for people."""
        count = 0
        for name, _, _, _, shown in self._rows():
            count += 1
            yield "%s%-20s %s%s" % (
                "*" if name in self._unsaved else " ",
                name,
                shown or '""',
                "  (after a reboot)" if name in self._waiting else "",
            )
        if not count:
            yield "every setting has its default"
        if self._unsaved:
            yield "* not saved yet"


class Export(Listing):
    """All settings for `settings import`, on one line. Secrets are left out and named.

    `about`: board and version, as a dict."""

    def __init__(self, settings, about: dict, changed: bool = False):
        super().__init__(settings, "", changed)
        self._about = about

    def parts(self):
        """See Listing."""
        text = '"export":' + _json(self._about)[:-1] + ',"settings":{'
        lead = ""
        secrets = []
        for name, flags, _, value, _ in self._rows():
            if flags & SECRET:
                if value:
                    secrets.append(name)
                continue
            text += '%s"%s":%s' % (lead, name, _json(value))
            lead = ","
            if len(text) > _PIECE:
                yield text
                text = ""
        yield text + '},"secrets":%s}}' % _json(secrets)

    def lines(self):
        """Commands that bring it all back when they are typed, none too long for the console.
        What has to go with each other stays on one line, so a new one begins with a group."""
        text = group = ""
        for name, flags, _, value, _ in self._rows():
            if flags & SECRET:
                continue
            begins = group != name[: name.find(".")]
            group = name[: name.find(".")]
            if text and len(text) > (_NEW_GROUP if begins else _LONG):
                yield "settings import {%s}" % text
                text = ""
            text += '%s"%s":%s' % ("," if text else "", name, _json(value))
        if text:
            yield "settings import {%s}" % text


def plain(values):
    """The table of settings in what `settings export` printed, or a part of it, whole lines
    too; ValueError when there is none."""
    for key in ("export", "settings"):
        if isinstance(values, dict) and key in values:
            values = values[key]
    if not isinstance(values, dict) or not values:
        raise ValueError
    return values
