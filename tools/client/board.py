"""The object model that scripts use: a board, its outlets, its settings, its events.

The same over serial and MQTT; what differs is in the link. Reading is always safe to repeat, so a
lost answer is asked for again; a switching command is sent once.
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterator, Mapping, MutableMapping
from types import TracebackType
from typing import Any

from tools.client import framing, model
from tools.client.errors import (
    BadAnswer,
    ClientError,
    CommandRefused,
    LinkError,
    UnknownOutlet,
    UnknownSetting,
)
from tools.client.link import ANSWER_S, Link

Word = str | int | float | bool

# Asking these again does no harm. With arguments, some of the others change something.
_READS = frozenset(("status", "outlets", "get", "events", "energy", "selftest", "version", "help"))
_BARE_READS = frozenset(("cal", "mqtt", "wifi", "mode", "time"))
_FRESH_S = 0.5
_BATCH = 16  # events asked for at once: more would be a long answer for a small heap
_ALL = 64  # the most that the board gives at once
_LOOK_S = 2.0  # a stream asks at least so often: a hint may get lost
_PATIENCE_S = 60.0


class Board:
    """One board. Use with `with`, or call `close()`.

    Errors of every method: CommandRefused with the board's own sentence; NotConnected, NoAnswer,
    BadAnswer (all LinkError) when the way to the board failed. All are ClientError.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.outlets = Outlets(self)
        self.settings = Settings(self)
        self._lock = threading.Lock()
        self._status: model.Status | None = None
        self._status_at = 0.0

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Board {self.link.name}>"

    def close(self) -> None:
        """Let go of the port or the broker. The board goes on as before."""
        self.link.close()

    def command(
        self, name: str, *args: Word, timeout_s: float = ANSWER_S, repeat: bool | None = None
    ) -> dict[str, Any]:
        """Run any command of docs/console.md and return its result: `command("get", "bed1")`.

        `timeout_s`: for the answer. `repeat`: whether a lost answer may be asked for again;
        None: for commands that only look, and for `off`.
        """
        if repeat is None:
            repeat = name in _READS or name == "off" or (name in _BARE_READS and not args)
        if name not in _READS:
            self._forget()
        try:
            return self.link.request(name, [framing.word(arg) for arg in args], timeout_s, repeat)
        finally:
            if name not in _READS:
                self._forget()

    def _forget(self) -> None:
        with self._lock:
            self._status = None

    def status(self, max_age_s: float = 0.0) -> model.Status:
        """Everything at this moment; one that is at most so old, where that will do."""
        with self._lock:
            known = self._status
            if known is not None and time.monotonic() - self._status_at < max_age_s:
                return known
        asked = time.monotonic()
        found = model.Status.parse(self.command("status"))
        with self._lock:
            self._status, self._status_at = found, asked
        return found

    def energy(self) -> model.Energy:
        """Energy counted for each outlet, in kWh."""
        return model.Energy.parse(self.command("energy"))

    def energy_by(self, period: str, count: int | None = None) -> list[model.Period]:
        """Energy by `hours` (48 at most), `days` (366) or `months` (120), the running one last."""
        words = [] if count is None else [count]
        return model.periods(self.command("energy", period, *words))

    def clock(self) -> model.Clock:
        """The board's clock, and where it got the time from."""
        return model.Clock.parse(self.command("time"))

    def set_time(self, when: datetime.datetime | None = None) -> model.Clock:
        """Set the board's clock, from this machine's when nothing is given."""
        seconds = round((when or datetime.datetime.now(datetime.UTC)).timestamp())
        return model.Clock.parse(self.command("time", "set", seconds))

    def version(self) -> model.Version:
        """Firmware, board table, chip, MicroPython."""
        return model.Version.parse(self.command("version"))

    def recent_events(
        self, count: int = 20, outlet: str | None = None, kind: str | None = None
    ) -> list[model.Event]:
        """The newest events, oldest first; `count` 1 to 2000, of which the board's flash has 512
        to 1024."""
        words = [word for word in (outlet, kind) if word is not None]
        return _events(self.command("events", count, *words))

    def events(self, timeout_s: float | None = None, since: int | None = None) -> EventStream:
        """Events as they happen, from this call on: `for event in board.events(): ...`.

        `timeout_s`: the iteration ends when none came for so long; None: never.
        `since`: begin after this number instead. A restart of the board does not end it.
        """
        return EventStream(self, timeout_s, since)

    def off(self) -> list[str]:
        """Switch every outlet off; their names."""
        return [str(name) for name in self.command("off", "all")["done"]]

    def wait_ready(self, timeout_s: float = 30.0) -> model.Status:
        """Wait until the board answers and its start is over, so that outlets can be switched on.

        Its status then; the last LinkError, or a ClientError, when that is not in time.
        """
        until = time.monotonic() + timeout_s
        while True:
            try:
                status = self.status()
                if not status.starting:
                    return status
                if time.monotonic() >= until:
                    raise ClientError(f"{status.device} is still starting after {timeout_s:g} s")
            except LinkError:
                if time.monotonic() >= until:
                    raise
            time.sleep(0.2)

    def reboot(self) -> None:
        """Have the board open all relays, save and start again; the next call waits for it."""
        self.command("reboot", "yes")


