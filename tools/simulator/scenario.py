"""Scenarios: small text files with a timeline and what has to come of it.

One statement a line; `#` begins a comment. Times are seconds of virtual time since power-on.

    title: a circular saw on a 20 A outlet holds      what it shows
    board: simulated                                  a board table's name
    mains: 60                                         Hz
    settings: bed1.limit_a=16 shed.restore_s=10       as the console's `set`
    speed: fast                                       or `paced`, or a factor of real time
    broker: no                                        yes: an MQTT broker is there
    seed: 0                                           of noise and sensor tolerances
    resets: no                                        yes: the chip may restart

    at 2.0 sim plug bed1 circular_saw                 to the truck
    at 2.0 console on bed1                            typed on the firmware's console
    at 9.0 chip power_off                             or power_on: the chip's own supply
    at 9.0 broker stop                                or start

    expect relay bed1 open within 5.0 6.5             the contact moves to that position then
    expect relay bed1 closed throughout 3.0 20.0      it is in that position all the time
    expect coil bed1 off within 5.0 6.5               the same of the pin: on, off
    expect console "tripped thermal" within 5 6.5     a line matches (regular expression)
    expect no console "tripped" within 0 20
    expect state bed1 tripped at 12                   of `status --json`, asked at that time
    expect reason bed1 thermal at 12
    expect link mqtt up at 9                          likewise: wifi, mqtt
    expect reading bed1 current_a 11.5 12.5 at 10     likewise: an outlet, leg, `total`, `supply`
    expect amps bed1 11.5 12.5 at 10                  what really flows, RMS
    expect truth supply.hz 59.9 60.1 at 10            any figure of Truck.truth, or a word
    expect feed vehicle within 5 6.5                  who feeds the home (boards with `power`)
    expect inverter off within 9 9.16                 state of what exports to the grid
    expect power home.state backup at 10              the firmware's word or figure for it
    end 20

Besides what it says, a scenario fails when the chip restarts, when an exception reaches the
console, or when a contact of the transfer switch closes while the other one is closed.
Called by `python -m tools.simulator.run --scenario` and by host_tests/scenarios.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from tools.progress import ToolError
from tools.simulator import link
from tools.simulator.device import DeviceError, SimulatedDevice, load_board
from tools.simulator.wiring import CONTACTS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "host_tests" / "scenarios"

_HEADERS = ("title", "board", "mains", "settings", "speed", "broker", "seed", "resets")
_ANSWER_US = 500_000  # an answer to `status --json` has come by then
_SLICE_US = 1_000_000
_COLOURS = {"sim": "36", "console": "1;32", "chip": "35", "broker": "35"}


class ScenarioError(Exception):
    """A scenario that cannot be played: `file:line: what was expected`, or which ones exist."""


@dataclass(frozen=True)
class Action:
    """Something done at a time: `kind` is sim, console, chip or broker."""

    t_us: int
    kind: str
    text: str
    line: int


@dataclass(frozen=True)
class Expectation:
    """One `expect`. Times in us; `at` kinds have start == end."""

    kind: str  # relay, coil, console, no console, state, reason, link, reading, amps, ...
    words: tuple[str, ...]
    how: str  # within, throughout, at
    start_us: int
    end_us: int
    low: float
    high: float
    text: str
    line: int


@dataclass
class Scenario:
    """A parsed scenario file."""

    path: Path
    title: str = ""
    board_name: str = "simulated"
    board: Any = None
    mains_hz: int = 60
    settings: dict[str, Any] = field(default_factory=dict)
    speed: float = 0.0  # 0 = as fast as possible
    broker: bool = False
    seed: int = 0
    resets: bool = False
    actions: list[Action] = field(default_factory=list)
    expectations: list[Expectation] = field(default_factory=list)
    end_us: int = 0


@dataclass(frozen=True)
class Check:
    """An expectation with its outcome."""

    text: str
    passed: bool
    actual: str


@dataclass
class Verdict:
    """What came of a scenario."""

    scenario: Scenario
    checks: list[Check]
    console: list[str]
    virtual_s: float
    wall_s: float

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


# -- reading a file ------------------------------------------------------------------------------


def available() -> list[str]:
    """Names of the scenarios there are."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def find(name: str) -> Path:
    """The file of a scenario given its name or path; ScenarioError names those there are."""
    for path in (Path(name), FOLDER / name, FOLDER / f"{name}.txt"):
        if path.is_file():
            return path
    raise ScenarioError(f"no scenario '{name}'; there is: {' '.join(available()) or '(none)'}")


