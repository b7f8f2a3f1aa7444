"""Settings: one schema that drives validation, console, MQTT and the docs.

Role: what the owner can choose, with the allowed range of each choice.
Called by: boot (load), outer lane (get, set, save). Lanes 1 and 2 never look here: the
controller copies what it needs when a hook says that a name changed.

Only values that differ from their default are stored, in RAM and on flash. Entries that begin
with `<outlet>.` exist once for each outlet of the board and are expanded by name.
"""

import json

from micropython import const

from firmware import pieces
from firmware.storage import files

FILE = "settings.json"

# -- types ----------------------------------------------------------------------------------
BOOL = const(0)
INT = const(1)
NUMBER = const(2)  # stored as int when whole, else as float with three decimals
TEXT = const(3)  # min and max are lengths in bytes
IDENT = const(4)  # text of letters, digits, - and _ (part of MQTT topics)
CHOICE = const(5)  # min is the tuple of what may be chosen
WORDS = const(6)  # some words of the tuple min, in its order; the first one always
ZONE = const(7)  # text: a POSIX rule of a time zone
HOSTS = const(8)  # text: names or addresses of servers
PROFILE = const(9)  # text: what a mode means, or when which one holds: power/profile.py

TYPES = (
    "bool",
    "int",
    "number",
    "text",
    "identifier",
    "choice",
    "words",
    "zone",
    "hosts",
    "profile",
)

# -- flags ----------------------------------------------------------------------------------
REBOOT = const(1)  # takes effect at the next start
SECRET = const(2)  # never printed, never exported
LIMIT = const(4)  # protects: from the network only with `limits` in mqtt.allow
SYSTEM = const(8)  # connection, and who may do what: only with `system` in mqtt.allow

# -- positions in an entry ------------------------------------------------------------------
NAME = const(0)
TYPE = const(1)
UNIT = const(2)
MIN = const(3)
MAX = const(4)
DEFAULT = const(5)
HELP = const(6)
FLAGS = const(7)

