"""The firmware's core on the real unix port: twins equal bit for bit, and nothing allocates."""

from __future__ import annotations

import os
import subprocess
from array import array
from pathlib import Path

import pytest

from tools.simulator.device import load_board
from tools.simulator.truck import Truck

ROOT = Path(__file__).resolve().parents[2]
DEVICE = Path(__file__).with_name("device")


def run(micropython: str, script: str, *args: str, heap: str = "1m") -> list[str]:
    """Lines that a device script prints; fails with all of them when it ends badly."""
    command = [micropython, "-X", f"heapsize={heap}", str(DEVICE / script), *args]
    env = {**os.environ, "MICROPYPATH": f"{ROOT}:.frozen"}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of codes of a truck with a motor start, a transformer and a short circuit."""
    board = load_board("simulated")
    truck = Truck(board, seed=4)
    for gpio in truck.wiring.coils:
        truck.set_pin(gpio, 1, 0)
    truck.command("sensor bed2 offset=37")
    codes = array("H")
    for scan in range(1, 1201):
        if scan == 200:
            truck.command("play bed1 elesys_induction_motor_run_4_6 amps=11")
            truck.command("play cabin1 transformer")
            truck.command("plug bed240 ev_charger")
        if scan == 900:
            truck.command("short bed2")
        codes.extend(truck.scan(scan * board.scan_period_us))
    path = tmp_path_factory.mktemp("codes") / "codes.bin"
    path.write_bytes(codes.tobytes())
    return path


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_plain_and_machine_code_are_equal(micropython: str, recorded: Path, seed: int) -> None:
    said = run(micropython, "twins.py", str(seed), str(recorded))
    assert said == ["equal 10000"]


def test_the_control_lane_allocates_nothing(micropython: str) -> None:
    said = run(micropython, "core_heap.py")
    assert said[-1].startswith("done "), said
    stages = {line.split(None, 1)[1] for line in said if line.startswith("good ")}
    assert stages == {
        "all on",
        "peak",
        "thermal",
        "short time",
        "lockout",
        "restored",
        "sensor",
        "supply",
        "stall",
        "lease",
        "silent",
        "welded",
    }
    assert any(line.startswith("shed ") and "'shed'" in line for line in said)
    windows = int(said[-1].split()[1])
    assert windows > 400


def test_extreme_values_stay_small_ints(micropython: str) -> None:
    said = run(micropython, "core_ints.py")
    assert said[-1].startswith("fits ") and int(said[-1].split()[1]) > 600
