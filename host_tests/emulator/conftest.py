"""Shared by the tests on the emulated chip: images, and a stand-in for the truck."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tools.image import build


@pytest.fixture(scope="session")
def stock_image() -> Path:
    """MicroPython alone, as a stock board runs it; built when there is none."""
    return build.ensure_bare()


class Bench:
    """A stand-in for the truck: voltages from a function, a record of pins and conversions."""

    def __init__(self, code: Callable[[int, int], int] = lambda gpio, t_us: 2048) -> None:
        """`code(gpio, t_us)` gives the code of a conversion."""
        self.code = code
        self.conversions: list[tuple[int, int]] = []
        self.pins: list[tuple[int, int, int | None]] = []
        self.inputs: dict[int, int] = {}

    def adc(self, gpio: int, t_us: int) -> int:
        """See Plant."""
        self.conversions.append((t_us, gpio))
        return self.code(gpio, t_us)

    def set_pin(self, gpio: int, level: int | None, t_us: int) -> None:
        """See Plant."""
        self.pins.append((t_us, gpio, level))

    def read_pin(self, gpio: int, t_us: int) -> int:
        """See Plant."""
        return self.inputs.get(gpio, 0)
