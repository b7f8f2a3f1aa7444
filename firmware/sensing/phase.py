"""By how much a current sensor's output leads, from a load whose power factor is known.

Role: watches the waveform ring for three seconds, in slices of what has come.
Called by: the outer lane, through calibration.py, which loads it when it is asked for.
"""

from math import acos, atan, degrees, pi, sin

from micropython import const

_AVERAGE_MS = const(3000)
_LEAST_MA = const(2000)  # noise of one count turns 2 A by 0.05 degrees in 3 s
_LEAD_MAX = const(10)  # degrees, see storage/calibration.py
_TURN_STEADY = 1.0  # degree between the halves of a measurement
_LIKENESS = 0.96  # of a resistive load's current to its voltage
_SLICE = const(144)  # scans in one step: what comes in 60 ms, about 12 ms of work
# the layouts: kernel's header, reduce.M_… (a test compares them)
_WAVE_POS = const(20)
_WAVE_SCANS = const(21)
_M_NOISE = const(1)


def check(cal, factor: float):
    """Refuses at once what makes no sense. `cal`: calibration.Channel."""
    if not 0.5 <= abs(factor) <= 1:
        cal.refuse("a power factor of %g (allowed: 0.5 to 1, - when it leads)" % factor)
    cal.check_load(_LEAST_MA)
    if not cal.app.meter.hertz():
        cal.refuse("the mains frequency is not known yet")
    if cal.app.fast.wave_frozen():
        cal.refuse("the waveform memory holds a record: capture it, then free it (capture clear)")


def measure(cal, factor: float):
    """Generator of the progress; stores the phase and returns the result."""
    app = cal.app
    fast = app.fast
    meter = app.meter
    m = cal.m
    before = m.rms() / 1000
    lag = int(250_000 / meter.hertz() / fast.period_us + 0.5)
    wave = _Wave(fast, cal.index, cal.outlet.outlet.volts, app.board.voltages > 1, lag)
    need = _AVERAGE_MS * 1000 // fast.period_us
    half = None
    while wave.done < need:
        cal.passed_ms()
        yield cal.progress(wave.done * fast.period_us // 1000)
        cal.check_load(_LEAST_MA)
        if fast.wave_frozen():
            cal.refuse("the waveform memory was needed for something else: try again")
        wave.take()
        if half is None and wave.done * 2 >= need:
            half = wave.sums[:]
    hertz = meter.hertz()
    theta = 2 * pi * hertz * lag * fast.period_us / 1e6
    noise = m.word(_M_NOISE) / 256 * need
    angle = _angle(cal, wave.sums, theta, noise)
    rest = [x - y for x, y in zip(wave.sums, half)]
    turned = _angle(cal, half, theta, noise / 2) - _angle(cal, rest, theta, noise / 2)
    if abs(turned) > _TURN_STEADY:
        cal.refuse("the load is not steady: its phase moves by %.1f degrees" % abs(turned))
    # Channels are converted one after the other: a later sample looks like a lead.
    skew = app.board.skew_us
    late_us = skew[cal.index] - skew[wave.first]
    if wave.second >= 0:
        late_us -= (skew[wave.second] - skew[wave.first]) / 2
    angle -= 360e-6 * hertz * late_us
    turn = degrees(acos(abs(factor)))
    lead = angle + (turn if factor > 0 else -turn)
    if abs(lead) > _LEAD_MAX:
        cal.refuse(
            "a lead of %.1f degrees is more than a sensor has (allowed: -10 to 10): is the load a "
            "heater, or its power factor really %g?" % (lead, factor)
        )
    result = {"channel": cal.name, "unit": cal.unit, "power_factor": factor}
    return (yield from cal.finish(result, None, round(lead, 2), None, before))


def _angle(cal, sums, theta, noise) -> float:
    """Degrees by which the current leads the voltage.

    With v = cos(wt), i = cos(wt + phi) and theta = w x lag, the means are
    i(t) v(t) = cos(phi) / 2 and i(t) v(t - lag) = cos(phi + theta) / 2, so
    tan(phi) = (cos(theta) - second / first) / sin(theta); cos(theta) comes from v itself,
    which takes care of its harmonics.
    """
    square_i, square_v, product, lagged, lagged_v = sums
    if product <= 0:
        cal.refuse("its power is negative: turn the current sensor round")
    tangent = (lagged_v / square_v - lagged / product) / sin(theta)
    like = product * (1 + tangent * tangent) ** 0.5
    if like < _LIKENESS * (square_v * max(square_i - noise, 1.0)) ** 0.5:
        cal.refuse("the current has not the shape of the voltage: use a heater")
    return degrees(atan(tangent))


class _Wave:
    """Sums over the waveform ring as it fills: i^2, v^2, i v, i v(-lag), v v(-lag)."""

    def __init__(self, fast, channel: int, volts: int, two: bool, lag: int):
        self.fast = fast
        self.channel = channel
        self.zero = fast.zero(channel)
        # v = (first - second) / 2 across both legs: halved, because 144 squares must fit 31 bits
        self.first = 1 if volts == 1 and two else 0
        self.second = 1 if volts == 2 and two else -1
        self.sign = -1 if volts == 1 and not two else 1  # L2 is taken as the mirror image of L1
        self.sums = [0.0] * 5
        self.done = 0
        self.lag = lag
        # Begin after the next `lag` scans, so that what lies before them is known.
        self.at = (fast.st[_WAVE_POS] + lag) % fast.st[_WAVE_SCANS]

    def take(self):
        """Account for what has come since, at most a slice."""
        st = self.fast.st
        size = st[_WAVE_SCANS]
        new = (st[_WAVE_POS] - self.at) % size
        if new > size - 2 * self.lag:
            if not self.done:
                return  # the first have not come yet
            # Held up for long: what lies between is lost, and not needed.
            self.at = (st[_WAVE_POS] - 1) % size
            new = 1
        count = min(new, _SLICE)
        wave = self.fast.wave
        n_ch = self.fast.n_ch
        channel = self.channel
        first = self.first
        second = self.second
        zero = self.zero
        base = self.fast.zero(first)
        if second >= 0:
            base -= self.fast.zero(second)
        a = b = c = d = e = 0
        i = self.at
        j = (i - self.lag) % size
        for _ in range(count):
            p = i * n_ch
            q = j * n_ch
            x = wave[p + channel] - zero
            v = wave[p + first] - base
            w = wave[q + first] - base
            if second >= 0:
                v = (v - wave[p + second]) >> 1
                w = (w - wave[q + second]) >> 1
            a += x * x
            b += v * v
            c += x * v
            d += x * w
            e += v * w
            i += 1
            if i == size:
                i = 0
            j += 1
            if j == size:
                j = 0
        self.at = i
        self.done += count
        sign = self.sign
        sums = self.sums
        sums[0] += a
        sums[1] += b
        sums[2] += c * sign
        sums[3] += d * sign
        sums[4] += e
