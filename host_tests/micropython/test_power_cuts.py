"""Power cuts in a busy run of the whole firmware, on real MicroPython with its own littlefs.

Each cut comes at a random instant, most of them in the middle of a write or an erase, which is
torn. `POWER_CUTS=10000 SEED=7` takes more of them, and others; see docs/storage.md.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from host_tests.micropython.running import ROOT, answer
from tools.simulator import bytecode

CUTS = int(os.environ.get("POWER_CUTS", "5000"))
SEED = int(os.environ.get("SEED", "1"))
_SLICE = 400  # cuts of one process: the runs differ, and a failure is found again quickly
# per cent of the cuts, by what else the flash or the chip does
_SHARES = {"busy": 80, "fresh": 5, "full": 5, "refusing": 5, "reset": 5}


def run(micropython: str, seed: int, cuts: int, mode: str) -> dict[str, Any]:
    """One process of device/power_cuts.py, on the firmware compiled as a board has it."""
    compiled = bytecode.build(Path(micropython), ROOT).path[1]
    words = (str(seed), str(cuts), mode)
    more = {"heap": "8m", "timeout_s": 1200, "before": compiled}
    return answer(micropython, "power_cuts.py", *words, **more)


@pytest.mark.timeout(0)  # it takes what POWER_CUTS asks for; each process has its own limit
def test_nothing_that_was_promised_is_lost_in_a_power_cut(micropython: str) -> None:
    jobs: list[tuple[int, int, str]] = []
    for mode, share in _SHARES.items():
        cuts = CUTS * share // 100
        while cuts > 0:
            jobs.append((SEED * 1000 + len(jobs), min(cuts, _SLICE), mode))
            cuts -= _SLICE
    began = time.monotonic()
    bytecode.build(Path(micropython), ROOT)
    others = "PYTEST_XDIST_WORKER" in os.environ  # other tests keep the other cores busy
    with ThreadPoolExecutor(1 if others else os.cpu_count() or 1) as pool:
        results = list(pool.map(lambda job: run(micropython, *job), jobs))
    seconds = time.monotonic() - began
    totals: dict[str, int] = {}
    for result in results:
        for key, value in result.items():
            if isinstance(value, int):
                totals[key] = totals.get(key, 0) + value
    print(f"{totals['cuts']} power cuts in {seconds:.0f} s: {totals}")
    assert totals["cuts"] >= CUTS * 99 // 100
    # it was a busy run, and most cuts met a write or an erase
    assert totals["torn"] > 0.7 * totals["cuts"]
    assert totals["idle"] > 0.05 * totals["cuts"]
    for what in ("on", "off", "set", "save", "reset"):
        assert totals.get(what, 0) >= totals["cuts"] // 20, what
    for what in ("cal", "reboot", "cut at the start"):
        assert totals.get(what, 0) >= totals["cuts"] // 1000, what
    # a strip that is full for want of a quiet moment makes no promises: that must stay rare
    assert totals.get("strip full", 0) < totals["starts"] // 20
    # a power cut does not have the same cell programmed twice
    assert all(r["overwritten"] == 0 for r in results if r["mode"] != "refusing")


def test_a_rename_that_was_cut_hides_no_other_file(micropython: str) -> None:
    """littlefs 2.11 hides one until its next change; the firmware mends it before it reads."""
    result = run(micropython, SEED, 200, "renames")
    assert result["renames cut"] == 200
    assert result["hidden"] > 0, "nothing was hidden: no need to mend, and this test shows nothing"
