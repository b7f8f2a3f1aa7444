"""Recorded loads: find a file, read it, lay it out by mains phase. Called by loads.py.

A recording becomes a table with a fixed number of samples per mains cycle, entry 0 at a positive
going zero crossing of the recorded voltage. Played by the phase of the simulated supply it cannot
drift against it, whatever its own frequency was: a 50 Hz recording on a 60 Hz supply runs 1.2
times as fast, inrush included. Its end is faded into the cycle before its steady part, so that the
loop has no seam.
"""

from __future__ import annotations

import csv
import json
import math
import zipfile
from array import array
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tools.simulator.wiring import SimError

FOLDER = Path(__file__).resolve().parents[2] / "host_tests" / "waveforms"
_SUFFIXES = (".npz", ".csv")
_FIELDS = ("fs_hz", "mains_hz", "i_amps", "meta_json")
_MAX_SAMPLES = 20_000_000


@dataclass(frozen=True)
class Recording:
    """A load's current by phase. Positions count table entries; amps as recorded."""

    name: str
    appliance: str
    notes: str
    mains_hz: float
    per_cycle: int
    current: list[float]  # one entry beyond the loop, equal to its first, for interpolation
    onset: float  # position of switching on, between 1 and 2 cycles
    loop_start: int
    loop_length: int  # a whole number of cycles
    steady_rms: float
    power_factor: float | None  # None without a recorded voltage
    inrush: float  # greatest sliding half-cycle RMS over the steady RMS


def available() -> list[str]:
    """Names of the recordings that come with the repository."""
    return sorted(p.stem for p in FOLDER.glob("*") if p.suffix in _SUFFIXES)


def find(name: str) -> Path:
    """A recording's file by name, by an unambiguous part of its name, or by path."""
    path = Path(name).expanduser()
    if path.suffix in _SUFFIXES:
        for place in (path, FOLDER / path):
            if place.is_file():
                return place
    names = available()
    matches = [name] if name in names else [n for n in names if name in n]
    if len(matches) != 1:
        what = f"'{name}' fits {len(matches)} recordings" if matches else f"no recording '{name}'"
        raise SimError(
            f"{what}; there is: {' '.join(names) or '(none)'}, or the path of an .npz or .csv file"
        )
    return next(p for s in _SUFFIXES if (p := FOLDER / (matches[0] + s)).is_file())


def load(name: str) -> Recording:
    """Read and lay out the recording that `find` finds; SimError says what is wrong with it."""
    path = find(name).resolve()
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _load(path: Path, _changed: int) -> Recording:
    raw = _read_npz(path) if path.suffix == ".npz" else _read_csv(path)
    return _lay_out(path, raw)


@dataclass
class _Raw:
    fs_hz: float
    mains_hz: float
    amps: Any
    volts: Any | None
    onset_s: float
    steady_s: float
    appliance: str
    notes: str


def _read_npz(path: Path) -> _Raw:
    try:
        with np.load(path, allow_pickle=False) as data:
            missing = [f for f in _FIELDS if f not in data]
            if missing:
                raise SimError(
                    f"{path.name}: no field {' '.join(missing)}; a recording has: "
                    f"{' '.join(_FIELDS)} and optionally v_volts"
                )
            fs_hz, mains_hz = float(data["fs_hz"]), float(data["mains_hz"])
            amps = np.asarray(data["i_amps"], dtype=float).ravel()
            volts = np.asarray(data["v_volts"], dtype=float).ravel() if "v_volts" in data else None
            meta = json.loads(str(data["meta_json"]))
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise SimError(
            f"{path.name}: not a readable .npz recording ({str(error).splitlines()[0]})"
        ) from error
    if not isinstance(meta, dict):
        raise SimError(f"{path.name}: meta_json is not a JSON object")
    if not (fs_hz > 0 and 40 <= mains_hz <= 70):
        raise SimError(
            f"{path.name}: fs_hz={fs_hz:g}, mains_hz={mains_hz:g}; expected a positive "
            "rate and 40 to 70 Hz"
        )
    if volts is not None and len(volts) != len(amps):
        raise SimError(f"{path.name}: {len(volts)} voltage but {len(amps)} current samples")
    seconds = len(amps) / fs_hz
    try:
        onset = float(meta.get("onset_s", 0.0))
        steady = float(meta.get("steady_from_s", onset + 0.75 * (seconds - onset)))
    except (TypeError, ValueError) as error:
        raise SimError(f"{path.name}: onset_s and steady_from_s must be seconds") from error
    return _Raw(
        fs_hz,
        mains_hz,
        amps,
        volts,
        onset,
        steady,
        str(meta.get("appliance", path.stem)),
        str(meta.get("notes", "")),
    )


