"""A captured record: what `capture <outlet> --json` answers, checked, as volts and amps.

The format is told in docs/capture.md. Two base64 digits are one 12-bit code; value = (code - zero)
× per_count, after the converter's flaw is corrected when the record says that it has one.
"""

from __future__ import annotations

import binascii
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.progress import ToolError

_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_ERRATA = (None, "e11")
_KEYS = ("channels", "scan_period_us", "codes")

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Channel:
    """One input: raw codes and how to read them. `unit` is A or V, `skew_us` the time from the
    scan's beginning to its conversion, `limit` the peak limit (None: none)."""

    name: str
    unit: str
    codes: NDArray[np.int64]
    zero: float
    per_count: float
    skew_us: float
    limit: float | None
    errata: str | None

    @property
    def corrected(self) -> NDArray[np.int64]:
        """Codes as a flawless converter would give them: what `zero` is counted in."""
        return correct(self.codes, self.errata)

    @property
    def values(self) -> Numbers:
        """Volts or amps."""
        values: Numbers = (self.corrected.astype(np.float64) - self.zero) * self.per_count
        return values


def correct(codes: NDArray[np.int64], errata: str | None) -> NDArray[np.int64]:
    """RP2040-E11: four codes are some eight codes too wide, and what lies beyond is shifted by
    eight each; as the firmware's kernel corrects it (firmware/sensing/kernel.py)."""
    if errata is None:
        return codes
    at = codes + 513
    corrected: NDArray[np.int64] = codes + ((at >> 10) << 3) - 16 - np.where(at & 1023, 0, 4)
    return corrected


@dataclass(frozen=True)
class Record:
    """One capture. Times count from the first scan; `trip_scan` is None for a look at the present.

    `voltage`: the outlet's own voltage as (channel, factor) to be summed."""

    device: str
    board: str
    version: str
    outlet: str
    trip: str | None
    event: dict[str, Any] | None
    also: tuple[str, ...]
    was_on: bool
    uptime_s: float
    period_us: int
    scans: int
    trip_scan: int | None
    hertz: float
    current: str
    voltage: tuple[tuple[str, int], ...]
    channels: tuple[Channel, ...]
    raw: dict[str, Any] = field(repr=False)

    @property
    def mark(self) -> int:
        """The scan from which times are told: the trip, or the last one."""
        return self.scans - 1 if self.trip_scan is None else self.trip_scan

    @property
    def title(self) -> str:
        """What happened, in a line."""
        if self.trip_scan is None:
            return f"{self.outlet}, no trip"
        said = f"{self.trip or 'not switched on'}"
        if self.event:
            said += f" {self.event['event']} ({self.event['reason']}), event {self.event['seq']}"
        if self.trip != self.outlet:
            said = f"{self.outlet} while {said}"
        return said + (f"; also {', '.join(self.also)}" if self.also else "")

    @property
    def name(self) -> str:
        """A file name for it, without a suffix."""
        return f"{self.outlet}-event{self.event['seq']}" if self.event else f"{self.outlet}-now"

    def channel(self, name: str) -> Channel:
        """A channel by name."""
        return next(c for c in self.channels if c.name == name)

    def times_ms(self, channel: str) -> Numbers:
        """When the codes of a channel were converted, ms from the trip (or the last scan)."""
        scan: Numbers = np.arange(self.scans, dtype=np.float64) - self.mark
        times: Numbers = (scan * self.period_us + self.channel(channel).skew_us) / 1000
        return times

    def volts(self) -> Numbers:
        """The outlet's voltage, scan by scan. Across two legs it is the difference of two
        conversions, a few us apart."""
        parts = [self.channel(name).values * factor for name, factor in self.voltage]
        total: Numbers = np.sum(parts, axis=0)
        return total

    def trip_epoch(self, read_at: float | None = None) -> float | None:
        """UTC of the trip (of the last scan without one), seconds since 1970; None: not known.

        From the board's clock if it was set, else `read_at`, the time at which the record was
        read, less its age."""
        if self.event and self.event.get("time"):
            return datetime.fromisoformat(self.event["time"]).timestamp()
        if read_at is None:
            return None
        return read_at - (self.uptime_s - self.event["uptime_s"] if self.event else 0)