# (name, type, unit, min, max, default, help, flags); "@x" is taken from the board, see _bound();
# the help of a row without one stands in settings_help.py.
SCHEMA: tuple = (  # on demand: schema
    ("device.id", IDENT, "", 0, 24, "", "", 9),
    ("device.name", TEXT, "", 0, 32, "Tailgate", "", 0),
    ("wifi.ssid", TEXT, "", 0, 32, "", "", 9),
    ("wifi.password", TEXT, "", 0, 63, "", "", 11),
    ("wifi.ssid2", TEXT, "", 0, 32, "", "", 9),
    ("wifi.password2", TEXT, "", 0, 63, "", "", 11),
    ("wifi.ssid3", TEXT, "", 0, 32, "", "", 9),
    ("wifi.password3", TEXT, "", 0, 63, "", "", 11),
    ("wifi.hostname", IDENT, "", 0, 32, "", "", 9),
    ("wifi.country", IDENT, "", 0, 2, "", "", 9),
    ("mqtt.host", TEXT, "", 0, 64, "", "", 9),
    ("mqtt.port", INT, "", 1, 65535, 1883, "", 9),
    ("mqtt.user", TEXT, "", 0, 64, "", "", 9),
    ("mqtt.password", TEXT, "", 0, 128, "", "", 11),
    ("mqtt.tls", BOOL, "", None, None, False, "", 9),
    ("mqtt.ca_file", TEXT, "", 0, 64, "", "", 9),
    ("mqtt.cert_file", TEXT, "", 0, 64, "", "", 9),
    ("mqtt.key_file", TEXT, "", 0, 64, "", "", 9),
    ("mqtt.discovery", BOOL, "", None, None, True, "", 1),
    ("mqtt.interval_s", NUMBER, "s", 0.5, 60, 1, "", 0),
    (
        "mqtt.allow",
        WORDS,
        "",
        ("read", "switch", "settings", "limits", "calibration", "system"),
        None,
        "read switch settings system",
        "",
        8,
    ),
    ("supply.nominal_v", NUMBER, "V", 100, 127, 120, "", 4),
    ("supply.hz", CHOICE, "Hz", (0, 50, 60), None, 0, "", 4),
    ("supply.loss_percent", NUMBER, "%", 20, 80, 50, "", 4),
    ("supply.loss_s", NUMBER, "s", 0.1, 3, 0.5, "", 4),
    ("supply.under_percent", NUMBER, "%", 50, 98, 88, "", 4),
    ("supply.under_s", NUMBER, "s", 0.1, 600, 10, "", 4),
    ("supply.over_percent", NUMBER, "%", 102, "@over_most", 110, "", 4),
    ("supply.over_s", NUMBER, "s", 0.1, 600, 10, "", 4),
    ("supply.high_percent", NUMBER, "%", 105, "@over_most", 120, "", 4),
    ("supply.high_s", NUMBER, "s", 0.02, 10, 0.16, "", 4),
    ("supply.hz_percent", NUMBER, "%", 1, 8, 5, "", 4),
    ("supply.hz_s", NUMBER, "s", 0.2, 600, 10, "", 4),
    ("temperature.derate_c", INT, "C", 30, 110, 70, "", 4),
    ("temperature.trip_c", INT, "C", 40, 120, 85, "", 4),
    ("temperature.sensor", CHOICE, "", (0, "yes", "no"), None, 0, "", 4),
    ("gfci.input", CHOICE, "", ("none", "high", "low"), None, "none", "", 4),
    ("contactor.feedback", CHOICE, "", ("none", "high", "low"), None, "none", "", 4),
    ("relay.zero_cross", BOOL, "", None, None, True, "", 4),
    ("relay.break_mode", CHOICE, "", ("open", "wait"), None, "open", "", 4),
    ("relay.wait_ms", INT, "ms", 1, 100, 20, "", 4),
    ("relay.operations", INT, "", 1000, 10_000_000, 100_000, "", 4),
    ("total.limit_w", INT, "W", 100, "@total_w", "@total_w", "", 4),
    ("leg.limit_a", NUMBER, "A", 1, "@leg_a", "@leg_a", "", 4),
    ("shed.restore_s", INT, "s", 10, 3600, 60, "", 0),
    ("shed.min_off_s", INT, "s", 0, 1800, 180, "", 0),
    ("shed.margin_w", INT, "W", 0, 2000, 200, "", 0),
    ("shed.restarts", INT, "", 0, 12, 6, "", 0),
    ("events.verbose", BOOL, "", None, None, True, "", 0),
    ("console.echo", CHOICE, "", ("auto", "on", "off"), None, "auto", "", 0),
    ("console.uart", BOOL, "", None, None, False, "", 9),
    ("console.baud", CHOICE, "", (9600, 19200, 38400, 57600, 115200, 230400), None, 115200, "", 9),
    ("storage.fram_kb", CHOICE, "KB", ("none", 8, 16, 32, 64), None, "none", "", 1),
    ("time.zone", ZONE, "", 4, 48, "UTC0", "", 0),
    ("time.servers", HOSTS, "", 0, 96, "pool.ntp.org", "", 8),
    ("grid.enabled", BOOL, "", None, None, False, "", 4),
    ("grid.profile", CHOICE, "", ("none", "ieee1547"), None, "none", "", 4),
    ("grid.start", CHOICE, "", ("command", "auto"), None, "command", "", 4),
    ("grid.power_w", INT, "W", 0, 20_000, 0, "", 0),
    ("grid.most_w", INT, "W", 100, 20_000, 5000, "", 4),
    ("grid.rating_w", INT, "W", 500, 20_000, 11_500, "", 4),
    ("grid.cease_ms", INT, "ms", 10, 80, 50, "", 4),
    ("grid.island_input", CHOICE, "", ("none", "high", "low"), None, "none", "", 4),
    ("tariff.import_ct", NUMBER, "ct", 0, 200, 0, "", 0),
    ("tariff.export_ct", NUMBER, "ct", 0, 200, 0, "", 0),
    ("tariff.peak", TEXT, "", 0, 40, "", "", 0),
    ("tariff.import2_ct", NUMBER, "ct", 0, 200, 0, "", 0),
    ("tariff.export2_ct", NUMBER, "ct", 0, 200, 0, "", 0),
    ("mode.default", CHOICE, "", "@modes", None, "outlets", "", 0),
    ("mode.schedule", PROFILE, "", 0, "@board", "", "", 0),
    ("mode.outlets", PROFILE, "", 0, "@board", "", "", 0),
    ("mode.worksite", PROFILE, "", 0, "@board", "", "", 0),
    ("mode.camp", PROFILE, "", 0, "@board", "", "", 0),
    ("mode.home", PROFILE, "", 0, "@board", "", "", 0),
    ("mode.vehicle", PROFILE, "", 0, "@board", "", "", 0),
    ("mode.grid", PROFILE, "", 0, "@board", "", "", 0),
    ("vehicle.enabled", BOOL, "", None, None, False, "", 4),
    ("vehicle.start", CHOICE, "", ("command", "plug"), None, "command", "", 4),
    ("vehicle.most_a", NUMBER, "A", 6, 32, 32, "", 4),
    ("vehicle.energy_kwh", NUMBER, "kWh", 0, 500, 0, "", 0),
    ("vehicle.gfci", CHOICE, "", ("input", "breaker", "tested"), None, "input", "", 4),
    ("home.mode", CHOICE, "", ("off", "auto", "manual"), None, "off", "", 0),
    ("home.ride_ms", INT, "ms", 0, 60_000, 500, "", 4),
    ("home.stable_s", INT, "s", 1, 3600, 300, "", 4),
    ("home.start_s", INT, "s", 1, 600, 30, "", 4),
    ("home.stage_s", INT, "s", 0, 600, 10, "", 0),
    ("home.pause_ms", INT, "ms", 0, 1000, 400, "", 4),
    ("home.dead_ms", INT, "ms", 20, 1000, 20, "", 4),
    ("home.follow_ms", INT, "ms", 50, 1000, 200, "", 4),
    ("home.bond", BOOL, "", None, None, True, "", 5),
    ("battery.usable_kwh", NUMBER, "kWh", 0, 500, 0, "", 0),
    ("battery.extender_kwh", NUMBER, "kWh", 0, 500, 0, "", 0),
    ("battery.storm", INT, "%", 0, 90, 60, "", 0),
    ("battery.storm_watch", BOOL, "", None, None, False, "", 0),
)

