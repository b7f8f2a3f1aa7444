"""What can be asked of the device: one implementation for console, MQTT and whatever comes.

Role: check the source, parse the words, ask app and controller, return a plain dict that JSON
can carry. No formatting here, and no relay is touched here: the controller decides.
Called by: the outer lane only.
"""

import gc
import sys
import time

from micropython import const

from firmware import events
from firmware.storage.files import StorageError
from firmware.storage.settings import (
    DEFAULT,
    FLAGS,
    REBOOT,
    SECRET,
    TYPE,
    TYPES,
    UNIT,
    SettingError,
    allowed_text,
)

# What a source may do; each level includes those before it.
_LOOK = const(0)
_SWITCH = const(1)  # switch outlets, clear trips
_CHANGE = const(2)  # settings, calibration, reboot, overriding a refusal
_LOCAL = const(3)  # end the program

_ALLOW = {"read": _LOOK, "outlets": _SWITCH, "all": _CHANGE}

# What may follow a command, for tab completion.
_A_NONE = const(0)
_A_OUTLET = const(1)
_A_SETTING = const(2)
_A_COMMAND = const(3)
_A_WORDS = const(4)  # the words in the last column
_A_CHANNEL = const(5)  # a channel or these words, then what `cal` can do with it

_EVENTS_DEFAULT = const(20)
_EVENTS_MAX = const(64)
_IDLE_MS = const(5000)  # work that nobody has asked after for so long is given up
_TOGETHER_MS = const(60)  # a trip so soon after another one is on the same record

# (name, usage, help, level, what may follow, words)
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
    ("get", "[name or beginning]", "show settings", _LOOK, _A_SETTING, ()),
    ("set", "<name> <value>", "change a setting; `save` makes it last", _CHANGE, _A_SETTING, ()),
    ("save", "", "make changed settings last", _CHANGE, _A_NONE, ()),
    ("defaults", "yes", "all settings back to their defaults", _CHANGE, _A_WORDS, ("yes",)),
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
        "[count] [outlet] [kind]",
        "what happened, newest last (also: since <seq>)",
        _LOOK,
        _A_OUTLET,
        events.KINDS,
    ),
    ("energy", "", "energy counted for each outlet", _LOOK, _A_NONE, ()),
    (
        "capture",
        "[<outlet> [--all] | clear]",
        "the waveform of a trip (clear: free it)",
        _LOOK,
        _A_OUTLET,
        ("clear",),
    ),
    ("selftest", "", "check the hardware and the files", _LOOK, _A_NONE, ()),
    ("version", "", "firmware, board and MicroPython", _LOOK, _A_NONE, ()),
    ("mqtt", "[forget]", "broker's state; forget: remove what it retains", 0, 4, ("forget",)),
    (
        "wifi",
        "[scan | set <ssid> [password]]",
        "network's state, networks in reach",
        _LOOK,
        _A_WORDS,
        ("scan", "set"),
    ),
    ("mode", "[outlets]", "how the power is exported", _LOOK, _A_WORDS, ("outlets",)),
    ("reboot", "yes", "open all relays and start again", _CHANGE, _A_WORDS, ("yes",)),
    ("exit", "yes", "open all relays and leave for the REPL", _LOCAL, _A_WORDS, ("yes",)),
    ("help", "[command]", "this list, or more on one command", _LOOK, _A_COMMAND, ()),
)
_NAME = const(0)
_USAGE = const(1)
_HELP = const(2)
_LEVEL = const(3)
_FOLLOWS = const(4)
_WORDS = const(5)

_MODES = ("outlets",)
_CAL_WORDS = ("zero", "gain", "low", "high", "phase", "clear")


class CommandError(Exception):
    """A command was refused; the text says why in a sentence.

    `result` may carry what was done all the same."""

    def __init__(self, reason: str, result: dict | None = None):
        super().__init__(reason)
        self.result = result


def row(name: str):
    """The table's row of a command, or None."""
    for entry in TABLE:
        if entry[_NAME] == name:
            return entry
    return None


def unload(package, name):
    """Drop a module, so that the collector may have its memory when nobody uses it any more."""
    sys.modules.pop(package + "." + name, None)
    package = sys.modules.get(package)
    if hasattr(package, name):
        delattr(package, name)


