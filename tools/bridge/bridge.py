"""One board at the broker: a thread that asks it, another one that publishes.

The topics live exactly as long as the board answers: a session begins with its answers to
`version`, `status`, `get` and `events`, and ends with `offline` when it is silent or has
restarted. The journal on the board is the queue: what the broker has of it is kept in a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.bridge.app import MARK, App
from tools.bridge.streams import Broker
from tools.client import Board, ClientError, CommandRefused, Event, EventStream
from tools.client.model import section, text, whole
from tools.client.serial_link import Port, SerialLink, open_port
from tools.progress import ToolError, step

_READ_S = 0.01  # how long a command waits at most for the thread that listens
_LISTEN_S = 0.02
_SETTLE_S = 0.1  # between two answers, however much happens
_STATUS_S = 2.5
_BACK_S = 2.0  # what is away for longer is offline
_AGAIN_S = 1.0
_KEEP_S = 5.0  # between two notes of what the broker has
_WAITING = 256  # events held here; the others wait on the board


class Restarted(ClientError):
    """The board has started again: its session is over."""


@dataclass(frozen=True)
class Known:
    """What the broker has: number of the last event, and that event if it is known."""

    seq: int
    raw: dict[str, Any] | None = None


class Memory:
    """Known by device id, each in a file of its own below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, device_id: str) -> Path:
        return self._folder / f"bridge-{device_id}.json"

    def read(self, device_id: str) -> Known | None:
        """None: nothing is known of it, or the file cannot be used."""
        try:
            found = json.loads(self._path(device_id).read_text())
            raw = found["event"]
            if raw is not None:
                Event.parse(raw)
            return Known(whole(found, "seq"), raw)
        except (OSError, ValueError, KeyError, TypeError, ClientError):
            return None

    def write(self, device_id: str, known: Known) -> None:
        """Keep it. OSError when that cannot be."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(device_id)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"seq": known.seq, "event": known.raw}) + "\n")
        os.replace(fresh, path)


def _quick_port(where: str, baud: int) -> Port:
    """A port that is not listened to for long while there is something to say."""
    port: Any = open_port(where, baud)
    port.timeout = _READ_S
    return port  # type: ignore[no-any-return]


class Bridge(threading.Thread):
    """Serves one port until `end()`. Never raises: what is wrong is said, and tried again."""

    def __init__(
        self,
        port: str,
        broker: Broker,
        memory: Memory,
        *,
        set_time: bool = False,
        say: Callable[[str], None] = step,
    ) -> None:
        """`set_time`: set the board's clock when it has none."""
        super().__init__(name=f"bridge {port}", daemon=True)
        self._where = port
        self._broker = broker
        self._memory = memory
        self._set_time = set_time
        self._say_line = say
        self._said = ""
        self._over = threading.Event()
        self._app: App | None = None
        self._link: SerialLink | None = None

    def end(self) -> None:
        """Have it say goodbye and end; join() waits for that."""
        self._over.set()
        app = self._app
        if app is not None:
            app.publisher.stop()

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            self._say_line(f"{self._where}: {line}")

    def run(self) -> None:
        """The thread."""
        while not self._over.is_set():
            try:
                if self._link is None:
                    self._link = SerialLink(self._where, back_s=_BACK_S, opener=_quick_port)
                self._session(self._link)
            except (ToolError, OSError) as error:
                self._say(str(error))
            except Exception as error:  # a mistake of ours must not silence the board for good
                self._say(f"internal error: {type(error).__name__}: {error}")
            self._over.wait(_AGAIN_S)
        if self._link is not None:
            self._link.close()

    # -- a session -----------------------------------------------------------------------------

    def _session(self, link: SerialLink) -> None:
        app, stream, known, restarts = self._begin(link)
        self._app = app
        ended = threading.Event()
        asker = threading.Thread(
            target=self._ask_on, args=(app, link, stream, known, restarts, ended), daemon=True
        )
        asker.start()
        try:
            if self._over.is_set():
                return
            self._say(f"{app.device_id} is there, and goes to {self._broker.host}")
            asyncio.run(app.publisher.run())
        finally:
            self._app = None
            ended.set()
            asker.join()
            app.commands.close()

    def _begin(self, link: SerialLink) -> tuple[App, EventStream, Known, int]:
        """The adapter, the events after what the broker has, and the restarts until here."""
        try:
            version = link.request(MARK, ["version"], _STATUS_S, True)
        except CommandRefused as error:
            raise ToolError(
                f"the firmware is too old for a bridge: its console does not know {MARK}"
            ) from error
        restarts = link.heard()[1]
        status = link.request("status", [], _STATUS_S, True)
        if section(status, "link").get("mqtt") != "off":
            raise ToolError("the board talks to a broker by itself (setting mqtt.host): no bridge")
        if self._set_time and status.get("time") is None:
            link.request("time", ["set", str(round(time.time()))], _STATUS_S, True)
            status = link.request("status", [], _STATUS_S, True)
        values = section(link.request("get", [], 4 * _STATUS_S, True), "settings")
        known = self._memory.read(text(status, "device"))
        board = Board(link)
        if known is None:
            boots = board.recent_events(1, kind="boot")
            known = Known(boots[-1].seq - 1 if boots else 0)
        stream = EventStream(board, None, since=known.seq)
        if known.raw is not None:
            stream.remember(Event.parse(known.raw))
        fresh = [dict(event.raw) for event in stream.poll()]
        if fresh and fresh[0]["seq"] <= known.seq:
            known = Known(
                fresh[0]["seq"] - 1
            )  # a power cut has taken some: numbers are used again
        elif not fresh and stream.seen < known.seq:
            known = Known(stream.seen)
        app = App(link, self._broker, status, text(version, "board"), known.seq)
        app.settings.take(values)
        app.journal.extend(fresh)
        self._interval_s = self._interval(values)
        if link.heard()[1] != restarts:
            raise Restarted(f"{app.device_id} has restarted")
        return app, stream, known, restarts

    @staticmethod
    def _interval(values: dict[str, Any]) -> float:
        found = values.get("mqtt.interval_s", 1)
        return float(found) if isinstance(found, (int, float)) else 1.0

    def _ask_on(
        self,
        app: App,
        link: SerialLink,
        stream: EventStream,
        known: Known,
        restarts: int,
        ended: threading.Event,
    ) -> None:
        """Ask the board until it is silent, has restarted, or the session is over."""
        kept = known
        kept_at = 0.0
        due = 0.0
        heard = link.heard()
        try:
            while not ended.is_set():
                now = time.monotonic()
                if now >= due or app.kicked or link.heard() != heard:
                    app.kicked = False
                    heard = link.heard()
                    self._refresh(app, link, stream, restarts)
                    # `closing` ends after three cycles, without an event
                    due = now + (0.0 if app.is_passing() else self._interval_s)
                    ended.wait(_SETTLE_S)
                while app.journal.notes:
                    self._note(link, app.journal.notes.pop(0))
                last = app.journal.trim(app.publisher.published)
                if last is not None:
                    known = Known(last["seq"], last)
                if known != kept and now - kept_at >= _KEEP_S:
                    kept, kept_at = known, now
                    self._keep(app.device_id, known)
                link.wait(_LISTEN_S, heard)
        except ClientError as error:
            self._say(str(error))
        except Exception as error:  # a mistake of ours: the session ends, and another one begins
            self._say(f"internal error: {type(error).__name__}: {error}")
        finally:
            app.publisher.stop()
            ended.wait()  # what it could publish yet counts
            last = app.journal.trim(app.publisher.published)
            if last is not None:
                known = Known(last["seq"], last)
            self._keep(app.device_id, known)

    @staticmethod
    def _note(link: SerialLink, reason: str) -> None:
        """Have the board put it on record, as it does with what its own MQTT sees."""
        with contextlib.suppress(CommandRefused):  # a firmware that does not know it
            link.request(MARK, ["mqtt", "note", reason], _STATUS_S, False)

    def _keep(self, device_id: str, known: Known) -> None:
        try:
            self._memory.write(device_id, known)
        except OSError as error:  # then events come again after the next start, and nothing else
            self._say(f"what the broker has cannot be kept: {error}")

    def _refresh(self, app: App, link: SerialLink, stream: EventStream, restarts: int) -> None:
        """The newest state, and the events that it knows of."""
        before = app.status["uptime_s"]
        status = link.request("status", [], _STATUS_S, True)
        if link.heard()[1] != restarts or status["uptime_s"] < before:
            raise Restarted(f"{app.device_id} has restarted")
        if whole(status, "last_event") != stream.seen and len(app.journal.rows) < _WAITING:
            fresh = [dict(event.raw) for event in stream.poll()]
            if fresh and fresh[0]["seq"] <= app.journal.last_seq:
                raise Restarted(f"{app.device_id} has restarted")
            if any(event["event"] == "setting" for event in fresh):
                values = section(link.request("get", [], 4 * _STATUS_S, True), "settings")
                self._interval_s = self._interval(values)
                app.settings.take(values)
            app.journal.extend(fresh)
        if app.energy.is_due(status.get("time")):
            with contextlib.suppress(CommandRefused):  # the time is known, today's energy not yet
                app.energy.take(link.request("energy", ["hours", "25"], 4 * _STATUS_S, True))
        app.take(status)
