"""The pins of the second console: what a board table may say, and how the UART is opened."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from firmware import board
from firmware.board import BoardError, pico_w, validate


def _with(**changes: Any) -> dict[str, Any]:
    return pico_w.BOARD | changes


@pytest.mark.parametrize("pins", [(0, 0, 1), (0, 12, 13), (1, 24, 25), None])
def test_pins_that_the_rp2040_has(pins: tuple[int, int, int] | None) -> None:
    table = _with(uart=pins)
    validate.check(table)
    assert board.Board(table).uart == pins


@pytest.mark.parametrize(
    ("pins", "why"),
    [
        ((1, 0, 1), "UART 1 cannot be on pins 0 and 1"),
        ((0, 1, 0), "UART 0 cannot be on pins 1 and 0"),
        ((0, 24, 25), "UART 0 cannot be on pins 24 and 25"),
        ((0, 0, 25), "UART 0 cannot be on pins 0 and 25"),
        ((2, 0, 1), "UART 2 cannot be on pins 0 and 1"),
        ((1, 4, 5), "pin 4 is used by UART TX and by relay of bed1"),
        ((0, 0, 30), "UART RX: pin 30 is not a GPIO from 0 to 29"),
    ],
)
def test_pins_that_it_has_not(pins: tuple[int, int, int], why: str) -> None:
    with pytest.raises(BoardError, match=why):
        validate.check(_with(uart=pins))


@pytest.mark.parametrize("name", board.names())
def test_every_board_has_one_that_has_the_pins(name: str) -> None:
    found = board.load(name)
    assert (found.uart is None) == (found.power is not None)


def test_it_is_opened_so_that_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pin:
        IN, OUT, PULL_UP = 0, 1, 2

        def __init__(self, *how: int) -> None:
            self.how = how

    class UART:
        def __init__(self, number: int, **how: Any) -> None:
            self.number, self.how = number, how

    monkeypatch.setitem(sys.modules, "machine", SimpleNamespace(Pin=Pin, UART=UART))
    monkeypatch.delitem(sys.modules, "firmware.hal.uart", raising=False)
    uart = importlib.import_module("firmware.hal.uart")
    made = uart.make((0, 0, 1), 115200)
    assert made.number == 0 and made.how["baudrate"] == 115200
    assert made.how["timeout"] == 0 and made.how["timeout_char"] == 0
    assert made.how["rxbuf"] >= 512, "a whole line fits"
    assert made.how["tx"].how == (0,)
    assert made.how["rx"].how == (1, Pin.IN, Pin.PULL_UP), "a wire that is not there says nothing"
