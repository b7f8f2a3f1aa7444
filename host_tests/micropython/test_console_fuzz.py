"""A hundred thousand hostile lines for the console of the real firmware, while trips are timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.fuzz import run

ROOT = Path(__file__).resolve().parents[2]
_LINES = 100_000
_COMPUTING_MS = 400  # of CPU time: the chip is some fifty times slower, and its lease lasts 3 s


@pytest.mark.timeout(1200)
def test_a_hundred_thousand_lines() -> None:
    quiet, fuzzed = run.play(_LINES)
    folder = ROOT / "build" / "fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "console.json").write_text(json.dumps(run.report(quiet, fuzzed), indent=2))
    assert fuzzed.lines >= _LINES
    for figures in (quiet, fuzzed):
        for kind, times in figures.trips_ms.items():
            assert times and max(times) <= run.BOUNDS_MS[kind]
    assert len(fuzzed.trips_ms["peak"]) > 20, "trips all along"
    assert fuzzed.markers == fuzzed.lines // run.MARKER
    assert sum(fuzzed.answers.values()) > 0.8 * _LINES
    closed = [fuzzed.closed[outlet] for outlet in ("bed1", "cabin1", "bed2", "bed240")]
    assert min(closed) > 10 and sum(closed) > 300, "valid lines work"
    assert run.CANARY not in fuzzed.closed
    assert fuzzed.computing_ms < _COMPUTING_MS


def test_a_late_trip_and_a_closed_outlet_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setitem(run.BOUNDS_MS, "thermal", 4_000)
        with pytest.raises(run.Failure, match="thermal of cabin1 took inf ms"):
            run.Run(0).play()
    spoiled = run.Run(3_000)
    spoiled.lines.canary = ""
    monkeypatch.setattr(run.Run, "_trips", lambda self: self._send(b"\x03\non cabin2\n"))
    with pytest.raises(run.Failure, match="cabin2 closed, and nobody has asked for it"):
        spoiled.play()
