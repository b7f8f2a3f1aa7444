"""CSV logs: one row each second and board, the same columns for ever, whole rows only.

A log is appended to. Columns depend on the board's outlets and legs alone, and a file with other
ones is refused rather than mixed. The time is UTC. While a board is away its rows say so
(`online` 0) and the rest is empty, so a gap is told from a zero.
"""

from __future__ import annotations

import csv
import datetime
import fcntl
import io
import os
from collections.abc import Iterator
from pathlib import Path

from tools.client import Status
from tools.monitor.feeds import View
from tools.progress import ToolError

_OUTLET = ("state", "reason", "a", "w", "load_percent", "heat_percent", "kwh")


def columns(status: Status) -> list[str]:
    """The header of a log of this board."""
    names = ["time", "device", "online", "uptime_s", "starting", "contactor"]
    names += ["voltage_v", "l1_v", "l2_v", "frequency_hz", "temperature_c", "power_w", "limit_w"]
    names += [f"{leg}_a" for leg in status.legs]
    for outlet in status.outlets:
        names += [f"{outlet}_{what}" for what in _OUTLET]
    return [*names, "wifi", "mqtt", "last_event"]


def row(view: View, when: float, names: list[str]) -> list[str]:
    """One row; `when` in seconds since 1970."""
    stamp = datetime.datetime.fromtimestamp(int(when), datetime.UTC)
    cells: dict[str, object] = {
        "time": stamp.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "device": view.name,
        "online": int(view.online),
    }
    status = view.status
    if status is not None and view.online:
        cells |= {
            "uptime_s": status.uptime_s,
            "starting": int(status.starting),
            "contactor": status.contactor,
            "voltage_v": status.supply.voltage_v,
            "l1_v": status.supply.l1_v,
            "l2_v": status.supply.l2_v,
            "frequency_hz": status.supply.frequency_hz,
            "temperature_c": status.temperature_c,
            "power_w": status.power_w,
            "limit_w": status.limit_w,
            "wifi": status.wifi,
            "mqtt": status.mqtt,
            "last_event": status.last_event,
        }
        cells |= {f"{name}_a": leg.current_a for name, leg in status.legs.items()}
        for name, outlet in status.outlets.items():
            cells |= {
                f"{name}_state": outlet.state,
                f"{name}_reason": outlet.reason,
                f"{name}_a": outlet.current_a,
                f"{name}_w": outlet.power_w,
                f"{name}_load_percent": outlet.load_percent,
                f"{name}_heat_percent": outlet.heat_percent,
                f"{name}_kwh": outlet.energy_kwh,
            }
    return ["" if cells.get(name) is None else str(cells[name]) for name in names]


def _line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


class Log:
    """A log that is being written; one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open for appending. ToolError when it is no log, or in use."""
        self.path = path
        self._names: list[str] | None = None
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise ToolError(f"{path} cannot be written: {error.strerror}") from error
        try:
            self._begin()
        except BaseException:
            os.close(self._fd)
            raise

    def _begin(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ToolError(f"{self.path} is being written by another monitor") from None
        size = os.fstat(self._fd).st_size
        if not size:
            return
        head = os.pread(self._fd, 16384, 0).split(b"\n")[0].decode(errors="replace")
        self._names = next(csv.reader([head]))
        if self._names[:3] != ["time", "device", "online"]:
            raise ToolError(f"{self.path} is no log of the monitor: it begins with {head[:60]!r}")
        if os.pread(self._fd, 1, size - 1) != b"\n":
            # the power went in the middle of a row: what follows begins a row of its own
            os.write(self._fd, b"\n")

    def add(self, view: View, when: float) -> None:
        """Write one row. Nothing while the board was never heard and the file is empty.

        ToolError when the board's columns are not the file's, or the disk is full.
        """
        status = view.status
        try:
            if self._names is None:
                if status is None:
                    return
                self._names = columns(status)
                os.write(self._fd, _line(self._names))
            elif status is not None and columns(status) != self._names:
                raise ToolError(
                    f"{self.path} is the log of a board with other outlets: choose another file"
                )
            os.write(self._fd, _line(row(view, when, self._names)))
        except OSError as error:
            raise ToolError(f"{self.path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the file; it is complete at any time."""
        os.close(self._fd)


def read(path: Path) -> tuple[list[str], Iterator[dict[str, str]]]:
    """Columns and whole rows of a log; torn rows are passed over. ToolError when it is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror}") from error
    lines = csv.reader(text.splitlines())
    names = next(lines, [])
    if names[:3] != ["time", "device", "online"]:
        raise ToolError(f"{path} is no log of the monitor")
    return names, (
        dict(zip(names, cells, strict=True)) for cells in lines if len(cells) == len(names)
    )