OUTLET_SCHEMA: tuple = (  # on demand: schema
    ("name", TEXT, "", 0, 24, "", "", 0),
    ("limit_a", NUMBER, "A", 1, "@rating_a", "@rating_a", "", 4),
    ("trip_class", CHOICE, "", ("fast", "standard", "slow", "motor"), None, "@class", "", 4),
    ("peak", BOOL, "", None, None, True, "", 4),
    ("peak_x", NUMBER, "", 2, "@peak_x", "@peak_default", "", 4),
    ("short_time", BOOL, "", None, None, True, "", 4),
    ("short_x", NUMBER, "", 2, "@peak_x", "@short_default", "", 4),
    ("short_s", NUMBER, "s", 0.02, 3, 0.5, "", 4),
    ("continuous", CHOICE, "", ("warn", "shed", "off"), None, "warn", "", 4),
    ("continuous_x", NUMBER, "", 0.5, 1, 0.8, "", 4),
    ("continuous_h", NUMBER, "h", 0.01, 24, 3, "", 4),
    ("voltage", BOOL, "", None, None, True, "", 4),
    ("frequency", BOOL, "", None, None, True, "", 4),
    ("temperature", BOOL, "", None, None, True, "", 4),
    ("gfci", BOOL, "", None, None, True, "", 4),
    ("switch_at", CHOICE, "", ("zero", "peak", "any"), None, "@instant", "", 0),
    ("breaking_a", NUMBER, "A", "@rating_a", "@break_most", "@break_a", "", 4),
    ("priority", INT, "", 1, 9, "@priority", "", 0),
    ("after_boot", CHOICE, "", ("off", "last", "on"), None, "off", "", 0),
)

_PEAK_DEFAULT_X10 = const(80)
_PEAK_MAX_X10 = const(120)
_SHORT_DEFAULT_X10 = const(60)
_NOMINAL_MAX_MV = const(127_000)
_OVER_MAX_PERCENT = const(140)

# groups whose values have to go with each other or with the board, see settings_rules.py
_RULED = ("supply", "temperature", "gfci", "contactor", "grid", "tariff", "vehicle", "home")

_TRUE = ("on", "true", "yes", "1")
_FALSE = ("off", "false", "no", "0")


_NO_FIGURE = const(7)
_FIGURE_MAX = const(0x3FFF)


def _hash(name):
    """13 bits, different for all names of the schema (a test looks)."""
    value = 0
    for byte in name.encode():
        value = value * 31 + byte & 0x1FFF
    return value


