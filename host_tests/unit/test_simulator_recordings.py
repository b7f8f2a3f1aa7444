"""Recorded loads: what is played is what was recorded, in step with the supply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.simulator import recordings
from tools.simulator.truck import SimError, Truck
from tools.simulator.wiring import demo_board

RELAY = {"cabin1": 6, "cabin2": 7, "bed1": 8, "bed2": 9, "bed240": 10, "contactor": 11}

# steady amps RMS, power factor, inrush multiple: measured on the files themselves
MOTOR = "elesys_induction_motor_run_4_6"
FIGURES = [
    (MOTOR, 9.8341, 0.661, 9.9),
    ("plaid_1046_microwave_sunbeam_high", 5.3245, 0.909, 3.91),
    ("plaid_1376_hairdryer_studio35_mediumhot", 3.0528, 0.996, 1.12),
    ("plaid_707_compact_fluorescent_lamp_off_on", 0.1564, 0.499, None),
]


def playing(line: str, outlet: str = "bed1", on_us: int = 2000, mains_hz: float = 60.0) -> Truck:
    truck = Truck(demo_board(), mains_hz=mains_hz)
    truck.truth_step_us = 40
    truck.set_pin(RELAY["contactor"], 1, 0)
    truck.command(f"play {outlet} {line}")
    truck.set_pin(RELAY[outlet], 1, on_us)
    return truck


def steady(truck: Truck, outlet: str = "bed1") -> tuple[float, float]:
    """RMS amps and power factor over many cycles of the loop."""
    truck.truth(8_000_000)
    circuit = truck.circuit(outlet)
    charge, joules = circuit.charge, circuit.joules
    truck.truth(10_000_000)
    amps = ((circuit.charge - charge) / 2) ** 0.5
    return amps, (circuit.joules - joules) / 2 / amps / (240 if outlet == "bed240" else 120)


@pytest.mark.parametrize(("name", "amps", "pf", "inrush"), FIGURES)
@pytest.mark.parametrize("outlet", ["bed1", "bed2"])
def test_steady_part_has_the_recorded_rms_and_power_factor(
    name: str, amps: float, pf: float, inrush: float | None, outlet: str
) -> None:
    played, factor = steady(playing(name, outlet), outlet)
    assert played == pytest.approx(amps, rel=0.01)
    assert factor == pytest.approx(pf, abs=0.015)  # the inverter's sine is not the recorded mains


@pytest.mark.parametrize("mains_hz", [50.0, 59.95, 60.0])
@pytest.mark.parametrize("on_us", [1000, 5000, 9000, 13_000])
def test_phase_is_locked_whatever_the_frequency_and_moment_of_closing(
    mains_hz: float, on_us: int
) -> None:
    _, factor = steady(playing(MOTOR, on_us=on_us, mains_hz=mains_hz))
    assert factor == pytest.approx(0.661, abs=0.015)


def test_phase_stays_locked_through_a_change_of_frequency() -> None:
    truck = playing(MOTOR)
    truck.truth(3_000_000)
    truck.command("supply hz=57.3")
    assert steady(truck)[1] == pytest.approx(0.661, abs=0.015)


@pytest.mark.parametrize("on_us", [1000, 5000, 9000, 13_000])
@pytest.mark.parametrize(("name", "multiple"), [(n, m) for n, _, _, m in FIGURES if m])
def test_inrush_is_played_at_every_closing(name: str, multiple: float, on_us: int) -> None:
    amps = next(a for n, a, _, _ in FIGURES if n == name)
    truck = playing(name, on_us=on_us)
    for start in (0, 10_000_000):
        if start:
            truck.set_pin(RELAY["bed1"], 0, 9_000_000)
            truck.set_pin(RELAY["bed1"], 1, start + on_us)
        squares = []
        for t in range(start + on_us + 8000, start + on_us + 1_200_000, 100):
            truck.truth(t)
            squares.append(truck.circuit("bed1").amps ** 2)
        half = np.convolve(squares, np.ones(83) / 83, mode="valid")
        assert np.sqrt(half.max()) / amps == pytest.approx(multiple, rel=0.03)


def test_current_begins_within_a_cycle_of_closing() -> None:
    truck = playing(MOTOR, on_us=7000)
    truck.truth(15_000)
    assert truck.truth(15_000 + 16_667 + 4_000)["outlets"]["bed1"]["peak_a"] > 50


def test_scale_and_amps() -> None:
    assert steady(playing(f"{MOTOR} amps=11"))[0] == pytest.approx(11, rel=0.002)
    assert steady(playing(f"{MOTOR} scale=2"))[0] == pytest.approx(2 * 9.834, rel=0.01)
    with pytest.raises(SimError, match="not both"):
        playing(f"{MOTOR} scale=2 amps=3")


@pytest.mark.parametrize("name", recordings.available())
def test_the_loop_has_no_seam(name: str) -> None:
    recording = recordings.load(name)
    table = np.array(recording.current[recording.loop_start :])
    assert recording.loop_length % recording.per_cycle == 0
    steps = np.abs(np.diff(table))
    assert steps[-1] <= np.quantile(steps, 0.999) + 1e-9


def test_the_transformer_pulses_to_one_side_and_decays() -> None:
    truck = playing("elesys_transformer_inrush_run1 scale=0.1")
    first = truck.truth(60_000)["outlets"]["bed1"]["peak_a"]
    truck.truth(1_000_000)
    assert first > 5 * truck.truth(1_100_000)["outlets"]["bed1"]["peak_a"]


def test_a_sag_lowers_a_recorded_current() -> None:
    truck = playing("plaid_1376")
    before = truck.truth(5_000_000)["outlets"]["bed1"]["amps_rms"]
    truck.command("supply volts=60")
    assert truck.truth(6_000_000)["outlets"]["bed1"]["amps_rms"] == pytest.approx(
        before / 2, rel=0.01
    )


# -- files --------------------------------------------------------------------------------------


def wave(hz: float, lag_deg: float, voltage: bool) -> list[tuple[float, ...]]:
    """2 s at 5 kHz: nothing for 0.5 s, then 10 A RMS, three times as much for 0.2 s."""
    rows: list[tuple[float, ...]] = []
    for n in range(10_000):
        t = n / 5000
        angle = 2 * np.pi * (hz * t + 0.3)
        amps = (
            0.0
            if t < 0.5
            else (30 if t < 0.7 else 10) * 2**0.5 * np.sin(angle - np.radians(lag_deg))
        )
        rows.append((t, 169.7 * np.sin(angle), amps) if voltage else (t, amps))
    return rows


def write_csv(path: Path, rows: list[tuple[float, ...]]) -> Path:
    header = "t_s,v_v,i_a" if len(rows[0]) == 3 else "t_s,i_a"
    path.write_text("\n".join([header, *(",".join(f"{x:.7f}" for x in row) for row in rows)]))
    return path


@pytest.mark.parametrize("hz", [49.9, 60.1])
def test_a_csv_with_voltage_keeps_its_power_factor(tmp_path: Path, hz: float) -> None:
    path = write_csv(tmp_path / "own.csv", wave(hz, 60.0, voltage=True))
    amps, factor = steady(playing(str(path)))
    assert amps == pytest.approx(10, rel=0.01)
    assert factor == pytest.approx(0.5, abs=0.01)
    recording = recordings.load(str(path))
    assert recording.inrush == pytest.approx(3.0, rel=0.02)


def test_a_csv_without_voltage_counts_as_in_phase(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "with space.csv", wave(60.0, 60.0, voltage=False))
    amps, factor = steady(playing(f"'{path}' amps=4"))
    assert amps == pytest.approx(4, rel=0.01)
    assert factor == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,amps\n0,1\n", "line 1: expected the header"),
        ("", "line 1: expected the header"),
        ("t_s,i_a\n0,1\n0.001,x\n", "line 3: expected 2 numbers"),
        ("t_s,i_a\n0,1\n0.001,nan\n", "line 3: expected 2 numbers"),
        ("t_s,i_a\n0,1\n0,1\n", "line 3: time does not increase"),
        ("t_s,i_a\n0,1\n1,1\n", "2 samples"),
    ],
)
def test_a_broken_csv_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(SimError, match=message) as caught:
        recordings.load(str(path))
    assert "\n" not in str(caught.value)


def npz(path: Path, **changes: Any) -> Path:
    rows = np.array(wave(60.0, 0.0, voltage=True))
    fields: dict[str, Any] = {
        "fs_hz": 5000.0,
        "mains_hz": 60.0,
        "v_volts": rows[:, 1],
        "i_amps": rows[:, 2],
        "meta_json": json.dumps({"onset_s": 0.5, "steady_from_s": 1.5}),
    }
    fields.update(changes)
    np.savez(path, **{k: v for k, v in fields.items() if v is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"i_amps": None}, "no field i_amps"),
        ({"mains_hz": 400.0}, "40 to 70 Hz"),
        ({"v_volts": np.zeros(5)}, "5 voltage but 10000"),
        ({"meta_json": "{"}, "not a readable"),
        ({"meta_json": "[]"}, "not a JSON object"),
        ({"meta_json": json.dumps({"onset_s": 9})}, "do not lie in order"),
        ({"meta_json": json.dumps({"onset_s": "x"})}, "must be seconds"),
        ({"i_amps": np.full(10_000, np.nan)}, "not numbers"),
        ({"i_amps": np.zeros(10_000)}, "no current"),
    ],
)
def test_a_broken_npz_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SimError, match=message) as caught:
        recordings.load(str(npz(tmp_path / "bad.npz", **changes)))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(SimError, match="not a readable"):
        recordings.load(str(tmp_path / "text.npz"))


def test_names_parts_of_names_and_unknown_names() -> None:
    assert recordings.find("plaid_1046").stem == "plaid_1046_microwave_sunbeam_high"
    with pytest.raises(SimError, match="fits 3 recordings"):
        recordings.find("plaid")
    with pytest.raises(SimError, match=r"no recording 'toaster'.*plaid_1376") as caught:
        recordings.find("toaster")
    assert "\n" not in str(caught.value)
    with pytest.raises(SimError, match="no recording"):
        recordings.find("missing/file.npz")
