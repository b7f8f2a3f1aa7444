"""tools/capture: records out of logs, COMTRADE that a public reader opens, CSV and plots."""

from __future__ import annotations

import binascii
import csv
import json
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import comtrade as reader
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.sensing import kernel
from tools.capture import __main__ as tool
from tools.capture import comtrade, output
from tools.capture.record import Record, correct, find, parse
from tools.progress import ToolError

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def channel(name: str, unit: str, codes: list[int], **more: Any) -> dict[str, Any]:
    text = "".join(DIGITS[c >> 6] + DIGITS[c & 63] for c in codes)
    row = {"name": name, "unit": unit, "zero": 2050.25, "per_count": 0.1220703, "skew_us": 0}
    row |= {"limit": 226.3 if unit == "A" else None, "codes": text}
    row |= {"crc": f"{binascii.crc32(text.encode()):08x}"}
    return row | more


def body(amps: list[int], volts: list[int], **more: Any) -> dict[str, Any]:
    """An answer of the firmware, by hand."""
    event = {"seq": 7, "uptime_s": 100.5, "outlet": "bed1", "event": "tripped", "reason": "peak"}
    said = {
        "ok": True,
        "outlet": "bed1",
        "trip": "bed1",
        "was_on": True,
        "scan_period_us": 416,
        "scans": len(amps),
        "trip_scan": len(amps) // 2,
        "frequency_hz": 59.98,
        "errata": None,
        "current": "bed1",
        "voltage": {"v_l1": 1},
        "device": "tailgate-210b2f",
        "board": "pico_w",
        "version": "0.1.0",
        "uptime_s": 130.0,
        "event": event | {"source": "fast", "current_a": 240.1},
        "also": [],
        "channels": [
            channel("v_l1", "V", volts),
            channel("bed1", "A", amps, skew_us=24),
        ],
    }
    return said | more


CODES = st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 4095)), min_size=2, max_size=60)


