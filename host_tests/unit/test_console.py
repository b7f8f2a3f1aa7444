"""The console: lines for programs, keys for people, events that harm neither."""

import asyncio
import json
import re
from typing import Any

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware import board, events
from firmware.board import pico_w
from firmware.interfaces import commands, console, editor, helptexts, screens
from firmware.interfaces.commands import CommandError
from firmware.interfaces.console import Console
from firmware.interfaces.editor import Editor
from host_tests.fakes import bare_app
from host_tests.fakes.console_bench import ConsoleBench, quicken
from host_tests.fakes.fake_console_app import FakeApp, FakePort


class Bench(ConsoleBench):
    """Lines and keys go in, text comes out."""

    async def ask(self, line):
        """Send a line as a program does; the text that came back."""
        self.port.send(line if isinstance(line, bytes) else line.encode() + b"\n")
        await self.settle()
        return self.port.text()

    async def keys(self, text):
        """Type; the text that came back."""
        self.port.type(text)
        await self.settle()
        return self.port.text()


@pytest.fixture
def bench(tmp_path, monkeypatch):
    quicken(monkeypatch)
    return Bench(str(tmp_path / "data"))


class Screen:
    """What a terminal shows after the escape sequences that the console uses."""

    def __init__(self):
        self.lines = [""]
        self.column = 0

    def feed(self, text):
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|.|\n", text, re.DOTALL):
            line = self.lines[-1]
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.lines.append("")
            elif part == "\x1b[K":
                self.lines[-1] = line[: self.column]
            elif part.endswith("D") and part[0] == "\x1b":
                self.column -= int(part[2:-1])
            else:
                assert part >= " ", repr(part)
                self.lines[-1] = line[: self.column] + part + line[self.column + 1 :]
                self.column += 1
        return self


# -- programs -------------------------------------------------------------------------------


def test_programs_get_the_answer_and_nothing_else(bench):
    async def script(b):
        assert (
            await b.ask("on bed1") == "ok bed1\r\n" + "event: 1 0:00:00.000 bed1 on command -\r\n"
        )
        assert await b.ask("nonsense") == (
            "error: unknown command 'nonsense' (there are: "
            + " ".join(b.app.commands.names())
            + ")\r\n"
        )
        assert await b.ask(b"on bed1\r\n") != ""

    bench.session(script)


def test_every_line_of_an_answer_is_the_first_or_indented(bench):
    async def script(b):
        for name in b.app.commands.names():
            if name == "watch":
                continue
            text = await b.ask(name)
            assert "\x1b" not in text
            lines = text.split("\r\n")
            assert lines[0].startswith("ok") or lines[0].startswith("error: "), text
            for line in lines[1:]:
                assert line == "" or line.startswith(("  ", "event: ")), text
                assert len(line) <= (79 if name == "help" else 100)

    bench.session(script)


def test_a_bridge_has_the_rights_and_the_name_of_mqtt(bench):
    async def script(b):
        assert await b.ask("--mqtt on bed1 --json") == (
            '{"ok": true, "done": ["bed1"]}\r\nevent: 1 0:00:00.000 bed1 on command -\r\n'
        )
        assert b.app.journal.get(1)[5] == events.BY_MQTT
        for line, reason in (
            ("set bed1.limit_a 15 --mqtt", "set bed1.limit_a is not allowed from mqtt"),
            ("--mqtt on bed1 --force", "on --force is not allowed from mqtt"),
            ("exit yes --mqtt", "exit is possible on the console only"),
            ("watch --mqtt", "watch is possible on the console only"),
            ("--mqt on bed2", "unknown command '--mqt'"),
        ):
            assert (await b.ask(line)).startswith("error: " + reason)
        assert b.app.journal.get(2)[1:6] == (events.REFUSED, -1, events.NOT_ALLOWED, 0, 3)
        assert await b.ask("--mqtt") == ""
        b.app.settings.set("mqtt.allow", "read")
        assert (await b.ask("--mqtt off bed1")).startswith("error: off is not allowed from mqtt")
        assert b.app.states[2] == "on"
        assert (await b.ask("off bed1")).startswith("ok")
        assert (await b.ask("--mqtt status")).startswith("ok")

    bench.session(script)


