"""Power cuts on the emulated chip, most of them in the middle of a flash program or erase.

After each one the chip starts on what is left in its flash, and is asked over the console whether
it kept what it had promised.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from host_tests.emulator import rig
from tools.bench.chip import Chip
from tools.emulator import NotSeen
from tools.emulator.torn import TornFlash

_CUTS = 10  # of each seed
_LATCH_S = 1.0  # by then a trip is on flash
_NAMES = ("cabin1", "cabin2", "bed1", "bed2", "bed240")


def _strip(rng: random.Random) -> dict[str, bytes]:
    """The blocks that a device makes for itself in its first quarter of a minute."""
    blank = b"\xff" * (4096 - 16)
    return {f"data/strip/{n}": b"TGs1" + rng.randbytes(12) + blank for n in range(30)}


class Truth:
    """What the chip has promised."""

    def __init__(self) -> None:
        self.limit = 20.0  # of bed1, as saved
        self.limits = {20.0}  # or perhaps
        self.latched = dict.fromkeys(_NAMES, False)
        self.unsure: set[str] = set()  # changed so late that flash may not know
        self.energy_kwh = dict.fromkeys(_NAMES, 0.0)
        self.records: dict[int, tuple[Any, ...]] = {}
        self.boots = 0

    def check(self, chip: Chip) -> None:
        """After a start."""
        rows = rig.outlets(chip)
        truth = chip.truck.truth(max(chip.truck.now_us, int(chip.pico.now_us)))["outlets"]
        for name, row in rows.items():
            latched = row["state"] in ("tripped", "lockout", "fault")
            if name not in self.unsure:
                assert latched == self.latched[name], f"{name}: {row}, not {self.latched[name]}"
            self.latched[name] = latched
            assert row["energy_kwh"] >= self.energy_kwh[name] - 1e-4, name
            assert row["energy_kwh"] <= truth[name]["energy_wh"] / 1000 * 1.02 + 1e-4, name
            self.energy_kwh[name] = row["energy_kwh"]
        self.unsure = set()
        limit = rows["bed1"]["limit_a"]
        assert limit in self.limits, f"bed1.limit_a is {limit}, not of {self.limits}"
        self.limit, self.limits = limit, {limit}
        self._check_journal(rig.events(chip, ""))

    def _check_journal(self, rows: list[dict[str, Any]]) -> None:
        numbers = [row["seq"] for row in rows]
        assert numbers == list(range(numbers[0], numbers[0] + len(rows))), numbers
        for row in rows:
            record = (row["event"], row["outlet"], row["reason"], row["source"])
            known = self.records.get(row["seq"])
            assert known in (None, record), f"record {row['seq']}: {record}, was {known}"
            assert "damaged" not in row["reason"], row
        boots = sum(row["event"] == "boot" for row in rows)
        assert boots, rows
        last = max(self.records, default=0)
        assert numbers[-1] > last, f"records to {last} were on flash, now to {numbers[-1]}"
        # those of this start may not be on flash yet
        at = max(row["seq"] for row in rows if row["event"] == "boot")
        self.records = {
            row["seq"]: (row["event"], row["outlet"], row["reason"], row["source"])
            for row in rows
            if row["seq"] < at
        }


def _live(chip: Chip, truth: Truth, rng: random.Random, torn: TornFlash) -> None:
    """Commands, loads, trips and settings until the power goes, or for some seconds."""
    pico = chip.pico
    for _ in range(12):
        name = rng.choice(_NAMES)
        what = rng.randrange(8)
        if what < 3:
            truth.limits.add(limit := float(rng.randint(6, 20)))
            if chip.ask(f"set bed1.limit_a {limit:g}")["ok"] and chip.ask("save")["ok"]:
                truth.limit, truth.limits = limit, {limit}
        elif what < 5:
            chip.truck.command(f"plug {name} resistive amps={rng.choice((2, 6, 14))}")
            chip.ask(f"on {name}")
        elif what == 5 and pico.level(chip.relays[name]) == 1:
            chip.truck.command(f"short {name}")
            truth.latched[name] = True
            truth.unsure.add(name)
            pico.run(0.02)
            chip.truck.command(f"unshort {name}")
            pico.run(rng.choice((0.0, 0.2, _LATCH_S)))
        elif what == 6 and truth.latched[name]:
            truth.unsure.add(name)
            if chip.ask(f"reset {name} --force")["ok"]:
                truth.latched[name] = False
                pico.run(rng.choice((0.0, 0.2, _LATCH_S)))
        else:
            pico.run(rng.uniform(0.05, 0.4))
        if torn.dead:
            return


@pytest.mark.timeout(1800)  # a minute and a half of a core each
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_that_was_promised_is_lost_in_a_power_cut(seed: int) -> None:
    rng = random.Random(seed)
    chip = Chip(seed=seed, files=_strip(rng))
    pico = chip.pico
    torn = TornFlash(pico, seed)
    truth = Truth()
    tears: list[str] = []
    for _ in range(_CUTS):
        pico.run(rig.BOOT_S)
        try:
            if not torn.dead:
                truth.check(chip)
                # the middle of something, or any other moment
                torn.cut_after(rng.choice((0, 1, 2, 3, 5, 8, 13, 21)))
                _live(chip, truth, rng, torn)
        except NotSeen:  # the power went while it was answering
            assert torn.dead, pico.console.text[-300:]
        tears.append(torn.torn)
        torn.power_on()
        if rng.random() < 0.3:  # and once more while it starts
            torn.cut_after(rng.randrange(3))
    pico.run(rig.BOOT_S)
    truth.check(chip)
    rows = chip.ask("selftest")["tests"]
    protect = ("memory", "limits", "image", "outputs", "watchdog", "settings")
    assert [row for row in rows if row["name"] in protect and not row["ok"]] == []
    assert sum(bool(tear) for tear in tears) >= _CUTS * 2 // 3, tears