def parse(path: Path, text: str | None = None) -> Scenario:
    """Read a scenario file; ScenarioError says `file:line: what was expected`."""
    return _Parser(path).parse(path.read_text() if text is None else text)


class _Parser:
    def __init__(self, path: Path) -> None:
        self.scenario = Scenario(path)
        self.line = 0
        self.ended = False
        self.speed_given = False
        self.settings_line = 0

    def fail(self, text: str) -> ScenarioError:
        path = self.scenario.path
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        return ScenarioError(f"{shown}:{self.line}: {text}")

    def parse(self, text: str) -> Scenario:
        scenario = self.scenario
        statements = []
        for number, raw in enumerate(text.splitlines(), 1):
            line = re.sub(r"(^|\s)#.*", "", raw).strip()
            if line:
                statements.append((number, line))
        body = []
        for self.line, line in statements:
            header = re.match(r"([a-z]+):\s*(.*)", line)
            if header:
                self.header(header.group(1), header.group(2).strip())
            else:
                body.append((self.line, line))
        try:
            scenario.board = load_board(scenario.board_name)
        except Exception as error:  # BoardError is the firmware's own
            raise self.fail(str(error)) from error
        self.check_settings()
        for self.line, line in body:
            self.statement(line)
        if not self.ended:
            self.line = statements[-1][0] if statements else 1
            raise self.fail("expected `end <seconds>` as the last statement")
        if scenario.broker and not self.speed_given:
            scenario.speed = 1.0  # the broker lives in real time
        times = [(action.line, action.t_us) for action in scenario.actions]
        times += [(e.line, e.end_us) for e in scenario.expectations]
        for self.line, last in times:
            if last > scenario.end_us:
                raise self.fail(f"expected a time up to the end, {scenario.end_us / 1e6:g} s")
        if not scenario.expectations:
            raise self.fail("expected at least one `expect ...`")
        scenario.actions.sort(key=lambda action: action.t_us)
        return scenario

    def header(self, name: str, value: str) -> None:
        scenario = self.scenario
        if name not in _HEADERS:
            raise self.fail(f"expected one of {' '.join(h + ':' for h in _HEADERS)}")
        if name == "title":
            scenario.title = value
        elif name == "board":
            scenario.board_name = value
        elif name == "mains":
            scenario.mains_hz = int(self.number(value, "mains frequency in Hz", 45, 65))
        elif name == "seed":
            scenario.seed = int(self.number(value, "whole number", 0, 1 << 30))
        elif name == "speed":
            self.speed_given = True
            words = {"fast": 0.0, "paced": 1.0}
            scenario.speed = (
                words[value] if value in words else self.number(value, "speed", 0.01, 1000)
            )
        elif name == "settings":
            self.settings_line = self.line
            for pair in shlex.split(value):
                key, equals, setting = pair.partition("=")
                if not equals:
                    raise self.fail(f"expected name=value, not '{pair}'")
                scenario.settings[key] = setting
        else:
            if value not in ("yes", "no"):
                raise self.fail(f"expected `{name}: yes` or `{name}: no`")
            setattr(scenario, name, value == "yes")

    def check_settings(self) -> None:
        """Put the settings through the firmware's own schema: typed values, or its sentence."""
        if not self.scenario.settings:
            return
        from firmware.storage.settings import SettingError, Settings

        known = Settings(self.scenario.board)
        self.line = self.settings_line
        for name, value in self.scenario.settings.items():
            try:
                self.scenario.settings[name] = known.set(name, value)
            except SettingError as error:
                raise self.fail(str(error)) from error

    def number(self, text: str, what: str, low: float, high: float) -> float:
        try:
            value = float(text)
        except ValueError:
            raise self.fail(f"expected a {what}, not '{text}'") from None
        if not low <= value <= high:
            raise self.fail(f"expected a {what} from {low:g} to {high:g}, not {text}")
        return value

    def time(self, text: str) -> int:
        return round(self.number(text, "time in seconds", 0, 1e6) * 1e6)

    def statement(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if self.ended:
            raise self.fail("expected nothing after `end`")
        if word == "at":
            self.action(rest.strip())
        elif word == "expect":
            self.expectation(rest.strip())
        elif word == "end":
            self.scenario.end_us = self.time(rest.strip())
            self.ended = True
        else:
            raise self.fail(f"expected `at`, `expect`, `end` or a header, not '{word}'")

    def action(self, rest: str) -> None:
        match = re.match(r"(\S+)\s+(sim|console|chip|broker)\s+(.+)", rest)
        if not match:
            raise self.fail("expected `at <seconds> sim|console|chip|broker <command>`")
        kind, text = match.group(2), match.group(3)
        allowed = {"chip": ("power_off", "power_on"), "broker": ("stop", "start")}
        if kind in allowed and text not in allowed[kind]:
            raise self.fail(f"expected `{kind} {'` or `'.join(allowed[kind])}`")
        if kind == "broker" and not self.scenario.broker:
            raise self.fail("expected the header `broker: yes` before a broker can stop")
        self.scenario.actions.append(Action(self.time(match.group(1)), kind, text, self.line))

    def expectation(self, rest: str) -> None:
        try:
            words = shlex.split(rest)
        except ValueError as error:
            raise self.fail(f"expected matching quotes ({error})") from error
        kind = words.pop(0) if words else ""
        if kind == "no" and words[:1] == ["console"]:
            kind = "no console"
            words.pop(0)
        forms = {
            "relay": ("<relay> open|closed", 2, ("within", "throughout")),
            "coil": ("<relay> on|off", 2, ("within", "throughout")),
            "console": ('"<regular expression>"', 1, ("within",)),
            "no console": ('"<regular expression>"', 1, ("within",)),
            "state": ("<outlet> <state>", 2, ("at",)),
            "reason": ("<outlet> <reason>", 2, ("at",)),
            "link": ("mqtt|wifi <state>", 2, ("at",)),
            "reading": ("<outlet>|<leg>|total|supply <field> <low> <high>", 4, ("at",)),
            "amps": ("<outlet> <low> <high>", 3, ("at",)),
            "truth": ("<name>.<name> <low> <high>|<word>", 3, ("at",)),
            "power": ("<name>.<name> <low> <high>|<word>", 3, ("at",)),
            "feed": ("grid|vehicle|both|dark", 1, ("within", "throughout")),
            "inverter": ("off|starting|connected|lost", 1, ("within", "throughout")),
        }
        if kind not in forms:
            raise self.fail(f"expected `expect` and one of: {', '.join(forms)}")
        usage, count, hows = forms[kind]
        figures = kind in ("reading", "amps")
        if kind in ("truth", "power"):
            figures = len(words) != 4
            count = 3 if figures else 2
        times = "<seconds>" if hows == ("at",) else "<from> <to>"
        usage = f"`expect {kind} {usage} {'|'.join(hows)} {times}`"
        if len(words) != count + (2 if hows == ("at",) else 3) or words[count] not in hows:
            raise self.fail(f"expected {usage}")
        start = self.time(words[count + 1])
        end = self.time(words[-1])
        if end < start:
            raise self.fail("expected the earlier time first")
        low = high = 0.0
        if figures:
            low = self.number(words[count - 2], "number", -1e9, 1e9)
            high = self.number(words[count - 1], "number", low, 1e9)
        self.check_words(kind, words, usage)
        self.scenario.expectations.append(
            Expectation(
                kind, tuple(words[:count]), words[count], start, end, low, high, rest, self.line
            )
        )

    def check_words(self, kind: str, words: list[str], usage: str) -> None:
        board = self.scenario.board
        outlets = [outlet.name for outlet in board.outlets]
        relays = outlets + (["contactor"] if board.contactor is not None else [])
        if board.power is not None:
            relays += CONTACTS
        if kind in ("truth", "power"):
            return
        if kind in ("feed", "inverter") and board.power is None:
            raise self.fail(f"expected a board with a transfer switch, not {board.name}")
        if "console" in kind:
            try:
                re.compile(words[0])
            except re.error as error:
                raise self.fail(f"expected a regular expression: {error}") from error
            return
        known = {
            "relay": relays,
            "coil": relays + (["permit"] if board.power is not None else []),
            "reading": [*outlets, *board.legs, "total", "supply"],
            "link": ["mqtt", "wifi"],
            "feed": ["grid", "vehicle", "both", "dark"],
            "inverter": ["off", "starting", "connected", "lost"],
        }.get(kind, outlets)
        if words[0] not in known:
            raise self.fail(f"expected one of {' '.join(known)}, not '{words[0]}'")
        positions = {"relay": ("open", "closed"), "coil": ("on", "off")}.get(kind)
        if positions and words[1] not in positions:
            raise self.fail(f"expected {usage}")


# -- playing it ----------------------------------------------------------------------------------


class _Player:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, speed: float, show: Callable[[int, str, str], None]):
        self.scenario = scenario
        self.speed = speed
        self.show = show
        self.broker: Any = None
        self.broker_port = 0
        self.shown = 0
        self.amps: dict[int, dict[str, float]] = {}  # by time: what really flows
        self.truths: dict[int, dict[str, Any]] = {}
        self.asked: dict[int, int] = {}  # time of a `status --json` -> console lines before it
        settings = dict(scenario.settings)
        if scenario.broker:
            self.start_broker()
            settings["mqtt.host"] = "127.0.0.1"
            settings["mqtt.port"] = self.broker_port
        self.device = SimulatedDevice(
            scenario.board, settings=settings, seed=scenario.seed, mains_hz=scenario.mains_hz
        )

    def start_broker(self) -> None:
        from tools.simulator.broker import EmbeddedBroker

        self.broker = EmbeddedBroker(self.broker_port)
        self.broker_port = self.broker.port

    def stop_broker(self) -> None:
        if self.broker is not None:
            self.broker.stop()
            self.broker = None

    def play(self) -> list[Check]:
        scenario = self.scenario
        steps: list[tuple[int, Action | None]] = [(a.t_us, a) for a in scenario.actions]
        asked = {e.start_us for e in scenario.expectations if e.how == "at"}
        steps += [(t_us, None) for t_us in asked]
        steps.sort(key=lambda step: step[0])
        try:
            self.device.start()
            failed = self.run(steps)
        finally:
            self.device.stop()
            self.stop_broker()
        checks = [self.check(e) for e in scenario.expectations]
        if failed:
            checks.append(Check("the chip runs to the end", False, failed))
        checks += self.check_health()
        return checks

    def run(self, steps: list[tuple[int, Action | None]]) -> str:
        """Let the timeline happen; a sentence when the chip did not live to its end."""
        try:
            for t_us, action in steps:
                self.advance(t_us)
                if action is None:
                    self.ask(t_us)
                else:
                    self.act(action)
            self.advance(max(self.scenario.end_us, max(self.asked, default=0) + _ANSWER_US))
        except DeviceError as error:
            self.show_console()
            return str(error).splitlines()[0]
        return ""

    def advance(self, t_us: int) -> None:
        device = self.device
        while device.now_us < t_us:
            until = min(t_us, device.now_us + _SLICE_US)
            if self.speed:
                device.run_paced(until, self.speed)
            else:
                device.run_until(until)
            self.show_console()

    def show_console(self) -> None:
        for line in self.device.lines[self.shown :]:
            if not line.text.startswith("{"):  # a long answer to a question of ours
                self.show(line.t_us, "", line.text)
        self.shown = len(self.device.lines)

    def act(self, action: Action) -> None:
        self.show(action.t_us, action.kind, action.text)
        if action.kind == "console":
            self.device.type(action.text)
        elif action.kind == "chip":
            getattr(self.device, action.text.replace("_off", "_cut"))()
        elif action.kind == "broker":
            self.stop_broker()
            if action.text == "start":
                self.start_broker()
        else:
            from tools.simulator.truck import SimError

            try:
                self.device.sim(action.text)
            except SimError as error:
                parser = _Parser(self.scenario.path)
                parser.line = action.line
                raise parser.fail(str(error)) from error

    def ask(self, t_us: int) -> None:
        """Note the truth, and ask the firmware for its view of it."""
        truth = self.device.truth()
        self.amps[t_us] = {name: row["amps_rms"] for name, row in truth["outlets"].items()}
        self.truths[t_us] = truth
        silent = ("amps", "truth")
        here = [e for e in self.scenario.expectations if e.start_us == t_us]
        if any(e.kind not in silent for e in here):
            self.asked[t_us] = len(self.device.lines)
            self.device.type("status --json")

    # -- the verdict -------------------------------------------------------------------------

    def check(self, e: Expectation) -> Check:
        passed, actual = getattr(self, "_check_" + e.kind.replace(" ", "_"))(e)
        return Check(e.text, passed, actual)

    def check_health(self) -> list[Check]:
        checks = []
        if self.device.resets and not self.scenario.resets:
            t_us, cause = self.device.resets[0]
            actual = f"{link.CAUSES.get(cause, cause)} at {t_us / 1e6:.3f}"
            checks.append(Check("the chip does not restart", False, actual))
        text = [line.text for line in self.device.lines]
        if any("Traceback" in line for line in text):
            at = next(i for i, line in enumerate(text) if "Traceback" in line)
            errors = [line for line in text[at + 1 :] if line and not line.startswith(" ")]
            actual = errors[0] if errors else "Traceback"
            checks.append(Check("no exception reaches the console", False, actual))
        plant = getattr(self.device.truck, "plant", None)
        if plant is not None and plant.both_closed:
            actual = f"{plant.both_closed} times"
            checks.append(Check("grid and source are never closed together", False, actual))
        return checks

    def _moves(self, e: Expectation) -> list[tuple[int, bool]]:
        """Movements of a contact, or edges of a coil: (time, closed or on)."""
        truck = self.device.truck
        name = truck.wiring.relay_of(e.words[0])
        if e.kind == "relay":
            return [(t, closed) for t, outlet, closed in truck.contacts if outlet == name]
        board = self.scenario.board
        pins = {outlet.name: outlet.relay for outlet in board.outlets}
        pins["contactor"] = board.contactor
        if board.power is not None:
            pins.update(zip(CONTACTS, board.power["contacts"], strict=True))
            pins["permit"] = board.power["permit"]
        return [(t, bool(level)) for t, gpio, level in truck.edges if gpio == pins[name]]

    def _check_relay(self, e: Expectation) -> tuple[bool, str]:
        wanted = e.words[1] in ("closed", "on")
        names = ("open", "closed") if e.kind == "relay" else ("off", "on")
        moves = self._moves(e)
        if e.how == "throughout":
            before = [state for t, state in moves if t <= e.start_us]
            first = before[-1] if before else False
            if first != wanted:
                return False, f"{names[first]} at {e.start_us / 1e6:.3f}"
            for t, state in moves:
                if e.start_us < t <= e.end_us and state != wanted:
                    return False, f"{names[state]} at {t / 1e6:.3f}"
            return True, f"{names[wanted]} all the time"
        times = [t for t, state in moves if state == wanted]
        inside = [t for t in times if e.start_us <= t <= e.end_us]
        if inside:
            return True, f"at {inside[0] / 1e6:.4f}"
        if times:
            return False, "at " + ", ".join(f"{t / 1e6:.4f}" for t in times[-3:])
        return False, "never"

    _check_coil = _check_relay

    def _check_console(self, e: Expectation) -> tuple[bool, str]:
        pattern = re.compile(e.words[0])
        lines = [line for line in self.device.lines if pattern.search(line.text)]
        for line in lines:
            if e.start_us <= line.t_us <= e.end_us:
                return True, f"at {line.t_us / 1e6:.3f}: {line.text}"
        if lines:
            return False, f"at {lines[-1].t_us / 1e6:.3f}: {lines[-1].text}"
        return False, "no such line"

    def _check_no_console(self, e: Expectation) -> tuple[bool, str]:
        found, actual = self._check_console(e)
        return not found, actual if found else "no such line"

    def _check_amps(self, e: Expectation) -> tuple[bool, str]:
        if e.start_us not in self.amps:
            return False, "not measured"
        amps = self.amps[e.start_us][e.words[0]]
        return e.low <= amps <= e.high, f"{amps:.3f} A"

    def _check_feed(self, e: Expectation) -> tuple[bool, str]:
        plant = self.device.truck.plant
        feeds = plant.home.feeds if e.kind == "feed" else plant.inverter.events
        if e.how == "within":
            times = [t for t, feed in feeds if feed == e.words[0]]
            inside = [t for t in times if e.start_us <= t <= e.end_us]
            shown = [f"{t / 1e6:.4f}" for t in inside[:1] or times[-3:]]
            return bool(inside), f"at {', '.join(shown)}" if shown else "never"
        before = [(t, feed) for t, feed in feeds if t <= e.start_us][-1:]
        after = [(t, feed) for t, feed in feeds if e.start_us < t <= e.end_us]
        for t, feed in before + after:
            if feed != e.words[0]:
                return False, f"{feed} at {max(t, e.start_us) / 1e6:.3f}"
        return True, f"{e.words[0]} all the time"

    _check_inverter = _check_feed

    def _check_truth(self, e: Expectation) -> tuple[bool, str]:
        if e.start_us not in self.truths:
            return False, "not measured"
        return self._compare(e, self.truths[e.start_us])

    def _check_power(self, e: Expectation) -> tuple[bool, str]:
        status = self._status(e)
        if status is None:
            return False, "no answer"
        return self._compare(e, status.get("power", {}))

    @staticmethod
    def _compare(e: Expectation, found: Any) -> tuple[bool, str]:
        """The value at a path of names against a range or a word."""
        for name in e.words[0].split("."):
            if not isinstance(found, dict):
                return False, f"nothing below {found}"
            if name not in found:
                return False, f"no such field; there is: {' '.join(found)}"
            found = found[name]
        if len(e.words) == 2:
            actual = str(found)
            if isinstance(found, bool):
                actual = "yes" if found else "no"
            return actual == e.words[1], actual
        if not isinstance(found, (int, float)):
            return False, str(found)
        return e.low <= found <= e.high, f"{found:g}"

    def _status(self, e: Expectation) -> dict[str, Any] | None:
        """The answer to the `status --json` asked at that time."""
        if e.start_us not in self.asked:
            return None
        for line in self.device.lines[self.asked[e.start_us] :]:
            if line.text.startswith("{"):
                try:
                    answer = json.loads(line.text)
                except ValueError:
                    continue
                if isinstance(answer, dict) and "outlets" in answer:
                    return answer
        return None

    def _check_state(self, e: Expectation) -> tuple[bool, str]:
        status = self._status(e)
        if status is None:
            return False, "no answer"
        actual = str(status["outlets"].get(e.words[0], {}).get(e.kind))
        return actual == e.words[1], actual

    _check_reason = _check_state

    def _check_link(self, e: Expectation) -> tuple[bool, str]:
        status = self._status(e)
        if status is None:
            return False, "no answer"
        actual = str(status.get("link", {}).get(e.words[0]))
        return actual == e.words[1], actual

    def _check_reading(self, e: Expectation) -> tuple[bool, str]:
        status = self._status(e)
        if status is None:
            return False, "no answer"
        where, key = e.words[:2]
        for group in (status.get("outlets", {}), status.get("legs", {}), status):
            if where in group:
                value = group[where].get(key)
                if not isinstance(value, (int, float)):
                    return False, f"no such field; there is: {' '.join(group[where])}"
                return e.low <= value <= e.high, f"{value:g}"
        return False, f"{where} is not in the status"