def test_json_is_one_object_on_one_line(bench):
    async def script(b):
        b.app.trip(2)
        await b.settle()
        b.port.text()
        for line in ("status", "outlets", "get", "events", "help", "energy --json", "nonsense"):
            text = await b.ask(line if "--json" in line else line + " --json")
            assert text.endswith("\r\n") and text.count("\n") == 1
            body = json.loads(text)
            assert body["ok"] == (line != "nonsense")
        body = json.loads((await b.ask("on nowhere --json")).strip())
        assert body == {
            "ok": False,
            "error": "unknown outlet 'nowhere' (there are: cabin1 cabin2 bed1 bed2 bed240)",
        }

    bench.session(script)


def test_quotes_keep_spaces(bench):
    async def script(b):
        await b.ask('set device.name "my  truck"')
        assert b.app.settings.get("device.name") == "my  truck"
        await b.ask('set device.name ""')
        assert b.app.settings.get("device.name") == ""

    bench.session(script)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"x" * 513 + b"\n", "the line is longer than 512 bytes"),
        (b"status " + b"y" * 5000 + b"\n", "the line is longer than 512 bytes"),
        (b"status\xff\xfe\n", "the line is not UTF-8 text"),
        (b"set device.name \xc3\n", "the line is not UTF-8 text"),
        (b"sta\x00tus\n", "the line has bytes that are not text"),
        (b"\x01\x02\x06\x10\x11\n", "the line has bytes that are not text"),
    ],
)
def test_bad_lines_are_one_clear_error_and_the_next_line_works(bench, data, error):
    async def script(b):
        assert await b.ask(data) == f"error: {error}\r\n"
        assert (await b.ask("version")).startswith("ok\r\n")

    bench.session(script)


def test_many_lines_at_once_are_all_answered(bench):
    async def script(b):
        b.port.send(b"mode\n" * 300)
        await b.settle()
        assert b.port.text().count("ok\r\n") == 300

    bench.session(script)


def test_internal_error_is_told_and_survived(bench):
    async def script(b):
        b.app.selftest = lambda: 1 / 0
        assert "internal error: ZeroDivisionError" in await b.ask("selftest")
        assert (await b.ask("mode")).startswith("ok")

    bench.session(script)


def test_failed_selftest_shows_its_table(bench):
    async def script(b):
        b.app.tests.append(("adc", False, "reference is off", 5))
        text = await b.ask("selftest")
        assert text.startswith("error: failed: adc\r\n")
        assert "FAIL adc" in text

    bench.session(script)


# -- people ---------------------------------------------------------------------------------


def shown(text):
    return Screen().feed(text).lines


def test_typing_is_echoed_with_a_prompt(bench):
    async def script(b):
        assert shown(await b.keys("mode"))[-1] == "> mode"
        lines = shown(await b.keys("\r"))
        assert lines[0] == "> mode"
        assert lines[1] == "ok"
        assert lines[-1] == "> "

    bench.session(script)


def test_enter_alone_gives_a_prompt(bench):
    async def script(b):
        assert shown(await b.keys("\r")) == ["> "]
        assert shown(await b.keys("\r")) == ["> ", "> "]

    bench.session(script)


@pytest.mark.parametrize(
    ("keys", "line", "column"),
    [
        ("abc\x1b[Dx", "abxc", 3),
        ("abc\x01x", "xabc", 1),
        ("abc\x01\x05x", "abcx", 4),
        ("abc\x1b[Hx\x1b[Fy", "xabcy", 5),
        ("abc\x1b[1~x\x1b[4~y", "xabcy", 5),
        ("abc\x1bOHx", "xabc", 1),
        ("abcd\x1b[D\x1b[D\x0b", "ab", 2),
        ("abcd\x1b[D\x1b[D\x15", "cd", 0),
        ("one two three\x17x", "one two x", 9),
        ("one two  \x17x", "one x", 5),
        ("abc\x7f\x08", "a", 1),
        ("abc\x01\x1b[3~", "bc", 0),
        ("äöü\x7fx", "äöx", 3),
        ("äöü\x1b[D\x1b[D\x7fx", "xöü", 1),
        ("a\x1b[D\x1b[D\x1b[C\x1b[C\x1b[Cb", "ab", 2),
        ("\x7f\x1b[3~\x15\x0b\x17a", "a", 1),
        ("ab\x1b[1;5Dc", "acb", 2),
        ("ab\x1b[99Zc", "abc", 3),
        ("ab\x1bxc", "abc", 3),
        ("ab\x1b\x01c", "cab", 1),
        ("ab\x00\x02c", "abc", 3),
    ],
)
def test_editing(bench, keys, line, column):
    async def script(b):
        screen = Screen().feed(await b.keys(keys))
        assert screen.lines[-1] == "> " + line
        assert screen.column == 2 + column

    # Escape sequences come as one burst from a terminal; here key by key, which must do too.
    bench.session(script)


