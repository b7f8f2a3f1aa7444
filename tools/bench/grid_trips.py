"""How long export to the grid takes to stop, for each stage of IEEE 1547: `python -m
tools.bench.grid_trips`.

The firmware's core on CPython (real kernel, meter, grid sense, export) samples the simulated grid
through the converter, scan by scan. The grid steps just outside a stage at some instant of its
cycle; what is measured is when the permissive falls, and when no current flows any more. The
waiting of 300 s before, and the ramp, are skipped; of the two stages of 300 s the last three
seconds are played. host_tests/unit/test_grid_trips.py holds the bounds.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from host_tests.fakes import machine
from host_tests.fakes.rig import Rig

from firmware import events  # isort: skip
from firmware.power import export, flows, grid, station  # isort: skip
from firmware.sensing.gridsense import GridSense  # isort: skip
from firmware.storage.energy import FLOWS, Energy  # isort: skip

PERMIT = 1
SKIPPED_S = 297.0
CYCLE_S = 1 / 60
SETTINGS = {"grid.enabled": True, "grid.profile": "ieee1547", "grid.power_w": 4000}

# IEEE 1547-2018, tables 12 and 18, defaults of category II: a step just outside the stage, as a
# command to the simulated grid, and the clearing time in s
STEPS = (
    ("OV2", "grid volts 120 145.5", 0.16),
    ("OV1", "grid volts 133.4 120", 2.0),
    ("UV1", "grid volts 120 82.6", 10.0),
    ("UV2", "grid volts 52.5 120", 0.16),
    ("OF2", "grid hz 62.15", 0.16),
    ("OF1", "grid hz 61.3", 300.0),
    ("UF1", "grid hz 58.4", 300.0),
    ("UF2", "grid hz 56.35", 0.16),
)


class ExportRig(Rig):
    """A board that exports 4 kW to the simulated grid."""

    def __init__(self, seed: int = 0) -> None:
        self.second = 0
        super().__init__("simulated_home", SETTINGS, seed=seed)
        self.energy = Energy("", len(self.board.outlets), FLOWS)
        self.fast = self.lane
        self._ended_badly = False
        self.keeper = SimpleNamespace(latch_store=SimpleNamespace(trusted=True))
        self.controller.station = self.station = part = station.Station(self)
        part.contacts = _contacts(self.board)
        part.sense = GridSense(self)  # type: ignore[assignment]
        part.add("flows", flows.Flows(part))
        self.export = export.Exporter(part)
        part.add("grid", self.export)
        part.contacts.drive(1)
        self.run(0.3)
        said = self.export.start(events.BY_CONSOLE)
        assert not said, said
        self.run(0.2)
        logic = self.export.logic
        logic._good_ms = 300_000
        self.run(0.1)
        logic._ramp_ms = 300_000
        logic.set_point_w = logic.asked_w
        self.until(lambda: self.export_w() > 3_800, 6)
        self.run(0.3)

    def export_w(self) -> float:
        """What really flows to the grid, W."""
        assert self.truck is not None
        watts: float = self.truck.truth(self.t_us)["grid"]["export_w"]
        return watts

    def permitted(self) -> bool:
        return machine.levels.get(PERMIT, 0) == 1


def _contacts(board: Any) -> Any:
    from firmware.hal.contacts import Contacts

    return Contacts(board.power)


@dataclass
class Trip:
    """Seconds from the step to the permissive's fall, and until nothing flows."""

    stage: str
    why: str
    permit_s: float
    ceased_s: float


def measure(stage: str, step: str, clearing_s: float, phase: float, seed: int = 0) -> Trip:
    """One trip; `phase`: of the mains' cycle, 0 to 1, at which the grid steps."""
    rig = ExportRig(seed)
    logic = rig.export.logic
    rig.run(phase * CYCLE_S)
    skipped = 0.0
    begin = rig.t_us
    rig.sim(step)
    if clearing_s > SKIPPED_S:
        skipped = SKIPPED_S
        rig.run(1.5)
        logic._run_ms[grid.STAGES.index(stage)] += round(skipped * 1000)
    rig.until(lambda: not rig.permitted(), clearing_s - skipped + 1)
    permit_s = (rig.t_us - begin) / 1e6 + skipped
    why = grid.STAGES[logic.why]
    rig.until(lambda: rig.export_w() == 0, 1)
    return Trip(stage, why, permit_s, (rig.t_us - begin) / 1e6 + skipped)


def rides_through(stage: str, step: str, clearing_s: float) -> bool:
    """Whether the same step, over two cycles before its time, stops nothing."""
    rig = ExportRig()
    # what measuring and the inverter take is left of the clearing time
    measuring_ms = grid.MEASURE_MS[grid.STAGES.index(stage)]
    spent_s = (rig.export.logic.lead_ms + measuring_ms) / 1000 + 2 * CYCLE_S
    rig.sim(step)
    rig.run(clearing_s - spent_s)
    rig.sim("grid volts 120 120")
    rig.sim("grid hz 60")
    rig.run(0.5)
    return rig.permitted()


def table(phases: int) -> list[str]:
    """The lines of the table."""
    lines = [
        "stage  grid steps to        clearing time  permissive falls   current ends",
        "                                        s                 s              s",
    ]
    for stage, step, clearing_s in STEPS:
        found = [measure(stage, step, clearing_s, k / phases, k) for k in range(phases)]
        assert all(trip.why == stage for trip in found), found
        first, last = (f([x.permit_s for x in found]) for f in (min, max))
        ends = [x.ceased_s for x in found]
        what = step.removeprefix("grid ")
        lines.append(
            f"{stage}    {what:<20} {clearing_s:>12.2f} {first:>9.3f} to {last:<7.3f}"
            f" {min(ends):>7.3f} to {max(ends):.3f}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="trip times of export to the grid")
    parser.add_argument("--phases", type=int, default=5, help="steps at so many phases (5)")
    for line in table(parser.parse_args().phases):
        print(line, flush=True)


if __name__ == "__main__":
    main()
