"""The vocabulary of the event journal: what happened, why, and who asked for it.

Role: numbers for the lanes that allocate nothing, words for everyone who reads.
Called by: fast lane and control lane (the constants), outer lane (the words).

The numbers are stored on flash and read back by later versions: a word may be added at the end
of its tuple, but none may be moved, removed or given another meaning.
"""

from micropython import const

# -- kinds: what happened ------------------------------------------------------------------
BOOT = const(0)
ON = const(1)
OFF = const(2)
TRIPPED = const(3)
RESET = const(4)
SHED = const(5)
RESTORED = const(6)
FAULT = const(7)
CLEARED = const(8)
REFUSED = const(9)
LOCKOUT = const(10)
SETTING = const(11)
LINK = const(12)
LEASE = const(13)
STALL = const(14)
STORAGE = const(15)
WARNING = const(16)  # nothing opened yet
CLOCK_SET = const(17)
MODE = const(18)  # value: which one, power/modes.py
TRANSFER = const(19)  # home backup; value: its state, power/transfer.py
CHARGE = const(20)  # another car; value: state, power/evse.py
EXPORT = const(21)  # to the grid; value: state, power/grid.py
BATTERY = const(22)  # value: level, power/battery.py

KINDS = (  # on demand
    "boot",
    "on",
    "off",
    "tripped",
    "reset",
    "shed",
    "restored",
    "fault",
    "cleared",
    "refused",
    "lockout",
    "setting",
    "link",
    "lease",
    "stall",
    "storage",
    "warning",
    "clock",
    "mode",
    "transfer",
    "charge",
    "export",
    "battery",
)

# -- reasons: why --------------------------------------------------------------------------
NONE = const(0)
COMMAND = const(1)
THERMAL = const(2)  # the outlet's heat curve
PEAK = const(3)  # two samples in a row above the peak limit
SHORT_TIME = const(4)  # RMS of some cycles above the short-time limit
LEG = const(5)  # a leg above its limit
TOTAL = const(6)  # the sum of all outlets above its limit
SENSOR = const(7)  # current or voltage channel implausible (open, shorted, frozen)
CLIPPED = const(8)  # the channel sits at the end of its range
WELDED = const(9)  # current flows although the relay was told to open
STUCK_OPEN = const(10)  # no voltage or current although the relay was told to close
LEASE_LOST = const(11)  # the control lane did not renew its lease
SUPPLY = const(12)  # supply missing or its voltage outside the limits
FREQUENCY = const(13)  # mains frequency outside the limits
REBOOT = const(14)  # asked for by a command
POWER_ON = const(15)
WATCHDOG = const(16)
GROUND_FAULT = const(17)
OVERTEMPERATURE = const(18)
ADMISSION = const(19)  # no room left below the leg or total limit
HOT = const(20)  # the heat of the last overload has not decayed yet
LATCHED = const(21)  # tripped: needs a reset first
LOCKED = const(22)  # locked out after too many trips
SCHEDULE = const(23)
UNSAVED = const(24)  # flash could not be written
CALIBRATION = const(25)
STORED_FAULT = const(26)  # settings, latch or counters on flash were damaged
CONTACTOR = const(27)  # main contactor open or its feedback disagrees
BROKER_UP = const(28)
BROKER_DOWN = const(29)
WIFI_UP = const(30)
WIFI_DOWN = const(31)
MIN_OFF = const(32)  # off too recently (compressors need a pause)
EXTERNAL = const(33)  # a hardware fault input
CRASH = const(34)  # an exception ended the program or a task
EXIT = const(35)  # the user left for the REPL
BROWNOUT = const(36)
RESTORING = const(37)  # the state before the reboot, by `after_boot`
SELFTEST = const(38)
EXTERNAL_RESET = const(39)  # reset pin or debugger
CLOCK = const(40)  # scan clock and mains frequency disagree
UNDERVOLTAGE = const(41)
OVERVOLTAGE = const(42)
CONTINUOUS = const(43)  # near its limit for hours
THERMISTOR = const(44)  # temperature sensor broken
WORN = const(45)  # a relay has closed more often than it is rated for
SAVED = const(46)
IMPORTED = const(47)
DEFAULTS = const(48)
NOT_ALLOWED = const(49)  # the source may not do that (mqtt.allow)
REPEATED = const(50)  # so many of this kind were left out, see Journal.note()
WAS_SET = const(51)
EXPIRED = const(52)  # a command whose time was over
RETAINED = const(53)  # a command that the broker had kept
DUPLICATE = const(54)  # a command that was delivered or used before
GRID = const(55)  # the grid failed, or came back
SOURCE = const(56)  # the vehicle cannot feed it
CONTACT = const(57)  # a contact of the transfer switch does not do as told
TOO_LONG = const(58)  # a step took too long
RESERVE = const(59)  # the battery is down to its reserve, or unknown
QUIET = const(60)  # quiet hours
PILOT = const(61)  # the car's control pilot
ISLAND = const(62)
STORM = const(63)  # storm watch began or ended
NOT_CEASED = const(64)  # the inverter gives current that is not permitted
DONE = const(65)  # what was asked for has been delivered
DOUBT = const(66)  # a state of charge that cannot be
VEHICLE = const(67)  # a car comes first

