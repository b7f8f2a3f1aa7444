"""The firmware as its MQTT sees it, with the board at the other end of a serial line.

`Publisher` is firmware/interfaces/mqtt.py; `App` has what that asks of the firmware's App. The
thread that asks the board (bridge.py) puts in what came; the thread that publishes takes it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from tools import cpython
from tools.bridge.streams import Broker
from tools.client import ClientError, CommandRefused
from tools.client.link import ANSWER_S, Link
from tools.progress import ToolError

cpython.install()

from firmware import board as boards  # noqa: E402
from firmware import events  # noqa: E402
from firmware.interfaces.commands import CommandError  # noqa: E402
from firmware.interfaces.mqtt import Mqtt  # noqa: E402
from firmware.storage.settings import SettingError, Settings  # noqa: E402

# First in the line: with a byte of it lost there is no command left that the board would obey.
MARK = "--mqtt"

# Asking these again does no harm.
_AGAIN = ("status", "outlets", "get", "events", "energy", "version", "help", "off")
# Their answers may take seconds, so nothing waits for them.
_SLOW = ("cal", "selftest", "capture", "get", "settings", "events", "energy", "wifi", "save")
_SLOW_S = 60.0
_AT_ONCE_S = 0.3
_OFF_S = 10.0  # shorter than a broker's patience
_NOTES = 16  # that wait for the board, at most
# What is announced of the settings; all others are the board's own business.
_ANNOUNCED = ("device.name", "mqtt.allow", "mqtt.discovery")


def load_board(name: str) -> Any:
    """The board's table; ToolError when this checkout has none of that name."""
    try:
        return boards.load(name)
    except boards.BoardError as error:
        raise ToolError(f"the board's table '{name}' is not known here: {error}") from error


class BoardSettings(Settings):  # type: ignore[misc]
    """The settings of the board, as far as they are announced; those of the broker are ours."""

    def __init__(self, board: Any, broker: Broker) -> None:
        super().__init__(board, "")
        self._ours: dict[str, Any] = {
            "mqtt.host": broker.host,
            "mqtt.port": broker.port,
            "mqtt.user": broker.user,
            "mqtt.password": broker.password,
            "mqtt.tls": broker.tls,
            "mqtt.ca_file": "",  # in the context of streams.install()
            "mqtt.cert_file": "",
            "mqtt.key_file": "",
            # each answer of the board goes out at once; how often it is asked is its own setting
            "mqtt.interval_s": 0.05,
        }

    def get(self, name: str, keep: bool = True) -> Any:
        """See Settings."""
        return self._ours[name] if name in self._ours else super().get(name, keep)

    def take(self, values: dict[str, Any]) -> None:
        """What the board's `get` has said. A value that is not known here changes nothing."""
        for name, value in values.items():
            if name in _ANNOUNCED or name.endswith(".name"):
                try:
                    self.import_({name: value})
                except SettingError:
                    continue


class Journal:
    """The events that the broker does not have yet. `last_seq`: the last one asked for."""

    def __init__(self, published: int) -> None:
        self.first_seq = 0
        self.last_seq = published
        # beyond any record, so that Mqtt begins after keeper.published
        self.boot_seq = published + 2
        self.rows: list[dict[str, Any]] = []
        self.notes: list[str] = []  # reasons that the board is to put on record

    def extend(self, rows: Sequence[dict[str, Any]]) -> None:
        """Events of the board, in order."""
        self.rows = [*self.rows, *rows]
        if self.rows:
            self.last_seq = self.rows[-1]["seq"]

    def trim(self, published: int) -> dict[str, Any] | None:
        """Drop what the broker has; its last event."""
        old = [row for row in self.rows if row["seq"] <= published]
        self.rows = self.rows[len(old) :]
        return old[-1] if old else None

    def since(self, seq: int) -> Iterator[dict[str, Any]]:
        """See the firmware's."""
        return iter([row for row in self.rows if row["seq"] > seq])

    def add(self, _kind: int, _outlet: int, reason: int, *_: int) -> None:
        """What we see of the broker, and what we refuse: for the board's journal. Some may be lost
        while the board does not answer."""
        if len(self.notes) < _NOTES:
            self.notes.append(events.name(events.REASONS, reason))

    note = add


class Energy:
    """What the board has said of the last hours, for the topic `energy`; see storage/energy.py.
    Times are the board's, in seconds since 1970."""

    _HOUR_S = 3600
    _SOON_S = 2  # a board that has just been told the time knows its hours a moment later
    _AGAIN_S = 60  # one that does not know them for long is not asked each second

    def __init__(self) -> None:
        self.is_known = False
        self.periods: tuple[int, ...] = (-1,)  # when the hour began that the answer ends with
        self.answer: dict[str, Any] = {}
        self._asked = 0
        self._wait_s = self._SOON_S

    def is_due(self, now: object) -> bool:
        """Whether an hour has begun since the answer; `now`: `time` of the board's status."""
        if not isinstance(now, str):
            return False
        second = self._seconds(now)
        begun = self.is_known and 0 <= second - self.periods[0] < self._HOUR_S
        if begun or 0 <= second - self._asked < self._wait_s:
            return False
        self._asked = second
        self._wait_s = min(2 * self._wait_s, self._AGAIN_S)
        return True

    def take(self, answer: dict[str, Any]) -> None:
        """The answer to `energy hours 25`."""
        begun = self._seconds(answer["rows"][-1]["start"])
        if begun != self.periods[0]:
            self._wait_s = self._SOON_S
        self.answer = answer
        self.periods = (begun,)
        self.is_known = True

    @staticmethod
    def _seconds(text: str) -> int:
        return int(datetime.fromisoformat(text).timestamp())


