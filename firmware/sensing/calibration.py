"""`cal`: zero, gain and phase of the sensors, by a reference meter.

Role: measures over seconds in small steps, judges, stores, and only then puts it in force: what
is refused leaves the old calibration as it was. After this module everybody reads A, V and W.
Called by: the outer lane (interfaces/commands.py), which loads it for one command and drops it.

command() returns a dict, or a generator for what takes seconds: it yields its progress in words,
wants to be resumed each 20 to 50 ms, and returns the dict.
"""

import time

from micropython import const

from firmware import events, pieces
from firmware.protection import outlet as o
from firmware.storage import calibration as stored

AVERAGE_MS = const(3000)
_CHECK_BLOCKS = const(5)  # 1 s, to read what it has become
_GIVE_UP_MS = const(15_000)
_LEAST_MA = const(1000)
_LEAST_MV = const(50_000)
_STEADY = 0.02  # of the reading: largest difference of two ten-cycle blocks
_AGREE = 0.02  # of the gain: largest difference of two points
_APART = const(2)  # the high point is at least so many times the low one
_ZERO_WANDER = const(64)  # 1/16 count, between two windows at rest
_EPOCH = const(0x1000000)  # a smaller `when` is the number of a start
# the layouts: reduce.B_… and M_… (a test compares them)
_B_BLOCK = const(4)
_M_RESIDUE = const(0)
_M_NOISE = const(1)
_M_MEAN = const(5)
_M_BLK_N = const(11)
_M_BLK_SQ = const(12)
_M_FLAGS = const(22)
_F_ZERO = const(4)
_F_FLOW = const(8)
_BAD_FLAGS = const(1 | 2 | 16)  # rail, frozen, clipped

_WORDS = ("zero", "gain", "low", "high", "phase", "clear")
# for `help cal`
FORMS = (
    ("", "the calibration in force"),
    ("<channel> zero", "measure the zero of a sensor at rest (its outlet off)"),
    ("<channel> <value>", "a reference meter shows so many A or V now: set the gain"),
    ("<channel> low|high <value>", "the same by two loads that must agree, in any order"),
    ("<outlet> phase [power factor]", "a resistive load (or a known one) is on: set the phase"),
    ("<channel> clear", "back to nominal"),
    ("export", "all of it on one line"),
    ("import <that line>", "put it back"),
)


class Refused(Exception):
    """Not done, and the old calibration is in force; the text says why and what is needed."""


def command(app, points: dict, args: list, by: int):
    """Run the words after `cal`. `points`: first halves of two-point calibrations, kept by the
    caller; `by`: who asks (events.BY_…)."""
    if not args:
        return _table(app)
    word = args[0]
    if word == "export":
        if len(args) > 1:
            raise Refused("usage: cal export")
        rows = {"board": app.board.name}
        rows.update(_rows(app))
        return {"export": rows}
    if word == "import":
        return _import(app, " ".join(args[1:]), by)
    names = [channel.name for channel in app.board.channels]
    if word not in names:
        raise Refused("unknown channel '%s' (there are: %s)" % (word[:32], " ".join(names)))
    cal = Channel(app, names.index(word), by)
    what = args[1] if len(args) > 1 else ""
    rest = args[2:]
    if what and what not in _WORDS:  # `gain` goes without saying
        what = "gain"
        rest = args[1:]
    if what in ("gain", "low", "high") and len(rest) == 1:
        return cal.gain(what, _number(rest[0]), points)
    if what == "phase" and len(rest) < 2:
        return cal.phase(_number(rest[0]) if rest else 1.0)
    if what in ("zero", "clear") and not rest:
        points.pop(cal.index, None)
        return cal.zero() if what == "zero" else cal.clear()
    raise Refused("usage: " + "; ".join(["cal " + form for form, _ in FORMS[1:]]))


def _number(word):
    try:
        value = float(word)
    except ValueError:
        raise Refused("'%s' is no number" % word[:32])
    if not -1e6 < value < 1e6:
        raise Refused("'%s' is out of range" % word[:32])
    return value


def _when(app) -> int:
    return app.clock.wall() or app.journal.boot


def _date(when: int):
    """A row's `when` in words; None: never calibrated, or nobody knows."""
    if when < _EPOCH:
        return "start %d" % when if when else None
    if time.gmtime(0)[0] == 2000:  # MicroPython ports that count from 2000
        when -= 946_684_800
    return "%04d-%02d-%02d %02d:%02d" % tuple(time.gmtime(when)[:5])