def test_ctrl_c_clears_the_line(bench):
    async def script(b):
        assert shown(await b.keys("on bed1\x03"))[-1] == "> "
        await b.keys("mode\r")
        assert b.app.controller.log == []

    bench.session(script)


def test_history(bench):
    async def script(b):
        await b.keys("mode\r")
        await b.keys("version\r")
        assert shown(await b.keys("\x1b[A"))[-1] == "> version"
        assert shown(await b.keys("\x1b[A"))[-1] == "> mode"
        assert shown(await b.keys("\x1b[A"))[-1] in ("> mode", "")
        assert shown(await b.keys("\x1b[B"))[-1] == "> version"
        assert shown(await b.keys("\x1b[B"))[-1] == "> "
        await b.keys("set wifi.password hush1234\r")
        assert shown(await b.keys("\x1b[A"))[-1] == "> version"

    bench.session(script)


def test_completion(bench):
    async def script(b):
        assert shown(await b.keys("ver\t"))[-1] == "> version "
        await b.keys("\x03")
        assert shown(await b.keys("on c\t"))[-1] == "> on cabin"
        lines = shown(await b.keys("\t"))
        assert lines[-2] == "  cabin1  cabin2"
        assert lines[-1] == "> on cabin"
        assert shown(await b.keys("1\t"))[-1] == "> on cabin1 "
        await b.keys("\x03")
        assert shown(await b.keys("zzz\t"))[-1] == "> zzz"

    bench.session(script)


def test_long_lines_scroll(bench):
    async def script(b):
        for line in shown(await b.keys("x" * 150)):
            assert len(line) < 80
        lines = shown(await b.keys("\x01"))
        assert len(lines[-1]) < 80

    bench.session(script)


def test_events_do_not_break_the_line_being_typed(bench):
    async def script(b):
        screen = Screen()
        screen.feed(await b.keys("on be\x1b[D"))
        b.app.trip(2)
        await b.settle()
        screen.feed(b.port.text())
        assert screen.lines[-2] == "event: 1 0:00:00.000 bed1 tripped thermal 27.3 A"
        assert screen.lines[-1] == "> on be"
        assert screen.column == 6

    bench.session(script)


def test_pasted_line_stays_readable_after_a_prompt(bench):
    async def script(b):
        await b.keys("mode\r")
        lines = shown(await b.ask(b"mode\r"))
        assert lines[0] == "> mode"
        assert lines[1] == "ok"

    bench.session(script)


@pytest.mark.parametrize(("echo", "seen"), [("on", True), ("off", False)])
def test_echo_setting(bench, echo, seen):
    async def script(b):
        b.app.settings.set("console.echo", echo)
        assert ("mode" in await b.keys("mode")) == seen
        await b.keys("\x03")
        text = await b.ask("mode")
        assert (shown(text)[0] == "> mode") == seen
        assert "ok\r\n" in text

    bench.session(script)


def test_watch_refreshes_until_a_key(bench):
    async def script(b):
        b.port.send(b"watch 0.2\n")
        await asyncio.sleep(0.3)
        b.app.trip(2)
        await asyncio.sleep(0.3)
        text = b.port.text()
        assert text.count("\x1b[H") > 2
        assert "event:" not in text.replace("last     ", "")
        b.port.send(b"q")
        await b.settle()
        text = b.port.text()
        assert "ok\r\n" in text
        assert "event: 1 0:00:00.000 bed1 tripped" in text
        assert (await b.ask("mode")).startswith("ok")
        assert (await b.ask("watch 0.001")).startswith("error: usage")
        assert (await b.ask("watch x")).startswith("error: usage")

    bench.session(script)


# -- events and output ----------------------------------------------------------------------


