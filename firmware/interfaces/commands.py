"""What can be asked of the device: one implementation for console, MQTT and whatever comes.

Role: check the source, parse the words, ask app and controller, return a plain dict that JSON
can carry. No formatting here, and no relay is touched here: the controller decides.
Called by: the outer lane only.
"""

import json
import sys
import time

from micropython import const

from firmware import events, pieces
from firmware.storage.files import NotYet, StorageError
from firmware.storage.settings import (
    DEFAULT,
    FLAGS,
    LIMIT,
    REBOOT,
    SECRET,
    SYSTEM,
    TYPE,
    TYPES,
    UNIT,
    SettingError,
    allowed_text,
    check,
)

# What a source may do, a bit each. A command names the bits of which one is enough; what it then
# does may need another one, see _allow(). The network's are those of mqtt.allow: bit n for word n.
_LOOK = const(0)
_SWITCH = const(1)  # switch outlets, clear trips
_SETTINGS = const(2)  # settings that no other bit stands for
_LIMITS = const(4)  # settings that protect (LIMIT in the schema), overriding a refusal
_CALIBRATION = const(8)
_SYSTEM = const(16)  # restart, network, broker, who may do what
_SET = const(22)  # one of those that set something
_NETWORK = const(31)  # the most that a network may get
_LOCAL = const(32)  # end the program
_CONSOLE = const(63)

_GROUPS = ("switch", "settings", "limits", "calibration", "system")

# What may follow a command, for tab completion.
_A_NONE = const(0)
_A_OUTLET = const(1)
_A_SETTING = const(2)
_A_COMMAND = const(3)
_A_WORDS = const(4)  # the words in the last column
_A_CHANNEL = const(5)  # a channel or these words, then what `cal` can do with it

_IMPORT_NOTED = const(8)  # changed settings of an import that get a record of their own
_SAVE_MS = const(5000)  # so long a save waits for a quiet moment
_IDLE_MS = const(5000)  # work that nobody has asked after for so long is given up
_TOGETHER_MS = const(60)  # a trip so soon after another one is on the same record

