"""The energy history of more than a year on the real MicroPython and littlefs."""

from __future__ import annotations

from host_tests.micropython.running import answer

TEN_YEARS_H = 87_660
FREE_BLOCKS = 170  # of a Pico W, beside the strip


def test_a_year_adds_up_to_the_wh_and_wears_little(micropython: str) -> None:
    found = answer(micropython, "energy_days.py", heap="6m", timeout_s=200)
    # all of it is still there by months, and by days for a year
    assert found["months"]["sums"] == found["counted"]
    assert (found["hours"]["rows"], found["days"]["rows"]) == (48, 366)
    assert found["months"]["rows"] == 13
    assert found["hours of the last day"] == found["days"]["last"]
    assert 0 < sum(found["days"]["last"]) < sum(found["days"]["sums"]) < sum(found["counted"])
    assert found["waiting"] <= 4  # an hour, its day, its month, and the best quarters
    each = found["erases_per_hour"] * TEN_YEARS_H / FREE_BLOCKS
    assert each < 1500, "erases of a block in ten years"
