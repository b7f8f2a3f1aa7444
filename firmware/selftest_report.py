# The words of the self-tests. Called by commands (rows) and by whoever puts a record into words
# (word); loaded each time, and dropped again.

import gc

from micropython import const

from firmware import pieces
from firmware.selftest import parts

# The checks. Their numbers stand in records on flash: more may follow, none may be moved.
_MEMORY = const(1)  # march test of the arrays that live for ever
_LIMITS = const(2)  # limits and calibration in memory against the sum when they were set
_IMAGE = const(3)  # the image in flash against its checksum
_FILES = const(4)  # the firmware's files against theirs
_OUTPUTS = const(5)  # the relays' pins are at the level that was asked for
_WATCHDOG = const(6)  # armed, and it counts
_CLOCK = const(7)  # the crystal is not what it was, says the ring oscillator
_RATE = const(8)  # scans in the time of ten seconds
_FLOW = const(9)  # windows come through to the control lane
_REFERENCE = const(10)  # the converter shows the chip's own sensor at a sensible code
_MAINS = const(11)  # clock and mains disagree: one of them is wrong
_MIDDLE = const(12)  # all sensors are off the middle together
_SETTINGS = const(13)  # their file on flash
_HEAP = const(14)
_CHECKS = const(15)


def rows(tests) -> list:  # on demand
    """[(name, ok, text, uptime of the check in s or None)]."""
    app = tests.app
    c = tests.controller
    pieces.collect()
    if hasattr(gc, "mem_free"):
        tests.note(_HEAP, True, gc.mem_free())
    result = []
    for check in range(1, _CHECKS):
        seen = tests.seen[check]
        good = not tests.bad >> check & 1
        if seen >= 0:  # else it is not for this board, or its turn has not come
            pieces.breathe()
            text = _text(tests, check, tests.found[check], good)
            result.append((word(check), good, text, seen))
    pieces.breathe()
    now = c.clock.now_s
    report = app.settings.load_report
    result.append(("settings", not report, report or "good", 0))
    error = app.keeper.error
    result.append(("flash", not error, error or app.keeper.text(), now))
    lost = c.fast.windows_lost()
    result.append(("windows", lost == 0, "%d seen, %d lost" % (c.windows, lost), now))
    for channel in app.board.channels:
        if channel.kind != "aux":
            text = c.checks.of_channel(channel.index)
            result.append(("sensor " + channel.name, not text, text or "plausible", now))
    hertz = app.meter.hertz()
    result.append(("supply", hertz > 0, "%.2f Hz" % hertz if hertz else "no voltage", now))
    crashes = app.supervisor.crashes
    result.append(("tasks", crashes == 0, app.supervisor.last_crash or "good", now))
    return result


def state(tests) -> str:
    """Name of the first check that fails, or "good"."""
    for check in range(1, _CHECKS):
        if tests.bad >> check & 1:
            return word(check)
    return "good"


def word(check: int) -> str:
    """Name of a check, "" for a number of a newer version."""
    names = (
        "",
        "memory",
        "limits",
        "image",
        "files",
        "outputs",
        "watchdog",
        "clock",
        "scans",
        "flow",
        "reference",
        "mains clock",
        "middle",
        "settings file",
        "heap",
    )
    return names[check] if 0 < check < len(names) else ""


def _text(tests, check: int, found: int, good: bool) -> str:
    """What a check has found, for people."""
    if check == _MEMORY:
        slow = parts("slow")
        if good:
            return "%d words" % sum([slow.words(tests, i) for i in range(len(tests.buffers))])
        return "array %d, word %d does not keep what is written" % (found // 10000, found % 10000)
    if check == _LIMITS:
        return "as they were set" if good else "changed by nobody"
    if check == _IMAGE:
        return "checksum is right" if good else "checksum is wrong"
    if check == _FILES:
        return "%d checksums are right" % found if good else "number %d is damaged" % found
    if check == _OUTPUTS:
        names = [x.name for x in tests.controller.outlets] + ["contactor"]
        names = [names[i] for i in range(len(names)) if found >> i & 1]
        return "pins follow" if good else "pins that do not follow: " + " ".join(names)
    if check == _WATCHDOG:
        return "armed" if good else "does not count"
    if check == _CLOCK:
        return "%d kHz of ring oscillator" % found
    if check == _RATE:
        return "%.1f %% of those due" % (found / 10)
    if check == _FLOW:
        return "%d windows" % found
    if check == _REFERENCE:
        return "code %d" % found
    if check == _MAINS:
        return "mains by own clock: %.2f Hz" % (found / 1000)
    if check == _MIDDLE:
        return "all sensors off by %d counts" % found
    if check == _HEAP:
        return "%d bytes free" % found
    return "good" if good else "damaged"