def _rows(app) -> dict:
    """What is in force, with what the file knows of its origin."""
    kept, _ = stored.load(app.folder, app.board)
    pieces.breathe()
    rows = {}
    meter = app.meter
    for m in meter.channels:
        i = m.index
        gain = meter.gains[i]
        phase = meter.phases[i]
        row = kept.get(m.channel.name)
        if m.channel.kind == "aux" or (row is None and gain == 1 and not phase):
            continue
        if row is None or abs(row[0] - gain) > 1e-4 or abs(row[1] - phase) > 1e-2:
            row = [round(gain, 5), round(phase, 2), 0]
        rows[m.channel.name] = row
    return rows


def _noise(m) -> float:
    """Counts RMS."""
    return round((m.word(_M_NOISE) / 256) ** 0.5, 2)


def _table(app) -> dict:
    kept = _rows(app)
    channels = {}
    for m in app.meter.channels:
        if m.channel.kind == "aux":
            continue
        pieces.breathe()
        row = kept.get(m.channel.name) or [1.0, 0, 0]
        entry = {
            "gain": round(app.meter.gains[m.index], 4),
            "zero_counts": round(app.fast.zero(m.index) + m.word(_M_RESIDUE) / 256, 2),
            "noise_counts": None,  # of a voltage it is not known: it is never at rest
            "date": _date(row[2]),
            "points": row[3:],
        }
        if m.channel.kind == "current":
            entry["noise_counts"] = _noise(m)
            entry["phase_deg"] = round(app.meter.phases[m.index], 2)
        channels[m.channel.name] = entry
    return {"channels": channels}


def _store(app, rows: dict, changed, by: int):
    """Onto the flash first, then in force: a full flash leaves everything as it was."""
    stored.write(app.folder, app.board, rows)
    meter = app.meter
    for m in meter.channels:
        row = rows.get(m.channel.name) or (1.0, 0)
        if m.channel.name in changed:
            meter.set_gain(m.index, float(row[0]))
            if m.channel.kind == "current":
                meter.set_phase(m.index, float(row[1]))
    app.controller.configure()
    if app.controller.station is not None:
        app.controller.station.configure()
    for name in changed:
        gain = int(meter.gains[app.board.channel_index(name)] * 1000 + 0.5)
        at = app.board.outlet_index(name)
        app.journal.add(events.SETTING, at, events.CALIBRATION, gain, by)


def _import(app, text: str, by: int) -> dict:
    import json

    try:
        parsed = json.loads(text)
    except ValueError:
        raise Refused("import: that is no JSON; paste the line that cal export gave")
    try:
        rows = stored.check(app.board, parsed)
    except ValueError as error:
        raise Refused("import: %s" % error)
    if not rows:
        raise Refused("import: it names no channel")
    merged = _rows(app)
    merged.update(rows)
    _store(app, merged, sorted(rows), by)
    return {"imported": sorted(rows)}


