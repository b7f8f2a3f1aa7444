"""From a short circuit in the simulated truck to a COMTRADE file that a public reader opens.

The firmware runs on real MicroPython; its answer goes through tools/capture, as a person would
use it on a saved log or over MQTT.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import comtrade as reader
import pytest

from host_tests.micropython.running import lines
from tools import client
from tools.capture import __main__ as tool
from tools.capture.record import Record, parse
from tools.runtime.broker import Mosquitto
from tools.simulator.device import SimulatedDevice
from tools.simulator.port import SimulatedPort

# The ESP32's converter gives whole millivolts, of which a code is half a one.
ROUNDED = {"simulated": 0, "esp32": 1}
ZERO = 2051  # mid-scale and the offset of bed1's sensor


class Bench:
    """A simulated device, and what was true at each of its scans."""

    def __init__(self, **options: Any) -> None:
        self.device = SimulatedDevice(**options)
        truck: Any = self.device.truck
        self.scans: list[tuple[int, list[int], float]] = []
        self.circuit = truck.circuit("bed1")
        plain = truck.scan

        def scan(t_us: int) -> list[int]:
            codes: list[int] = plain(t_us)
            self.scans.append((t_us, codes, self.circuit.amps))
            return codes

        truck.scan = scan
        truck.skew_us = 0  # so that all channels are converted when the truth is taken
        # Enough noise to be alive, and little, so that the zero is learnt well.
        noise = 0.5 if self.device.board.name == "simulated" else 1.5
        truck.command(f"sensor bed1 offset=3 noise={noise}")

    def trip(self) -> int:
        """A load, then a short circuit on it that the sensor can still show. The number of the
        scan that opened the relay."""
        device = self.device
        assert device.command("on bed1") == "ok bed1"
        device.sim("plug bed1 resistive amps=10")
        device.run(0.2)
        device.sim("sensor bed1 noise=0")
        device.run(0.3)
        device.sim("short bed1 ohms=0.75")
        device.run(0.3)
        return self.opened()

    def opened(self) -> int:
        """The number of the scan at which the relay was told to open, the last time."""
        device = self.device
        board = device.board
        relay = board.outlets[board.outlet_index("bed1")].relay
        opened = [t for t, gpio, level in device.truck.edges if gpio == relay and not level][-1]
        return max(k for k, (t, _, _) in enumerate(self.scans) if t <= opened)

    def ask(self, words: str) -> str:
        """The JSON line that answers."""
        self.device.type(words + " --json")
        return str(self.device.expect(r"^{.*}$", 3.0).group(0))


def _bound(record: Record) -> float:
    """Amps: half a count of the converter, and as much as the learnt zero is beside the true."""
    channel = record.channel("bed1")
    beside = abs(channel.zero - ZERO)
    assert beside <= 0.25 + ROUNDED[record.board]
    return (0.5 + ROUNDED[record.board] + beside) * channel.per_count + 1e-4


def check(record: Record, bench: Bench, trip: int) -> None:
    """The record holds, scan for scan, what was true."""
    ms = record.period_us / 1000
    assert record.trip == "bed1" and record.trip_scan is not None
    assert record.scans * ms >= 250 and (record.scans - 1 - record.trip_scan) * ms >= 50
    codes = record.channel("bed1").codes.tolist()
    at = bench.device.board.channel_index("bed1")

    def rows(at: int) -> list[tuple[int, list[int], float]]:
        return bench.scans[at - record.trip_scan :][: record.scans]  # type: ignore[operator]

    def off(shift: int) -> int:
        """The largest difference from the codes that the truck gave."""
        given = [row[1][at] for row in rows(trip + shift)]
        return max(abs(a - b) for a, b in zip(codes, given, strict=True))

    fits = [shift for shift in (-1, 0, 1) if off(shift) <= ROUNDED[record.board]]
    assert fits, "the trip is where the relay was opened, within a scan"
    truth = [row[2] for row in rows(trip + fits[0])]
    channel = record.channel("bed1")
    worst = max(abs(a - b) for a, b in zip(channel.values.tolist(), truth, strict=True))
    assert worst <= _bound(record)


def check_comtrade(path: Path, record: Record, bench: Bench, trip: int) -> None:
    """What the public reader makes of the files is what was true."""
    got = reader.load(str(path.with_suffix(".cfg")), str(path.with_suffix(".dat")))
    assert got.analog_channel_ids == ["v_l1", "bed1"] or got.analog_channel_ids == ["bed1", "v_l1"]
    amps = list(got.analog[got.analog_channel_ids.index("bed1")])
    assert record.trip_scan is not None
    truth = [row[2] for row in bench.scans[trip - record.trip_scan :][: record.scans]]
    shift = min(
        (max(abs(amps[k] - truth[k + d]) for k in range(1, len(amps) - 1)), d) for d in (-1, 0, 1)
    )
    assert shift[0] <= _bound(record)
    assert max(map(abs, amps)) == pytest.approx(max(map(abs, truth)), rel=0.02)
    status = list(got.status[got.status_channel_ids.index("bed1 trip")])
    assert abs(status.index(1) + shift[1] - record.trip_scan) <= 1
    assert got.trigger_time == pytest.approx(record.trip_scan * record.period_us / 1e6, abs=1e-4)
    assert got.cfg.trigger_timestamp.year == 2026


@pytest.mark.parametrize("board", ["simulated", "esp32"])
def test_from_a_short_circuit_to_comtrade(tmp_path: Path, board: str) -> None:
    bench = Bench(board=board)
    with bench.device as device:
        device.run(1.5)
        trip = bench.trip()
        said = bench.ask("capture")
        assert json.loads(said)["state"] == "kept"
        text = bench.ask("capture bed1")
        again = bench.ask("capture bed1")
        assert json.loads(bench.ask("capture clear")) == {
            "ok": True,
            "cleared": "bed1",
        }
        look = parse(json.loads(bench.ask("capture bed1")))
        assert look.trip_scan is None
        device.run(6.0)
        assert json.loads(bench.ask("capture"))["state"] == "waiting", "looked, and forgotten"
        log = tmp_path / "console.log"
        log.write_text("\n".join(device.console()))
    record = parse(json.loads(text))
    assert len(text) < 4000
    second = parse(json.loads(again))
    # the zeros are learnt all the time, by hundredths of a count
    for row, other in zip(second.raw["channels"], record.raw["channels"], strict=True):
        assert abs(row["zero"] - other["zero"]) <= 0.05
        assert {**row, "zero": 0} == {**other, "zero": 0}
    check(record, bench, trip)
    check(second, bench, trip)
    name = record.name
    for form in ("binary", "ascii"):
        folder = tmp_path / form
        words = [str(log), "bed1", "--output", str(folder), "--comtrade", form]
        words += ["--event", str(record.event["seq"]) if record.event else ""]
        words += ["--time", "2026-01-02T03:04:05", "--csv"]
        assert tool.main(words) == 0
        check_comtrade(folder / name, second, bench, trip)  # the later one of the log
    assert (tmp_path / "ascii" / f"{name}.png").stat().st_size > 10_000


def test_on_a_terminal_it_is_a_screen() -> None:
    bench = Bench()
    with bench.device as device:
        device.run(1.5)
        bench.trip()
        first = len(device.lines)
        device.command("capture bed1")
        device.expect("with --json", 3.0, since=first)
        shown = [line.text for line in device.lines[first:]]
    assert any("bed1 tripped (peak), event" in line for line in shown)
    assert sum("|" in line for line in shown) == 11
    assert max(map(len, shown)) < 80


@pytest.mark.parametrize("way", ["serial", "mqtt"])
def test_read_from_a_board(tmp_path: Path, way: str) -> None:
    with Mosquitto(tmp_path) as broker:
        settings = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port, "device.id": "dut"}
        bench = Bench(settings=settings)
        with SimulatedPort(bench.device) as port:
            with client.connect(port.path) as board:
                while board.command("status")["starting"]:
                    time.sleep(0.1)
                board.outlets["bed1"].on()
                port.sim("plug bed1 resistive amps=10")
                time.sleep(0.4)
                port.sim("sensor bed1 noise=0")
                time.sleep(0.4)
                port.sim("short bed1 ohms=0.75")
                while board.outlets["bed1"].status(0).state != "tripped":
                    time.sleep(0.01)
            # at once: it may not be complete yet
            source = port.path if way == "serial" else f"mqtt://127.0.0.1:{broker.port}/dut"
            words = [source, "bed1", "--output", str(tmp_path), "--json", "--clear"]
            assert tool.main([*words, "--plot", "none"]) == 0
            with client.connect(source) as board:
                assert board.command("capture")["state"] == "waiting"
        assert port.error is None and not bench.device.resets
    (saved,) = tmp_path.glob("bed1-event*.json")
    trip = bench.opened()
    record = parse(json.loads(saved.read_text()))
    check(record, bench, trip)
    got = reader.load(str(saved.with_suffix(".cfg")), str(saved.with_suffix(".dat")))
    start = datetime(2026, 1, 1)  # of the simulated chip's clock
    assert 0 <= (got.cfg.trigger_timestamp - start).total_seconds() < 60, "by the board's clock"


def test_a_record_needs_small_places_only(micropython: str) -> None:
    """On a Pico W with a stock image some KB are free, and in pieces."""
    (said,) = lines(micropython, "capture_heap.py", "512", "7", heap="400k", timeout_s=60)
    word, length, longest, free = said.split()
    assert word == "done" and int(length) > 11_000, "all eight channels"
    assert int(longest) <= 300 and int(free) < 4_500