# (name, usage, help, bits of which one is needed, what may follow, words)
TABLE = (  # on demand
    ("status", "", "one screen: outlets, legs, supply, link", _LOOK, _A_NONE, ()),
    ("watch", "[seconds]", "status, refreshed until a key is hit", _LOCAL, _A_NONE, ()),
    ("outlets", "", "state, limit and priority of each outlet", _LOOK, _A_NONE, ()),
    (
        "on",
        "<outlet>|all [--force]",
        "switch on (--force: although it may not fit)",
        1,
        1,
        ("all",),
    ),
    ("off", "<outlet>|all", "switch off", _SWITCH, _A_OUTLET, ("all",)),
    ("reset", "<outlet>|all [--force]", "clear a trip (--force: a lockout too)", 1, 1, ("all",)),
    ("get", "[name or beginning] [--changed]", "show settings", _LOOK, _A_SETTING, ()),
    ("set", "<name> <value>", "change a setting; `save` makes it last", _SET, _A_SETTING, ()),
    ("save", "", "make changed settings last", _SET, _A_NONE, ()),
    ("defaults", "yes", "all settings back to their defaults", _SET, _A_WORDS, ("yes",)),
    (
        "settings",
        "[export [--changed] | import {...}]",
        "all of them as JSON, and back",
        _LOOK,
        _A_WORDS,
        ("export", "import"),
    ),
    (
        "cal",
        "[<channel> ... | export | import ...]",
        "the calibration (help cal: how to)",
        _LOOK,
        _A_CHANNEL,
        ("export", "import"),
    ),
    (
        "events",
        "[count|all] [outlet] [kind] ...",
        "what happened, newest last (help events: more)",
        _LOOK,
        _A_OUTLET,
        ("all", "trips", "since", "by", "for"),  # and the kinds
    ),
    (
        "energy",
        "[hours | days | months [count | <of>]]",
        "energy of each outlet: total, today; by hour, day, month",
        _LOOK,
        _A_WORDS,
        ("hours", "days", "months"),
    ),
    (
        "time",
        "[set <time>]",
        "the clock, and where it got the time from",
        _LOOK,
        _A_WORDS,
        ("set",),
    ),
    (
        "capture",
        "[<outlet> [--all] | clear]",
        "the waveform of a trip (clear: free it)",
        _LOOK,
        _A_OUTLET,
        ("clear",),
    ),
    ("selftest", "[full]", "what checks itself (full: all of it now)", 0, 4, ("full",)),
    ("version", "", "firmware, board and MicroPython", _LOOK, _A_NONE, ()),
    ("mqtt", "[forget]", "broker's state; forget: out of Home Assistant", 0, 4, ("forget",)),
    (
        "wifi",
        "[scan | set <ssid> [password] | forget <ssid>]",
        "network's state, networks in reach, those it knows",
        _LOOK,
        _A_WORDS,
        ("scan", "set", "forget"),
    ),
    (
        "mode",
        "[<mode>]",
        "how the power is exported",
        _LOOK,
        _A_WORDS,
        ("outlets", "worksite", "camp", "home", "vehicle", "grid"),
    ),
    (
        "battery",
        "[soc <percent>]",
        "what is left, and for how long; soc: tell it how full it is",
        _LOOK,
        _A_WORDS,
        ("soc",),
    ),
    (
        "grid",
        "[start | stop | reset | set <W>]",
        "export to the grid: when, how much, why not",
        _LOOK,
        _A_WORDS,
        ("start", "stop", "reset", "set"),
    ),
    (
        "home",
        "[start | stop | reset] [--force]",
        "home backup: who feeds the home, and why",
        _LOOK,
        _A_WORDS,
        ("start", "stop", "reset"),
    ),
    (
        "vehicle",
        "[start | stop | reset | limit <A>]",
        "charging another car from bed240",
        _LOOK,
        _A_WORDS,
        ("start", "stop", "reset", "limit"),
    ),
    ("storm", "[on | off]", "storm watch: keep more in reserve", _LOOK, 4, ("on", "off")),
    ("reboot", "yes", "open all relays and start again", _SYSTEM, _A_WORDS, ("yes",)),
    ("exit", "yes", "open all relays and leave for the REPL", _LOCAL, _A_WORDS, ("yes",)),
    ("help", "[command]", "this list, or more on one command", _LOOK, _A_COMMAND, ()),
)
_NAME = const(0)
_USAGE = const(1)
_HELP = const(2)
_NEED = const(3)
_FOLLOWS = const(4)
_WORDS = const(5)

_CAL_WORDS = ("zero", "gain", "low", "high", "phase", "clear")


class CommandError(Exception):
    """A command was refused; the text says why in a sentence.

    `result` may carry what was done all the same."""

    def __init__(self, reason: str, result: dict | None = None):
        super().__init__(reason)
        self.result = result


def row(name: str):
    """The table's row of a command, or None."""
    return pieces.row(TABLE, name)


def usage(entry) -> str:
    """`name usage`, as typed."""
    return (entry[_NAME] + " " + entry[_USAGE]).rstrip()


def allowed(text: str) -> int:
    """The bits that a value of mqtt.allow stands for."""
    bits = 0
    for i, word in enumerate(_GROUPS):
        if word in text:
            bits |= 1 << i
    return bits


def groups(bits: int) -> list:
    """The words of mqtt.allow for some bits."""
    return [_GROUPS[i] for i in range(len(_GROUPS)) if bits >> i & 1]


def _cut(word):
    return word if len(word) <= 32 else word[:32] + "..."


def _digits(word):
    """The number that a word of digits stands for, or -1."""
    number = 0
    for byte in word.encode():
        if not 48 <= byte <= 57 or number > 99999999:
            return -1
        number = number * 10 + byte - 48
    return number if word else -1


class Job:
    """The work of a command that takes seconds, done in small steps by whoever asked for it: call
    poll() each 20 to 50 ms until it returns the result; CommandError when it is refused after
    all. Nobody else waits for it, and it ends when nobody polls any more.

    `steps`: generator that yields its progress in words and returns the result; `refusal`: its
    exception with a sentence."""

    def __init__(self, name: str, steps, refusal):
        self.name = name
        self.progress = ""
        self._steps = steps
        self._refusal = refusal
        self._polled = time.ticks_ms()

    def is_running(self) -> bool:
        """Whether it is under way, and somebody still wants to know."""
        idle = time.ticks_diff(time.ticks_ms(), self._polled)
        return self._steps is not None and 0 <= idle < _IDLE_MS  # days later it is negative

    def end(self):
        """Done, or given up: let go of the memory."""
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def poll(self):
        """Do a step; None while there is more to do, then the result."""
        if self._steps is None:
            raise CommandError("%s was given up" % self.name)
        self._polled = time.ticks_ms()
        over = True
        try:
            self.progress = next(self._steps)
            over = False
            return None
        except StopIteration as end:
            return end.value
        except (self._refusal, StorageError) as error:
            raise CommandError(str(error), getattr(error, "result", None))
        finally:
            if over:
                self.end()