def test_events_of_this_start_are_shown_once(bench):
    bench.app.journal.add(events.BOOT, -1, events.POWER_ON, 7, events.BY_BOOT)

    async def script(b):
        await b.settle()
        assert b.port.text() == "event: 1 0:00:00.000 - boot power_on 7\r\n"
        await b.settle()
        assert b.port.text() == ""

    bench.session(script)


def test_quiet_events(bench):
    async def script(b):
        b.app.settings.set("events.verbose", False)
        await b.ask("set bed1.limit_a 10")
        b.app.trip(2)
        await b.settle()
        text = b.port.text()
        assert "setting" not in text and "event: 2 " in text

    bench.session(script)


def test_setting_event_names_the_setting(bench):
    async def script(b):
        said = "event: 1 0:00:00.000 bed1 setting command bed1.limit_a = 10 A"
        assert said in await b.ask("set bed1.limit_a 10")
        assert "event: 2 0:00:00.000 - setting saved 1" in await b.ask("save")

    bench.session(script)


def test_port_that_nobody_reads_holds_nothing_up(bench):
    async def script(b):
        b.port.open = False
        for i in range(200):
            b.app.journal.add(events.ON, i % 5, events.COMMAND, 0, events.BY_CONSOLE)
            b.console.note(f"remark {i}")
            if i % 20 == 0:
                await asyncio.sleep(0.02)
        assert len(b.port.out) == 0
        b.port.open = True
        await b.settle()
        lines = b.port.text().split("\r\n")[:-1]
        seqs = [int(line.split()[1]) for line in lines if line.startswith("event: ")]
        assert seqs == sorted(set(seqs)) and seqs[-1] == 200
        assert any("events not shown" in line for line in lines)
        assert b.console.lost > 100
        assert (await b.ask("mode")).startswith("ok")

    bench.session(script)


def test_answer_that_nobody_takes_is_given_up(bench, monkeypatch):
    monkeypatch.setattr(console, "_STALL_MS", 300)

    async def script(b):
        b.port.open = False
        b.port.send(b"get\nget\n")
        await asyncio.sleep(0.6)
        b.port.open = True
        await b.settle()
        b.port.text()
        assert (await b.ask("mode")).startswith("ok")

    bench.session(script)


def test_other_end_that_vanishes_is_survived(bench):
    async def script(b):
        def gone(data):
            raise OSError(5)

        real = b.port.write
        b.port.write = gone
        await b.ask("get")
        b.port.write = real
        assert (await b.ask("mode")).startswith("ok")

    bench.session(script)


def test_events_still_come_after_the_end_of_input(bench):
    async def script(b):
        b.port.ended = True
        await b.settle()
        b.app.trip(2)
        await b.settle()
        assert "event: 1 " in b.port.text()

    bench.session(script)


# -- screens --------------------------------------------------------------------------------


@pytest.mark.parametrize("amps", [0.0, 19.96, 31.7, 212.3])
@pytest.mark.parametrize("state", ["off", "closing", "on", "tripped", "lockout", "shed", "fault"])
def test_status_fits_a_terminal(bench, amps, state):
    app = bench.app
    app.amps = [amps] * 5
    app.states = [state] * 5
    app.reasons = ["overtemperature"] * 5
    app.trip(1)
    app.settings.set("device.name", "x" * 32)
    lines = ["ok"] + ["  " + line for line in screens.status(app, app.state(app))]
    assert len(lines) <= 23
    for line in lines:
        assert len(line) <= 79, line
    for outlet in app.board.outlets:
        assert any(line.startswith("  " + outlet.name) for line in lines)


def test_status_with_readings_missing(bench):
    app = bench.app
    state = app.state(app)
    state["temperature_c"] = None
    state["supply"] = {"voltage_v": None, "frequency_hz": None}
    state["link"] = {}
    for row in state["outlets"].values():
        row["current_a"] = row["power_w"] = row["load_percent"] = row["heat_percent"] = None
    assert all(len(line) < 80 for line in screens.status(app, state))


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        (0, "[..........]"),
        (49, "[#####.....]"),
        (100, "[##########]"),
        (105, "[##########!"),
        (900, "[##########!"),
        (None, "[          ]"),
    ],
)
def test_bar(percent, expected):
    assert screens.bar(percent) == expected


def test_clock():
    assert screens.clock(0, 0) == "0:00:00.000"
    assert screens.clock(3723, 45) == "1:02:03.045"
    assert screens.clock(1_000_000) == "277:46:40"