def words(row, value) -> str:  # on demand: schema
    """A value for people: with its unit, secrets only as set or not. `row`: of the schema."""
    if row[FLAGS] & SECRET:
        return "(set)" if value else "(not set)"
    if row[TYPE] == BOOL:
        return "on" if value else "off"
    if row[TYPE] == CHOICE and value == 0:
        return "auto"
    if row[UNIT]:
        return "%s %s" % (value, row[UNIT])
    return str(value)


class SettingError(Exception):
    """A setting was refused; the text names it, what was wrong and what is allowed. `names`: of
    those that do not go together the ones that fall back, when a stored file has them so."""

    names: tuple = ()


def _plain(number):
    """20.0 as 20, and three decimals at most, so that files and screens stay readable."""
    number = round(number, 3)
    return int(number) if number == int(number) else number


def _number(text, kind):
    value = float(text)
    if value != value or abs(value) > 1e9:
        raise ValueError
    if kind == INT and value != int(value):
        raise ValueError
    return int(value) if kind == INT else _plain(value)


# By bytes: MicroPython keeps every character for ever that an iteration over text has met.
def _is_printable(data):
    before = 0
    for byte in data:
        # the last: half a surrogate pair, which JSON can say and UTF-8 cannot
        if byte < 32 or byte == 127 or (before == 0xED and byte > 0x9F):
            return False
        before = byte
    return True


def printable(text):
    """A text that somebody sent, fit for any terminal: `?` for what is not plain ASCII."""
    return bytes([byte if 31 < byte < 127 else 63 for byte in text.encode()]).decode()


def _is_ident(data):
    for byte in data:
        small = byte | 32
        if not (97 <= small <= 122 or 48 <= byte <= 57 or byte == 45 or byte == 95):
            return False
    return True


def allowed_text(entry):  # on demand
    """What an entry accepts, in words: "1 to 20 A", "fast, standard, slow or motor"."""
    kind = entry[TYPE]
    if kind == BOOL:
        return "on or off"
    if kind == ZONE:
        return "a rule like UTC0, EST5EDT,M3.2.0,M11.1.0 or CET-1CEST,M3.5.0,M10.5.0/3"
    if kind == HOSTS:
        return "up to 4 names or addresses, each with :port if it is another than usual"
    if kind == PROFILE:
        if entry[NAME] == "mode.schedule":
            return "up to 160 bytes like mon-fri 22:00-6:00 camp; sat,sun 8:00-20:00 worksite"
        return "up to 160 bytes of total_w= leg_a= reserve= quiet= quiet_w= priorities="
    if kind == WORDS:
        return "some of %s; or all" % " ".join(entry[MIN])
    if kind == CHOICE:
        words = ["auto" if choice == 0 else str(choice) for choice in entry[MIN]]
        return ", ".join(words[:-1]) + " or " + words[-1]
    if kind == INT or kind == NUMBER:
        unit = " " + entry[UNIT] if entry[UNIT] else ""
        what = "whole numbers from " if kind == INT else ""
        return "%s%s to %s%s" % (what, entry[MIN], entry[MAX], unit)
    what = "letters, digits, - and _" if kind == IDENT else "text"
    return "%s of %d to %d bytes" % (what, entry[MIN], entry[MAX])


def check(entry, value):  # on demand: change
    """The value that `entry` stores for a value or a text; SettingError when it does not fit."""
    kind = entry[TYPE]
    try:
        if kind == BOOL:
            if isinstance(value, str):
                word = value.strip().lower()
                if word in _TRUE:
                    return True
                if word in _FALSE:
                    return False
                raise ValueError
            if value is True or value is False or value == 0 or value == 1:
                return bool(value)
            raise ValueError
        if kind == CHOICE:
            word = str(value).strip().lower()
            for choice in entry[MIN]:
                if word == str(choice) or (choice == 0 and word == "auto"):
                    return choice
            raise ValueError
        if kind == WORDS:
            found = value.lower().replace(",", " ").split()
            if found == ["outlets"]:  # what mqtt.allow called it in version 0.1
                found = [entry[MIN][1]]
            elif found == ["all"]:
                found = list(entry[MIN])
            for word in found or [""]:
                if word not in entry[MIN]:
                    raise ValueError
            found.append(entry[MIN][0])
            return " ".join([word for word in entry[MIN] if word in found])
        if kind == INT or kind == NUMBER:
            if isinstance(value, bool):
                raise ValueError
            if isinstance(value, str):
                value = value.strip()
                unit = entry[UNIT]
                if unit and value.lower().endswith(unit.lower()):
                    value = value[: -len(unit)].strip()
            value = _number(value, kind)
            if not entry[MIN] <= value <= entry[MAX]:
                raise ValueError
            return value
        if not isinstance(value, str):
            raise ValueError
        if kind == PROFILE:
            return _profile(entry, value)
        data = value.encode()
        if not entry[MIN] <= len(data) <= entry[MAX] or not _is_printable(data):
            raise ValueError
        if kind == IDENT and not _is_ident(data):
            raise ValueError
        if kind == ZONE:
            from firmware import timezone

            pieces.drop("firmware.timezone")
            timezone.Zone(value)
        if kind == HOSTS:
            from lib import datagram  # the task that asks these servers drops it again

            if len(datagram.hosts(value)) > 4:
                raise ValueError
        return value
    except (ValueError, TypeError, AttributeError, OverflowError, UnicodeError):
        shown = "that value" if entry[FLAGS] & SECRET else "'%s'" % printable(str(value))
        if len(shown) > 40:
            shown = shown[:36] + "...'"
        raise SettingError(
            "%s: %s is not allowed (allowed: %s)" % (entry[NAME], shown, allowed_text(entry))
        )


