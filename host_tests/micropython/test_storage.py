"""Settings, journal, counters and latch on real MicroPython: heap, wear, power cuts."""

from __future__ import annotations

from typing import Any

import pytest

from host_tests.micropython.running import answer

# Erases of any block in ten years, and the blocks of a Pico W's file system that are free.
ERASES_MAX = 10_000
FREE_BLOCKS = 200
MINUTES = 10 * 365.25 * 24 * 60


def run(micropython: str, script: str, *args: str, heap: str = "190k") -> dict[str, Any]:
    return answer(micropython, script, *args, heap=heap, timeout_s=250)


def test_heap(micropython: str) -> None:
    used = run(micropython, "storage_heap.py")
    assert used["allocated by 2000 records"] == 0
    assert used["last_seq"] == 2000
    assert used["record"] == [2000, 1, -1, 1, -(2**30), 3, 2**29 + 17, 990, 0]
    assert used["settings"] <= 512
    assert used["journal 256"] <= 4608
    assert used["journal store"] <= 1024
    assert used["console"] <= 2048


def test_wear(micropython: str) -> None:
    """Counters each minute, a journal record each minute, a trip each hour, for ten years."""
    erases = run(micropython, "storage_wear.py", heap="4m")
    per_minute = (
        erases["counters"] + erases["journal, a record a flush"] + erases["latch"] * 2 / 60
    )
    assert per_minute * MINUTES / FREE_BLOCKS < ERASES_MAX
    # littlefs moves a pair of metadata blocks after 100 erases: no block stands out.
    assert erases["worst block"] <= 130


def test_wear_of_the_storage_task(micropython: str) -> None:
    """The worst that its rules allow, for ten years; and how long the strip lasts without an
    erase."""
    figures = run(micropython, "storage_keeper_wear.py", "36", heap="6m")
    assert figures["blocks"] == 30
    strip = figures["strip_erases_per_block_hour"] * MINUTES / 60
    assert 5000 < strip < ERASES_MAX, "of each of its blocks"
    others = FREE_BLOCKS - figures["blocks"]
    assert figures["file_erases_per_hour"] * MINUTES / 60 / others < ERASES_MAX
    assert figures["file_worst"] <= 130
    assert figures["steady_hours"] > 48
    assert figures["steady_erases"] == 0
    assert "no erased flash is left" in figures["steady_error"]
    assert not figures["error_after"] and figures["blank_after"] == 29


def test_the_strip_on_littlefs(micropython: str) -> None:
    """Whatever somebody did to its files, raw calls reach nothing but them."""
    result = run(micropython, "storage_strip.py", heap="4m")
    assert result["records"] == 7000
    assert 0 < result["made"] < 9


@pytest.mark.parametrize("seed", [1, 2])
def test_power_cuts(micropython: str, seed: int) -> None:
    """Each restart finds valid settings, a journal without gaps, trips and energy as confirmed."""
    result = run(micropython, "storage_cuts.py", str(seed), "1000", heap="2m")
    assert result["cuts"] == 1000
    assert result["records"] > 5000
