"""What the two ways to a board have in common; serial_link.py and mqtt_link.py are the ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

ANSWER_S = 5.0  # the board may be erasing flash, or in C code for a second
BACK_S = 20.0  # a restart with USB takes a few seconds, a Wi-Fi board longer to reach its broker


class Link(Protocol):
    """A way to one board. All methods may be called from several threads."""

    name: str  # for messages
    pause_s: float  # shortest time between two requests that are not a person's
    back_s: float  # for how long a board that went away is waited for

    def request(
        self, name: str, args: Sequence[str], timeout_s: float, repeat: bool
    ) -> dict[str, Any]:
        """Ask one command and return its result.

        `repeat`: asking twice does no harm, so a lost answer is asked for again. CommandRefused
        with the board's sentence; NotConnected, NoAnswer, BadAnswer when the way failed.
        """

    def heard(self) -> tuple[int, int]:
        """`(number of the newest event heard of, restarts heard of)`; changes mean news."""

    def wait(self, seconds: float, known: tuple[int, int]) -> bool:
        """Listen for up to so long; True as soon as `heard()` is something else than `known`."""

    def close(self) -> None:
        """Let go of the port or the broker."""
