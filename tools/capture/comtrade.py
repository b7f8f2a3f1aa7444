"""A record as IEEE C37.111-1999 (COMTRADE): a .cfg and a .dat, ASCII or binary.

Analogue channels hold corrected codes, so that a = units per count and b = -zero × a give
primary values without another rounding. Status channels: the trip, and the relay of the outlet
that tripped. Times are UTC.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from tools.capture.record import Channel, Record, correct

ASCII, BINARY = "ascii", "binary"
_NOMINAL_HZ = (50, 60)


def write(record: Record, path: Path, form: str = BINARY, trip_epoch: float | None = None) -> None:
    """Write `path`.cfg and `path`.dat. `trip_epoch`: UTC of the trip; None: not known, times are
    then of 1970, from the board's start."""
    status = _status(record)
    rows = [c.corrected for c in record.channels]
    at_us = np.arange(record.scans) * record.period_us
    if form == ASCII:
        lines = []
        for n in range(record.scans):
            cells = [n + 1, at_us[n], *(row[n] for row in rows), *(s[2][n] for s in status)]
            lines.append(",".join(str(int(x)) for x in cells) + "\r\n")
        data = "".join(lines).encode("ascii")
    else:
        # sixteen status channels a word; there are two at most
        pack = struct.Struct(f"<II{len(rows)}h" + ("H" if status else ""))
        data = b""
        for n in range(record.scans):
            cells = [n + 1, int(at_us[n]), *(int(row[n]) for row in rows)]
            if status:
                cells.append(sum(s[2][n] << bit for bit, s in enumerate(status)))
            data += pack.pack(*cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".cfg").write_bytes(
        _cfg(record, status, form, trip_epoch).encode("ascii", "replace")
    )
    path.with_name(path.name + ".dat").write_bytes(data)


def _status(record: Record) -> list[tuple[str, int, list[int]]]:
    """(name, normal state, level of each scan) of the status channels."""
    if record.trip_scan is None or record.trip is None:
        return []
    before = [n < record.trip_scan for n in range(record.scans)]
    trip = [int(not b) for b in before]
    relay = [int(b and record.was_on) for b in before]
    return [(f"{record.trip} trip", 0, trip), (f"{record.trip} relay", 0, relay)]


def _cfg(
    record: Record, status: list[tuple[str, int, list[int]]], form: str, trip_epoch: float | None
) -> str:
    n_analogue, n_status = len(record.channels), len(status)
    device = f"{record.board} {record.version}"
    lines = [
        f"{_text(record.device)},{_text(device)},1999",
        f"{n_analogue + n_status},{n_analogue}A,{n_status}D",
    ]
    lines += [_analogue(i, c) for i, c in enumerate(record.channels, 1)]
    lines += [f"{i},{_text(name)},,,{y}" for i, (name, y, _) in enumerate(status, 1)]
    if trip_epoch is None:
        trip_epoch = record.event["uptime_s"] if record.event else record.uptime_s
    trigger = datetime.fromtimestamp(0, UTC) + timedelta(seconds=trip_epoch)
    start = trigger - timedelta(microseconds=record.mark * record.period_us)
    lines += [
        str(nominal_hz(record)),
        "1",
        f"{1e6 / record.period_us:.6f},{record.scans}",
        _time(start),
        _time(trigger),
        form.upper(),
        "1",
    ]
    return "".join(line + "\r\n" for line in lines)


def nominal_hz(record: Record) -> int:
    """50 or 60, whichever is nearer (60 when the supply was gone)."""
    return min(reversed(_NOMINAL_HZ), key=lambda hz: abs(hz - (record.hertz or 60)))


def _analogue(number: int, channel: Channel) -> str:
    low, high = correct(np.array([0, 4095]), channel.errata)
    a = channel.per_count
    phase = channel.name[-2:].upper() if channel.name in ("v_l1", "v_l2") else ""
    return (
        f"{number},{_text(channel.name)},{phase},,{_text(channel.unit)},{a:.9g},"
        f"{-channel.zero * a:.9g},{channel.skew_us:g},{low},{high},1,1,P"
    )


def _text(text: str) -> str:
    """A field: no commas, and no more than the standard's 64 characters."""
    return text.replace(",", " ").replace("\r", " ").replace("\n", " ")[:64]


def _time(when: datetime) -> str:
    return when.strftime("%d/%m/%Y,%H:%M:%S.%f")
