"""The record of a trip as lines for people: a few figures and a plot of some 50 ms around it.

Role: formatting only. Called by: the outer lane (console task), which loads it when asked.
"""

from micropython import const

from firmware import pieces

_WIDTH = const(64)
_BEFORE = const(40)  # columns before the trip
_ROWS = const(11)
_COLUMN_US = const(832)
_TOGETHER = const(31)  # scans, less one, looked at before the control lane has its turn
_RMS_MS = const(100)  # whole cycles of 50 and of 60 Hz


def lines(record):
    """Generator of the lines. `record`: capture.Record."""
    info = record.info
    event = info.get("event")
    if record.trip_scan is None:
        yield "no trip is recorded: this is the present"
    else:
        text = record.trip or "an outlet that was not on"
        if event:
            text = "%s %s (%s), event %d" % (text, event["event"], event["reason"], event["seq"])
        if info.get("also"):
            text += "; also " + " ".join(info["also"])
        yield text
        if record.trip != info["outlet"]:
            yield "this is %s at the same time" % info["outlet"]
    mark = record.scans - 1 if record.trip_scan is None else record.trip_scan
    text = "%d scans of %d us" % (record.scans, record.period_us)
    if record.trip_scan is not None:
        text += ": %.0f ms before the trip, %.0f ms after it" % (
            mark * record.period_us / 1000,
            (record.scans - 1 - mark) * record.period_us / 1000,
        )
    yield text
    for channel, row in record.channels:
        yield _figures(record, channel, row, mark)
    for line in _plot(record, mark):
        yield line
    record.done()
    yield "with --json: every code, for tools/capture (plot, COMTRADE, CSV)"


def _figures(record, channel, row, mark):
    top = at = 0
    square = 0.0
    n = min(_RMS_MS * 1000 // record.period_us, record.scans)
    for k in range(record.scans):
        if not k & _TOGETHER:
            pieces.breathe()
        x = record.counts(channel, k)
        if k < n:
            square += x * x
        if x > top or -x > top:
            top = abs(x)
            at = k
    scale = row["per_count"]
    return "%-8s %7.1f %s rms in the first %d ms, peak %.1f %s at %+.1f ms" % (
        row["name"],
        (square / n) ** 0.5 * scale,
        row["unit"],
        _RMS_MS,
        record.counts(channel, at) * scale,
        row["unit"],
        (at - mark) * record.period_us / 1000,
    )


def _volts(record, k):
    """Counts of the outlet's voltage."""
    x = 0
    for channel, factor in record.voltage:
        x += factor * record.counts(channel, k)
    return x


def _row(x, top):
    """Row of the plot in which a value lies; row 0 is `top`."""
    return ((top - x) * (_ROWS - 1) + top) // (2 * top)


def _plot(record, mark):
    step = max(1, _COLUMN_US // record.period_us)
    first = max(0, min(mark - _BEFORE * step, record.scans - _WIDTH * step))
    width = min(_WIDTH, (record.scans - first) // step)
    top = volts = 8
    for k in range(first, first + width * step):
        if not k & _TOGETHER:
            pieces.breathe()
        top = max(top, abs(record.counts(record.current, k)))
        volts = max(volts, abs(_volts(record, k)))
    high = bytearray(width)
    low = bytearray(width)
    dots = bytearray(width)
    k = first
    before = _row(record.counts(record.current, k), top)
    for column in range(width):
        if not column & 7:
            pieces.breathe()
        high[column] = low[column] = before
        for _ in range(step):
            before = _row(record.counts(record.current, k), top)
            high[column] = min(high[column], before)
            low[column] = max(low[column], before)
            k += 1
        dots[column] = _row(_volts(record, k - 1), volts)
    marked = (mark - first) // step if record.trip_scan is not None else -1
    amps = 0.0
    for channel, row in record.channels:
        if channel == record.current:
            amps = top * row["per_count"]
    for row in range(_ROWS):
        text = bytearray(width)
        for column in range(width):
            byte = 32
            if high[column] <= row <= low[column]:
                byte = 35  # #
            elif dots[column] == row:
                byte = 46  # .
            elif column == marked:
                byte = 58  # :
            elif row == _ROWS // 2:
                byte = 45  # -
            text[column] = byte
        label = ""
        if row % (_ROWS // 2) == 0:
            label = "%.0f A" % (amps * (1 - row * 2 / (_ROWS - 1)))
        yield "%7s |%s" % (label, text.decode())
    if marked >= 0:
        yield "%s^ trip" % (" " * (9 + marked))
    yield "# current, . voltage; a column is %.2f ms" % (step * record.period_us / 1000)