class Clock:
    """The time of this machine, which the board may not know."""

    @staticmethod
    def wall() -> int:
        """Seconds since 1970."""
        return int(time.time())


class Report:
    """See firmware/report.py: what the board has said, not what it computes here."""

    @staticmethod
    def state(app: App, rows: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """The newest answer to `status`, which has the rows in it."""
        return app.status

    @staticmethod
    def outlet(app: App, index: int) -> dict[str, Any]:
        """A row of it."""
        row: dict[str, Any] = app.status["outlets"][app.board.outlets[index].name]
        return row

    @staticmethod
    def event(app: App, record: dict[str, Any]) -> dict[str, Any]:
        """A record of Journal is its own description."""
        return record


class Pending:
    """A command whose answer is not there yet; see Job in firmware/interfaces/commands.py."""

    def __init__(self, name: str, future: futures.Future[dict[str, Any]]) -> None:
        self.name = name
        self._future = future

    def is_running(self) -> bool:
        """Whether the board has not answered yet."""
        return not self._future.done()

    def poll(self) -> dict[str, Any] | None:
        """The result, None while there is none; CommandError when it was refused."""
        return self._future.result() if self._future.done() else None


class Commands:
    """Hands commands to the board, with the rights of MQTT. One at a time: a console is a line."""

    def __init__(self, app: App, link: Link) -> None:
        self._app = app
        self._link = link
        self._pool = futures.ThreadPoolExecutor(1, "command")
        self._pending: Pending | None = None

    def close(self) -> None:
        """Take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def run(self, name: str, args: list[str], source: str) -> Any:
        """See the firmware's Commands. `off` waits for its turn, all else is refused then."""
        if name == "mqtt" and args[:1] == ["note"]:
            raise CommandError("mqtt note is for the bridge itself")
        if MARK in (name, *args):
            raise CommandError(f"{MARK} cannot be part of a command")
        pending = self._pending
        if pending is not None and pending.is_running() and name != "off":
            raise CommandError(f"{pending.name} is under way: try again when it is done")
        future = self._pool.submit(self._ask, name, args)
        limit_s = _AT_ONCE_S if name in _SLOW else _OFF_S
        try:
            return future.result(limit_s)
        except futures.TimeoutError:
            if name in _SLOW:
                self._pending = Pending(name, future)
                return self._pending
            raise CommandError(
                f"no answer within {limit_s:g} s: whether {name} is obeyed is not known"
            ) from None

    def _ask(self, name: str, args: list[str]) -> dict[str, Any]:
        """The board's answer."""
        try:
            words = [name, *args]
            limit_s = _SLOW_S if name in _SLOW else ANSWER_S
            again = name in _AGAIN
            answer = self._link.request(MARK, words, limit_s, again)
        except CommandRefused as refused:
            # The board has no MQTT of its own that could forget: then it would have been allowed.
            if name != "mqtt" or not refused.reason.startswith("MQTT is off"):
                raise CommandError(refused.reason, refused.result or None) from None
            answer = {"forgotten": True}
        except ClientError as error:
            raise CommandError(str(error)) from None
        finally:
            self._app.kicked = True
        if name == "mqtt" and args:
            self._app.publisher.forget()
        elif name == "mqtt":
            answer = self._app.publisher.status()
        elif name == "status":
            answer = self._app.linked(answer)
        return answer


class App:
    """What firmware/interfaces/mqtt.py asks of the firmware.

    `status`, `version`: answers of the board to these commands; `published`: number of the last
    event that the broker has. `kicked`: ask the board soon, it was told to do something.
    """

    network = None

    def __init__(
        self, link: Link, broker: Broker, status: dict[str, Any], board_name: str, published: int
    ) -> None:
        self.board = load_board(board_name)
        self.device_id = str(status["device"])
        self.version = str(status["version"])
        self.settings = BoardSettings(self.board, broker)
        self.journal = Journal(published)
        self.keeper = SimpleNamespace(published=published)
        self.clock = Clock()
        self.energy = Energy()
        self.commands = Commands(self, link)
        self.stamp = 0
        self.kicked = False
        self.status = status
        self.publisher = Publisher(self)
        self.take(status)

    def take(self, status: dict[str, Any]) -> None:
        """A new answer to `status`."""
        self.status = self.linked(status)
        self.stamp += 1

    def is_passing(self) -> bool:
        """Whether an outlet is in a state that lasts for a moment only."""
        return any(row["state"] == "closing" for row in self.status["outlets"].values())

    def linked(self, status: dict[str, Any]) -> dict[str, Any]:
        """With the state of our connection: the board itself has none."""
        return {**status, "link": {**status["link"], "mqtt": self.publisher.word()}}


class Publisher(Mqtt):  # type: ignore[misc]
    """The firmware's MQTT. Each answer of the board is published once."""

    def __init__(self, app: App) -> None:
        super().__init__(app, Report)
        self._told = 0
        self._lookups = 0

    async def _publish_state(self) -> None:
        if self._app.stamp != self._told:
            self._told = self._app.stamp
            await super()._publish_state()

    async def _publish_hours(self) -> None:
        energy = self._app.energy
        assert self.client is not None
        self._hour = energy.periods[0]
        text = json.dumps(energy.answer, separators=(",", ":"))
        if not await self.client.publish_parts(self.base + "energy", lambda: (text,), True):
            self._hour = -1

    async def _resolve(self, host: str) -> str:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        # it is asked again when nobody answers at one: a name may have several
        self._lookups += 1
        return str(found[(self._lookups - 1) % len(found)][4][0])
