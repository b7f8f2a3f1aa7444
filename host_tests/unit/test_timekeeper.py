"""Whom the clock believes: time servers good and bad, and people who type a time."""

from __future__ import annotations

import asyncio
import datetime
import random
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware import events, timekeeper, timeservers
from firmware.clock import Clock, iso
from firmware.interfaces import timecommand
from firmware.interfaces.commands import CommandError
from firmware.storage import journal
from host_tests.fakes import fake_console_app
from lib import datagram

NOW = 1_795_374_000  # 2026-11-22 19:00 UTC


class App:
    """A device whose clock is turned by hand, in a network where `answers` are given:
    {address: difference to the true time in s, or what is raised}."""

    network = None

    def __init__(self, servers: str = "10.0.0.1") -> None:
        self.clock = Clock()
        self.journal = journal.Journal(64)
        self.settings = self
        self.values = {"time.servers": servers, "time.zone": "CET-1CEST,M3.5.0,M10.5.0/3"}
        self.true = NOW
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.rtc: list[int] = []
        self.memory: dict[Any, int] = {}

    def get(self, name: str) -> str:
        return self.values[name]

    def passes(self, seconds: int) -> None:
        self.true += seconds
        self.clock.now_s += seconds
        self.journal.now_s += seconds

    def ask(self) -> int:
        async def network_time(address: Any, port: Any = 123) -> Any:
            self.asked.append(f"{address}:{port}")
            answer = self.answers.get(address, datagram.NoAnswer(f"no answer from {address}"))
            if isinstance(answer, Exception):
                raise answer
            return self.true + int(answer)

        saved = datagram.network_time
        datagram.network_time = network_time
        try:
            return asyncio.run(timeservers.ask(self, self.memory))
        finally:
            datagram.network_time = saved

    def off_by(self) -> int:
        return self.clock.wall() - self.true

    def told(self) -> list[tuple[int, str]]:
        """(step, source) of the events."""
        found = []
        for record in self.journal.since(0):
            assert events.KINDS[record[journal.KIND]] == "clock"
            assert events.REASONS[record[journal.REASON]] == "set"
            found.append((record[journal.VALUE], events.SOURCES[record[journal.SOURCE]]))
        return found


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., App]]:
    """Makes an App on a chip whose real-time clock remembers what it was set to."""
    chip = types.ModuleType("firmware.hal.system")
    apps: list[App] = []
    chip.set_clock = lambda epoch: apps[-1].rtc.append(epoch)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "firmware.hal.system", chip)
    import firmware.hal

    monkeypatch.setattr(firmware.hal, "system", chip, raising=False)

    def new(*args: str) -> App:
        apps.append(App(*args))
        return apps[-1]

    yield new


def test_a_first_plausible_answer_is_taken(make: Callable[..., App]) -> None:
    app = make()
    app.passes(40)
    app.journal.add(events.CLOCK_SET, -1, events.WAS_SET, 0, events.BY_CONSOLE)
    app.answers = {"10.0.0.1": 0}
    assert app.clock.wall() == 0
    assert 4 * 3600 <= app.ask() < 4 * 3600 + 600
    assert app.off_by() == 0
    assert app.rtc == [NOW + 40]
    assert app.told()[1:] == [(0, "ntp")]
    # what happened before has its time now
    assert journal.when_epoch(app.journal.get(1)) == NOW + 40
    assert app.clock.note == "good"


@pytest.mark.parametrize(
    "text", ["1900-01-01", "1970-01-01", "2024-06-01", "2070-01-01", "2100-01-01"]
)
def test_what_cannot_be_is_not_believed(make: Callable[..., App], text: str) -> None:
    app = make()
    says = int(datetime.datetime.fromisoformat(text + "T00:00:00+00:00").timestamp())
    app.answers = {"10.0.0.1": says - NOW}
    app.ask()
    assert app.clock.wall() == 0 and app.rtc == [] and app.told() == []
    assert app.clock.note == f"10.0.0.1 says {text}T00:00:00Z"


def test_two_that_agree_win_over_one_that_does_not(make: Callable[..., App]) -> None:
    app = make("10.0.0.1 10.0.0.2, 10.0.0.3")
    app.answers = {"10.0.0.1": 86_400, "10.0.0.2": 0, "10.0.0.3": 1}
    app.ask()
    assert abs(app.off_by()) <= 1
    assert app.asked == ["10.0.0.1:123", "10.0.0.2:123", "10.0.0.3:123"]


def test_two_that_agree_are_enough(make: Callable[..., App]) -> None:
    app = make("10.0.0.1 10.0.0.2:1123 10.0.0.3")
    app.answers = {"10.0.0.1": 1, "10.0.0.2": 0, "10.0.0.3": 0}
    app.ask()
    assert app.asked == ["10.0.0.1:123", "10.0.0.2:1123"]


