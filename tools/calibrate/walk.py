"""The walk through all channels: what is asked of the person, what is sent to the board.

Everything is measured, judged and stored by the board itself (`cal`); this says what to connect
next, takes down what the reference meter shows, and what it was worth. Called by __main__.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from tools.client import Board, ClientError, CommandRefused
from tools.progress import ToolError

MEASURE_S = 30.0  # the board gives up after 15
GOOD_PERCENT = 0.5


class Quit(Exception):
    """The person has had enough."""


class Person(Protocol):
    """Who reads the meter."""

    def say(self, text: str) -> None:
        """Tell a line."""

    def ask(self, question: str, live: Callable[[], str] | None = None) -> str:
        """An answer, stripped. `live`: a reading to show meanwhile. Quit at the end of input."""


@dataclass(frozen=True)
class Outcome:
    """What calibrating one channel was worth: errors of its reading, % of the reference."""

    channel: str
    unit: str
    reference: float
    before: float
    after: float
    gain: float
    phase_deg: float | None

    @property
    def before_percent(self) -> float:
        return (self.before / self.reference - 1) * 100

    @property
    def after_percent(self) -> float:
        return (self.after / self.reference - 1) * 100


def channels(board: Board) -> tuple[list[str], list[str]]:
    """Names of the voltage channels and of the outlets, which are current channels."""
    found = board.command("cal").get("channels")
    if not isinstance(found, dict):
        raise ToolError("this firmware cannot be calibrated from here: it is too old")
    outlets = [name for name in board.outlets if name in found]
    return sorted(name for name in found if name not in outlets), outlets


def walk(board: Board, person: Person, wanted: list[str] | None = None) -> list[Outcome]:
    """Go through the channels (all when `wanted` is None). Leaves every outlet it used off."""
    volts, outlets = channels(board)
    unknown = [name for name in wanted or () if name not in volts + outlets]
    if unknown:
        there = " ".join(volts + outlets)
        raise ToolError(f"there is no channel {unknown[0]} (there are: {there})")
    done: list[Outcome] = []
    with contextlib.suppress(Quit):
        for name in volts + outlets:
            if wanted is None or name in wanted:
                work = _voltage if name in volts else _outlet
                done += work(board, person, name)
    return done


def _voltage(board: Board, person: Person, name: str) -> Iterator[Outcome]:
    leg = name.removeprefix("v_")
    person.say(f"\n{name}: put the reference voltmeter between {leg.upper()} and neutral.")

    def live() -> str:
        supply = board.command("status")["supply"]
        return f"{name} reads {supply.get(leg + '_v', supply['voltage_v'])} V"

    outcome = _gain(board, person, name, "V", live)
    if outcome is not None:
        yield outcome


def _outlet(board: Board, person: Person, name: str) -> Iterator[Outcome]:
    outlet = board.outlets[name]
    person.say(f"\n{name}: its zero first, with the outlet off.")
    if outlet.energised:
        if person.ask(f"{name} is on. Enter switches it off, s skips it") == "s":
            return
        outlet.off()
    elif person.ask("Enter measures it, s skips this outlet") == "s":
        return
    _zero(board, person, name)
    person.say(
        f"Plug a heater into {name}, of a quarter of its rating or more, with the reference "
        "ammeter in or round one of its wires."
    )
    if person.ask("Enter switches it on, s skips it") == "s":
        return
    try:
        outlet.on()
        outcome = _gain(board, person, name, "A", lambda: f"{name} reads {outlet.current_a:.3f} A")
        if outcome is None:
            return
        if person.ask("Is this load a heater and nothing else (no motor, no fan)? y/n") == "y":
            phase = _phase(board, person, name)
            outcome = Outcome(**{**vars(outcome), "phase_deg": phase})
        yield outcome
    except CommandRefused as error:
        person.say(f"  not done: {error}")
    finally:
        with contextlib.suppress(ClientError):
            outlet.off()


def _measure(board: Board, *words: str | float) -> dict[str, Any]:
    return board.command("cal", *words, timeout_s=MEASURE_S, repeat=False)


def _zero(board: Board, person: Person, name: str) -> None:
    while True:
        try:
            found = _measure(board, name, "zero")
        except CommandRefused as error:
            person.say(f"  not done: {error}")
            if person.ask("Enter tries again, s goes on without") == "s":
                return
            continue
        person.say(
            f"  zero at {found['zero_counts']:.2f} counts (moved by {found['moved_counts']:.2f}), "
            f"noise {found['noise_counts']:.2f}"
        )
        return


def _gain(
    board: Board, person: Person, name: str, unit: str, live: Callable[[], str]
) -> Outcome | None:
    """Ask for the meter's value until the board takes one; None when it is skipped."""
    best: Outcome | None = None
    while True:
        text = person.ask(f"what the reference meter shows now, in {unit} (Enter: go on)", live)
        if not text:
            return best
        try:
            value = float(text.replace(",", ".").removesuffix(unit).strip())
        except ValueError:
            person.say(f"  '{text}' is no number")
            continue
        try:
            found = _measure(board, name, "gain", value)
        except CommandRefused as error:
            person.say(f"  not done: {error}")
            continue
        phase = found.get("phase_deg")
        best = Outcome(name, unit, value, found["before"], found["reading"], found["gain"], phase)
        person.say(
            f"  gain {best.gain:.4f}: {best.before:.3f} {unit} before ({best.before_percent:+.2f} "
            f"%), {best.after:.3f} {unit} now ({best.after_percent:+.2f} %)"
        )
        if abs(best.after_percent) <= GOOD_PERCENT:
            return best
        person.say(f"  still more than {GOOD_PERCENT:g} % off: did the load change? Once more:")


def _phase(board: Board, person: Person, name: str) -> float | None:
    try:
        found = _measure(board, name, "phase")
    except CommandRefused as error:
        person.say(f"  not done: {error}")
        return None
    person.say(f"  phase {found['phase_deg']:.2f} degrees")
    phase: float = found["phase_deg"]
    return phase


def report(outcomes: list[Outcome]) -> list[str]:
    """A table of what was done."""
    if not outcomes:
        return ["nothing was calibrated"]
    lines = ["channel    reference     before      after     gain   phase"]
    for x in outcomes:
        phase = "-" if x.phase_deg is None else f"{x.phase_deg:.2f}"
        lines.append(
            f"{x.channel:8} {x.reference:9.3f} {x.unit} {x.before_percent:+8.2f} % "
            f"{x.after_percent:+8.2f} % {x.gain:8.4f} {phase:>7}"
        )
    return lines