class Outlets(Mapping[str, "Outlet"]):
    """The outlets by name, in the board's order."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._names: tuple[str, ...] | None = None

    def _known(self) -> tuple[str, ...]:
        if self._names is None:
            self._names = tuple(self._board.status(_FRESH_S).outlets)
        return self._names

    def __getitem__(self, name: str) -> Outlet:
        if name not in self._known():
            raise UnknownOutlet(f"no outlet '{name}' (there are: {' '.join(self._known())})")
        return Outlet(self._board, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())


class Outlet:
    """One outlet. Readings are at most half a second old, and newer than any command given here;
    `status()` gives all of them at one moment."""

    def __init__(self, board: Board, name: str) -> None:
        self._board = board
        self.name = name

    def __repr__(self) -> str:
        return f"<Outlet {self.name} of {self._board.link.name}>"

    # -- commands ----------------------------------------------------------------------------

    def on(self, force: bool = False) -> None:
        """Switch on. `force`: although it may not fit its leg or the total, or is shed."""
        self._switch("on", force)

    def off(self) -> None:
        """Switch off, whatever its state."""
        self._switch("off", False)

    def reset(self, force: bool = False) -> None:
        """Clear a trip; the outlet stays off. `force`: a lockout or a welded relay too."""
        self._switch("reset", force)

    def _switch(self, verb: str, force: bool) -> None:
        answer = self._board.command(verb, self.name, *(["--force"] if force else []))
        if answer.get("done") != [self.name]:
            # a byte lost on a bad line makes another command of it: bed240, bed2
            raise BadAnswer(f"asked to {verb} {self.name}, and the board did {answer!r:.200}")

    # -- readings ----------------------------------------------------------------------------

    def status(self, max_age_s: float = _FRESH_S) -> model.OutletStatus:
        """All readings of one moment."""
        return self._board.status(max_age_s).outlets[self.name]

    @property
    def state(self) -> str:
        """`off`, `closing`, `on`, `tripped`, `lockout`, `shed` or `fault`."""
        return self.status().state

    @property
    def reason(self) -> str:
        """Why it is in that state."""
        return self.status().reason

    @property
    def energised(self) -> bool:
        """Whether the relay is, or is about to be, closed."""
        return self.status().energised

    @property
    def current_a(self) -> float:
        """RMS current in A."""
        return self.status().current_a

    @property
    def voltage_v(self) -> float:
        """RMS voltage in V; 0 while it is off."""
        return self.status().voltage_v

    @property
    def power_w(self) -> float:
        """Real power in W."""
        return self.status().power_w

    @property
    def apparent_va(self) -> float:
        """Apparent power in VA."""
        return self.status().apparent_va

    @property
    def power_factor(self) -> float:
        """Real by apparent power, -1 to 1."""
        return self.status().power_factor

    @property
    def energy_kwh(self) -> float:
        """Energy since the board's first start."""
        return self.status().energy_kwh

    @property
    def frequency_hz(self) -> float:
        """Mains frequency; 0: not known."""
        return self.status().frequency_hz

    @property
    def limit_a(self) -> float:
        """The setting `limit_a`."""
        return self.status().limit_a

    @property
    def load_percent(self) -> float:
        """Current in per cent of `limit_a`."""
        return self.status().load_percent

    @property
    def heat_percent(self) -> float:
        """How near its thermal curve is to a trip."""
        return self.status().heat_percent

    @property
    def priority(self) -> int:
        """1 is kept longest, 9 is shed first."""
        return self.status().priority

    @property
    def trips(self) -> int:
        """Trips since the last start."""
        return self.status().trips


class Settings(MutableMapping[str, Any]):
    """Settings by name: `settings["bed1.limit_a"] = 15`, in force at once, `save()` makes it last.

    A value that is not allowed is a CommandRefused that says what is. Nothing can be deleted.
    """

    def __init__(self, board: Board) -> None:
        self._board = board

    def _get(self, name: str) -> dict[str, Any]:
        try:
            found = self._board.command("get", name)
        except UnknownSetting:
            raise
        except CommandRefused as error:
            raise UnknownSetting(error.command, error.reason) from None
        if name not in model.section(found, "settings"):
            names = " ".join(found["settings"])  # those that begin so
            raise UnknownSetting(f"get {name}", f"no setting '{name}' (there are: {names})")
        return found

    def __getitem__(self, name: str) -> Any:
        return self._get(name)["settings"][name]

    def __setitem__(self, name: str, value: Word) -> None:
        answer = self._board.command("set", name, value)
        if answer.get("name") != name:
            raise BadAnswer(f"asked for {name}, and the board has set {answer.get('name')}")

    def __delitem__(self, name: str) -> None:
        raise ClientError(f"{name} cannot be deleted; set it to its default instead")

    def __iter__(self) -> Iterator[str]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())

    def all(self) -> dict[str, Any]:
        """All names and values, asked for at once. Secrets read `(set)` or empty."""
        return model.section(self._board.command("get"), "settings")

    def info(self, name: str) -> model.Setting:
        """Value, unit, default, allowed range and meaning of one setting."""
        found = self._get(name)
        return model.Setting(
            name=name,
            value=found["settings"][name],
            unit=model.text(found, "unit"),
            default=found.get("default"),
            allowed=model.text(found, "allowed"),
            help=model.text(found, "help"),
            needs_reboot=model.truth(found, "needs_reboot"),
            saved=name not in self._unsaved(found),
        )

    @staticmethod
    def _unsaved(found: Mapping[str, Any]) -> list[str]:
        return [str(name) for name in found.get("unsaved", ())]

    @property
    def unsaved(self) -> list[str]:
        """Names of the settings that were changed and not saved yet."""
        return self._unsaved(self._board.command("get"))

    def save(self) -> list[str]:
        """Make changed settings last; their names."""
        return [str(name) for name in self._board.command("save")["saved"]]

    def defaults(self) -> list[str]:
        """All settings back to their defaults, not saved yet; names of those that changed."""
        return self._unsaved(self._board.command("defaults", "yes"))