# -- any input ------------------------------------------------------------------------------


@given(st.binary(max_size=400))
def test_editor_takes_any_bytes(data):
    line = Editor()
    for byte in data:
        did = line.feed(byte)
        assert 0 <= line.pos <= len(line.text) <= editor.LINE_MAX
        line.drawing(b"> ")
        line.before_cursor()
        if did == editor.ENTER:
            try:
                text = line.take(True)
            except editor.LineError as error:
                assert str(error).startswith("the line")
            else:
                assert len(text.encode()) <= editor.LINE_MAX
                line.remember(text)
            assert line.is_fresh()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('cal import {"bed1": [1.02, 0], "v": 1} --json', 4),
        ('cal import {"bed1":[1.02,0]}', 3),
        ("set device.name {a b", 4),
        ('set device.name "{a b}"', 3),
        ("a{b c}", 2),
        ("}{", 1),
        ("{", 1),
    ],
)
def test_json_is_one_word(line, words):
    found = console.split(line)
    assert len(found) == words
    if "import" in line:
        assert found[2] == line[11 : line.index("}") + 1]


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4))
def test_any_json_object_survives_the_line(value):
    text = json.dumps(value)
    assert console.split("cal import " + text) == ["cal", "import", text]


class Work:
    """A command that takes seconds, as commands.Job; it ends when `result` is set."""

    def __init__(self):
        self.progress = ""
        self.polls = 0
        self.result = None

    def poll(self):
        self.polls += 1
        self.progress = f"work, {self.polls // 4} of 3 s"
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_long_work_shows_its_progress_and_lets_events_through(bench):
    async def script(b):
        work = Work()
        run = b.app.commands.run
        b.app.commands.run = lambda name, *rest: work if name == "cal" else run(name, *rest)
        b.port.send(b"cal bed1 10\n")
        while work.polls < 9:
            await asyncio.sleep(0.01)
        b.app.trip(2)
        while work.polls < 30:
            await asyncio.sleep(0.01)
        text = b.port.text()
        assert "# work, 1 of 3 s\r\n" in text and "# work, 2 of 3 s\r\n" in text
        assert "bed1 tripped thermal" in text and "ok" not in text
        b.port.send(b"mode\n")  # waits for its turn
        work.result = {"channel": "bed1", "cleared": True}
        await b.settle()
        text = b.port.text()
        assert text.index("ok bed1 is nominal again\r\n") < text.index("ok\r\n")

        work = Work()
        b.port.send(b"cal bed1 10 --json\n")
        while work.polls < 9:
            await asyncio.sleep(0.01)
        work.result = CommandError("bed1: the load is off")
        await b.settle()
        assert json.loads(b.port.text()) == {"ok": False, "error": "bed1: the load is off"}
        assert b.console._busy is False

    bench.session(script)


@given(st.text(max_size=60))
def test_split_gives_words(text):
    for word in console.split(text):
        assert isinstance(word, str)


BURST = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"status\n",
            b"on all\r\n",
            b"\x1b[A\r",
            b"\t",
            b"\x03",
            b"get --json\n",
            b"x" * 300,
            b"\n",
            b"set bed1.limit_a 10\n",
            "ü\r".encode(),
        ]
    ),
    st.none(),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(BURST, max_size=15))
def test_any_session_leaves_a_console_that_answers(tmp_path_factory, bursts):
    made = Bench(str(tmp_path_factory.mktemp("any")))
    saved = console._sleep_ms
    console._sleep_ms = lambda ms: asyncio.sleep(min(ms, 1) / 1000)

    async def script(b):
        for burst in bursts:
            if burst is None:
                b.app.trip(1)
                b.port._in.append(None)
            elif b"watch" not in burst and b"exit" not in burst:
                b.port.send(burst)
        b.port._in.append(None)
        await b.settle()
        b.port.send(b"\x1b\x03")
        b.port._in.append(None)
        await b.settle()
        b.port.text()
        text = await b.ask("mode --json")
        assert '"modes": ["outlets", "worksite", "camp"]' in text

    try:
        made.session(script)
    finally:
        console._sleep_ms = saved


# -- a real terminal's screen ---------------------------------------------------------------


