"""The firmware's core on the real unix port: twins equal bit for bit, and nothing allocates."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from host_tests.micropython.running import lines
from tools.simulator.device import load_board
from tools.simulator.truck import Truck


def record(scans: int) -> bytes:
    """Codes of a truck with a motor start, a transformer and a short circuit (16-bit words)."""
    board = load_board("simulated")
    truck = Truck(board, seed=4)
    for gpio in truck.wiring.coils:
        truck.set_pin(gpio, 1, 0)
    truck.command("sensor bed2 offset=37")
    codes = array("H")
    for scan in range(1, scans):
        if scan == scans // 6:
            truck.command("play bed1 elesys_induction_motor_run_4_6 amps=11")
            truck.command("play cabin1 transformer")
            truck.command("plug bed240 ev_charger")
        if scan == scans * 3 // 4:
            truck.command("short bed2")
        codes.extend(truck.scan(scan * board.scan_period_us))
    return codes.tobytes()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of codes."""
    path = tmp_path_factory.mktemp("codes") / "codes.bin"
    path.write_bytes(record(1201))
    return path


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_plain_and_machine_code_are_equal(micropython: str, recorded: Path, seed: int) -> None:
    said = lines(micropython, "twins.py", str(seed), str(recorded))
    assert said == ["equal 10000"]


def test_the_control_lane_allocates_nothing(micropython: str) -> None:
    said = lines(micropython, "core_heap.py")
    assert said[-1].startswith("done "), said
    stages = {line.split(None, 1)[1] for line in said if line.startswith("good ")}
    assert stages == {
        "all on",
        "peak",
        "thermal",
        "short time",
        "lockout",
        "shed",
        "restored",
        "alone",
        "sensor",
        "supply",
        "stall",
        "lease",
        "silent",
        "frozen",
        "clipped",
        "zero",
        "v_l1 frozen",
        "v_l2 zero",
        "v_l2 clipped",
        "v_l1 no voltage",
        "noise",
        "converter",
        "welded",
        "overvoltage",
        "frequency",
        "ground fault",
        "feedback",
        "continuous",
        "hot",
        "waiting",
        "waited",
    }
    windows = int(said[-1].split()[1])
    assert windows > 400


def test_extreme_values_stay_small_ints(micropython: str) -> None:
    said = lines(micropython, "core_ints.py")
    assert said[-1].startswith("fits ") and int(said[-1].split()[1]) > 600


def test_a_converter_read_in_microvolts(micropython: str) -> None:
    """The ESP32's: 1.30 V is the middle, and 150 to 2450 mV are the whole range of codes."""
    codes, counts, rest = lines(micropython, "sampler_uv.py")
    pairs = [pair.split(":") for pair in codes.split()[1:]]
    assert len(pairs) == 6
    for code, uv in pairs:
        ideal = 2048 + (int(uv) - 1_300_000) * 2048 / 1_150_000
        assert int(code) == pytest.approx(min(4095, max(0, ideal)), abs=2), uv
    assert [int(code) for code, uv in pairs if uv == "1300000"] == [2048]
    # late by more than half a period counts; without an answer nothing of the scan is believed
    assert counts == "overruns 1 silent 1"
    assert rest.split()[4:] == ["4095"] * 3
