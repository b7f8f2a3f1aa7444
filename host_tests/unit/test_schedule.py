"""Schedules: what is understood, what is refused, and what holds when."""

from __future__ import annotations

import calendar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.power import schedule

MODES = ("outlets", "worksite", "camp", "home")


def local(text: str) -> int:
    """`mon 7:30` in the week from 2026-11-23 on, as seconds of local time."""
    day, time = text.split()
    hour, minute = (int(x) for x in time.split(":"))
    return calendar.timegm((2026, 11, 23 + schedule.DAYS.index(day), hour, minute, 30))


def holds(text: str, when: str) -> str:
    mode = schedule.at(schedule.parse(text, MODES), local(when))
    return MODES[mode] if mode >= 0 else ""


WEEK = "mon-fri 22:00-06:00 home; sat,sun 8:00-20:00 worksite; fri 7:00-7:30 camp"


@pytest.mark.parametrize(
    ("when", "mode"),
    [
        ("mon 21:59", ""),
        ("mon 22:00", "home"),
        ("tue 0:00", "home"),
        ("tue 5:59", "home"),
        ("tue 6:00", ""),
        ("fri 7:15", "camp"),
        ("fri 7:30", ""),
        ("sat 5:00", "home"),  # Friday's
        ("sat 8:00", "worksite"),
        ("sun 19:59", "worksite"),
        ("sun 22:30", ""),
        ("mon 5:00", ""),
    ],
)
def test_what_holds_when(when: str, mode: str) -> None:
    assert holds(WEEK, when) == mode


def test_days_and_spans_may_wrap() -> None:
    assert holds("sun-mon 20:00-2:00 camp", "tue 1:59") == "camp"
    assert holds("sun 23:00-1:00 camp", "mon 0:30") == "camp"
    assert holds("fri-mon 0:00-24:00 home", "sat 12:00") == "home"
    assert holds("fri-mon 0:00-24:00 home", "wed 12:00") == ""
    assert holds("daily 0:00-0:00 home", "wed 23:59") == "home"
    assert holds("daily 7:00-7:00 home", "wed 6:00") == "home"
    assert holds("", "wed 6:00") == "" and schedule.parse(" ; ", MODES) == ()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("mon 8:00-9:00", "expected days, times and a mode"),
        ("someday 8:00-9:00 home", "'someday' is no day"),
        ("mon-frei 8:00-9:00 home", "'mon-frei' is no day"),
        ("mon 8-9 home", "'8' is no time"),
        ("mon 8:00-25:00 home", "'25:00' is no time"),
        ("mon 8:60-9:00 home", "'8:60' is no time"),
        ("mon 24:00-9:00 home", "begin at 0:00"),
        ("mon 8:00 home", "'8:00' is no span"),
        ("mon 8:00-9:00 sea", r"no mode 'sea' \(there are: outlets worksite camp home\)"),
        ("mon -8:00-9:00 home", "is no span"),
        (";".join(["mon 8:00-8:01 home"] * 13), "at most 12 spans"),
    ],
)
def test_what_is_wrong_is_said(text: str, error: str) -> None:
    with pytest.raises(schedule.ScheduleError, match=error):
        schedule.parse(text, MODES)


@pytest.mark.parametrize(
    "text",
    [
        "mon 8:00-10:00 home; mon 9:00-11:00 camp",
        "mon 8:00-10:00 home; mon 7:00-8:01 camp",
        "mon 8:00-10:00 home; daily 9:59-10:05 camp",
        "sun 23:00-2:00 home; mon 1:00-3:00 camp",
        "mon 8:00-10:00 home; mon 8:00-10:00 home",
        "mon-tue 8:00-9:00 home; tue,mon 8:30-8:31 camp",
    ],
)
def test_an_overlap_is_refused(text: str) -> None:
    with pytest.raises(schedule.ScheduleError, match="overlap on "):
        schedule.parse(text, MODES)


def test_spans_may_touch() -> None:
    schedule.parse("mon 8:00-10:00 home; mon 10:00-11:00 camp; mon 7:00-8:00 camp", MODES)


def test_what_comes_next() -> None:
    rows = schedule.parse(WEEK, MODES)
    assert schedule.next_change(rows, local("mon 21:00")) == (60, MODES.index("home"))
    assert schedule.next_change(rows, local("mon 22:00")) == (480, -1)
    assert schedule.next_change(rows, local("sun 20:00")) == (26 * 60, MODES.index("home"))
    assert schedule.next_change((), local("sun 20:00")) == (0, -1)
    always = schedule.parse("daily 7:00-7:00 home", MODES)
    assert schedule.next_change(always, local("sun 20:00")) == (0, -1)


spans = st.tuples(
    st.sampled_from((*schedule.DAYS, "daily", "mon-fri", "sat,sun")),
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.sampled_from(MODES),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(spans, max_size=5))
def test_a_schedule_is_refused_exactly_when_two_spans_hold_at_once(rows: list) -> None:
    text = "; ".join(
        f"{day} {a // 60}:{a % 60:02}-{b // 60}:{b % 60:02} {mode}" for day, a, b, mode in rows
    )
    minutes = [0] * 10_080
    for day, a, b, _ in rows:
        for i in range(7):
            name = schedule.DAYS[i]
            named = {"daily": True, "mon-fri": i < 5, "sat,sun": i >= 5}.get(day, day == name)
            if named:
                for minute in range(a, b if b > a else b + 1440):
                    minutes[(i * 1440 + minute) % 10_080] += 1
    try:
        parsed = schedule.parse(text, MODES)
    except schedule.ScheduleError as error:
        assert max(minutes) > 1, (text, error)
        return
    assert max(minutes) <= 1, text
    monday = local("mon 0:00")
    for minute in range(0, 10_080, 37):
        assert (schedule.at(parsed, monday + minute * 60) >= 0) == (minutes[minute] == 1)