def parse(body: dict[str, Any]) -> Record:
    """A record from the JSON object of an answer; ToolError says what is wrong with it."""
    if "result" in body and isinstance(body["result"], dict):  # MQTT
        body = body["result"]
    if "channels" not in body:
        said = body.get("error")
        raise ToolError(f"the board said: {said}" if said else "this is no answer of `capture`")
    try:
        scans = int(body["scans"])
        errata = body["errata"]
        if errata not in _ERRATA:
            raise ToolError(f"converter errata {errata!r} are not known to this version")
        channels = tuple(_channel(row, scans, errata) for row in body["channels"])
        record = Record(
            device=str(body["device"]),
            board=str(body["board"]),
            version=str(body["version"]),
            outlet=str(body["outlet"]),
            trip=body["trip"],
            event=body["event"],
            also=tuple(body["also"]),
            was_on=bool(body["was_on"]),
            uptime_s=float(body["uptime_s"]),
            period_us=int(body["scan_period_us"]),
            scans=scans,
            trip_scan=None if body["trip_scan"] is None else int(body["trip_scan"]),
            hertz=float(body["frequency_hz"]),
            current=str(body["current"]),
            voltage=tuple((str(k), int(v)) for k, v in body["voltage"].items()),
            channels=channels,
            raw=body,
        )
        for name in (record.current, *(name for name, _ in record.voltage)):
            if name not in [c.name for c in channels]:
                raise ToolError(f"the record has no channel {name!r}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ToolError(
            f"this record is not of a form known to this version ({type(error).__name__}: {error})"
        ) from error
    if record.trip_scan is not None and not 0 <= record.trip_scan < scans:
        raise ToolError(f"the trip, scan {record.trip_scan}, is not one of the {scans} scans")
    return record


def _channel(row: dict[str, Any], scans: int, errata: str | None) -> Channel:
    name, text = str(row["name"]), str(row["codes"]).encode()
    crc = f"{binascii.crc32(text):08x}"
    if crc != row["crc"] or len(text) != 2 * scans:
        raise ToolError(
            f"channel {name} arrived damaged ({len(text)} of {2 * scans} digits, checksum {crc}, "
            f"and the board's is {row['crc']}): read it again"
        )
    table = np.full(256, -1, dtype=np.int64)
    table[np.frombuffer(_DIGITS, dtype=np.uint8)] = np.arange(64)
    digits = table[np.frombuffer(text, dtype=np.uint8)]
    if digits.size and digits.min() < 0:
        raise ToolError(f"channel {name} holds characters that are no base64 digits")
    limit = row["limit"]
    return Channel(
        name=name,
        unit=str(row["unit"]),
        codes=digits[0::2] << 6 | digits[1::2],
        zero=float(row["zero"]),
        per_count=float(row["per_count"]),
        skew_us=float(row["skew_us"]),
        limit=None if limit is None else float(limit),
        errata=errata if row["unit"] in ("A", "V") else None,
    )


def find(text: str) -> Iterator[Record]:
    """All records in a console log, a file of MQTT messages, or a JSON file, in their order.

    Each has to stand on one line, whatever is before it there; ToolError for one that is cut off
    or damaged, with its line."""
    for number, line in enumerate(text.splitlines(), 1):
        if not all(f'"{key}"' in line for key in _KEYS):
            continue
        body = _object(line)
        if body is None:
            raise ToolError(f"line {number} has a record that is cut off or damaged")
        try:
            yield parse(body)
        except ToolError as error:
            raise ToolError(f"line {number}: {error}") from error


def _object(line: str) -> dict[str, Any] | None:
    """The first JSON object in a line that is or holds a record."""
    start = line.find("{")
    while start >= 0:
        with contextlib.suppress(ValueError):
            body, _ = json.JSONDecoder().raw_decode(line[start:])
            if "channels" in body or isinstance(body.get("result"), dict):
                found: dict[str, Any] = body
                return found
        start = line.find("{", start + 1)
    return None