def play(
    scenario: Scenario,
    speed: float | None = None,
    show: Callable[[int, str, str], None] = lambda t_us, kind, text: None,
) -> Verdict:
    """Play a scenario. `show(t_us, kind, text)` gets each action, and with an empty kind each
    console line. ScenarioError when a sim command is not accepted, ToolError when something
    that it needs is missing."""
    start = time.monotonic()
    player = _Player(scenario, scenario.speed if speed is None else speed, show)
    checks = player.play()
    return Verdict(
        scenario,
        checks,
        [f"{line.t_us / 1e6:9.3f}  {line.text}" for line in player.device.lines],
        player.device.now_us / 1e6,
        time.monotonic() - start,
    )


# -- showing it ----------------------------------------------------------------------------------


def report(verdict: Verdict, out: TextIO) -> None:
    """The table of expectations and the verdict."""
    if out.isatty():
        _rich_report(verdict, out)
        return
    width = max(len(check.text) for check in verdict.checks)
    for check in verdict.checks:
        mark = "pass" if check.passed else "FAIL"
        print(f"  {mark}  {check.text:{width}}  {check.actual}", file=out)
    print(_summary(verdict), file=out)


def _summary(verdict: Verdict) -> str:
    failed = sum(not check.passed for check in verdict.checks)
    what = "passed" if not failed else f"FAILED, {failed} of {len(verdict.checks)} expectations"
    speed = verdict.virtual_s / max(verdict.wall_s, 1e-9)
    return (
        f"{verdict.scenario.path.stem}: {what} "
        f"({verdict.virtual_s:.1f} s simulated in {verdict.wall_s:.1f} s, {speed:.1f} x)"
    )