class EventStream(Iterator[model.Event]):
    """Events in order and without gaps, see Board.events(). `missed`: those that were gone before
    they could be asked for (the board keeps 256)."""

    def __init__(self, board: Board, timeout_s: float | None, since: int | None) -> None:
        self._board = board
        self._timeout_s = timeout_s
        self._ready: list[model.Event] = []
        self._last: model.Event | None = None
        self._heard = board.link.heard()
        self._asked_at = 0.0
        self.missed = 0
        if since is None:
            answer = board.command("events", 1)
            events = _events(answer)
            self._seen = model.whole(answer, "last_seq")
            self._last = events[-1] if events else None
        else:
            self._seen = since

    def __next__(self) -> model.Event:
        began = time.monotonic()
        alive = began  # when the board last answered
        while not self._ready:
            left = _LOOK_S
            if self._timeout_s is not None:
                left = began + self._timeout_s - time.monotonic()
                if left <= 0:
                    raise StopIteration
            try:
                self._ready = self.poll(min(left, _LOOK_S))
                alive = time.monotonic()
            except LinkError:
                if time.monotonic() - alive > _PATIENCE_S:
                    raise
                time.sleep(0.2)
        return self._ready.pop(0)

    @property
    def seen(self) -> int:
        """Number of the last event that was given."""
        return self._seen

    @property
    def known(self) -> tuple[int, int]:
        """What `Board.link.heard()` said when events were last asked for."""
        return self._heard

    def remember(self, last: model.Event) -> None:
        """The event `since`, as it was known: so that a rewritten journal shows."""
        self._last = last

    def poll(self, wait_s: float = 0.0) -> list[model.Event]:
        """Events that are new, at once, or after at most so long when there are none."""
        if self._ready:
            ready, self._ready = self._ready, []
            return ready
        link = self._board.link
        link.wait(wait_s, self._heard)
        time.sleep(max(0.0, self._asked_at + link.pause_s - time.monotonic()))
        # remembered before asking: what is announced meanwhile is asked for next time
        self._heard = link.heard()
        found: list[model.Event] = []
        while True:
            self._asked_at = time.monotonic()
            answer = self._ask()
            events, newest = _events(answer), model.whole(answer, "last_seq")
            fresh = self._after_restart() if self._rewritten(events, newest) else events
            fresh = [event for event in fresh if event.seq > self._seen]
            if fresh and fresh[0].seq > self._seen + 1 > 1:
                self.missed += fresh[0].seq - self._seen - 1
            if fresh:
                self._last = fresh[-1]
                self._seen = fresh[-1].seq
            found += fresh
            if not fresh or self._seen >= newest:
                return found

    def _ask(self) -> dict[str, Any]:
        """What follows, and the last one known, so that a rewritten journal shows."""
        since = max(self._seen - 1, 0) if self._last is not None else self._seen
        return self._board.command("events", "since", since, _BATCH)

    def _rewritten(self, events: list[model.Event], newest: int) -> bool:
        """True when numbers were used again: a power cut took the events that had them."""
        if newest < self._seen:
            return True
        if self._last is None:
            return False
        again = [event for event in events if event.seq == self._last.seq]
        return bool(again) and again[0].same_as != self._last.same_as

    def _after_restart(self) -> list[model.Event]:
        """Events of the present start; nothing before them is sure to be new."""
        events = _events(self._board.command("events", _ALL))
        boots = [i for i, event in enumerate(events) if event.kind == "boot"]
        events = events[boots[-1] :] if boots else events
        self._seen = events[0].seq - 1 if events else 0
        self._last = None
        return events


def _events(answer: Mapping[str, Any]) -> list[model.Event]:
    rows = answer.get("events")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadAnswer(f"the board's answer has events = {rows!r:.100}, and a list was expected")
    return [model.Event.parse(row) for row in rows]