def load(path: Path) -> Any:
    """What the public reader makes of a pair of files; warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return reader.load(
            str(path.with_suffix(".cfg")), str(path.with_suffix(".dat")), use_double_precision=True
        )


# -- COMTRADE ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [comtrade.ASCII, comtrade.BINARY])
@pytest.mark.parametrize("errata", [None, "e11"])
@settings(max_examples=25, deadline=None)
@given(codes=CODES, zero=st.floats(1800, 2300))
def test_the_reader_gives_back_every_value(
    tmp_path_factory: pytest.TempPathFactory,
    form: str,
    errata: str | None,
    codes: list[tuple[int, int]],
    zero: float,
) -> None:
    amps, volts = [a for a, _ in codes], [v for _, v in codes]
    said = body(amps, volts, errata=errata)
    said["channels"][1]["zero"] = zero
    record = parse(said)
    path = tmp_path_factory.mktemp("comtrade") / "x"
    comtrade.write(record, path, form, 1_767_225_600.0)
    got = load(path)
    assert (got.rev_year, got.ft, got.total_samples) == ("1999", form.upper(), len(codes))
    assert list(got.analog_channel_ids) == ["v_l1", "bed1"]
    for k, c in enumerate(record.channels):
        assert np.allclose(got.analog[k], c.values, atol=c.per_count * 1e-4)
    trip = record.trip_scan
    assert trip is not None
    assert list(got.status[0]) == [int(n >= trip) for n in range(len(codes))]
    assert list(got.status[1]) == [int(n < trip) for n in range(len(codes))]
    assert got.trigger_time == pytest.approx(trip * 416e-6, abs=2e-6)


def test_the_heads_fields(tmp_path: Path) -> None:
    record = parse(body([2050] * 722, [2050] * 722, trip_scan=576))
    comtrade.write(record, tmp_path / "x", comtrade.BINARY, 1_767_225_600.25)
    got = load(tmp_path / "x")
    cfg = got.cfg
    assert (got.station_name, got.rec_dev_id) == ("tailgate-210b2f", "pico_w 0.1.0")
    assert (got.frequency, cfg.nrates, cfg.sample_rates[0][1]) == (60, 1, 722)
    assert cfg.sample_rates[0][0] == pytest.approx(1e6 / 416)
    assert got.trigger_timestamp == datetime(2026, 1, 1, 0, 0, 0, 250_000)
    assert (got.trigger_timestamp - got.start_timestamp).total_seconds() == pytest.approx(
        576 * 416e-6
    )
    amps = cfg.analog_channels[1]
    assert (amps.name, amps.uu, amps.skew, amps.pors) == ("bed1", "A", 24, "P")
    assert (amps.cmin, amps.cmax, amps.primary, amps.secondary) == (0, 4095, 1, 1)
    assert [c.name for c in cfg.status_channels] == ["bed1 trip", "bed1 relay"]
    assert got.time[-1] == pytest.approx(721 * 416e-6)
    text = (tmp_path / "x.cfg").read_bytes()
    assert text.count(b"\r\n") == text.count(b"\n") == 2 + 2 + 2 + 7
    assert (tmp_path / "x.dat").stat().st_size == 722 * (4 + 4 + 2 * 2 + 2)


def test_names_with_commas_do_not_break_the_head(tmp_path: Path) -> None:
    record = parse(body([2050] * 4, [2050] * 4, device="Truck, red\nÜ" + "x" * 99))
    comtrade.write(record, tmp_path / "x", comtrade.ASCII, 0.0)
    assert load(tmp_path / "x").station_name.startswith("Truck  red ?xx")


def test_a_look_at_the_present_has_no_status_channels(tmp_path: Path) -> None:
    record = parse(body([2050] * 9, [2050] * 9, trip=None, trip_scan=None, event=None))
    for form in (comtrade.ASCII, comtrade.BINARY):
        comtrade.write(record, tmp_path / "x", form, None)
        got = load(tmp_path / "x")
        assert got.status_count == 0 and len(got.analog[0]) == 9
        assert got.trigger_time == pytest.approx(8 * 416e-6)


def test_a_relay_that_was_open_is_shown_open(tmp_path: Path) -> None:
    comtrade.write(parse(body([2050] * 9, [2050] * 9, was_on=False)), tmp_path / "x")
    assert not any(load(tmp_path / "x").status[1])


@pytest.mark.parametrize(("hertz", "nominal"), [(49.9, 50), (60.2, 60), (0.0, 60), (51.0, 50)])
def test_nominal_frequency(hertz: float, nominal: int) -> None:
    assert comtrade.nominal_hz(parse(body([0], [0], frequency_hz=hertz, trip_scan=0))) == nominal


def test_e11_is_corrected_as_the_kernel_does() -> None:
    codes = np.arange(4096)
    assert correct(codes, "e11").tolist() == [kernel.straight(c) for c in range(4096)]
    assert correct(codes, None).tolist() == codes.tolist()


def test_when_it_was() -> None:
    clock = body([0], [0], trip_scan=0)
    assert parse(clock).trip_epoch() is None
    assert parse(clock).trip_epoch(1000.0) == pytest.approx(1000 - 29.5)
    clock["event"]["time"] = "2026-01-01T00:00:00Z"
    assert parse(clock).trip_epoch(1000.0) == 1_767_225_600


# -- reading ----------------------------------------------------------------------------------


def log(*lines: str) -> str:
    return "".join(line + "\r\n" for line in lines)


def test_records_are_found_in_logs() -> None:
    first = json.dumps(body([1, 2, 3], [4, 5, 6]))
    inner = body([7, 8], [9, 10], outlet="bed2", also=["bed1"])
    mqtt = json.dumps({"id": "4", "ok": True, "result": inner}, separators=(",", ":"))
    text = log(
        "> capture bed1 --json",
        first,
        "event: 9 0:01:00.000 bed1 reset peak -",
        '{"ok": true, "events": []}',
        "2026-01-31 12:00:00 tailgate/dut/response " + mqtt,
        'note {"channels": "scan_period_us"',
    )
    got = list(find(text))
    assert [(r.outlet, r.scans) for r in got] == [("bed1", 3), ("bed2", 2)]
    assert got[0].channel("bed1").codes.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text[:-40], "line 2 has a record that is cut off or damaged"),
        (lambda text: text.replace("AB", "AC", 1), "line 2: channel v_l1 arrived damaged"),
        (lambda text: text.replace('"scans": 3', '"scans": 4'), "damaged (6 of 8 digits"),
        (lambda text: text.replace('"errata": null', '"errata": "e99"'), "'e99' are not known"),
        (lambda text: text.replace('"trip_scan": 1', '"trip_scan": 3'), "is not one of the 3"),
        (lambda text: text.replace('"current": "bed1"', '"current": "bed9"'), "no channel 'bed9'"),
        (lambda text: text.replace('"outlet": "bed1", "trip"', '"trip"'), "KeyError: 'outlet'"),
        (lambda text: text.replace('{"v_l1": 1}', "3"), "not of a form known"),
    ],
)
def test_damage_is_said_with_its_line(spoil: Any, says: str) -> None:
    text = json.dumps(body([1, 2, 3], [1, 5, 6]))
    assert spoil(text) != text
    with pytest.raises(ToolError) as caught:
        list(find("> capture bed1 --json\n" + spoil(text)))
    assert says in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2000), st.characters(), st.booleans())
def test_one_changed_character_never_goes_unnoticed_in_the_codes(
    at: int, char: str, drop: bool
) -> None:
    text = json.dumps(body([1, 2, 3], [1, 5, 6]))
    start = text.index('"codes"')
    at = start + 10 + at % 6
    spoilt = text[:at] + ("" if drop else char) + text[at + 1 :]
    if spoilt == text:
        return
    try:
        got = list(find(spoilt.replace("\n", " ")))
    except ToolError:
        return
    assert not got


def test_refusals_are_passed_on() -> None:
    with pytest.raises(ToolError, match="the board said: unknown outlet"):
        parse({"ok": False, "error": "unknown outlet"})
    with pytest.raises(ToolError, match="no answer of `capture`"):
        parse({"ok": True})


# -- plot, CSV, command line --------------------------------------------------------------------


def sine() -> dict[str, Any]:
    k = np.arange(722)
    wave = np.sin(2 * np.pi * 60 * k * 416e-6)
    volts = (2050 + 1390 * wave).round().astype(int)
    amps = (2050 + 110 * wave).round().astype(int)
    amps[574:600] = 4000
    return body(amps.tolist(), volts.tolist(), trip_scan=576)


def test_csv(tmp_path: Path) -> None:
    record = parse(sine())
    output.write_csv(record, tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["t_ms", "v_l1_V", "bed1_A", "tripped"]
    assert len(rows) == 722
    assert float(rows[576]["t_ms"]) == 0 and rows[576]["tripped"] == "1"
    assert rows[575]["tripped"] == "0" and float(rows[0]["t_ms"]) == pytest.approx(-239.616)
    assert float(rows[580]["bed1_A"]) == pytest.approx((4000 - 2050.25) * 0.1220703, abs=1e-3)


def test_csv_across_two_legs_has_the_outlets_voltage(tmp_path: Path) -> None:
    said = body([2050] * 3, [3000] * 3, voltage={"v_l1": 1, "v_l2": -1})
    said["channels"].append(channel("v_l2", "V", [1000] * 3))
    output.write_csv(parse(said), tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["voltage_bed1_V"]) == pytest.approx(2000 * 0.1220703, abs=1e-3)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_record_gives_the_same_plot(tmp_path: Path, suffix: str) -> None:
    record = parse(sine())
    for name in "ab":
        output.plot(record, tmp_path / f"{name}{suffix}")
    data = (tmp_path / f"a{suffix}").read_bytes()
    assert len(data) > 5000
    assert data[:4] == (b"\x89PNG" if suffix == ".png" else b"<?xm")
    assert data == (tmp_path / f"b{suffix}").read_bytes()


def run(*words: str | Path) -> int:
    return tool.main([str(word) for word in words])


def test_a_file_that_is_not_there_is_not_taken_for_a_port(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "missing.json")
    assert "no such file" in capsys.readouterr().err


def test_a_log_becomes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "console.log"
    saved.write_text(log("> capture bed1 --json", json.dumps(sine()), "> "))
    out = tmp_path / "out"
    assert run(saved, "bed1", "--output", out, "--csv", "--json", "--plot", "svg") == 0
    said = capsys.readouterr()
    names = {"bed1-event7" + end for end in (".cfg", ".dat", ".svg", ".csv", ".json")}
    assert {p.name for p in out.iterdir()} == names
    assert set(said.out.split()) == {str(out / name) for name in names}
    assert "bed1 tripped (peak), event 7: 240 ms before, 60 ms after" in said.err
    assert "clock was not set" in said.err
    again = tmp_path / "again"
    assert run(out / "bed1-event7.json", "--output", again, "--time", "2026-01-01T12:00:00") == 0
    assert load(again / "bed1-event7").trigger_timestamp == datetime(2026, 1, 1, 12)
    a, b = ((d / "bed1-event7.dat").read_bytes() for d in (out, again))
    assert a == b


def test_one_of_several(tmp_path: Path) -> None:
    first, second = sine(), body([1, 2], [3, 4], outlet="bed2")
    third = sine()
    third["event"] = {**third["event"], "seq": 12}
    saved = tmp_path / "log"
    saved.write_text("\n".join(json.dumps(x) for x in (first, second, third)))
    assert tool.read_file(saved, None, None).name == "bed1-event12"
    assert tool.read_file(saved, "bed2", None).name == "bed2-event7"
    assert tool.read_file(saved, "bed1", 7).name == "bed1-event7"
    with pytest.raises(ToolError, match="there are: bed1-event7, bed2-event7, bed1-event12"):
        tool.read_file(saved, "bed1", 13)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("LOG", "--clear"), "need a board"),
        (("LOG", "--all"), "need a board"),
        (("EMPTY",), "no record in it"),
        (("nowhere/tty", "bed1"), "no port nowhere/tty"),
        (("nowhere/tty", "--event", "3"), "--event is for files"),
    ],
)
def test_what_cannot_be_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    (tmp_path / "LOG").write_text(json.dumps(sine()))
    (tmp_path / "EMPTY").write_text("ok\n")
    there = [tmp_path / w if w.isupper() else w for w in words]
    assert run(*there) == 1
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


class FakeBoard:
    """A board that answers `capture` with these, one after the other."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, ...]] = []

    def command(self, *words: str, **_: Any) -> Any:
        self.asked.append(words)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def read(board: FakeBoard, outlet: str | None) -> Record:
    there: Any = board
    return tool.read_board(there, outlet)


def test_a_board_is_asked_again_when_it_was_too_soon_or_damaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tool, "_PAUSE_S", 0)
    soon = tool.client.CommandRefused("capture bed1", "the record is not complete yet: ask again")
    bad = sine()
    bad["channels"][0]["crc"] = "00000000"
    board = FakeBoard({"trip": "bed1"}, soon, {"trip": "bed1"}, bad, {"trip": "bed1"}, sine())
    assert read(board, None).trip == "bed1"
    assert board.asked[-1] == ("capture", "bed1")
    with pytest.raises(ToolError, match="damaged"):
        read(FakeBoard(*[bad] * 4), "bed1")
    with pytest.raises(ToolError, match="no trip is recorded"):
        read(FakeBoard({"trip": None}), None)
    refused = tool.client.CommandRefused("capture", "unknown outlet 'bed9'")
    with pytest.raises(ToolError, match="bed9"):
        read(FakeBoard(refused), "bed9")