class Channel:
    """One channel being calibrated."""

    def __init__(self, app, index: int, by: int):
        self.app = app
        self.by = by
        self.index = index
        self.m = m = app.meter.channels[index]
        self.name = m.channel.name
        self.kind = m.channel.kind
        if self.kind == "aux":
            raise Refused("%s: only currents and voltages are calibrated" % self.name)
        self.unit = "A" if self.kind == "current" else "V"
        self.nominal = m.channel.full_scale / 2048  # mA or mV a count
        self.outlet = None  # of the controller
        for outlet in app.controller.outlets:
            if outlet.outlet.channel == index:
                self.outlet = outlet
        self.start_ms = app.clock.uptime_ms()
        self.done_ms = 0

    def refuse(self, text: str):
        raise Refused("%s: %s" % (self.name, text))

    def passed_ms(self) -> int:
        """Since the start; refuses when it has taken too long for whatever reason."""
        passed = self.app.clock.uptime_ms() - self.start_ms
        if passed > _GIVE_UP_MS:
            self.refuse("no steady cycles within %d s; try again" % (_GIVE_UP_MS // 1000))
        return passed

    def progress(self, done_ms) -> str:
        return "%s: measuring, %d of %d s" % (self.name, done_ms // 1000, AVERAGE_MS // 1000)

    # -- what must hold before and while it is measured ----------------------------------------

    def check_sensor(self):
        if self.m.word(_M_FLAGS) & _BAD_FLAGS or (self.outlet and self.outlet.fault_now):
            self.refuse("its sensor is faulty: repair that first")

    def check_supply(self):
        which = self.outlet.outlet.volts if self.outlet else min(self.index, 1)
        sense = self.kind == "sense"  # of the grid: what it measures is what has to be there
        if (self.m.rms() if sense else self.app.meter.supply_mv(which)) < _LEAST_MV:
            self.refuse("there is no voltage: at least %d V are needed" % (_LEAST_MV // 1000))

    def check_load(self, least_ma: int):
        """The sensor is sound, and enough flows through it or lies across it."""
        self.check_sensor()
        outlet = self.outlet
        if outlet:
            state = outlet.state
            if state == o.OFF or state == o.CLOSING or state == o.SHED:
                self.refuse(
                    "the load is off: switch it on first (on %s), %g A or more must flow"
                    % (self.name, least_ma / 1000)
                )
            if state != o.ON:
                self.refuse("it is in state %s: find the cause and reset it" % o.STATES[state])
        self.check_supply()
        if outlet and self.m.rms() < least_ma:
            self.refuse(
                "the load is off or too small: it reads %.2f A, %g A or more must flow"
                % (self.m.rms() / 1000, least_ma / 1000)
            )

    # -- gain ----------------------------------------------------------------------------------

    def gain(self, what: str, value: float, points: dict):
        """Generator. `value`: what the reference meter shows now, A or V."""
        largest = self.m.channel.full_scale / 1414.2
        if not 0 < value <= largest:
            self.refuse(
                "a reference of %g %s is outside the sensor's range (0 to %d %s)"
                % (value, self.unit, int(largest), self.unit)
            )
        self.check_load(_LEAST_MA)
        return self._gain(what, value, points)

    def _gain(self, what, value, points):
        counts = yield from self._average()
        before = counts * self.m.unit_per_count / 1000
        gain = value * 1000 / (counts * self.nominal)
        if not stored.GAIN_MIN <= gain <= stored.GAIN_MAX:
            self.refuse(
                "%g %s against a reading of %.2f %s is a gain of %.3f (allowed: %g to %g)"
                % (value, self.unit, before, self.unit, gain, stored.GAIN_MIN, stored.GAIN_MAX)
            )
        result = {"channel": self.name, "unit": self.unit, "reference": value}
        if what == "gain":
            points.pop(self.index, None)
            refs = [value]
        else:
            pair = points.get(self.index) or {}
            points[self.index] = pair
            pair[what] = (value, counts)
            if len(pair) < 2:
                result["point"] = what
                result["reading"] = round(before, 3)
                result["next"] = "high" if what == "low" else "low"
                return result
            del points[self.index]
            gain, result["offset"] = self._line(pair)
            refs = [pair["low"][0], pair["high"][0]]
        return (yield from self.finish(result, round(gain, 5), None, refs, before))

    def _line(self, pair) -> tuple:
        """(gain, offset in A or V) from two points; refuses when they contradict each other."""
        low, low_counts = pair["low"]
        high, high_counts = pair["high"]
        if high < low * _APART:
            self.refuse(
                "%g and %g %s are too near: the high load must be %d times the low one; begin "
                "again" % (low, high, self.unit, _APART)
            )
        scale = 1000 / self.nominal
        one = low * scale / low_counts
        two = high * scale / high_counts
        if abs(one - two) > _AGREE * two:
            self.refuse(
                "the two points disagree by %.1f %% (at %g %s a gain of %.3f, at %g %s %.3f; "
                "allowed: 2 %%): check meter, burden and zero, and begin again"
                % (abs(one - two) / two * 100, low, self.unit, one, high, self.unit, two)
            )
        gain = (low * low_counts + high * high_counts) / (low_counts**2 + high_counts**2)
        slope = (high - low) / (high_counts - low_counts)
        return gain * scale, round(low - slope * low_counts, 3)

    def _blocks(self):
        """Generator: wait for the end of a ten-cycle block."""
        block = self.app.meter.block
        seen = block[_B_BLOCK]
        while block[_B_BLOCK] >= seen:
            seen = block[_B_BLOCK]
            self.passed_ms()
            yield self.progress(self.done_ms)

    def _square(self) -> float:
        """Mean square of the last ten-cycle block, counts^2."""
        return max(self.m.word(_M_BLK_SQ) * 16.0 / self.m.word(_M_BLK_N), 0.0)

    def _average(self):
        """Generator: RMS in counts over three seconds of ten-cycle blocks of a steady load."""
        m = self.m
        yield from self._blocks()  # the block that was open may hold what was before
        total = 0.0
        count = 0
        low = high = 0.0
        while self.done_ms < AVERAGE_MS:
            yield from self._blocks()
            self.check_load(_LEAST_MA)
            n = m.word(_M_BLK_N)
            square = self._square()
            root = square**0.5
            if not count:
                low = high = root
            low = min(low, root)
            high = max(high, root)
            # Noise alone makes blocks differ, by 3 % at 1 A.
            if high - low > high * _STEADY + 5 * (m.word(_M_NOISE) / 256 / n) ** 0.5:
                self.refuse(
                    "the load is not steady: it reads from %.2f to %.2f %s; use a heater"
                    % (
                        low * m.unit_per_count / 1000,
                        high * m.unit_per_count / 1000,
                        self.unit,
                    )
                )
            total += square
            count += 1
            self.done_ms += n * self.app.fast.period_us // 1000
        return (total / count) ** 0.5

    def finish(self, result, gain, phase, refs, before):
        """Generator: store, put in force, and read the meter again."""
        name = self.name
        meter = self.app.meter
        if gain is None:
            gain = round(meter.gains[self.index], 5)
        if phase is None:
            phase = round(meter.phases[self.index], 2)
        rows = _rows(self.app)
        if refs is None:
            refs = rows.get(name, ())[3:]
        rows[name] = [gain, phase, _when(self.app)] + list(refs)
        _store(self.app, rows, (name,), self.by)
        self.start_ms = self.app.clock.uptime_ms()
        self.done_ms = AVERAGE_MS
        yield from self._blocks()
        # Fresh blocks: what everybody is shown is averaged over seconds, and may be older.
        total = 0.0
        for _ in range(_CHECK_BLOCKS):
            yield from self._blocks()
            total += self._square()
        reading = (total / _CHECK_BLOCKS) ** 0.5 * self.m.unit_per_count
        result["gain"] = gain
        if self.outlet:
            result["phase_deg"] = phase
        result["before"] = round(before, 3)
        result["reading"] = round(reading / 1000, 3)
        return result

    # -- zero ----------------------------------------------------------------------------------

    def zero(self):
        """Generator. The mean of three seconds without current (a voltage: of whole cycles)."""
        self.check_rest()
        return self._zero()

    def check_rest(self):
        self.check_sensor()
        outlet = self.outlet
        if outlet:
            if o.energised(outlet.state):
                self.refuse("its outlet is on: switch it off first (off %s)" % self.name)
            if not outlet.at_rest or self.app.controller.starting:
                self.refuse("it has just been switched: try again in a second")
        flags = self.m.word(_M_FLAGS)
        if outlet and flags & _F_FLOW:
            self.refuse("current flows although its relay is open")
        if flags & _F_ZERO:
            self.refuse("its zero is out of band (allowed: 2048 within 200 counts)")

    def _zero(self):
        m = self.m
        app = self.app
        total = 0
        count = 0
        low = high = 0
        windows = app.controller.windows
        while True:
            passed = self.passed_ms()
            if passed >= AVERAGE_MS and count:
                break
            yield self.progress(passed)
            if app.controller.windows == windows:
                continue
            windows = app.controller.windows
            self.check_rest()
            mean = (app.fast.zero(self.index) << 4) + m.word(_M_MEAN)
            if not count:
                low = high = mean
            low = min(low, mean)
            high = max(high, mean)
            if high - low > _ZERO_WANDER and self.outlet:
                self.refuse("its zero is not steady: it moves by more than 4 counts")
            total += mean
            count += 1
        zero = total * 16 // count  # 1/256 count
        kernel = app.fast.zero(self.index)
        before = (kernel << 8) + m.word(_M_RESIDUE)
        app.meter.move_zero(self.index, ((zero + 128) >> 8) - kernel)
        m.set_word(_M_RESIDUE, zero - (app.fast.zero(self.index) << 8))
        return {
            "channel": self.name,
            "zero_counts": round(zero / 256, 2),
            "moved_counts": round((zero - before) / 256, 2),
            "noise_counts": _noise(m) if self.outlet else None,
        }

    # -- the rest ------------------------------------------------------------------------------

    def phase(self, factor: float):
        """Generator. `factor`: the load's power factor, 1 a heater; below 0 it is capacitive."""
        if not self.outlet:
            self.refuse("only current sensors have a phase")
        from firmware.sensing import phase

        phase.check(self, factor)
        return phase.measure(self, factor)

    def clear(self) -> dict:
        """Back to nominal."""
        rows = _rows(self.app)
        rows.pop(self.name, None)
        _store(self.app, rows, (self.name,), self.by)
        return {"channel": self.name, "gain": 1.0, "cleared": True}
