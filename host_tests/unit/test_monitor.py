"""The monitor's parts without a board: charts, CSV logs, plots, screens of every size."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tools.client import BadAnswer, Event, Status
from tools.client.model import clock
from tools.monitor import charts, log, plot
from tools.monitor.__main__ import main
from tools.monitor.feeds import View
from tools.monitor.screen import Screen, plain
from tools.progress import ToolError

NAMES = ("cabin1", "cabin2", "bed1", "bed2", "bed240")


def raw(amps: float = 0.0, state: str = "on", names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    outlet = {
        "state": "off",
        "reason": "none",
        "on": False,
        "current_a": 0.0,
        "voltage_v": 0.0,
        "power_w": 0.0,
        "apparent_va": 0.0,
        "power_factor": 0.0,
        "energy_kwh": 0.5,
        "frequency_hz": 60.0,
        "limit_a": 20.0,
        "load_percent": 0.0,
        "heat_percent": 0.0,
        "priority": 1,
        "trips": 0,
    }
    outlets = {name: dict(outlet) for name in names}
    outlets["bed1"] |= {
        "state": state,
        "reason": "command" if state == "on" else "peak",
        "on": state == "on",
        "current_a": amps,
        "power_w": 120 * amps,
        "load_percent": 5 * amps,
        "heat_percent": 3.0,
    }
    return {
        "device": "truck",
        "version": "0.1.0",
        "uptime_s": 3723,
        "mode": "outlets",
        "starting": False,
        "contactor": "closed",
        "supply": {"voltage_v": 240.2, "frequency_hz": 60.0, "l1_v": 120.1, "l2_v": 120.1},
        "total": {"power_w": 120 * amps, "limit_w": 9600},
        "legs": {
            "l1": {"current_a": amps, "limit_a": 40.0},
            "l2": {"current_a": 0, "limit_a": 40},
        },
        "temperature_c": None,
        "outlets": outlets,
        "link": {"wifi": "none", "mqtt": "up"},
        "last_event": 4,
    }


def view(amps: float = 10.0, trouble: str = "", **more: Any) -> View:
    event = {"seq": 4, "uptime_s": 3.5, "outlet": "bed1", "event": "tripped", "reason": "peak"}
    record = Event.parse({**event, "source": "fast", "current_a": 250.0})
    return View("truck", Status.parse(raw(amps, **more)), 0.1, trouble, (record,))


# -- what a board says ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("uptime_s",), "4"),
        (("starting",), 0),
        (("supply", "l1_v"), None),
        (("legs",), []),
        (("outlets", "bed1", "current_a"), True),
        (("outlets",), None),
        (("last_event",), 1.5),
    ],
)
def test_a_status_of_wrong_types_is_refused(path: tuple[str, ...], value: object) -> None:
    body = raw()
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(BadAnswer, match=path[-1]):
        Status.parse(body)
    del inner[path[-1]]
    with pytest.raises(BadAnswer, match=path[-1]):
        Status.parse(body)


def test_fields_of_a_newer_firmware_are_kept() -> None:
    status = Status.parse(raw() | {"derated": 5})
    assert status.raw["derated"] == 5
    row = {"seq": 1, "uptime_s": 0.5, "outlet": None, "event": "warning", "reason": "new"}
    event = Event.parse({**row, "source": "control", "flux_wb": 1.25})
    assert (event.quantity, event.value) == ("flux_wb", 1.25)
    assert str(event) == "1 0:00:00.500 - warning new 1.250"
    checked = Event.parse({**row, "source": "control", "code": 3, "check": "frozen"})
    assert str(checked) == "1 0:00:00.500 - warning new frozen"


def test_the_clock_reads_as_on_the_console() -> None:
    assert [clock(s, 3) for s in (0, 59.9996, 3599.9999)] == [
        "0:00:00.000",
        "0:01:00.000",
        "1:00:00.000",
    ]
    assert clock(360000) == "100:00:00"


# -- charts ---------------------------------------------------------------------------------------


def test_a_short_peak_is_not_lost_and_a_gap_is_seen() -> None:
    samples = [(float(t), 1.0) for t in range(40)] + [(52.0, 9.0)]
    samples += [(float(t), 1.0) for t in range(53, 60)]
    found = charts.buckets(samples, 59.5, 60.0, 12)
    assert found == [1.0] * 8 + [1.0, None, 9.0, 1.0]
    assert charts.spark(found, 9.0) == "▁▁▁▁▁▁▁▁▁ █▁"


def test_readings_a_second_apart_leave_no_holes_in_a_fine_chart() -> None:
    samples = [(float(t), float(t)) for t in range(11)]
    assert None not in charts.buckets(samples, 10.9, 10.0, 100)


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 50)), max_size=50),
    st.floats(1, 600),
    st.integers(1, 80),
    st.integers(1, 8),
)
def test_a_chart_has_its_size(
    samples: list[tuple[float, float]], span: float, width: int, height: int
) -> None:
    samples.sort()
    end = samples[-1][0] if samples else 0.0
    figures = charts.buckets(samples, end, span, width)
    lines = charts.rows(figures, 50.0, height)
    assert len(lines) == height and all(len(line) == width for line in lines)
    inside = [figure for when, figure in samples if when > end - span + span / width]
    if inside:
        assert max(figure or 0 for figure in figures) >= max(inside)


def test_bars_and_axes() -> None:
    assert charts.bar(0, 4) == "    " and charts.bar(50, 4) == "██  "
    assert charts.bar(345, 4) == "████" and charts.bar(0.1, 4) == "▏   "
    assert charts.rows([0, 4, 8, None], 8, 2) == ["  █ ", " ██ "]
    assert [charts.nice(x) for x in (0, 1, 1.2, 2.2, 4801, 9600)] == [1, 1, 2, 2.5, 5000, 10000]


# -- logs -----------------------------------------------------------------------------------------


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for run in range(2):
        writer = log.Log(path)
        writer.add(view(10.0 + run), 1_800_000_000.9 + run)
        assert path.read_text().count("\n") == 2 + run, "each row is there at once"
        writer.add(view(0, trouble="gone"), 1_800_000_002)
        writer.close()
        path.write_text("\n".join(path.read_text().splitlines()[: 2 + run]) + "\n")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [row["time"] for row in rows] == ["2027-01-15T08:00:00Z", "2027-01-15T08:00:01Z"]
    assert [row["bed1_a"] for row in rows] == ["10.0", "11.0"]
    assert rows[0]["bed1_state"] == "on" and rows[0]["temperature_c"] == ""
    assert None not in rows[0], "as many cells as columns"


def test_a_board_that_is_away_leaves_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    writer = log.Log(path)
    writer.add(View("truck", None, 0.0, "offline"), 1.0)
    assert path.read_text() == "", "its columns are not known yet"
    writer.add(view(), 2.0)
    writer.add(view(trouble="offline"), 3.0)
    writer.close()
    rows = list(log.read(path)[1])
    assert [row["online"] for row in rows] == ["1", "0"]
    assert rows[1]["bed1_a"] == "" and rows[1]["device"] == "truck"


@pytest.mark.parametrize("cut", [1, 5, 30, 200])
def test_a_torn_row_is_passed_over(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log.csv"
    writer = log.Log(path)
    for second in range(3):
        writer.add(view(second), 100.0 + second)
    writer.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    writer = log.Log(path)
    writer.add(view(7), 200.0)
    writer.close()
    amps = [row["bed1_a"] for row in log.read(path)[1]]
    assert amps[:2] == ["0", "1"] and amps[-1] == "7"
    assert len(amps) in (3, 4)  # without its newline alone, a row is whole


def test_what_is_no_log_of_this_board_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\n")
    with pytest.raises(ToolError, match="no log of the monitor: it begins with 'dear diary'"):
        log.Log(path)
    assert path.read_text() == "dear diary\n"
    with pytest.raises(ToolError, match="is no log of the monitor"):
        log.read(path)
    with pytest.raises(ToolError, match="cannot be written: No such file"):
        log.Log(tmp_path / "nowhere" / "log.csv")
    other = tmp_path / "other.csv"
    writer = log.Log(other)
    writer.add(view(names=("bed1",)), 1.0)
    with pytest.raises(ToolError, match="a board with other outlets"):
        writer.add(view(), 2.0)
    with pytest.raises(ToolError, match="being written by another monitor"):
        log.Log(other)
    writer.close()
    assert len(list(log.read(other)[1])) == 1


def test_a_full_disk_is_one_sentence() -> None:
    path = Path("/dev/full")
    with pytest.raises(ToolError, match="cannot be written: No space left"):
        log.Log(path).add(view(), 1.0)


# -- pictures -------------------------------------------------------------------------------------


def test_a_log_is_plotted_with_its_gaps(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    writer = log.Log(path)
    for second in (0, 1, 2, 30, 31):
        trouble = "away" if second == 1 else ""
        writer.add(view(second + 1, trouble=trouble), 1_800_000_000.0 + second)
    writer.close()
    with path.open("a") as text:
        text.write("2027-01-15T08:00:3,truck,1,")  # torn
    times, found = plot.series(path)
    assert len(times) == 6, "five rows and a gap"
    assert [str(x) for x in found["bed1_a"]] == ["1.0", "nan", "3.0", "nan", "31.0", "32.0"]
    picture = tmp_path / "plot.png"
    assert main(["--from", str(path), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["--from", str(path), "--plot", str(tmp_path / "plot.nonsense")]) == 1
    empty = tmp_path / "empty.csv"
    empty.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(ToolError, match="no rows to plot"):
        plot.series(empty)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "x.csv"], "--from needs --plot FILE"),
        (["--from", "/nonexistent.csv", "--plot", "x.png"], "cannot be read: No such file"),
        (["/dev/nonexistent"], "there is no port /dev/nonexistent"),
        (["/dev/null", "--mqtt", "host"], "either a port or --mqtt"),
        (["--mqtt", "http://host"], "is no address of a broker"),
        (["--mqtt", "127.0.0.1:1"], "no MQTT broker at 127.0.0.1:1"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert says in said and said.startswith("error: ") and said.count("\n") == 1


# -- screens --------------------------------------------------------------------------------------


def shown(screen: Screen, width: int, height: int) -> list[str]:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, no_color=True
    )
    options = console.options.update(height=height, max_width=width)
    lines = console.render_lines(screen, options, pad=False)
    text = "\n".join("".join(segment.text for segment in line).rstrip() for line in lines)
    return text.rstrip().split("\n")


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (60, 10), (40, 5)])
@pytest.mark.parametrize("boards", [1, 2, 7])
def test_a_screen_fits(size: tuple[int, int], boards: int) -> None:
    width, height = size
    screen = Screen(60.0)
    views = [View(f"truck{i}", view().status, 0.0, "", view().events) for i in range(boards)]
    screen.update(views)
    screen.sample(views)
    lines = shown(screen, width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    if boards < height:
        text = "\n".join(lines)
        assert all(f"truck{i}" in text for i in range(boards))
        assert text.count("1200") >= boards


def test_one_board_on_a_common_terminal() -> None:
    screen = Screen(60.0)
    screen.update([view(16.0)])
    screen.sample([view(16.0)])
    text = "\n".join(shown(screen, 80, 24))
    for what in ("16.00", "1920", "80%", "3%", "leg l1", "40%", "of 9600 W", "240.2 V  60.00 Hz"):
        assert what in text, what
    assert "4 0:00:03.500 bed1 tripped peak 250.0 A" in text


def test_trouble_is_seen() -> None:
    screen = Screen(60.0)
    trouble = "the board on /dev/ttyACM0 went away"
    for views in ([view(trouble=trouble)], [View("truck", None, 0.0, trouble)]):
        screen.update(views)
        assert trouble in "\n".join(shown(screen, 80, 24))
    screen.update([view(state="tripped")])
    assert "tripped: peak" in "\n".join(shown(screen, 80, 24))
    assert plain(view(trouble=trouble), "12:00:00") == f"12:00:00 truck away: {trouble}"


def test_a_screen_without_boards_says_so() -> None:
    assert shown(Screen(60.0), 80, 24) == ["waiting for boards"]


def test_old_readings_are_forgotten() -> None:
    from tools.monitor.screen import History

    history = History(10.0)
    status = Status.parse(raw(1.0))
    for second in range(1000):
        history.add(float(second), status)
    assert len(history._figures["power_w"]) < 20
