"""The record of a trip: what the ring keeps, whose it is, when it goes, and `capture` of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from firmware import events, report
from firmware.interfaces import screens
from firmware.interfaces.commands import CommandError, Commands
from host_tests.fakes.rig import Rig
from tools.capture.record import Record, parse
from tools.progress import ToolError

BOARDS = ("simulated", "pico_w", "pico", "esp32")


class Bench:
    """A rig with its commands, and the codes of every scan that the kernel was shown."""

    def __init__(self, board: str = "simulated", mains_hz: float = 60) -> None:
        self.rig = Rig(board, mains_hz=mains_hz)
        assert self.rig.truck is not None
        self.shown: list[list[int]] = []
        plain = self.rig.truck.scan

        def scan(t_us: int) -> list[int]:
            self.shown.append(plain(t_us))
            return self.shown[-1]

        self.rig.truck.scan = scan  # type: ignore[method-assign]
        app: Any = SimpleNamespace(
            board=self.rig.board,
            controller=self.rig.controller,
            fast=self.rig.lane,
            meter=self.rig.meter,
            journal=self.rig.journal,
            settings=self.rig.settings,
            clock=self.rig.clock,
            device_id="dut",
            version="0.0.1",
            network=None,
            mqtt=None,
        )
        self.app = app
        self.commands = Commands(app, report)

    def on(self, name: str, load: str = "resistive amps=10") -> None:
        assert self.rig.do("on", name) == ""
        self.rig.sim(f"plug {name} {load}")
        self.rig.run(0.4)

    def trip(self, name: str) -> None:
        """A short circuit that the sensor can still show, recorded to its end."""
        self.rig.sim(f"short {name} ohms={'0.71' if name != 'bed240' else '0.7'}")
        self.rig.until(lambda: self.rig.state(name) == "tripped", 0.1)
        self.rig.run(0.1)

    def ask(self, words: str = "", source: str = "console") -> Any:
        return self.commands.run("capture", words.split(), source)

    def text(self, words: str) -> str:
        """The JSON object of an answer."""
        parts = self.ask(words).parts()
        return "{" + "".join(p if isinstance(p, str) else p.decode() for p in parts)

    def read(self, words: str) -> Record:
        return parse(json.loads(self.text(words)))

    def refused(self, words: str, source: str = "console") -> str:
        with pytest.raises(CommandError) as caught:
            self.ask(words, source)
        return str(caught.value)


# -- what is recorded -------------------------------------------------------------------------


@pytest.mark.parametrize("mains_hz", [50, 60])
@pytest.mark.parametrize("board", BOARDS)
def test_a_trip_is_recorded_to_the_code(board: str, mains_hz: int) -> None:
    bench = Bench(board, mains_hz)
    rig = bench.rig
    bench.on("bed1")
    first = len(bench.shown)
    rig.sim("short bed1 ohms=0.71")
    rig.until(lambda: not rig.coil("bed1"), 0.1)
    tripped = len(bench.shown) - 1  # the scan that opened it
    rig.run(0.1)
    record = bench.read("bed1 --all")
    ms = record.period_us / 1000
    assert record.trip == record.outlet == "bed1" and record.was_on
    assert record.scans * ms >= 250
    assert record.trip_scan is not None
    assert (record.scans - 1 - record.trip_scan) * ms >= 50
    assert tripped > first
    rows = bench.shown[tripped - record.trip_scan :][: record.scans]
    assert len(rows) == record.scans
    for channel, expected in zip(record.channels, zip(*rows, strict=True), strict=True):
        assert channel.codes.tolist() == list(expected), channel.name
    assert record.event is not None
    assert (record.event["outlet"], record.event["reason"]) == ("bed1", "peak")
    assert record.hertz == pytest.approx(mains_hz, abs=0.05)
    limit = record.channel("bed1").limit
    assert limit is not None and limit == pytest.approx(8 * 20 * 2**0.5, abs=0.2)
    over = abs(record.channel("bed1").values) > limit
    assert over[record.trip_scan] and over[record.trip_scan - 1], "the second scan above it"
    assert not over[: record.trip_scan - 1].any()


def test_a_trip_of_the_control_lane_too() -> None:
    bench = Bench()
    bench.on("bed1")
    outlet = bench.rig.controller.outlets[2]
    outlet.thermal.set_permille(1001)
    bench.rig.until(lambda: bench.rig.state("bed1") == "tripped", 0.1)
    bench.rig.run(0.1)
    record = bench.read("bed1")
    assert record.event is not None and record.event["reason"] == "thermal"
    assert record.trip_scan is not None
    amps = abs(record.channel("bed1").values)
    cycle = round(1e6 / 60 / record.period_us)
    assert amps[record.trip_scan - cycle : record.trip_scan].max() == pytest.approx(14.1, abs=1)
    assert amps[-cycle:].max() < 1, "the relay opened within the 60 ms after it"


def test_a_second_trip_does_not_overwrite_the_first() -> None:
    bench = Bench()
    bench.on("bed1")
    bench.on("bed2")
    bench.trip("bed1")
    before = bench.text("bed1 --all")
    bench.trip("bed2")
    record = bench.read("bed1 --all")
    assert record.trip == "bed1"
    for row, channel in zip(json.loads(before)["channels"], record.raw["channels"], strict=True):
        assert row["codes"] == channel["codes"] and row["crc"] == channel["crc"]
    other = bench.read("bed2")
    assert (other.outlet, other.trip) == ("bed2", "bed1")
    assert abs(other.channel("bed2").values).max() < 16, "bed2 was still sound then"


def test_trips_together_are_named() -> None:
    bench = Bench()
    bench.on("bed1")
    bench.on("bed2")
    bench.rig.sim("short bed1 ohms=0.71")
    bench.rig.sim("short bed2 ohms=0.71")
    bench.rig.run(0.2)
    record = bench.read("bed1 --all")
    assert {record.trip, *record.also} == {"bed1", "bed2"}


@pytest.mark.parametrize(
    ("board", "name", "voltage"),
    [
        ("simulated", "bed1", (("v_l1", 1),)),
        ("simulated", "bed2", (("v_l2", 1),)),
        ("simulated", "bed240", (("v_l1", 1), ("v_l2", -1))),
        ("esp32", "bed1", (("v_l1", 1),)),
        ("esp32", "bed2", (("v_l1", -1),)),
        ("esp32", "bed240", (("v_l1", 2),)),
    ],
)
def test_current_and_voltage_belong_together(
    board: str, name: str, voltage: tuple[tuple[str, int], ...]
) -> None:
    bench = Bench(board)
    bench.on(name)
    record = bench.read(name)
    assert record.voltage == voltage and record.current == name
    volts = record.volts()
    amps = record.channel(name).values
    nominal = 240 if name == "bed240" else 120
    cycles = round(5e6 / 60 / record.period_us)
    assert (volts[:cycles] ** 2).mean() ** 0.5 == pytest.approx(nominal, rel=0.03)
    watts = (volts * amps)[:cycles].mean()
    assert watts == pytest.approx(nominal * 10, rel=0.04), "in phase, and of the right sign"


# -- faults -----------------------------------------------------------------------------------


def test_a_broken_sensor_is_recorded_while_its_outlet_is_on() -> None:
    bench = Bench()
    bench.on("bed1")
    bench.rig.sim("sensor bed1 frozen")
    bench.rig.until(lambda: bench.rig.state("bed1") == "fault", 1)
    bench.rig.run(0.1)
    record = bench.read("bed1")
    assert record.event is not None
    assert (record.event["event"], record.event["reason"]) == ("fault", "sensor")
    assert record.was_on
    codes = record.channel("bed1").codes
    assert len(set(codes[-200:])) == 1


@pytest.mark.parametrize("what", ["sensor of an outlet that is off", "supply"])
def test_faults_that_a_waveform_does_not_explain_are_not_recorded(what: str) -> None:
    bench = Bench()
    bench.on("bed1")
    if what == "supply":
        bench.rig.sim("supply off")
        bench.rig.until(lambda: bench.rig.state("bed1") == "fault", 12)
    else:
        bench.rig.sim("sensor cabin1 offset=300")
        bench.rig.until(lambda: bench.rig.state("cabin1") == "fault", 1)
    bench.rig.run(0.1)
    assert bench.ask()["state"] == "waiting"


# -- how long it stays ------------------------------------------------------------------------


def release(bench: Bench) -> None:
    """What Keeper.run() does twice a second."""
    if 0 < bench.rig.lane.wave_release_s <= bench.rig.clock.now_s:
        bench.rig.lane.run_wave()


def test_a_record_stays_until_a_minute_after_it_was_read() -> None:
    bench = Bench()
    bench.on("bed1")
    bench.trip("bed1")
    for seconds in (30, 3600, 86400):
        bench.rig.clock.now_s += seconds
        release(bench)
        assert bench.ask()["state"] == "kept", "nobody has read it"
    bench.text("bed2")
    assert not bench.rig.lane.wave_release_s, "that was not what tripped"
    parts = bench.ask("bed1").parts()
    for _ in range(20):
        next(parts)
    assert not bench.rig.lane.wave_release_s, "not read to its end"
    bench.text("bed1")
    bench.rig.clock.now_s += 50
    release(bench)
    assert bench.ask()["release_s"] == 10
    bench.text("bed1")  # lost on the way, so asked for again
    bench.rig.clock.now_s += 50
    release(bench)
    assert bench.ask()["state"] == "kept"
    bench.rig.clock.now_s += 10
    release(bench)
    assert bench.ask() == {"state": "waiting", "trip": None, "event": None, "release_s": None}


def test_cleared_the_next_trip_is_recorded() -> None:
    bench = Bench()
    bench.on("bed1")
    bench.on("bed2")
    assert bench.ask("clear") == {"cleared": None}
    bench.trip("bed1")
    assert bench.ask()["trip"] == "bed1"
    assert bench.ask("clear") == {"cleared": "bed1"}
    assert bench.ask()["state"] == "waiting"
    bench.rig.run(0.4)
    bench.trip("bed2")
    record = bench.read("bed2")
    assert record.trip == "bed2" and record.scans * record.period_us >= 250_000


def test_a_trip_soon_after_it_has_a_shorter_record_and_nothing_of_the_old_one() -> None:
    bench = Bench()
    bench.on("bed1")
    bench.on("bed2")
    bench.trip("bed1")
    bench.ask("clear")
    cleared = len(bench.shown)
    bench.rig.run(0.05)
    bench.trip("bed2")
    record = bench.read("bed2 --all")
    assert record.scans * record.period_us < 130_000
    rows = bench.shown[cleared:][: record.scans]
    for channel, expected in zip(record.channels, zip(*rows, strict=True), strict=True):
        assert channel.codes.tolist() == list(expected)
    limit = record.channel("bed2").limit
    assert limit is not None and record.trip_scan is not None
    assert abs(record.channel("bed2").values)[record.trip_scan] > limit


def test_while_a_trip_is_being_recorded_it_is_not_given_out() -> None:
    bench = Bench()
    bench.on("bed1")
    bench.rig.sim("short bed1")
    bench.rig.until(lambda: bench.rig.state("bed1") == "tripped", 0.1)
    assert bench.ask()["state"] == "recording"
    assert "not complete yet" in bench.refused("bed1")
    assert "not complete yet" in bench.refused("clear")
    bench.rig.run(0.1)
    assert bench.read("bed1").trip == "bed1"


def test_without_a_trip_it_shows_the_present_and_goes_on() -> None:
    bench = Bench()
    bench.on("bed1")
    record = bench.read("bed1")
    assert record.trip is None and record.trip_scan is None and record.event is None
    assert record.channel("bed1").codes.tolist() == [row[4] for row in bench.shown[-722:]]
    bench.rig.clock.now_s += 6
    release(bench)
    assert bench.ask()["state"] == "waiting"
    bench.rig.run(0.4)
    bench.trip("bed1")
    assert bench.read("bed1").trip == "bed1"


def test_a_look_that_fails_does_not_end_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def fail() -> float:
        raise MemoryError

    monkeypatch.setattr(bench.rig.meter, "hertz", fail)
    with pytest.raises(MemoryError):
        bench.ask("bed1")
    bench.rig.clock.now_s += 6
    release(bench)
    assert bench.ask()["state"] == "waiting"


def test_a_record_that_goes_while_it_is_read_is_marked() -> None:
    bench = Bench()
    bench.on("bed1")
    bench.trip("bed1")
    whole = bench.text("bed1")
    parts = bench.ask("bed1").parts()
    got = [next(parts) for _ in range(4)]
    bench.ask("clear")
    got += list(parts)
    text = "{" + "".join(p if isinstance(p, str) else p.decode() for p in got)
    assert len(text) == len(whole), "MQTT has told the length by then"
    with pytest.raises(ToolError, match="damaged"):
        parse(json.loads(text))


def test_a_trip_of_an_outlet_that_is_not_on_does_not_block_the_recorder() -> None:
    """A welded relay and a short circuit: the kernel records, and the state machine is done."""
    bench = Bench()
    bench.on("bed1")
    bench.rig.sim("weld bed1")
    bench.rig.do("off", "bed1")
    bench.rig.run(0.5)
    assert bench.rig.state("bed1") == "fault"
    record = bench.read("bed1")
    assert record.event is not None and record.event["reason"] == "welded"
    assert not record.was_on
    bench.ask("clear")
    bench.rig.controller.fast.contactor(True)
    bench.rig.run(0.05)
    bench.rig.sim("short bed1 ohms=0.71")
    bench.rig.run(0.2)
    state = bench.ask()
    assert (state["state"], state["trip"]) == ("kept", "bed1")
    bench.read("bed1")
    assert bench.rig.lane.wave_release_s


# -- how it is given out ----------------------------------------------------------------------


def test_it_is_small_and_comes_in_small_pieces() -> None:
    bench = Bench()
    bench.on("bed1")
    bench.trip("bed1")
    answer = bench.ask("bed1")
    first, second = list(answer.parts()), list(answer.parts())
    assert first == second
    assert max(map(len, first)) < 600
    assert sum(map(len, first)) < 3800


def test_what_is_shown_to_people() -> None:
    bench = Bench()
    bench.on("bed1")
    bench.trip("bed1")
    lines = list(screens.lines(bench.app, "capture", bench.ask("bed1")))
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 78
    assert lines[0].startswith("bed1 tripped (peak), event ")
    assert "722 scans of 416 us: 240 ms before the trip, 60 ms after it" in text
    assert re.search(r"v_l1 +(119\.9|120\.\d) V rms in the first 100 ms, peak -?1\d\d\.\d V", text)
    assert "bed1        10.0 A rms in the first 100 ms, peak" in text
    plot = [line.split("|", 1)[1] for line in lines if "|" in line]
    assert len(plot) == 11 and {len(row) for row in plot} == {64}
    (axis,) = [line for line in lines if line.endswith("^ trip")]
    column = axis.index("^") - 9
    top = [c for row in (plot[0], plot[-1]) for c, char in enumerate(row) if char == "#"]
    assert min(top) in (column - 1, column), "the curve reaches its top where it tripped"
    assert bench.rig.lane.wave_release_s, "seen is read"


def test_the_present_for_people_and_a_record_of_another() -> None:
    bench = Bench()
    bench.on("bed1")
    lines = list(screens.lines(bench.app, "capture", bench.ask("bed1")))
    assert lines[0] == "no trip is recorded: this is the present"
    assert not any("^" in line for line in lines)
    bench.rig.lane.run_wave()
    bench.rig.run(0.4)
    bench.trip("bed1")
    lines = list(screens.lines(bench.app, "capture", bench.ask("cabin1 --all")))
    assert lines[1] == "this is cabin1 at the same time"
    names = {c.name for c in bench.rig.board.channels}
    assert names <= {line.split()[0] for line in lines if line}


def test_who_may() -> None:
    bench = Bench()
    bench.rig.settings.set("mqtt.allow", "read")
    bench.on("bed1")
    bench.trip("bed1")
    assert bench.ask("bed1", "mqtt").parts()
    assert "mqtt.allow" in bench.refused("clear", "mqtt")
    bench.rig.settings.set("mqtt.allow", "outlets")
    assert bench.ask("clear", "mqtt") == {"cleared": "bed1"}


@pytest.mark.parametrize("words", ["bed1 bed2", "--all", "clear now", "bed1 --all x"])
def test_wrong_words_change_nothing(words: str) -> None:
    bench = Bench()
    assert bench.refused(words).startswith("usage: capture")
    assert "there are: cabin1" in bench.refused("bed9")
    assert bench.ask()["state"] == "waiting"


def test_the_journal_may_have_forgotten_the_event() -> None:
    bench = Bench()
    bench.on("bed1")
    bench.trip("bed1")
    for _ in range(300):
        bench.rig.journal.add(events.SETTING, -1, events.COMMAND, 0, events.BY_CONSOLE)
    record = bench.read("bed1")
    assert record.trip == "bed1" and record.event is None and record.trip_scan is not None


@pytest.mark.parametrize("offset", [-37, 0, 37])
def test_e11_is_corrected_as_the_kernel_does(offset: int) -> None:
    bench = Bench()
    kernel: Any = __import__("firmware.sensing.kernel", fromlist=["straight"])
    bench.rig.lane.st[kernel.E11] = 1
    bench.rig.sim(f"sensor bed1 offset={offset}")
    bench.on("bed1", "resistive amps=150")
    answer = bench.ask("bed1")
    record = parse(json.loads("{" + "".join(_text(p) for p in answer.parts())))
    assert record.channel("bed1").errata == "e11"
    zero = bench.rig.lane.zero(4)
    straight: Callable[[int], int] = kernel.straight
    for k in range(0, record.scans, 7):
        code = int(record.channel("bed1").codes[k])
        assert answer.counts(4, k) == straight(code) - zero
        assert record.channel("bed1").corrected[k] == straight(code)


def _text(part: str | bytes) -> str:
    return part if isinstance(part, str) else part.decode()