def _read_csv(path: Path) -> _Raw:
    """Columns t_s,i_a or t_s,v_v,i_a under such a header; onset and mains frequency are found."""
    times, volts, amps = array("d"), array("d"), array("d")
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.reader(file)
        header = [c.strip().lower() for c in next(rows, [])]
        if header not in (["t_s", "i_a"], ["t_s", "v_v", "i_a"]):
            raise SimError(
                f"{path.name}, line 1: expected the header t_s,i_a or t_s,v_v,i_a, "
                f"found '{','.join(header)[:60]}'"
            )
        for row in rows:
            if not row:
                continue
            try:
                values = [float(c) for c in row]
            except ValueError:
                values = []
            if len(values) != len(header) or not all(map(math.isfinite, values)):
                raise SimError(
                    f"{path.name}, line {rows.line_num}: expected {len(header)} "
                    f"numbers ({','.join(header)}), found '{','.join(row)[:60]}'"
                )
            if times and values[0] <= times[-1]:
                raise SimError(f"{path.name}, line {rows.line_num}: time does not increase")
            times.append(values[0])
            amps.append(values[-1])
            if len(values) == 3:
                volts.append(values[1])
    if len(times) < 64:
        raise SimError(f"{path.name}: {len(times)} samples; expected at least 64")
    t = np.asarray(times)
    fs_hz = (len(t) - 1) / (t[-1] - t[0])
    even = t[0] + np.arange(len(t)) / fs_hz
    i = np.interp(even, t, np.asarray(amps))
    v = np.interp(even, t, np.asarray(volts)) if volts else None
    mains_hz = _mains_hz(i if v is None else v, fs_hz)
    half = max(1, int(fs_hz / mains_hz / 2))
    rms = np.sqrt(np.convolve(i * i, np.ones(half) / half)[: len(i)])
    onset = int(np.argmax(np.abs(i) > 0.05 * float(rms.max()))) / fs_hz
    seconds = len(i) / fs_hz
    return _Raw(fs_hz, mains_hz, i, v, onset, onset + 0.75 * (seconds - onset), path.stem, "")


def _mains_hz(wave: Any, fs_hz: float) -> float:
    """50 or 60, whichever the spectrum of `wave` has more of."""
    t = np.arange(len(wave)) / fs_hz
    power = {hz: abs(np.dot(wave, np.exp(-2j * np.pi * hz * t))) for hz in (50.0, 60.0)}
    return max(power, key=lambda hz: power[hz])