def _rich_report(verdict: Verdict, out: TextIO) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(file=out)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "expected", "found"):
        table.add_column(title)
    for check in verdict.checks:
        mark = "[green]pass[/]" if check.passed else "[bold red]FAIL[/]"
        style = "" if check.passed else "red"
        table.add_row(mark, escape(check.text), escape(check.actual), style=style)
    console.print()
    console.print(table)
    style = "bold green" if verdict.passed else "bold red"
    console.print(_summary(verdict), style=style, highlight=False)


def run(name: str, speed: float | None = None, out: TextIO = sys.stdout) -> int:
    """`--scenario NAME`: play it, show what happens and the verdict; the exit code."""
    try:
        scenario = parse(find(name))
        print(f"{scenario.path.stem}: {scenario.title}", file=out, flush=True)
        prefixes = {"sim": "sim>", "console": ">", "chip": "chip:", "broker": "broker:"}

        def show(t_us: int, kind: str, text: str) -> None:
            prefix = prefixes.get(kind, "")
            shown = text if len(text) <= 120 else text[:117] + "..."
            line = f"{t_us / 1e6:9.3f}  {prefix:7} {shown}".rstrip()
            if out.isatty():
                line = f"\x1b[{_COLOURS.get(kind, '2')}m{line}\x1b[0m"
            print(line, file=out, flush=True)

        verdict = play(scenario, speed, show)
    except (ScenarioError, ToolError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    report(verdict, out)
    return 0 if verdict.passed else 1