def _profile(entry, value):  # on demand: change
    """A text about modes, checked; SettingError says which part of it is wrong."""
    if len(value) > 160 or printable(value) != value:
        raise ValueError
    profile = pieces.once("firmware.power.profile")
    try:
        return profile.check(entry[NAME], value, entry[MAX])
    except profile.ProfileError as error:
        raise SettingError("%s: %s" % (entry[NAME], error))
    finally:
        pieces.drop("firmware.power.schedule")


def _bound(board, bound, outlet):  # on demand: schema
    """A bound or default, with "@x" replaced by the board's figure."""
    if not isinstance(bound, str) or bound[:1] != "@":
        return bound
    if bound == "@board":
        return board
    if bound == "@modes":
        modes = ("outlets", "worksite", "camp", "home", "vehicle", "grid")
        return modes if board.power is not None else modes[:3]
    if bound == "@total_w":
        return board.total_w
    if bound == "@leg_a":
        return _plain(board.leg_limit_ma / 1000)
    if bound == "@rating_a":
        return _plain(outlet.rating_ma / 1000)
    if bound == "@priority":
        return outlet.priority
    if bound == "@instant":  # a contactor's time scatters by more than half a cycle
        return "any" if outlet.gang else "zero"
    if bound == "@class":  # a home has motors of 110 A locked rotor
        return "motor" if outlet.gang else "standard"
    # What the sensor can show, less 2 % for its gain: a limit beyond it would never act.
    if bound == "@over_most":
        reach = board.channels[0].full_scale / 1.41421 / _NOMINAL_MAX_MV * 98
        return min(_OVER_MAX_PERCENT, int(reach))
    full_scale = board.channels[outlet.channel].full_scale
    if bound[:6] == "@break":
        most = int(full_scale / 1414.21 * 0.89)  # as far as it is above any zero, A RMS
        return most if bound == "@break_most" else min(most, outlet.breaking_ma // 1000)
    reach_x10 = int(full_scale / outlet.rating_ma / 1.41421 * 9.8)
    cap = _PEAK_MAX_X10
    if bound == "@peak_default":
        cap = _PEAK_DEFAULT_X10
    elif bound == "@short_default":
        cap = _SHORT_DEFAULT_X10
    return _plain(min(cap, reach_x10) / 10)


class Settings:
    """The board's settings. `load_report` is "" or says what was wrong with the stored file."""

    schema = SCHEMA
    outlet_schema = OUTLET_SCHEMA

    def __init__(self, board, folder: str = "data"):  # on demand: boot
        self._board = board
        self._path = files.join(folder, FILE)
        self._folder = folder
        self._values = {}  # name -> value, only where it differs from the default
        self._saved = {}  # the same as last loaded or saved
        self._defaults = {}  # of names that were asked for
        self._disabled: list | None = None  # what disabled() said last
        self._unknown = {}  # keys of a newer version: kept, and written back
        self._hooks = []
        self._untold: list | None = None  # names that the hooks hear of later, see hold()
        self._reboot = {}  # name -> value in force, where another one waits for the next start
        self._rewrite = False  # the file needs writing although no value changed
        self.load_report = ""

    # -- the schema ---------------------------------------------------------------------

    def names(self):  # on demand: schema
        """Generator of all names, in the schema's order."""
        count = 0
        for row in SCHEMA:
            count += 1
            if not count & 15:
                pieces.breathe()
            yield row[NAME]
        for outlet in self._board.outlets:
            pieces.breathe()
            for row in OUTLET_SCHEMA:
                yield outlet.name + "." + row[NAME]

    def rows(self, values: dict, start: str = ""):  # on demand: schema
        """Generator of (name, flags, default, value, value in words) for the names that begin
        with `start`, in the schema's order; `values`: what snapshot() gave.

        It calls nothing that would be loaded a second time while somebody reads slowly."""
        board = self._board
        for outlet in (None,) + board.outlets:
            prefix = outlet.name + "." if outlet else ""
            count = 0
            for row in OUTLET_SCHEMA if outlet else SCHEMA:
                count += 1
                if not count & 7:
                    pieces.breathe()
                name = prefix + row[NAME]
                if name.startswith(start):
                    default = _bound(board, row[DEFAULT], outlet)
                    value = values.get(name, default)
                    yield name, row[FLAGS], default, value, words(row, value)

    def snapshot(self) -> dict:
        """The values that differ from their defaults, as they are now. Secrets too."""
        return dict(self._values)

    # -- the journal ----------------------------------------------------------------------
    # A change on record: the outlet, and a number of 30 bits: 13 of the name's hash (positions
    # move when settings are added), 3 of an exponent of ten, 14 of a figure.

    def number(self, name: str) -> tuple:  # on demand: note
        """(outlet or -1, number) that stand for a setting and its value in the journal."""
        entry = self.entry(name)
        row, outlet = self._find(name)
        value = self.get(name, False)
        kind = row[TYPE]
        exponent = _NO_FIGURE
        figure = 0
        if kind == BOOL:
            exponent = 3
            figure = int(value)
        elif kind == CHOICE:
            exponent = 3
            figure = entry[MIN].index(value)
        elif kind == INT or kind == NUMBER:
            # floats have 24 bits here, and whole numbers may need more
            figure = value * 1000 if isinstance(value, int) else int(value * 1000 + 0.5)
            exponent = 0
            while exponent < 6 and figure % 10 == 0:
                figure //= 10
                exponent += 1
            if not 0 <= figure <= _FIGURE_MAX:
                exponent = _NO_FIGURE
                figure = 0
        return outlet.index if outlet else -1, _hash(row[NAME]) << 17 | exponent << 14 | figure

    def of_number(self, index: int, number: int) -> tuple:  # on demand: note
        """(name, value, value in words) of what number() gave. No name: this version does not know
        the setting; None, "": a value that does not fit into a record, such as a text."""
        prefix = ""
        table = SCHEMA
        if index >= 0:
            table = OUTLET_SCHEMA
            prefix = self._board.outlets[index].name + "."
        for row in table:
            if number > 0 and _hash(row[NAME]) == number >> 17:
                break
        else:
            return "#%d" % number, None, ""
        exponent = number >> 14 & 7
        figure = number & _FIGURE_MAX
        value: object = None
        if exponent != _NO_FIGURE:
            kind = row[TYPE]
            if kind == BOOL:
                value = figure == 1
            elif kind == CHOICE:
                value = row[MIN][figure] if figure < len(row[MIN]) else None
            elif kind == INT or kind == NUMBER:
                value = figure * 10 ** (exponent - 3)
                if exponent < 3:
                    value = _plain(figure / 10 ** (3 - exponent))
        return prefix + row[NAME], value, "" if value is None else words(row, value)

    def _find(self, name):  # on demand: schema
        """(row, outlet or None), or (None, None)."""
        dot = name.find(".")
        if dot > 0:
            index = self._board.outlet_index(name[:dot])
            if index >= 0:
                found = pieces.row(OUTLET_SCHEMA, name[dot + 1 :])
                if found:
                    return found, self._board.outlets[index]
        return pieces.row(SCHEMA, name), None

    def entry(self, name: str) -> tuple:  # on demand: schema
        """(name, type, unit, min, max, default, help, flags) with the board's figures.

        SettingError when there is no such setting."""
        row, outlet = self._find(name)
        if row is None:
            raise SettingError(self._no_such(name))
        return (
            name,
            row[TYPE],
            row[UNIT],
            _bound(self._board, row[MIN], outlet),
            _bound(self._board, row[MAX], outlet),
            _bound(self._board, row[DEFAULT], outlet),
            row[HELP],
            row[FLAGS],
        )

    def help(self, name: str) -> str:  # on demand
        """What a setting does, in a sentence."""
        row, outlet = self._find(name)
        if row is None:
            raise SettingError(self._no_such(name))
        if row[HELP]:
            return row[HELP]
        from firmware.storage import settings_help as texts

        key = "\n%s%s: " % ("*." if outlet else "", row[NAME])
        at = texts.TEXT.find(key) + len(key)
        text = texts.TEXT[at : texts.TEXT.find("\n", at)]
        pieces.drop("firmware.storage.settings_help")
        return text

    def disabled(self) -> list:
        """Protection stages that their owner has switched off, by the settings' names."""
        if self._disabled is None:  # asked for with each state message
            self._disabled = self._switched_off()
        return self._disabled

    def _switched_off(self) -> list:  # on demand: schema
        found = []
        for name in sorted(self._values):
            row, outlet = self._find(name)
            if row is not None and self._values[name] in (False, "off") and outlet is not None:
                if row[DEFAULT] is True or row[NAME] == "continuous":
                    found.append(name)
        if self.get("temperature.sensor") == "no":
            found.append("temperature.sensor")
        return found

    def _no_such(self, name):  # on demand
        dot = name.find(".")
        group = name[: dot + 1] if dot > 0 else ""
        found = [known for known in self.names() if group and known.startswith(group)]
        near = [known for known in found if known.startswith(name[: dot + 2])]
        found = near or found  # an outlet has too many for a sentence
        if not found:
            for known in self.names():
                start = known[: known.find(".") + 1] + "*"
                if start not in found:
                    found.append(start)
        shown = printable(name if len(name) <= 32 else name[:32] + "...")
        return "there is no setting '%s' (there are: %s)" % (shown, " ".join(found))

    # -- values -------------------------------------------------------------------------

    def get(self, name: str, keep: bool = True):
        """The value in force; SettingError when there is no such setting. `keep`: a default is
        remembered, because the firmware asks again; not for what somebody types."""
        if name in self._values:
            return self._values[name]
        if name in self._defaults:
            return self._defaults[name]
        row, outlet = self._find(name)
        if row is None:
            raise SettingError(self._no_such(name))
        value = _bound(self._board, row[DEFAULT], outlet)
        if outlet is None and keep:  # each second, perhaps; the outlets' only at a change
            self._defaults[name] = value
        return value

    def outlet(self, index: int, key: str):
        """The value of `<outlet>.<key>` for the outlet at `index`."""
        return self.get(self._board.outlets[index].name + "." + key)

    def text(self, name: str) -> str:  # on demand: schema
        """The value for people: with its unit, secrets only as set or not."""
        return words(self.entry(name), self.get(name, False))

    def set(self, name: str, value):  # on demand: change
        """Check a value (or its text) and put it in force; returns what is now stored.

        SettingError names the setting, what was wrong and what is allowed."""
        entry = self.entry(name)
        value = check(entry, value)
        pieces.breathe()
        self._fit({name: value})
        pieces.breathe()
        self._put(entry, value)
        return value

    def _fit(self, new: dict):  # on demand: change
        """SettingError when `new` values do not go with each other, the others, or the board."""
        for name in new:
            if name[: name.find(".")] in _RULED or name.endswith(".gfci"):
                from firmware.storage import settings_rules

                try:
                    settings_rules.fit(self, self._board, new)
                finally:
                    pieces.drop("firmware.storage.settings_rules")
                return

    def _put(self, entry, value):  # on demand: change
        name = entry[NAME]
        before = self.get(name, False)
        if value == before:
            return
        self._disabled = None
        if value == entry[DEFAULT]:
            self._values.pop(name)
        else:
            self._values[name] = value
        if entry[FLAGS] & REBOOT:
            if self._reboot.setdefault(name, before) == value:
                self._reboot.pop(name)  # it is as it was at the start
        if self._untold is not None:
            self._untold.append(name)
            return
        for hook in self._hooks:
            hook(name)

    def on_change(self, callback):
        """Have `callback(name)` called after a value changed (set, import_, defaults)."""
        self._hooks.append(callback)

    def hold(self):
        """Callbacks wait for tell(), which has to follow: what they do is deep, and so is what
        changes a value; both together would not fit the chip's C stack (8 KB)."""
        if self._untold is None:
            self._untold = []

    def tell(self) -> list:
        """Call back for what was changed since hold(); the names."""
        names = self._untold or []
        self._untold = None
        for name in names:
            for hook in self._hooks:
                hook(name)
        return names

    def changed(self) -> list:  # on demand: schema
        """Names whose value is not saved yet."""
        names = [n for n in self._values if self._values[n] != self._saved.get(n)]
        names.extend(n for n in self._saved if n not in self._values)
        return sorted(names)

    def attention(self) -> dict:
        """What their owner should know, if there is anything: `damaged` (what was wrong with the
        stored file), `unsaved`, `needs_reboot` (names)."""
        found: dict = {}
        if self.load_report:
            found["damaged"] = self.load_report
        if self._values != self._saved:
            found["unsaved"] = True
        if self._reboot:
            found["needs_reboot"] = self.needs_reboot()
        return found

    def needs_reboot(self) -> list:
        """Names whose value takes effect at the next start."""
        return sorted(self._reboot)

    def defaults(self) -> int:  # on demand: change
        """Every value back to its default (in memory; `save` makes it last); how many that were.
        What a newer version has stored beside them stays."""
        names = list(self._values)
        for entry in [self.entry(name) for name in names]:
            self._put(entry, entry[DEFAULT])
        return len(names)

    def import_(self, values: dict) -> list:  # on demand: change
        """Put many values in force by name (as JSON has them: texts), all or none; returns the
        names whose value changed.

        SettingError for the first one that there is not, or that does not fit."""
        entries = [self.entry(name) for name in values]
        new = {}
        for entry in entries:
            name = entry[NAME]
            if entry[FLAGS] & SECRET and values[name] in ("(set)", "(not set)"):
                raise SettingError("%s: secrets are never shown: leave it out" % name)
            new[name] = check(entry, values[name])
        self._fit(new)
        changed = []
        for entry in entries:
            name = entry[NAME]
            if new[name] != self.get(name, False):
                changed.append(name)
                self._put(entry, new[name])
        return changed

    # -- flash --------------------------------------------------------------------------

    def save(self) -> list:  # on demand: change
        """Make the values last; returns the names written anew. Raises files.StorageError."""
        names = self.changed()
        if not names and not self._rewrite:
            return names
        files.make_folder(self._folder)
        stored = dict(self._unknown)
        stored.update(self._values)
        files.write(self._path, json.dumps(stored))
        self._saved = dict(self._values)
        self._rewrite = False
        self.load_report = ""  # what was wrong is gone, and its owner has decided what holds
        return names

    def load(self):  # on demand: boot
        """Read what was saved; never raises. Damaged: previous version, then the defaults."""
        self._values = {}
        self._disabled = None
        self._unknown = {}
        data, _, note = files.read(self._path)
        stored = {}
        if data is not None:
            try:
                stored = json.loads(data)
                if not isinstance(stored, dict):
                    raise ValueError
            except (ValueError, MemoryError):
                # A good checksum over nonsense: written by hand or by another program.
                stored = {}
                note = "%s is not a table of settings; the defaults are used" % self._path
        elif note:
            note += "; the defaults are used"
        refused = []
        entries = []  # first all of these, then the checks: each is a piece to load
        for name in stored:
            if self._find(name)[0] is None:
                self._unknown[name] = stored[name]
            else:
                entries.append(self.entry(name))
        for entry in entries:
            name = entry[NAME]
            try:
                value = check(entry, stored[name])
                if value != entry[DEFAULT]:
                    self._values[name] = value
            except SettingError as error:
                refused.append(str(error) + ", its default is used")
        while True:  # one clash after another; each takes something out
            try:
                self._fit(dict(self._values))
                break
            except SettingError as error:
                names = [name for name in error.names if name in self._values]
                refused.append(
                    "%s, the default of %s is used" % (error, " and ".join(names) or "all")
                )
                for name in names or list(self._values):
                    self._values.pop(name)
        if refused:
            note = "; ".join(([note] if note else []) + refused)
        self._saved = dict(self._values)
        self._reboot = {}
        self._rewrite = bool(note)
        self.load_report = note


def write_file(path_or_folder: str, values: dict):
    """For host tools: write a settings file that a board will read at its next start."""
    path = path_or_folder
    if not path.endswith(".json"):
        path = files.join(path, FILE)
    if "/" in path:
        files.make_folder(path[: path.rfind("/")])
    files.write(path, json.dumps(values))
