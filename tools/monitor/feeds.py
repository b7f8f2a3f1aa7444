"""Where the monitor's figures come from: a board that is asked, or boards that are listened to.

A feed never stops because a board does: what is wrong is part of the view.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Protocol

from tools.client import Board, ClientError, Event, EventStream, LinkError, NotConnected, Status
from tools.client import connect as connect_board
from tools.client.mqtt_link import Address, Broker, MqttLink

_KEPT = 50
_FIRST_EVENTS = 8
_BACK_S = 2.0  # a board that is away for longer shows as such while it is waited for
_LATE_S = 3.0
_SILENT_S = 65.0  # longer than the longest `mqtt.interval_s`
_SEARCH_S = 3.0


@dataclass(frozen=True)
class View:
    """One board as it is known now."""

    name: str
    status: Status | None  # the newest one, however old
    age_s: float
    trouble: str  # why there is nothing newer; empty when all is well
    events: tuple[Event, ...] = ()

    @property
    def online(self) -> bool:
        """True when the status is of now."""
        return self.status is not None and not self.trouble


class Feed(Protocol):
    """Source of views."""

    def views(self) -> list[View]:
        """All boards, by name."""

    def take_events(self) -> list[tuple[str, Event]]:
        """Events that came since the last call, with the board's name."""

    def close(self) -> None:
        """End it."""


@dataclass
class _Known:
    """What a feed knows of a board; guarded by the feed's lock."""

    status: Status | None = None
    status_at: float = 0.0
    trouble: str = ""
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=_KEPT))
    fresh: deque[Event] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def view(self, name: str) -> View:
        age = time.monotonic() - self.status_at
        return View(name, self.status, age, self.trouble, tuple(self.events))