def test_servers_that_disagree_set_nothing(make: Callable[..., App]) -> None:
    app = make("10.0.0.1 10.0.0.2")
    app.answers = {"10.0.0.1": 86_400, "10.0.0.2": 0}
    app.ask()
    assert app.clock.wall() == 0
    assert app.clock.note == "the servers do not agree"


def test_the_interval_after_failures_doubles_up_to_a_quarter_of_an_hour(
    make: Callable[..., App],
) -> None:
    app = make()
    waits = []
    for _ in range(9):
        waits.append(app.ask())
        app.passes(waits[-1])
    assert all(16 <= wait < 1024 + 16 for wait in waits)
    assert waits[0] < 32 and waits[-1] >= 1024
    assert app.clock.note == "no answer from 10.0.0.1"
    app.answers = {"10.0.0.1": 0}
    assert app.ask() >= 4 * 3600
    app.answers = {}
    app.passes(4 * 3600)
    assert app.ask() < 32, "the next failure begins anew"
    assert app.off_by() == 0, "and the time goes on"


def test_a_refusal_is_honoured_for_a_day(make: Callable[..., App]) -> None:
    app = make("10.0.0.1 10.0.0.2")
    app.answers = {"10.0.0.1": datagram.Refused("refused (RATE)"), "10.0.0.2": 0}
    app.ask()
    assert app.off_by() == 0
    for _ in range(5):
        app.passes(4 * 3600)
        app.ask()
    assert app.asked.count("10.0.0.1:123") == 1
    app.answers = {"10.0.0.1": datagram.Refused("refused (DENY)")}
    app.passes(5 * 3600)
    app.ask()
    assert app.asked.count("10.0.0.1:123") == 2
    assert "10.0.0.1 refused (DENY)" in app.clock.note


def test_drift_is_followed_without_a_word(make: Callable[..., App]) -> None:
    app = make()
    app.answers = {"10.0.0.1": 0}
    app.ask()
    for _ in range(60):  # 200 ppm slow: 2.9 s in four hours
        app.passes(4 * 3600)
        app.true += 3
        app.ask()
        assert abs(app.off_by()) <= 1
    assert len(app.told()) == 1 + 60
    assert all(step == 3 for step, _ in app.told()[1:])
    for _ in range(60):  # a good crystal, and an answer that was a second late
        app.passes(4 * 3600)
        app.answers["10.0.0.1"] = random.Random(1).choice([0, 1])
        app.ask()
        assert abs(app.off_by()) <= 1
    assert len(app.told()) == 61


def test_a_jump_has_to_be_said_twice(make: Callable[..., App]) -> None:
    app = make()
    app.answers = {"10.0.0.1": 0}
    app.ask()
    app.passes(4 * 3600)
    app.answers = {"10.0.0.1": 7200}
    again_s = app.ask()
    assert app.off_by() == 0 and again_s < 40
    assert app.clock.note == "a step of 7200 s is to be confirmed"
    app.passes(again_s)
    app.answers = {"10.0.0.1": -500}  # something else this time
    app.ask()
    assert app.off_by() == 0
    app.passes(60)
    app.ask()
    assert app.off_by() == -500
    assert app.told()[-1] == (-500, "ntp")


def test_two_servers_may_make_it_jump_at_once(make: Callable[..., App]) -> None:
    app = make("10.0.0.1 10.0.0.2")
    app.answers = {"10.0.0.1": 0, "10.0.0.2": 0}
    app.ask()
    app.passes(4 * 3600)
    app.answers = {"10.0.0.1": -7200, "10.0.0.2": -7201}
    app.ask()
    assert app.off_by() in (-7200, -7201)


def test_the_network_corrects_what_was_typed(make: Callable[..., App]) -> None:
    app = make("10.0.0.1 10.0.0.2")
    timekeeper.tell(app, NOW - 90, events.BY_CONSOLE)
    assert app.off_by() == -90
    app.answers = {"10.0.0.1": 0, "10.0.0.2": 0}
    app.ask()
    assert app.off_by() == 0
    assert app.told() == [(0, "console"), (90, "ntp")]


def test_without_servers_nobody_is_asked(make: Callable[..., App]) -> None:
    app = make("")
    app.ask()
    assert app.asked == []
    assert app.clock.note == "there is no server (setting time.servers)"


def test_a_name_needs_a_dns_server(make: Callable[..., App]) -> None:
    app = make("pool.ntp.org")
    app.ask()
    assert app.clock.note == "there is no DNS: give pool.ntp.org as an address"


