"""The calibration on flash: what a row may hold, and reading and writing the file.

Role: the one place that judges a calibration from outside (file or import), always as a whole.
Called by: boot, which then drops the module, and `cal` (sensing/calibration.py).

{"board": "pico_w", "bed1": [gain, phase, when, reference, ...], ...}: gain against the board's
nominal; degrees by which the current sensor leads; seconds since 1970 (UTC), or the number of
the start when the clock was not set, or 0; A or V of the reference meter, one or two points.
Channels that are not named are nominal. Earlier versions wrote {"bed1": gain, ...}.
"""

import json

from micropython import const

from firmware.storage import files

FILE = "calibration.json"
GAIN_MIN = 0.8
GAIN_MAX = 1.2
PHASE_MAX = const(10)  # degrees
_ROW_MAX = const(5)
_REFERENCE_MAX = const(10000)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_row(channel, row):
    """The row of a channel as a list; ValueError with a sentence."""
    name = channel.name
    if _is_number(row):
        row = [row]
    if not isinstance(row, list) or not 0 < len(row) <= _ROW_MAX:
        raise ValueError("%s: expected [gain, phase, when, reference, ...]" % name)
    for value in row:
        if not _is_number(value):
            raise ValueError("%s: only numbers are allowed" % name)
    gain = row[0]
    phase = row[1] if len(row) > 1 else 0
    when = row[2] if len(row) > 2 else 0
    if not GAIN_MIN <= gain <= GAIN_MAX:
        raise ValueError("%s: a gain of %g (allowed: %g to %g)" % (name, gain, GAIN_MIN, GAIN_MAX))
    if not -PHASE_MAX <= phase <= PHASE_MAX:
        raise ValueError("%s: a phase of %g degrees (allowed: -10 to 10)" % (name, phase))
    if phase and channel.kind != "current":
        raise ValueError("%s: only current sensors have a phase" % name)
    if channel.kind == "aux" and gain != 1:
        raise ValueError("%s: only currents and voltages are calibrated" % name)
    if not isinstance(when, int) or not 0 <= when < 1 << 33:
        raise ValueError("%s: the time must be whole seconds since 1970" % name)
    for value in row[3:]:
        if not 0 < value < _REFERENCE_MAX:
            raise ValueError("%s: a reference of %g (allowed: 0 to 10000)" % (name, value))
    return [gain, phase, when] + row[3:]


def check(board, stored) -> dict:
    """{channel name: [gain, phase, when, reference, ...]}; ValueError says what is wrong."""
    if not isinstance(stored, dict):
        raise ValueError('expected {"board": "%s", "<channel>": [gain, ...], ...}' % board.name)
    if stored.get("board", board.name) != board.name:
        raise ValueError("it is of board '%s', this is '%s'" % (stored["board"], board.name))
    rows = {}
    left = len(stored) - ("board" in stored)
    for channel in board.channels:
        if channel.name in stored:
            left -= 1
            row = _check_row(channel, stored[channel.name])
            if channel.kind != "aux":
                rows[channel.name] = row
    if left:
        known = [channel.name for channel in board.channels]
        for name in stored:
            if name not in known and name != "board":
                raise ValueError(
                    "unknown channel '%s' (there are: %s)" % (str(name)[:32], " ".join(known))
                )
    return rows


def load(folder: str, board) -> tuple:
    """(rows, note): what is stored, {} when nothing is; note: "" or what is wrong with it."""
    data, _, note = files.read(files.join(folder, FILE))
    if data is None:
        return {}, note
    try:
        return check(board, json.loads(data)), note
    except (ValueError, TypeError) as error:
        return {}, "%s: %s; nominal gains are used" % (FILE, error)


def write(folder: str, board, rows: dict):
    """Replace the file; raises files.StorageError, then the old one stays."""
    stored = {"board": board.name}
    stored.update(rows)
    files.make_folder(folder)
    files.write(files.join(folder, FILE), json.dumps(stored))