def _phase_line(wave: Any, raw: _Raw, first: int) -> tuple[float, float]:
    """Phase of `wave` in cycles as (offset, per second), fitted over all cycles from `first` on.

    Fitted, because the recorded mains is some 0.1 % off its nominal frequency: over a five second
    recording that is a third of a cycle.
    """
    window = round(raw.fs_hz / raw.mains_hz)
    hop = max(1, window // 2)
    kernel = np.exp(-2j * np.pi * raw.mains_hz * np.arange(window) / raw.fs_hz)
    starts = np.arange(first, len(wave) - window + 1, hop)
    at = starts / raw.fs_hz
    angles = np.array([np.angle(np.dot(wave[s : s + window], kernel)) for s in starts])
    # angles are taken relative to each window's own start, so add what the carrier did till then
    cycles = np.unwrap(angles - 2 * np.pi * raw.mains_hz * at) / (2 * np.pi)
    if len(starts) < 3:
        raise SimError("too short to find its mains phase")
    slope, offset = np.polyfit(at, cycles, 1)
    # a sine (not cosine) starts a cycle: its DFT angle is a quarter of a cycle behind
    return float(offset) + 0.25, raw.mains_hz + float(slope)


def _lay_out(path: Path, raw: _Raw) -> Recording:
    name, count, seconds = path.name, len(raw.amps), len(raw.amps) / raw.fs_hz
    if count > _MAX_SAMPLES:
        raise SimError(f"{name}: {count} samples; at most {_MAX_SAMPLES}")
    if not np.all(np.isfinite(raw.amps)) or (
        raw.volts is not None and not np.all(np.isfinite(raw.volts))
    ):
        raise SimError(f"{name}: holds samples that are not numbers")
    if not 0.0 <= raw.onset_s <= raw.steady_s < seconds:
        raise SimError(
            f"{name}: onset {raw.onset_s:g} s and steady part from {raw.steady_s:g} s "
            f"do not lie in order within {seconds:g} s"
        )
    if raw.fs_hz < 8 * raw.mains_hz:
        raise SimError(f"{name}: {raw.fs_hz:g} Hz is too slow; expected at least 8 per cycle")
    # Some voltages appear only at switch-on, with a transient: take the phase from a cycle later.
    settled = int((raw.onset_s + 1.0 / raw.mains_hz) * raw.fs_hz)
    try:
        if raw.volts is not None:
            offset, hz = _phase_line(raw.volts, raw, settled)
        else:  # nothing to align with: take the steady current as in phase with the voltage
            offset, hz = _phase_line(raw.amps, raw, int(raw.steady_s * raw.fs_hz))
    except SimError as error:
        raise SimError(f"{name}: {error}") from error

    onset_cycle = offset + hz * raw.onset_s
    first_cycle = math.floor(onset_cycle) - 1
    last_cycle = offset + hz * seconds
    steady_cycle = offset + hz * raw.steady_s
    # 0.02: a steady part cut at "exactly" n cycles must not lose one to rounding
    cycles = math.floor(last_cycle - steady_cycle + 0.02)
    if cycles < 1 or steady_cycle - first_cycle < 1:
        raise SimError(f"{name}: the steady part from {raw.steady_s:g} s holds no whole cycle")
    per_cycle = max(64, math.ceil(raw.fs_hz / hz))
    loop_start = round((steady_cycle - first_cycle) * per_cycle)
    length = cycles * per_cycle
    position = np.arange(loop_start + length)
    at = (first_cycle + position / per_cycle - offset) / hz
    sample_times = np.arange(count) / raw.fs_hz
    table = np.interp(at, sample_times, raw.amps, left=0.0)
    # The last cycle turns into the one before the loop, whose end leads into the loop's start.
    fade = np.arange(per_cycle) / per_cycle
    table[-per_cycle:] = (1 - fade) * table[-per_cycle:] + fade * table[
        loop_start - per_cycle : loop_start
    ]
    loop = table[loop_start:]
    steady_rms = float(np.sqrt(np.mean(loop**2)))
    if steady_rms <= 0.0:
        raise SimError(f"{name}: no current in its steady part")
    power_factor = None
    if raw.volts is not None:
        volts = np.interp(at[loop_start:], sample_times, raw.volts)
        power_factor = float(np.mean(volts * loop) / np.sqrt(np.mean(volts**2)) / steady_rms)
    half = max(1, per_cycle // 2)
    halves = np.convolve(table**2, np.ones(half) / half, mode="valid")
    return Recording(
        name=path.stem,
        appliance=raw.appliance,
        notes=raw.notes,
        mains_hz=raw.mains_hz,
        per_cycle=per_cycle,
        current=[*table.tolist(), float(table[loop_start])],
        onset=(onset_cycle - first_cycle) * per_cycle,
        loop_start=loop_start,
        loop_length=length,
        steady_rms=steady_rms,
        power_factor=power_factor,
        inrush=float(np.sqrt(halves.max())) / steady_rms,
    )