class SerialFeed:
    """One board on a serial port, asked each `interval_s` by a thread."""

    def __init__(self, port: str | None, interval_s: float) -> None:
        """Connect; ClientError when there is no board at first contact."""
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._known = _Known()
        self._stop = threading.Event()
        self._board: Board = connect_board(port)
        try:
            self._known.status = self._board.status()
            self._known.status_at = time.monotonic()
            self._known.events.extend(self._board.recent_events(_FIRST_EVENTS))
            last = self._known.events[-1].seq if self._known.events else 0
            self._stream: EventStream = self._board.events(since=last)
            self._board.link.back_s = _BACK_S
        except BaseException:
            self._board.close()
            raise
        self._name = self._known.status.device
        self._thread = threading.Thread(target=self._run, name="serial feed", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # a little before the main loop looks, so that its figures are of now
        due = time.monotonic() + self._interval_s - min(0.2, self._interval_s / 4)
        pause_s = min(0.1, self._interval_s)
        while not self._stop.is_set():
            # events are shown when they come, not when the next status is due
            while not self._stop.is_set() and time.monotonic() < due:
                if self._known.trouble or not self._events(pause_s):
                    self._stop.wait(pause_s)
            self._look()
            late = time.monotonic() - due
            due += self._interval_s * max(1, 1 + late // self._interval_s)

    def _look(self) -> None:
        try:
            status = self._board.status()
        except ClientError as error:
            with self._lock:
                self._known.trouble = str(error)
            return
        with self._lock:
            self._known.status, self._known.status_at = status, time.monotonic()
            self._known.trouble = ""

    def _events(self, wait_s: float) -> bool:
        """Take new events; False when the board is away."""
        status = self._known.status
        behind = status is not None and status.last_event != self._stream.seen
        try:
            if not self._board.link.wait(wait_s, self._stream.known) and not behind:
                return True
            found = self._stream.poll()
        except ClientError as error:
            with self._lock:
                self._known.trouble = str(error)
            return False
        with self._lock:
            self._known.events.extend(found)
            self._known.fresh.extend(found)
        return True

    def views(self) -> list[View]:
        """See Feed."""
        with self._lock:
            view = self._known.view(self._name)
        if not view.trouble and view.age_s > max(_LATE_S, 3 * self._interval_s):
            # the thread still waits for an answer
            view = replace(view, trouble=f"no answer for {view.age_s:.0f} s")
        return [view]

    def take_events(self) -> list[tuple[str, Event]]:
        """See Feed."""
        with self._lock:
            fresh = [(self._name, event) for event in self._known.fresh]
            self._known.fresh.clear()
        return fresh

    def close(self) -> None:
        """See Feed."""
        self._stop.set()
        self._thread.join(3.0)
        self._board.close()


class MqttFeed:
    """All boards behind a broker, or the one that the address names."""

    def __init__(self, address: str) -> None:
        """Connect; ClientError when there is no broker, or no board behind it."""
        self._address = Address.parse(address)
        self._broker = Broker(self._address)
        self._lock = threading.Lock()
        self._boards: dict[str, _Known] = {}
        self._counted: dict[str, int] = {}
        self._asked: set[str] = set()
        self._stop = threading.Event()
        try:
            if not self._broker.devices(wait_s=_SEARCH_S):
                raise NotConnected(f"the broker at {self._broker.name} has not heard of any board")
        except BaseException:
            self._broker.close()
            raise
        self._thread = threading.Thread(target=self._run, name="mqtt feed", daemon=True)
        self._thread.start()

    @property
    def single(self) -> bool:
        """True when the address names one board."""
        return bool(self._address.device_id)

    def _run(self) -> None:
        """Ask each board once for its last events: they are not published again."""
        while not self._stop.wait(0.2):
            for name, online in self._broker.devices().items():
                if name in self._asked or not online or self._stop.is_set():
                    continue
                self._asked.add(name)
                board = Board(MqttLink(self._broker, name, back_s=1.0))
                try:
                    found = board.recent_events(_FIRST_EVENTS)
                except ClientError:
                    continue  # it may be read-only, or gone again; those to come are enough
                with self._lock:
                    known = self._boards.setdefault(name, _Known())
                    have = {event.seq for event in known.events}
                    older = [event for event in found if event.seq not in have]
                    known.events = deque([*older, *known.events], maxlen=_KEPT)

    def _update(self, name: str, online: bool | None) -> None:
        heard = self._broker.heard(name)
        known = self._boards.setdefault(name, _Known())
        trouble = ""
        if heard.state is not None and heard.state_at != known.status_at:
            try:
                known.status = Status.parse(heard.state)
                known.status_at = heard.state_at
            except LinkError as error:
                trouble = str(error)
        if not self._broker.connected:
            trouble = f"the MQTT broker at {self._broker.name} is away"
        elif online is False:
            trouble = "offline, says the broker"
        elif known.status is None:
            trouble = trouble or "no state message yet"
        elif time.monotonic() - known.status_at > _SILENT_S:
            trouble = f"no state message for {time.monotonic() - known.status_at:.0f} s"
        known.trouble = trouble
        new = heard.events_heard - self._counted.get(name, 0)
        self._counted[name] = heard.events_heard
        for raw in list(heard.events)[-new:] if new else []:
            try:
                event = Event.parse(raw)
            except LinkError:
                continue
            if not any(event.same_as == other.same_as for other in known.events):
                known.events.append(event)
                known.fresh.append(event)

    def views(self) -> list[View]:
        """See Feed."""
        devices = self._broker.devices()
        if self._address.device_id:
            devices = {name: on for name, on in devices.items() if name == self._address.device_id}
        with self._lock:
            for name, online in devices.items():
                self._update(name, online)
            return [self._boards[name].view(name) for name in devices]

    def take_events(self) -> list[tuple[str, Event]]:
        """See Feed."""
        taken = []
        with self._lock:
            for name, known in self._boards.items():
                taken += [(name, event) for event in known.fresh]
                known.fresh.clear()
        return taken

    def close(self) -> None:
        """See Feed."""
        self._stop.set()
        self._broker.close()
        self._thread.join(3.0)
