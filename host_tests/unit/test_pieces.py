"""Rows of a table that shrink.py has made one text: found by name, as in the table itself."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from firmware import pieces, report, rows
from firmware.storage.settings import OUTLET_SCHEMA, SCHEMA


@pytest.mark.parametrize("table", [SCHEMA, OUTLET_SCHEMA])
def test_a_row_is_found_by_its_name_in_the_table_and_in_the_text(table: tuple[Any, ...]) -> None:
    text = rows.Rows("\n".join(json.dumps(row, separators=(",", ":")) for row in table) + "\n")
    for _ in range(2):  # the second time it is known
        for wanted in table:
            assert pieces.row(table, wanted[0]) == wanted
            assert pieces.row(text, wanted[0]) == json.loads(json.dumps(wanted))


@pytest.mark.parametrize("name", ["", "nope", "device", 'device.id",4,"', "\n", '["device.id'])
def test_a_name_that_somebody_made_up_is_no_row(name: str) -> None:
    lines = [json.dumps(row, separators=(",", ":")) for row in SCHEMA]
    assert pieces.row(rows.Rows("\n".join(lines) + "\n"), name) is None
    assert pieces.row(SCHEMA, name) is None


def test_what_takes_long_gives_way_only_while_a_firmware_runs() -> None:
    turns: list[int] = []
    pieces.breathe()
    pieces.serve(lambda: turns.append(1))
    try:
        pieces.breathe()
        assert len(turns) == 1
        pieces.collect()
        assert len(turns) == 2, "nothing is loaded into a large heap that it has to make room for"
        pieces.serve(lambda: turns.append(1), True)
        pieces.collect()
        assert len(turns) == 4, "a turn before and after a collection"
    finally:
        pieces.serve()
    pieces.breathe()
    assert len(turns) == 4


def test_what_tables_need_is_let_go_when_nobody_has_asked_for_half_a_second() -> None:
    pieces._loaded["firmware.rows"] = rows
    pieces._asked.append(True)
    try:
        pieces.rest()
        assert "firmware.rows" in pieces._loaded, "asked for since the last time"
        pieces.rest()
        assert "firmware.rows" not in pieces._loaded
        pieces._loaded["firmware.rows"] = rows
        pieces._asked.append(True)
        pieces.forget()
        assert not pieces._loaded and not pieces._asked, "whoever needs the memory, gets it"
    finally:
        pieces.forget()
        sys.modules["firmware.rows"] = rows


def test_json_in_pieces_is_the_same_json() -> None:
    value = {"a": [{"b": {"c": 1.5, "d": []}}, {}], "e": 'x"y', "f": None, "g": list(range(9))}
    for depth in range(6):
        for separators in ((",", ":"), (", ", ": ")):
            text = "".join(report.parts(value, depth, separators))
            assert text == json.dumps(value, separators=separators)
    assert max(map(len, report.parts(value, 4))) < 10, "none is long"
