"""What the keeper does when one of the things that it writes to fails, and others still work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from host_tests.fakes.fram_bus import FramBus
from host_tests.fakes.nor_flash import NorFlash
from host_tests.unit.test_keeper import Bench

from firmware import hal  # isort: skip
from firmware.storage import files  # isort: skip


@pytest.fixture(autouse=True)
def no_files_wait() -> Iterator[None]:
    files.waiting.clear()
    yield
    files.waiting.clear()
    files.defer(None)


def trip(bench: Bench, name: str = "bed1") -> None:
    bench.rig.load[name] = 130
    bench.rig.until(lambda: bench.rig.state(name) == "tripped", 5)


def full(*args: Any, **named: Any) -> None:
    raise files.StorageError("cannot write it: no space left on the flash")


def test_a_trip_is_kept_although_the_files_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system is full; the strip, which was made before, is not."""
    bench = Bench(tmp_path, NorFlash())
    bench.on("bed1", 4)
    monkeypatch.setattr(files, "overwrite", full)
    bench.run(80)  # the pause between two tries is a minute now
    assert "no space left" in bench.keeper.error
    trip(bench)
    bench.run(1.5)  # the waveform first
    assert bench.again().rig.state("bed1") == "tripped"
    energy = bench.mwh("bed1")
    bench.run(59)
    assert bench.again().mwh("bed1") >= energy
    assert bench.rig.log().count("- storage unsaved") == 1
    monkeypatch.undo()
    bench.run(130)
    assert not bench.keeper.error


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> FramBus:
    found = FramBus()
    system = ModuleType("firmware.hal.system")
    system.i2c = lambda scl, sda: found  # type: ignore[attr-defined]
    monkeypatch.setattr(hal, "system", system, raising=False)
    monkeypatch.setitem(sys.modules, system.__name__, system)
    return found


def test_a_fram_that_fails_in_service_leaves_it_to_the_flash(tmp_path: Path, bus: FramBus) -> None:
    bench = Bench(tmp_path, NorFlash(), storage__fram_kb=8)
    assert bench.keeper.fram is not None and not bench.keeper.note
    bench.on("bed1", 15)
    bench.run(20)
    bus.present = False  # a wire has come off
    bench.run(10)
    assert "FRAM does not answer" in bench.keeper.text()
    assert "the flash is used" in bench.keeper.text()
    assert bench.rig.log().count("- storage unsaved") <= 1
    trip(bench)
    energy = bench.mwh("bed1")
    bench.run(61)
    new = bench.again()
    assert new.rig.state("bed1") == "tripped"
    assert new.mwh("bed1") >= energy * 0.9
