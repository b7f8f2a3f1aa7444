"""Local time from POSIX rules, against published changes of the clocks."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware import timezone

# (rule, UTC moment of a change, offset before, offset after), from the IANA data base
CHANGES = (
    ("EST5EDT,M3.2.0,M11.1.0", "2026-03-08T07:00", -18000, -14400),
    ("EST5EDT,M3.2.0,M11.1.0", "2026-11-01T06:00", -14400, -18000),
    ("CET-1CEST,M3.5.0,M10.5.0/3", "2027-03-28T01:00", 3600, 7200),
    ("CET-1CEST,M3.5.0,M10.5.0/3", "2027-10-31T01:00", 7200, 3600),
    ("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-04-04T16:00", 39600, 36000),
    ("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-10-03T16:00", 36000, 39600),
    ("NST3:30NDT,M3.2.0,M11.1.0", "2026-03-08T05:30", -12600, -9000),
    ("EET-2EEST,M3.5.0/3,M10.5.0/4", "2026-10-25T01:00", 10800, 7200),
)


def epoch(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text + "+00:00").timestamp())


@pytest.mark.parametrize(("rule", "moment", "before", "after"), CHANGES)
def test_the_clocks_change_to_the_second(rule: str, moment: str, before: int, after: int) -> None:
    zone = timezone.Zone(rule)
    assert zone.offset(epoch(moment) - 1) == before
    assert zone.offset(epoch(moment)) == after
    assert zone.local(epoch(moment)) == epoch(moment) + after


@pytest.mark.parametrize(
    ("rule", "offset"), [("UTC0", 0), ("<+0530>-5:30", 19800), ("MST7", -25200)]
)
def test_a_zone_without_summer_time(rule: str, offset: int) -> None:
    zone = timezone.Zone(rule)
    assert {zone.offset(epoch(f"2026-{month:02}-01T00:00")) for month in range(1, 13)} == {offset}


@given(st.dates(datetime.date(1970, 1, 1), datetime.date(2106, 1, 1)))
def test_dates_there_and_back(date: datetime.date) -> None:
    days = (date - datetime.date(1970, 1, 1)).days
    assert timezone.days_from_civil(date.year, date.month, date.day) == days
    assert timezone.civil_from_days(days) == (date.year, date.month, date.day)


@pytest.mark.parametrize(
    "rule",
    [
        "", "E5", "UTC", "UTC0 ", "EST5EDT", "EST5EDT,M3.2.0", "EST5EDT,M13.2.0,M11.1.0", "<UTC0",
        "EST5EDT,M3.6.0,M11.1.0", "EST5EDT,M3.2.7,M11.1.0", "EST5EDT,J60,J300", "EST5:60", "EST-",
        "EST5EDT,M3.2.0,M11.1.0x", "UTC1234", "Europe/Berlin",
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused_with_examples(rule: str) -> None:
    with pytest.raises(timezone.ZoneError, match="is no time zone"):
        timezone.Zone(rule)


@given(st.text(max_size=40))
def test_any_text_is_a_rule_or_refused(rule: str) -> None:
    try:
        zone = timezone.Zone(rule)
    except timezone.ZoneError:
        return
    assert -8 * 86400 < zone.offset(1_800_000_000) < 8 * 86400