class Commands:
    """Runs commands for an app. `report` is firmware.report unless a test brings its own."""

    def __init__(self, app, report=None):
        self._app = app
        if report is None:
            from firmware import report
        self._report = report
        self._job = None
        self._cal_points = {}

    def names(self):
        """Names of all commands, in the table's order."""
        return [entry[_NAME] for entry in TABLE]

    def run(self, name: str, args: list, source: str) -> dict:
        """Run one command for a source (a word of events.SOURCES); CommandError when refused.

        The result has the method poll() when the command takes seconds, see Job."""
        need = _SWITCH
        if name != "off":  # which needs nothing that may have to be loaded first, as the table
            entry = row(name)
            if entry is None:
                raise CommandError(
                    "unknown command '%s' (there are: %s)" % (_cut(name), " ".join(self.names()))
                )
            need = entry[_NEED]
            pieces.breathe()  # to find it may have taken three mains cycles
        self._allow(need, name, source)
        settings = self._app.settings
        try:
            result = getattr(self, "_" + name)(args, source)
        except (SettingError, StorageError) as error:
            raise CommandError(str(error))
        finally:
            changed = settings.tell()
        if result is None:  # what is answered follows from the change
            return getattr(self, "_" + name)([], source)
        if changed:
            self._warn(result, changed)
        return result

    def _warn(self, result, changed):  # on demand
        """Into the result of `set` or an import: which new limits are below the present load."""
        notes = [self._app.controller.warning(name) for name in changed]
        notes = [note for note in notes if note]
        if "notes" in result:
            result["notes"] = notes
        elif notes:
            result["note"] = notes[0]

    # -- who may ----------------------------------------------------------------------

    def _may(self, source):
        """The bits of what a source may do."""
        if source == "console":
            return _CONSOLE
        if source in ("mqtt", "ha", "web"):
            return allowed(self._app.settings.get("mqtt.allow"))
        if source == "schedule":
            return _SWITCH
        raise CommandError("'%s' is no source of commands" % _cut(source))

    def _allow(self, need, what, source, every=False):
        """CommandError when a source has no bit of `need` (`every`: not all of them)."""
        have = self._may(source) & need
        if have == need or (have and not every):
            return
        by = events.number(events.SOURCES, source)
        self._app.journal.note(events.REFUSED, -1, events.NOT_ALLOWED, 0, by)
        if need == _LOCAL:
            raise CommandError("%s is possible on the console only" % what)
        raise CommandError(
            "%s is not allowed from %s (mqtt.allow has no %s)"
            % (what, source, (", " if every else " or ").join(groups(need & ~have)))
        )

    def allow_setting(self, name, value, source):  # on demand
        """CommandError when a source may not give a setting that value."""
        entry = self._app.settings.entry(name)
        flags = entry[FLAGS]
        need = _SETTINGS
        if flags & LIMIT:
            need = _LIMITS
        elif flags & SYSTEM:
            need = _SYSTEM
        self._allow(need, "set " + name, source)
        if name == "mqtt.allow" and allowed(check(entry, value)) & ~self._may(source):
            raise CommandError("mqtt.allow can only be narrowed from %s" % source)

    # -- words ------------------------------------------------------------------------

    def _outlet_names(self):
        return [outlet.name for outlet in self._app.board.outlets]

    def _outlet(self, name):
        index = self._app.board.outlet_index(name)
        if index < 0:
            raise CommandError(
                "unknown outlet '%s' (there are: %s)"
                % (_cut(name), " ".join(self._outlet_names()))
            )
        return index

    def _wrong(self, name):
        raise CommandError("usage: " + usage(row(name)))

    def _bare(self, name, args):
        if args:
            self._wrong(name)

    def complete(self, line: str) -> tuple:  # on demand
        """For tab completion: (beginning of the word, words that it may become)."""
        words = line.split(" ")
        last = words[-1]
        words = [word for word in words[:-1] if word]
        found = []
        if not words:
            found = self.names()
        else:
            entry = row(words[0])
            if entry is not None:
                follows = entry[_FOLLOWS]
                if last[:1] == "-":
                    text = entry[_USAGE].replace("[", "").replace("]", "")
                    found = [word for word in text.split() if word[:2] == "--"] + ["--json"]
                elif follows == _A_COMMAND:
                    found = self.names()
                elif follows == _A_WORDS and len(words) > 1:
                    pass
                elif words[-1] == "by":
                    found = list(events.SOURCES)
                elif follows == _A_SETTING:
                    if len(words) == 1:
                        found = list(self._app.settings.names())
                    elif len(words) == 2 and words[0] == "set":
                        found = self._values(words[1])
                elif follows == _A_CHANNEL and len(words) > 1:
                    if words[1] not in entry[_WORDS] and len(words) == 2:
                        found = list(_CAL_WORDS)
                else:
                    if follows == _A_OUTLET:
                        found = self._outlet_names()
                    elif follows == _A_CHANNEL:
                        found = [x.name for x in self._app.board.channels if x.kind != "aux"]
                    if words[0] == "events":
                        found = found + list(events.KINDS)
                    found = found + list(entry[_WORDS])
        return last, [word for word in found if word.startswith(last)]

    def _values(self, name):  # on demand
        try:
            entry = self._app.settings.entry(name)
        except SettingError:
            return []
        kind = TYPES[entry[TYPE]]
        if kind == "bool":
            return ["on", "off"]
        if kind in ("choice", "words"):
            return ["auto" if choice == 0 else str(choice) for choice in entry[3]]
        return []

    # -- looking ----------------------------------------------------------------------

    def _status(self, args, source):
        self._bare("status", args)
        return self._report.state(self._app)

    def _watch(self, args, source):
        raise CommandError("watch is for a terminal")

    def _outlets(self, args, source):
        self._bare("outlets", args)
        outlets = self._report.state(self._app)["outlets"]
        pieces.breathe()
        self._report.relays(self._app, outlets)
        pieces.breathe()
        return {"outlets": outlets}

    def _energy(self, args, source):  # on demand
        pieces.collect()
        app = self._app
        if not args:
            from firmware.storage import history

            pieces.drop("firmware.storage.history")
            names = self._outlet_names()
            if app.energy.more:
                from firmware.storage.energy import NAMES

                names.extend(NAMES)
            pieces.breathe()
            return history.totals(app.energy, names, app.totals_mwh())
        from firmware.interfaces import energytable

        pieces.drop("firmware.interfaces.energytable")
        pieces.drop("firmware.storage.history")
        pieces.drop("firmware.timezone")
        try:
            return energytable.table(app, args)
        except ValueError as error:
            raise CommandError(str(error))

    def _time(self, args, source):  # on demand
        pieces.collect()
        from firmware.interfaces import timecommand

        pieces.drop("firmware.interfaces.timecommand")
        pieces.drop("firmware.timekeeper")
        pieces.drop("firmware.timezone")
        if args:
            if args[0] != "set" or len(args) < 2:
                self._wrong("time")
            self._allow(_SYSTEM, "time set", source)
        try:
            return timecommand.answer(self._app, args[1:], source)
        except timecommand.Refused as error:
            raise CommandError(str(error))

    def _events(self, args, source):  # on demand
        listing = self._events_module()
        try:
            return listing.answer(self._app, self._report, args)
        except listing.Refused as error:
            raise CommandError(str(error))
        finally:  # what a date has needed
            pieces.drop("firmware.interfaces.timecommand")
            pieces.drop("firmware.timekeeper")
            pieces.drop("firmware.timezone")

    def _events_module(self):
        """Its module, needed as long as the answer is."""
        pieces.collect()
        from firmware.interfaces import eventlist

        pieces.drop("firmware.interfaces.eventlist")
        return eventlist

    def _version(self, args, source):  # on demand
        self._bare("version", args)
        app = self._app
        python = ".".join([str(part) for part in sys.implementation.version[:3]])
        return {
            "firmware": app.version,
            "board": app.board.name,
            "chip": app.board.chip,
            "python": sys.implementation.name + " " + python,
            "platform": sys.platform,
        }

    def _help(self, args, source):  # on demand
        if not args:
            have = self._may(source)
            rows = []
            for entry in TABLE:
                if not entry[_NEED] or entry[_NEED] & have:
                    rows.append({"usage": usage(entry), "help": entry[_HELP]})
                    if not len(rows) & 7:
                        pieces.breathe()
            return {"commands": rows}
        entry = row(args[0])
        if entry is None or len(args) > 1:
            raise CommandError(
                "no help on '%s' (there are: %s)" % (_cut(" ".join(args)), " ".join(self.names()))
            )
        if entry[_NAME] == "cal":
            forms = self._calibration().FORMS
            return {"commands": [{"usage": ("cal " + x).rstrip(), "help": y} for x, y in forms]}
        if entry[_NAME] == "events":
            forms = self._events_module().FORMS
            return {"commands": [{"usage": "events " + x, "help": y} for x, y in forms]}
        from firmware.interfaces import helptexts

        pieces.drop("firmware.interfaces.helptexts")
        forms = [(usage(entry), entry[_HELP])] + helptexts.forms(entry[_NAME])
        return {"commands": [{"usage": x, "help": y} for x, y in forms]}

    def _selftest(self, args, source):  # on demand
        if args == ["full"]:
            return self._begin("selftest full", self._full_test(), CommandError)
        self._bare("selftest", args)
        return self._tested()

    def _full_test(self):  # on demand
        """Generator: do it all, then what came of it."""
        from firmware.selftest import parts

        for progress in parts("slow").full(self._app.tests):
            yield progress
        return self._tested()

    def _tested(self):  # on demand
        tests = []
        failed = []
        for name, good, text, seen in self._app.selftest():
            pieces.breathe()
            tests.append({"name": name, "ok": bool(good), "text": text, "checked_s": seen})
            if not good:
                failed.append(name)
        result = {"passed": not failed, "tests": tests}
        if failed:
            raise CommandError("failed: " + " ".join(failed), result)
        return result

    def _capture(self, args, source):  # on demand
        every = "--all" in args
        args = [word for word in args if word != "--all"]
        if len(args) > 1 or (every and not args):
            self._wrong("capture")
        controller = self._app.controller
        if not hasattr(controller, "fast"):
            raise CommandError("this firmware keeps no waveforms")
        # Needed after a trip: its 4 KB are worth more as heap in between.
        from firmware.sensing import capture

        pieces.drop("firmware.sensing.capture")
        try:
            if not args:
                return capture.state(controller)
            if args[0] == "clear":
                self._allow(_SWITCH, "capture clear", source)
                return {"cleared": capture.clear(controller) or None}
            index = self._outlet(args[0])
            return capture.Record(controller, index, every, self._circumstances())
        except capture.CaptureError as error:
            raise CommandError(str(error))

    def _circumstances(self):  # on demand
        """What else the head of a capture says: whose, when, and the trip as an event."""
        app = self._app
        seq = app.controller.fast.wave_event
        record = app.journal.get(seq) if seq else None
        also = []
        pieces.breathe()
        for other in app.journal.since(seq) if record else ():
            if (other[6] - record[6]) * 1000 + other[7] - record[7] > _TOGETHER_MS:
                break
            if other[1] in (events.TRIPPED, events.FAULT) and other[2] not in (-1, record[2]):
                also.append(self._outlet_names()[other[2]])
        pieces.breathe()
        return {
            "device": app.device_id,
            "board": app.board.name,
            "version": app.version,
            "uptime_s": app.clock.uptime_ms() / 1000,
            "event": self._report.event(app, record) if record else None,
            "also": also,
        }

    # -- switching ----------------------------------------------------------------------

    def _on(self, args, source):
        return self._switch("on", args, source)

    def _off(self, args, source):
        return self._switch("off", args, source)

    def _reset(self, args, source):
        return self._switch("reset", args, source)

    def _switch(self, verb, args, source):
        force = "--force" in args
        args = [word for word in args if word != "--force"]
        if len(args) != 1:
            self._wrong(verb)
        if force and verb != "off":
            # Overriding a refusal is for somebody who can see the outlet, or was trusted with all.
            self._allow(_LIMITS, verb + " --force", source)
        by = events.number(events.SOURCES, source)
        controller = self._app.controller
        if args[0] != "all":
            reason = controller.command(verb, self._outlet(args[0]), by, force)
            if reason:
                raise CommandError("%s: %s" % (args[0], reason))
            return {"done": [args[0]]}
        done = []
        refused = {}
        for outlet in self._app.board.outlets:
            if verb == "reset":
                pieces.breathe()
                state = self._report.outlet(self._app, outlet.index)["state"]
                if state not in ("tripped", "lockout", "fault"):
                    continue
            if verb == "on" and outlet.gang:  # the transfer switch feeds it
                continue
            if verb == "on":  # in turn, one inrush at a time
                reason = controller.later(outlet.index, by, force)
            else:
                reason = controller.command(verb, outlet.index, by, force)
            if reason:
                refused[outlet.name] = reason
            else:
                done.append(outlet.name)
        result = {"done": done, "refused": refused}
        if refused:
            text = "; ".join("%s: %s" % (name, refused[name]) for name in sorted(refused))
            raise CommandError(text, result)
        return result

    # -- settings -----------------------------------------------------------------------

    def _get(self, args, source):  # on demand
        changed = "--changed" in args
        args = [word for word in args if word != "--changed"]
        if len(args) > 1:
            self._wrong("get")
        settings = self._app.settings
        name = args[0] if args else ""
        first = ""
        several = not name
        for known in settings.names() if name else ():  # no list: 150 names are 5 KB
            if known == name:
                first = name
                several = False
                break
            if known.startswith(name):
                several = first != ""
                first = first or known
        if several or (changed and first):
            return self._setting_list().Listing(settings, name, changed)
        entry = settings.entry(first or name)  # or raises the sentence that says what exists
        name = first
        return {
            "settings": {
                name: settings.text(name) if entry[FLAGS] & SECRET else settings.get(name, False)
            },
            "unsaved": settings.changed(),
            "unit": entry[UNIT],
            "default": entry[DEFAULT],
            "allowed": allowed_text(entry),
            "help": settings.help(name),
            "needs_reboot": bool(entry[FLAGS] & REBOOT),
        }

    def _setting_list(self):
        """Its module, needed as long as the answer is."""
        pieces.collect()
        from firmware.interfaces import settinglist

        pieces.drop("firmware.interfaces.settinglist")
        return settinglist

    def _set(self, args, source):  # on demand
        if len(args) < 2:
            self._wrong("set")
        settings = self._app.settings
        name = args[0]
        pieces.breathe()
        before = settings.get(name, False)
        value = " ".join(args[1:])
        pieces.breathe()
        self.allow_setting(name, value, source)
        pieces.breathe()
        settings.hold()
        value = settings.set(name, value)
        pieces.breathe()
        if value != before:
            self._note_setting(events.COMMAND, 0, source, name)
            pieces.breathe()
        entry = settings.entry(name)
        pieces.breathe()
        return {
            "name": name,
            "value": settings.text(name) if entry[FLAGS] & SECRET else value,
            "text": settings.text(name),
            "needs_reboot": bool(entry[FLAGS] & REBOOT),
            "unsaved": settings.changed(),
        }

    def _note_setting(self, reason, value, source, name=""):  # on demand
        """On record: a setting that was changed, or what was done with so many."""
        index = -1
        if name:
            index, value = self._app.settings.number(name)
        by = events.number(events.SOURCES, source)
        self._app.journal.note(events.SETTING, index, reason, value, by)

    def _save(self, args, source):  # on demand
        self._bare("save", args)
        try:
            return self._save_now(source)
        except NotYet:
            return self._begin("save", self._save_soon(source), CommandError)

    def _save_soon(self, source):  # on demand
        """Work: save as soon as no stage counts and no relay moves."""
        begin = time.ticks_ms()
        while True:
            yield "waiting until flash may be written"
            try:
                return self._save_now(source)
            except NotYet as error:
                if time.ticks_diff(time.ticks_ms(), begin) > _SAVE_MS:
                    raise CommandError(str(error))

    def _save_now(self, source):  # on demand
        settings = self._app.settings
        saved = settings.save()
        if saved:
            self._note_setting(events.SAVED, len(saved), source)
        return {"saved": saved, "needs_reboot": settings.needs_reboot()}

    def _defaults(self, args, source):  # on demand
        if args != ["yes"]:
            raise CommandError("this changes every setting; confirm with: defaults yes")
        self._allow(_NETWORK, "defaults", source, True)  # mqtt.allow gets its default, too
        settings = self._app.settings
        settings.hold()
        changed = settings.defaults()
        self._note_setting(events.DEFAULTS, changed, source)
        return {"changed": changed, "unsaved": settings.changed()}

    def _settings(self, args, source):  # on demand
        settings = self._app.settings
        if not args:
            return {
                "file": settings.load_report or "good",
                "differ": len(settings.snapshot()),
                "unsaved": settings.changed(),
                "needs_reboot": settings.needs_reboot(),
            }
        if args[0] == "export" and args[1:] in ([], ["--changed"]):
            about = {"board": self._app.board.name, "version": self._app.version}
            return self._setting_list().Export(settings, about, len(args) > 1)
        if args[0] != "import" or len(args) != 2:
            self._wrong("settings")
        try:
            values = self._setting_list().plain(json.loads(args[1]))
        except (ValueError, TypeError, RuntimeError):  # the last: nested too deeply
            raise CommandError('import: expected {"<setting>": <value>, ...} on one line')
        return self._import(values, source)

    def _import(self, values, source):  # on demand
        """Settings by name, all or none."""
        settings = self._app.settings
        for name in values:
            self.allow_setting(name, values[name], source)
        settings.hold()
        changed = settings.import_(values)
        for name in changed[:_IMPORT_NOTED]:
            self._note_setting(events.COMMAND, 0, source, name)
        self._note_setting(events.IMPORTED, len(changed), source)
        return {
            "changed": changed,
            "unsaved": settings.changed(),
            "needs_reboot": settings.needs_reboot(),
            "notes": [],  # see _warn()
        }

    def _cal(self, args, source):  # on demand
        if args and args[0] != "export":
            self._allow(_CALIBRATION, "changing the calibration", source)
        if not hasattr(self._app, "meter"):
            raise CommandError("this firmware has no calibration")
        calibration = self._calibration()
        by = events.number(events.SOURCES, source)
        try:
            result = calibration.command(self._app, self._cal_points, args, by)
        except calibration.Refused as error:
            raise CommandError(str(error))
        finally:
            pieces.drop("firmware.sensing.phase")
        if isinstance(result, dict):
            return result
        return self._begin("cal " + args[0], result, calibration.Refused)

    def _calibration(self):  # on demand
        """Its module; needed once in a device's life: its 10 KB are worth more as heap."""
        pieces.collect()
        from firmware.sensing import calibration

        pieces.drop("firmware.sensing.calibration")
        pieces.drop("firmware.storage.calibration")
        pieces.breathe()
        return calibration

    def _begin(self, name, steps, refusal):
        """Long work begins; one at a time."""
        job = self._job
        if job is not None:
            if job.is_running():
                raise CommandError("%s is under way: try again when it is done" % job.name)
            job.end()
        self._job = job = Job(name, steps, refusal)
        return job

    # -- links ----------------------------------------------------------------------------

    def _mqtt(self, args, source):  # on demand
        client = self._app.mqtt
        if args:
            if args[0] == "note" and source == "mqtt":
                return self._note(args[1:])
            if args != ["forget"]:
                self._wrong("mqtt")
            self._allow(_SYSTEM, "mqtt forget", source)
            forget = getattr(client, "forget", None)
            if forget is None:
                raise CommandError("MQTT is off (setting mqtt.host)")
            forget()
            return {"forgotten": True}
        if client is None:
            return {"state": "off", "host": self._app.settings.get("mqtt.host")}
        return client.status()

    def _note(self, args):  # on demand
        """What a bridge has seen (`mqtt note <reason> --mqtt`): it is this board's MQTT then."""
        mqtt = self._app.mqtt
        if mqtt is not None and mqtt.client is not None:
            raise CommandError("mqtt note is for a bridge, and this board has MQTT of its own")
        reason = events.number(events.REASONS, args[0] if len(args) == 1 else "")
        if reason in (events.BROKER_UP, events.BROKER_DOWN):
            kind = events.LINK
        elif reason in (events.RETAINED, events.DUPLICATE, events.EXPIRED):
            kind = events.REFUSED
        else:
            raise CommandError(
                "mqtt note takes one of broker_up broker_down retained duplicate expired"
            )
        self._app.journal.note(kind, -1, reason, 0, events.BY_MQTT)
        return {"noted": args[0]}

    def _wifi(self, args, source):  # on demand
        network = self._app.network
        settings = self._app.settings
        if not args:
            if network is None:
                return {"state": "none", "ssid": settings.get("wifi.ssid")}
            return network.details()
        self._allow(_SYSTEM, "wifi " + args[0], source)
        if args == ["scan"]:
            if network is None:
                raise CommandError("this board cannot scan for networks")
            for outlet in self._app.board.outlets:
                if self._report.outlet(self._app, outlet.index)["on"]:
                    raise CommandError(
                        "a scan stops the control of the outlets for 2 s: switch %s off first"
                        % outlet.name
                    )
            try:
                return {"networks": network.scan()}
            except OSError:
                raise CommandError("the radio cannot scan now: try again")
        if len(args) < 2 or not (args[0] == "set" or (args[0] == "forget" and len(args) == 2)):
            self._wrong("wifi")
        ssid = args[1]
        places = {settings.get("wifi.ssid" + n): n for n in ("3", "2", "")}  # "": the first free
        names = "there are: " + (", ".join([name for name in sorted(places) if name]) or "none")
        password = " ".join(args[2:])
        if args[0] == "forget":
            if not ssid or ssid not in places:
                raise CommandError("no network '%s' is known (%s)" % (_cut(ssid), names))
            values = {"wifi.ssid" + places[ssid]: "", "wifi.password" + places[ssid]: ""}
        else:
            if not ssid or 0 < len(password.encode()) < 8:
                raise CommandError("a network has a name, and a password of 8 to 63 bytes or none")
            if ssid not in places and "" not in places:
                raise CommandError("3 networks are known (%s): first wifi forget <ssid>" % names)
            place = places.get(ssid, places.get(""))
            values = {"wifi.ssid" + place: ssid, "wifi.password" + place: password}
        for name in settings.import_(values):
            self._note_setting(events.COMMAND, 0, source, name)
        return {"ssid": ssid, "needs_reboot": True, "unsaved": settings.changed()}

    # -- power export ---------------------------------------------------------------------

    def _mode(self, args, source):
        return self._export("firmware.interfaces.modecommand", "mode", args, source)

    def _battery(self, args, source):
        return self._export("firmware.interfaces.modecommand", "battery", args, source)

    def _grid(self, args, source):
        if args[:1] == ["set"]:
            self.allow_setting("grid.power_w", 0, source)
        return self._export("firmware.interfaces.gridcommand", "grid", args, source)

    def _home(self, args, source):
        return self._export("firmware.interfaces.homecommand", "home", args, source)

    def _vehicle(self, args, source):
        return self._export("firmware.interfaces.vehiclecommand", "vehicle", args, source)

    def _storm(self, args, source):
        return self._export("firmware.interfaces.modecommand", "storm", args, source)

    def _export(self, module, name, args, source):  # on demand
        """A command of power export, from a module of its own: looking is free, the rest is
        switching, and to override a lockout is more, as it is of an outlet."""
        if args:
            self._allow(_SWITCH, name, source)
            if args[0] == "reset" and "--force" in args:
                self._allow(_LIMITS, name + " reset --force", source)
        pieces.collect()
        found = pieces.once(module)
        try:
            return getattr(found, name)(self._app, args, source)
        except found.Refused as error:
            raise CommandError(str(error))
        finally:
            pieces.drop("firmware.power.profile", "firmware.power.schedule")

    # -- the end --------------------------------------------------------------------------

    def _reboot(self, args, source):
        return self._end("reboot", args, source)

    def _exit(self, args, source):
        return self._end("exit", args, source)

    def _end(self, why, args, source):
        if args != ["yes"]:
            raise CommandError("this opens every relay; confirm with: %s yes" % why)
        self._app.stop(why, events.number(events.SOURCES, source))
        return {"stopping": why}