def usage(entry) -> str:
    """`name usage`, as typed."""
    return (entry[_NAME] + " " + entry[_USAGE]).rstrip()


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
        return self._steps is not None and idle < _IDLE_MS

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
            raise CommandError(str(error))
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
        level = _SWITCH
        if name != "off":  # which needs nothing that may have to be loaded first, as the table
            entry = row(name)
            if entry is None:
                raise CommandError(
                    "unknown command '%s' (there are: %s)" % (_cut(name), " ".join(self.names()))
                )
            level = entry[_LEVEL]
        self._allow(level, name, source)
        try:
            return getattr(self, "_" + name)(args, source)
        except (SettingError, StorageError) as error:
            raise CommandError(str(error))

    # -- who may ----------------------------------------------------------------------

    def _level(self, source):
        if source == "console":
            return _LOCAL
        if source in ("mqtt", "ha", "web"):
            return _ALLOW[self._app.settings.get("mqtt.allow")]
        if source == "schedule":
            return _SWITCH
        return -1

    def _allow(self, level, what, source):
        have = self._level(source)
        if have >= level:
            return
        if have < 0:
            raise CommandError("'%s' is no source of commands" % _cut(source))
        if level == _LOCAL:
            raise CommandError("%s is possible on the console only" % what)
        raise CommandError("%s is not allowed from %s (setting mqtt.allow)" % (what, source))

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
                if follows == _A_COMMAND:
                    found = self.names()
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
        if kind == "choice":
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
        self._report.relays(self._app, outlets)
        return {"outlets": outlets}

    def _energy(self, args, source):
        self._bare("energy", args)
        outlets = self._report.state(self._app)["outlets"]
        result = {}
        total = 0
        for name in outlets:
            result[name] = outlets[name]["energy_kwh"]
            total += result[name]
        return {"energy_kwh": result, "total_kwh": round(total, 3)}

    def _events(self, args, source):  # on demand
        count = _EVENTS_DEFAULT
        outlet = -2
        kind = -1
        since = 0
        i = 0
        while i < len(args):
            word = args[i]
            if word == "since" and i + 1 < len(args) and _digits(args[i + 1]) >= 0:
                i += 1
                since = _digits(args[i])
                count = _EVENTS_MAX
            elif _digits(word) >= 0:
                count = _digits(word)
                if not 1 <= count <= _EVENTS_MAX:
                    raise CommandError("the count of events is 1 to %d" % _EVENTS_MAX)
            elif events.number(events.KINDS, word) >= 0:
                kind = events.number(events.KINDS, word)
            elif self._app.board.outlet_index(word) >= 0:
                outlet = self._app.board.outlet_index(word)
            else:
                raise CommandError(
                    "'%s' is no count, outlet or kind (outlets: %s; kinds: %s)"
                    % (_cut(word), " ".join(self._outlet_names()), " ".join(events.KINDS))
                )
            i += 1
        journal = self._app.journal
        found = []
        for record in journal.since(since):
            if (kind >= 0 and record[1] != kind) or (outlet >= 0 and record[2] != outlet):
                continue
            if len(found) == count:
                if since:  # a reader who catches up wants the oldest first
                    break
                found.pop(0)
            found.append(record)
        return {
            "events": [self._report.event(self._app, record) for record in found],
            "first_seq": journal.first_seq,
            "last_seq": journal.last_seq,
        }

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
            have = self._level(source)
            return {
                "commands": [
                    {"usage": usage(entry), "help": entry[_HELP]}
                    for entry in TABLE
                    if entry[_LEVEL] <= have
                ]
            }
        entry = row(args[0])
        if entry is None or len(args) > 1:
            raise CommandError(
                "no help on '%s' (there are: %s)" % (_cut(" ".join(args)), " ".join(self.names()))
            )
        if entry[_NAME] == "cal":
            forms = self._calibration().FORMS
            return {"commands": [{"usage": ("cal " + x).rstrip(), "help": y} for x, y in forms]}
        return {"commands": [{"usage": usage(entry), "help": entry[_HELP]}]}

    def _selftest(self, args, source):  # on demand
        self._bare("selftest", args)
        tests = []
        failed = []
        for name, good, text in self._app.selftest():
            tests.append({"name": name, "ok": bool(good), "text": text})
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

        unload("firmware.sensing", "capture")
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
        for other in app.journal.since(seq) if record else ():
            if (other[6] - record[6]) * 1000 + other[7] - record[7] > _TOGETHER_MS:
                break
            if other[1] in (events.TRIPPED, events.FAULT) and other[2] not in (-1, record[2]):
                also.append(self._outlet_names()[other[2]])
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
            self._allow(_CHANGE, verb + " --force", source)
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
                state = self._report.outlet(self._app, outlet.index)["state"]
                if state not in ("tripped", "lockout", "fault"):
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
        if len(args) > 1:
            self._wrong("get")
        settings = self._app.settings
        prefix = args[0] if args else ""
        names = [name for name in settings.names() if name.startswith(prefix)]
        if prefix in names:
            names = [prefix]
        if not names:
            settings.entry(prefix)  # raises the sentence that says what exists
        values = {}
        for name in names:
            secret = settings.entry(name)[FLAGS] & SECRET
            values[name] = settings.text(name) if secret else settings.get(name)
        result = {"settings": values, "unsaved": settings.changed()}
        if len(names) == 1:
            entry = settings.entry(names[0])
            result["unit"] = entry[UNIT]
            result["default"] = entry[DEFAULT]
            result["allowed"] = allowed_text(entry)
            result["help"] = settings.help(prefix)
            result["needs_reboot"] = bool(entry[FLAGS] & REBOOT)
        return result

    def _set(self, args, source):  # on demand
        if len(args) < 2:
            self._wrong("set")
        settings = self._app.settings
        name = args[0]
        before = settings.get(name)
        value = settings.set(name, " ".join(args[1:]))
        if value != before:
            self._note_setting(settings.index(name), source)
        entry = settings.entry(name)
        result = {
            "name": name,
            "value": settings.text(name) if entry[FLAGS] & SECRET else value,
            "text": settings.text(name),
            "needs_reboot": bool(entry[FLAGS] & REBOOT),
            "unsaved": settings.changed(),
        }
        note = self._app.controller.warning(name)
        if note:
            result["note"] = note
        return result

    def _note_setting(self, index, source):
        by = events.number(events.SOURCES, source)
        self._app.journal.add(events.SETTING, -1, events.COMMAND, index, by)

    def _save(self, args, source):  # on demand
        self._bare("save", args)
        return {"saved": self._app.settings.save()}

    def _defaults(self, args, source):  # on demand
        if args != ["yes"]:
            raise CommandError("this changes every setting; confirm with: defaults yes")
        settings = self._app.settings
        settings.defaults()
        self._note_setting(-1, source)
        return {"unsaved": settings.changed()}

    def _cal(self, args, source):  # on demand
        if args and args[0] != "export":
            self._allow(_CHANGE, "changing the calibration", source)
        if not hasattr(self._app, "meter"):
            raise CommandError("this firmware has no calibration")
        calibration = self._calibration()
        by = events.number(events.SOURCES, source)
        try:
            result = calibration.command(self._app, self._cal_points, args, by)
        except calibration.Refused as error:
            raise CommandError(str(error))
        finally:
            unload("firmware.sensing", "phase")
        if isinstance(result, dict):
            return result
        return self._begin("cal " + args[0], result, calibration.Refused)

    def _calibration(self):  # on demand
        """Its module; needed once in a device's life: its 10 KB are worth more as heap."""
        gc.collect()
        from firmware.sensing import calibration

        unload("firmware.sensing", "calibration")
        unload("firmware.storage", "calibration")
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
            if args != ["forget"]:
                self._wrong("mqtt")
            self._allow(_CHANGE, "mqtt forget", source)
            forget = getattr(client, "forget", None)
            if forget is None:
                raise CommandError("MQTT is off (setting mqtt.host)")
            forget()
            return {"forgotten": True}
        if client is None:
            return {"state": "off", "host": self._app.settings.get("mqtt.host")}
        return client.status()

    def _wifi(self, args, source):  # on demand
        network = self._app.network
        settings = self._app.settings
        if not args:
            if network is None:
                return {"state": "none", "ssid": settings.get("wifi.ssid")}
            return network.status()
        self._allow(_CHANGE, "wifi " + args[0], source)
        if args == ["scan"]:
            scan = getattr(network, "scan", None)
            if scan is None:
                raise CommandError("this board cannot scan for networks")
            return {"networks": scan()}
        if args[0] != "set" or len(args) < 2:
            self._wrong("wifi")
        values = {"wifi.ssid": args[1]}
        if len(args) > 2:
            values["wifi.password"] = " ".join(args[2:])
        settings.import_(values)
        self._note_setting(settings.index("wifi.ssid"), source)
        return {"ssid": args[1], "needs_reboot": True, "unsaved": settings.changed()}

    def _mode(self, args, source):
        if args and (len(args) > 1 or args[0] not in _MODES):
            raise CommandError(
                "unknown mode '%s' (there are: %s)" % (_cut(" ".join(args)), " ".join(_MODES))
            )
        return {"mode": "outlets", "modes": list(_MODES)}

    # -- the end --------------------------------------------------------------------------

    def _reboot(self, args, source):
        return self._end("reboot", args)

    def _exit(self, args, source):
        return self._end("exit", args)

    def _end(self, why, args):
        if args != ["yes"]:
            raise CommandError("this opens every relay; confirm with: %s yes" % why)
        self._app.stop(why)
        return {"stopping": why}