class Vt:
    """80 x 24 of a terminal emulator."""

    def __init__(self):
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.Stream(self.screen)

    def feed(self, text):
        self._stream.feed(text)
        return self

    @property
    def row(self):
        """The row with the cursor."""
        return self.screen.display[self.screen.cursor.y].rstrip()


@pytest.mark.parametrize(
    ("keys", "row", "column"),
    [
        ("on be\x1b[D", "> on be", 6),
        ("set bed1.name küche\x1b[D\x1b[D", "> set bed1.name küche", 19),
        ("set bed1.name 客廳\x1b[D", "> set bed1.name 客廳", 18),
        ("set bed1.name 客廳x\x1b[D\x1b[D", "> set bed1.name 客廳x", 18),
        ("set bed1.name 客\x7f廳", "> set bed1.name 廳", 18),
        ("get e\u0301t\x1b[D", "> get e\u0301t", 7),
    ],
)
def test_an_event_leaves_line_and_cursor_where_they_were(bench, keys, row, column):
    def said(vt):
        shown = vt.row.replace(" ", "") if "客" in row or "廳" in row else vt.row
        wanted = row.replace(" ", "") if "客" in row or "廳" in row else row
        return (shown == wanted or shown == wanted.replace("e\u0301", "é")) and (
            vt.screen.cursor.x == column
        )

    async def script(b):
        vt = Vt().feed(await b.keys(keys))
        assert said(vt), (vt.row, vt.screen.cursor.x)
        b.app.trip(2)
        await b.settle()
        vt.feed(b.port.text())
        assert said(vt), (vt.row, vt.screen.cursor.x)
        above = vt.screen.display[vt.screen.cursor.y - 1].rstrip()
        assert above == "event: 1 0:00:00.000 bed1 tripped thermal 27.3 A"

    bench.session(script)


@given(
    st.text(
        st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\x7f"),
        max_size=120,
    )
)
def test_no_line_being_typed_is_wider_than_a_terminal(text):
    line = Editor()
    for byte in text.encode()[: editor.LINE_MAX]:
        line.feed(byte)
    for _ in range(len(text) // 2):
        for byte in b"\x1b[D":
            line.feed(byte)
    drawn = line.drawing(b"> ").decode()  # no character is cut
    widths = [2 if ord(c) > 0xFFF else 1 for c in drawn.split("\x1b[K")[0].lstrip("\r")]
    assert sum(widths) <= 78


def test_watch_is_drawn_in_place(bench):
    async def drawn(b, vt, text):
        """Until a whole picture with that text has come."""
        while text not in "".join(vt.screen.display) or not b.port.is_idle():
            await asyncio.sleep(0.1)
            vt.feed(b.port.text())
        await asyncio.sleep(0.1)
        vt.feed(b.port.text())

    async def script(b):
        vt = Vt()
        b.port.send(b"watch 0.2\n")
        await drawn(b, vt, "any key ends this")
        first = vt.screen.display[:]
        assert first[0].startswith("tg-0123456789")
        b.app.amps[2] = 7.5
        await drawn(b, vt, " 7.5 ")
        changed = [n for n in range(24) if vt.screen.display[n] != first[n]]
        assert changed and len(changed) < 6
        b.port.send(b"q")
        await b.settle()

    bench.session(script)


# -- boards, words, examples ----------------------------------------------------------------


def test_status_of_eight_outlets_fits_a_terminal(monkeypatch, tmp_path):
    table: dict[str, Any] = dict(pico_w.BOARD)
    table["channels"] = tuple(row for row in table["channels"] if row["kind"] != "aux") + tuple(
        {**table["channels"][2], "name": f"galley{n}", "mux": 0} for n in "123"
    )
    table["outlets"] += tuple(
        {**table["outlets"][0], "name": f"galley{n}", "relay": 10 + int(n)} for n in "123"
    )
    table["skew_us"] = 5
    monkeypatch.setattr(bare_app.board, "load", lambda name: board.Board(table))
    app = FakeApp(folder=str(tmp_path))
    app.amps = [212.3] * 8
    app.states = ["lockout"] * 8
    app.reasons = ["overtemperature"] * 8
    app.trip(7)
    state = app.state(app) | {"limits_percent": 60, "disabled": ["galley1.peak"] * 9}
    lines = list(screens.status(app, state))
    assert len(lines) <= 22 and max(len(line) for line in lines) <= 77
    assert sum(line.startswith("galley") for line in lines) == 3


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172800, "2 days"),
    ],
)
def test_the_last_event_in_words_with_its_age(bench, age, text):
    app = bench.app
    app.trip(2)
    record = app.journal.get(1)
    state = app.state(app) | {"uptime_s": record[6] + age}
    assert list(screens.status(app, state))[-1] == (
        f"last     bed1 tripped thermal 27.3 A, {text} ago"
    )