REASONS = (  # on demand
    "none",
    "command",
    "thermal",
    "peak",
    "short_time",
    "leg",
    "total",
    "sensor",
    "clipped",
    "welded",
    "stuck_open",
    "lease",
    "supply",
    "frequency",
    "reboot",
    "power_on",
    "watchdog",
    "ground_fault",
    "overtemperature",
    "admission",
    "hot",
    "latched",
    "locked",
    "schedule",
    "unsaved",
    "calibration",
    "stored_fault",
    "contactor",
    "broker_up",
    "broker_down",
    "wifi_up",
    "wifi_down",
    "min_off",
    "external",
    "crash",
    "exit",
    "brownout",
    "restoring",
    "selftest",
    "external_reset",
    "clock",
    "undervoltage",
    "overvoltage",
    "continuous",
    "thermistor",
    "worn",
    "saved",
    "imported",
    "defaults",
    "not_allowed",
    "repeated",
    "set",
    "expired",
    "retained",
    "duplicate",
    "grid",
    "source",
    "contact",
    "too_long",
    "reserve",
    "quiet",
    "pilot",
    "island",
    "storm",
    "not_ceased",
    "done",
    "doubt",
    "vehicle",
)

# -- sources: who ---------------------------------------------------------------------------
BY_CONTROL = const(0)
BY_FAST = const(1)
BY_CONSOLE = const(2)
BY_MQTT = const(3)
BY_BOOT = const(4)
BY_SCHEDULE = const(5)
BY_HA = const(6)
BY_STORAGE = const(7)
BY_WEB = const(8)
BY_NTP = const(9)

# Not on demand: `off` needs it, and has to work when no memory is left.
SOURCES = (
    "control",
    "fast",
    "console",
    "mqtt",
    "boot",
    "schedule",
    "ha",
    "storage",
    "web",
    "ntp",
)

# -- values: what the number of a record means ---------------------------------------------


def value_meaning(kind, reason):  # on demand
    """(field, divisor, unit, decimals) of a record's value, or None when it carries none."""
    number = ("number", 1, "", 0)
    duration = ("duration_s", 1000, "s", 3)  # ms
    power = ("power_w", 1, "W", 0)  # W
    if reason == REPEATED:
        return number
    if kind in (ON, OFF, RESET, REFUSED) or (kind == SETTING and reason == COMMAND):
        return None
    if kind == SETTING and reason == CALIBRATION:
        return ("gain", 1000, "", 3)
    if kind in (BOOT, LOCKOUT, SETTING, STORAGE):  # boot number, trips counted, how many
        return number  # of a single setting see Settings.of_number()
    if kind in (LEASE, STALL):
        return duration
    if kind == CLOCK_SET:
        return ("step_s", 1, "s", 0)  # 0 when the time was not known before
    if MODE <= kind <= BATTERY:
        return ("state", 1, "", 0)
    if kind == RESTORED:
        return power  # of all outlets at that moment
    if reason in (THERMAL, PEAK, SHORT_TIME, LEG, CLIPPED, WELDED, CONTINUOUS, NOT_CEASED):
        return ("current_a", 1000, "A", 1)  # mA
    if reason in (STUCK_OPEN, SUPPLY, UNDERVOLTAGE, OVERVOLTAGE):
        return ("voltage_v", 1000, "V", 1)  # mV
    if reason in (FREQUENCY, CLOCK):
        return ("frequency_hz", 1000, "Hz", 2)  # mHz
    if reason in (TOTAL, ADMISSION):
        return power
    if reason in (LEASE_LOST, MIN_OFF):
        return duration
    if reason in (SENSOR, SELFTEST):  # a check, see selftest.word()
        return ("code", 1, "", 0)
    if reason in (LOCKED, WORN):
        return number
    if reason == OVERTEMPERATURE:
        return ("temperature_c", 1000, "C", 1)  # thousandths of a degree
    if reason == HOT:
        return ("heat_percent", 10, "%", 1)  # permille of the trip heat
    return None


def name(table, number):
    """The word for a number; a number of a newer version reads as `#<number>`."""
    if 0 <= number < len(table):
        return table[number]
    return "#%d" % number


def number(table, word):
    """The number for a word, or -1."""
    for i in range(len(table)):
        if table[i] == word:
            return i
    return -1