def test_what_time_answers(make: Callable[..., App]) -> None:
    app = make()
    assert timecommand.state(app)["utc"] is None
    assert timecommand.state(app)["local"] is None
    timekeeper.tell(app, NOW, events.BY_MQTT)
    app.passes(7)
    state = timecommand.state(app)
    assert state["utc"] == "2026-11-22T19:00:07Z"
    assert state["local"] == "2026-11-22 20:00:07 +01:00"
    assert (state["source"], state["age_s"]) == ("mqtt", 7)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-22T19:00:00Z", NOW),
        ("2026-11-22 19:00:00Z", NOW),
        ("2026-11-22T20:00:00+01:00", NOW),
        ("2026-11-22T14:00:00-05:00", NOW),
        ("2026-11-23T00:30:00+05:30", NOW),
        (str(NOW), NOW),
        ("2028-02-29T00:00:00Z", 1_835_395_200),
    ],
)
def test_times_that_can_be_typed(text: str, utc: int) -> None:
    assert timecommand.parse(text) == utc


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-11-22", "2026-11-22T19:00:00", "2026-11-22T19:00Z",
        "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-31T00:00:00Z",
        "2026-11-22T24:00:00Z", "-5", "1e9",
        "2026-11-22T19:60:00Z", "2026-11-22T19:00:60Z", "2026-11-22T19:00:00+25:00", "x" * 500,
        "2026/11/22T19:00:00Z", "0000-00-00T00:00:00Z", "+026-11-22T19:00:00Z", "999999999999999",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(timecommand.Refused, match=r"is no time .like 2026-11-22T19:00:00Z"):
        timecommand.parse(text)


@pytest.mark.parametrize("text", ["0", "1767225599", "3155760000", "1999-12-31T23:59:59Z"])
def test_years_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(timecommand.Refused, match="allowed: the years 2026 to 2069"):
        timecommand.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        utc = timecommand.parse(text)
    except timecommand.Refused:
        return
    assert timekeeper.is_plausible(utc)


@given(st.datetimes(datetime.datetime(2026, 1, 1), datetime.datetime(2069, 12, 31)))
def test_times_there_and_back(moment: datetime.datetime) -> None:
    utc = int(moment.replace(tzinfo=datetime.UTC, microsecond=0).timestamp())
    assert timecommand.parse(iso(utc)) == utc


@pytest.mark.parametrize(
    "bad", ["a b c:0", "x:", ":5", "a_b", "ä.org", "x:99999", "a:b:c", "x" * 64]
)
def test_servers_that_cannot_be(bad: str) -> None:
    with pytest.raises(ValueError):
        datagram.hosts(bad)


def test_servers_of_a_list() -> None:
    assert datagram.hosts(" pool.ntp.org,10.0.0.1:1123  ,a ") == [
        ("pool.ntp.org", 123),
        ("10.0.0.1", 1123),
        ("a", 123),
    ]


def test_over_mqtt_the_clock_is_for_who_may_the_system(make: Callable[..., App]) -> None:
    app = fake_console_app.FakeApp()
    make().rtc = []
    for words in ("read", "read switch settings limits calibration"):
        app.settings.set("mqtt.allow", words)
        assert app.commands.run("time", [], "mqtt")["utc"] is None
        with pytest.raises(CommandError, match="time set is not allowed from mqtt"):
            app.commands.run("time", ["set", str(NOW)], "mqtt")
        assert app.clock.wall() == 0
    app.settings.set("mqtt.allow", "system")
    answer = app.commands.run("time", ["set", str(NOW)], "mqtt")
    assert (answer["utc"], answer["source"]) == ("2026-11-22T19:00:00Z", "mqtt")
    for typed, why in (
        (["set"], "usage: time"),
        (["back"], "usage: time"),
        (["set", "noon"], "'noon' is no time"),
    ):
        with pytest.raises(CommandError, match=why):
            app.commands.run("time", typed, "console")
    assert app.clock.wall() == NOW


@pytest.mark.parametrize(
    ("rule", "good"),
    [("CET-1CEST,M3.5.0,M10.5.0/3", True), ("Europe/Berlin", False), ("UTC", False)],
)
def test_a_zone_is_checked_when_it_is_set(rule: str, good: bool) -> None:
    app = fake_console_app.FakeApp()
    if good:
        app.commands.run("set", ["time.zone", rule], "console")
        assert app.settings.get("time.zone") == rule
    else:
        with pytest.raises(CommandError, match=r"time.zone: '.*' is not allowed .allowed: a rule"):
            app.commands.run("set", ["time.zone", rule], "console")
        assert app.settings.get("time.zone") == "UTC0"