def test_every_command_has_examples_that_it_takes(bench):
    app = bench.app

    async def script(b):
        for row in commands.TABLE:
            name = row[0]
            if name in ("cal", "events"):
                continue  # have their own
            forms = helptexts.forms(name)
            assert forms or not row[1], f"{name}: no example"
            for typed, what in forms:
                assert what and len(f"  {typed:26} {what}") <= 79, typed
                if name in ("watch", "capture", "wifi", "mqtt", "selftest", "energy", "time"):
                    continue  # the fake has none of these
                said = await b.ask(typed.replace("reset all", "off all"))
                assert not re.match("error: (usage|unknown|there is no)", said), said
        shown = await b.ask("help on")
        assert "  on all " in shown and "--force" in shown

    assert all(
        line.split(" ")[0] in app.commands.names() for line in helptexts.TEXT.split("\n")[1:-1]
    )
    bench.session(script)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("energy d", ["days"]),
        ("energy days d", []),
        ("mqtt f", ["forget"]),
        ("reset bed1 --f", ["--force"]),
        ("off bed1 --", ["--json"]),
        ("capture bed1 --", ["--all", "--json"]),
        ("get --", ["--changed", "--json"]),
        ("set bed1.trip_class s", ["standard", "slow"]),
        ("set console.uart o", ["on", "off"]),
        ("set mqtt.allow re", ["read"]),
        ("set bed1.trip", ["bed1.trip_class"]),
        ("events by cons", ["console"]),
        ("help st", ["status", "storm"]),
        ("cal bed1 ph", ["phase"]),
        ("nonsense x", []),
        ("on \u00fc", []),
    ],
)
def test_completion_of_everything(bench, typed, words):
    assert bench.app.commands.complete(typed)[1] == words


# -- two consoles, and other tasks ----------------------------------------------------------


def test_two_consoles_answer_one_after_the_other_and_off_at_once(bench):
    port = FakePort()
    other = Console(bench.app, port)

    async def script(b):
        task = asyncio.create_task(other.run())
        await b.settle()
        b.port.open = False  # nobody reads: the answer of 10 KB waits in the middle
        b.port.send(b"get\n")
        await asyncio.sleep(0.2)
        port.send(b"mode\n")
        await asyncio.sleep(0.2)
        assert port.text() == ""
        b.port.open = True
        await b.settle()
        assert port.text() == (
            "ok\r\n  mode             outlets\r\n  modes            outlets worksite camp\r\n"
            "  quiet            no\r\n"
        )
        b.port.open = False
        b.port.send(b"get\n")
        await asyncio.sleep(0.2)
        port.send(b"off bed1\n")
        await asyncio.sleep(0.2)
        assert port.text().startswith("ok bed1\r\n")
        b.port.open = True
        await b.settle()
        task.cancel()

    bench.session(script)


def test_a_line_of_thousands_of_bytes_lets_other_tasks_run(bench, monkeypatch):
    turns = 0

    async def sleep_ms(ms):
        nonlocal turns
        turns += 1
        await asyncio.sleep(min(ms, 10) / 1000)

    async def script(b):
        nonlocal turns
        await b.settle()
        turns = 0
        b.port.send(b"x" * 4000 + b"\n")
        await b.settle()
        assert turns > 2 * 4000 // 17, "after each sixteen bytes, read and taken"
        assert "longer than 512" in b.port.text()

    monkeypatch.setattr(console, "_sleep_ms", sleep_ms)
    bench.session(script)


def test_a_screen_that_fails_is_told_and_survived(bench, monkeypatch):
    async def script(b):
        run = b.app.commands.run
        b.app.commands.run = lambda name, *rest: 17 if name == "version" else run(name, *rest)
        assert "internal error: TypeError" in await b.ask("version")
        assert (await b.ask("mode")).startswith("ok")

    bench.session(script)
