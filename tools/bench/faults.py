"""How soon sensor faults open their outlets, and whether anything sound is taken for one.

`python -m tools.bench.faults` breaks every kind of sensor in the simulated truck at many points
of the mains cycle and prints the longest time from there to the relay's coil; then it plays every
recording at many sizes and dips of the supply at many points of the cycle, and counts the sensor
faults, of which there must be none. `--quick` takes fewer points.
"""

from __future__ import annotations

import argparse
from typing import Any

from tools.progress import step
from tools.simulator import recordings

LIMIT_MS = 100.0
NAMES = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
ON_L1 = ("cabin1", "bed1", "bed240")
# (what is done, outlets that have to open)
FAULTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("sensor bed1 open", ("bed1",)),
    ("sensor bed1 short", ("bed1",)),
    ("sensor bed1 frozen", ("bed1",)),
    ("sensor bed1 ok offset=700", ("bed1",)),
    ("sensor bed1 ok clip=18", ("bed1",)),
    ("sensor v_l1 open", ON_L1),
    ("sensor v_l1 short", ON_L1),
    ("sensor v_l1 frozen", ON_L1),
    ("sensor v_l1 ok offset=500", ON_L1),
    ("sensor v_l1 ok clip=18", ON_L1),
    ("sensor v_l1 off", ON_L1),
    ("converter silent", NAMES),
)
_SOUND = "ok gain=1 offset=0 noise=1.5 clip=0"


def _rig(board: str, hz: float) -> Any:
    from host_tests.fakes.rig import Rig

    rig = Rig(board, mains_hz=hz, settings={"supply.hz": 50 if hz < 55 else 60})
    for name in NAMES:
        rig.do("on", name)
    rig.run(0.3)
    return rig


def _faults(rig: Any) -> list[str]:
    return [line for line in rig.log() if line.endswith("fault sensor") or "welded" in line]


def slowest(fault: str, names: tuple[str, ...], board: str, hz: float, points: int) -> float:
    """Longest time to open over so many points of the cycle, ms."""
    rig = _rig(board, hz)
    rig.sim("plug bed1 resistive amps=10")
    worst = 0.0
    for k in range(points):
        rig.run(0.1 + k / points / hz)
        rig.sim(fault)
        start = rig.t_us
        while any(rig.coil(name) for name in names) and rig.t_us - start < 1_000_000:
            rig.scan()
        worst = max(worst, (rig.t_us - start) / 1000)
        rig.run(0.1)
        target = fault.split()[1] if fault.startswith("sensor") else ""
        rig.sim(f"sensor {target} {_SOUND}" if target else "converter ok")
        rig.run(0.8)
        for name in NAMES:
            rig.do("reset", name, force=True)
            rig.do("on", name)
    return worst


def played(name: str, amps: float, board: str, hz: float) -> int:
    """Sensor faults that a recording of this size causes, on an outlet of either size."""
    rig = _rig(board, hz)
    rig.sim(f"play bed1 {name} amps={amps}")
    rig.sim(f"play bed240 {name} amps={amps}")
    rig.run(2.0)
    return len(_faults(rig))


def dipped(percent: int, cycles: float, board: str, hz: float, points: int) -> int:
    """Sensor faults in dips that begin at so many points of the cycle."""
    rig = _rig(board, hz)
    rig.sim("plug bed1 motor amps=10")
    rig.sim("plug bed240 resistive amps=30")
    for k in range(points):
        rig.run(0.1 + k / points / hz)
        rig.sim(f"supply sag={percent} ms={1000 * cycles / hz}")
        rig.run(0.05 + cycles / hz)
    return len(_faults(rig))


def main() -> int:
    """Command line; 1 when a fault was too slow or something sound was taken for one."""
    parser = argparse.ArgumentParser(description="Sensor faults: time to open, and nuisance.")
    parser.add_argument("--quick", action="store_true", help="fewer points")
    quick = parser.parse_args().quick
    boards = (("simulated", (45, 50, 60, 65)), ("esp32", (50, 60)))
    points = 6 if quick else 24
    step(f"longest time from a fault to its coils, of {points} points of the cycle, ms")
    bad = 0
    for fault, names in FAULTS:
        cells = []
        for board, frequencies in boards:
            for hz in frequencies[1:] if quick else frequencies:
                took = slowest(fault, names, board, hz, points)
                cells.append(f"{board} {hz} Hz {took:5.1f}")
                bad += took > LIMIT_MS
        print(f"  {fault:28} {'   '.join(cells)}", flush=True)
    count = found = 0
    sizes = (1, 8, 20) if quick else (0.2, 1, 2, 5, 8, 12, 16, 20, 30, 40, 60, 100)
    for name in recordings.available():
        for k, amps in enumerate(sizes):
            count += 1
            found += played(name, amps, boards[k % 2][0], 60)
    span = f"{min(sizes)} to {max(sizes)} A"
    print(f"  recordings: {found} sensor faults in {count} start-ups of {span}")
    bad += found
    count = found = 0
    for board, frequencies in boards:
        for hz in frequencies[:1] if quick else frequencies:
            for percent in (0, 5, 11, 40, 70):
                for cycles in (0.5, 1, 1.5, 2, 2.5, 3.5, 7, 20):
                    count += points
                    found += dipped(percent, cycles, board, hz, points)
    print(f"  dips: {found} sensor faults in {count} dips")
    return 1 if bad + found else 0


if __name__ == "__main__":
    raise SystemExit(main())
