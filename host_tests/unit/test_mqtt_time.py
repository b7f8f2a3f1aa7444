"""firmware/interfaces/mqtt.py over days: `ticks_ms` wraps after 12.4 of them, and what is older
than half of that seems to lie in the future. And what it tells a broker that has forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from tools import cpython

cpython.install()

from firmware import events  # noqa: E402
from firmware.interfaces import mqtt  # noqa: E402
from host_tests.fakes.fake_app import FakeApp  # noqa: E402

BASE = "tailgate/dut/"
HOUR_S = 3600
DAY_S = 24 * HOUR_S


class Client:
    """A connection that is up or down as the test says. `said`: (s, topic, text, retained)."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.connected = False
        self.error = ""
        self.said: list[tuple[float, str, str, bool]] = []
        self.unacknowledged: list[int] = []
        self._pid = 0

    def start(self) -> None:
        pass

    def publish(
        self, topic: str, payload: Any, qos: int = 0, retain: bool = False, event: bool = False
    ) -> int:
        text = payload.decode() if isinstance(payload, bytes) else payload
        self.said.append((self._bench.now_s, topic, text, retain))
        self._pid += 1
        self.unacknowledged.append(self._pid)
        return self._pid

    async def publish_parts(
        self, topic: str, make: Callable[[], Any], retain: bool = False
    ) -> bool:
        parts = (part if isinstance(part, str) else part.decode() for part in make())
        self.publish(topic, "".join(parts), 0, retain)
        return True

    async def stop(self, drain_ms: int = 0) -> None:
        pass

    def texts(self, topic: str) -> list[str]:
        return [text for _, name, text, _ in self.said if name == BASE + topic]


class Bench:
    """MQTT of a fake app in a time that passes as fast as the test wants it to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self._step_s = 0.05
        monkeypatch.setattr(
            mqtt, "ticks_ms", lambda: int(self.now_s * 1000) % cpython.TICKS_PERIOD
        )
        monkeypatch.setattr(asyncio, "sleep_ms", self._sleep_ms, raising=False)
        self.app = FakeApp(device__id="dut", mqtt__host="127.0.0.1")
        self.mqtt = self.app.mqtt = mqtt.Mqtt(self.app, self.app)
        self.client = self.mqtt.client = Client(self)
        self.mqtt.base = BASE
        self.mqtt.device_id = "dut"
        monkeypatch.setattr(self.mqtt, "_configure", self._configured)
        monkeypatch.setattr(self.client, "stop", self._stopped)
        self._number = 0

    def _configured(self) -> None:
        self.mqtt.client = self.client

    async def _stopped(self, drain_ms: int = 0) -> None:
        pass

    async def _sleep_ms(self, ms: int) -> None:
        pids, self.client.unacknowledged = self.client.unacknowledged, []
        for pid in pids:
            with contextlib.suppress(MemoryError):  # as the client does, which counts them
                self.mqtt._acknowledged(pid)
        if ms:
            self.now_s += max(self._step_s, ms / 1000)
        await asyncio.sleep(0)

    async def past(self, seconds: float, step_s: float = 0.05) -> None:
        """Have so much time pass, with a look of the task at things each `step_s`."""
        self._step_s = step_s
        end = self.now_s + seconds
        while self.now_s < end:
            await asyncio.sleep(0)
        self._step_s = 0.05

    def up(self) -> None:
        self.client.connected = True
        self.mqtt._connected(False)

    def ask(self, *words: str) -> dict[str, Any]:
        self._number += 1
        body = json.dumps({"id": self._number, "cmd": words[0], "args": words[1:]})
        self.mqtt._message(BASE + "command", body.encode(), False, False, 1)
        answer: dict[str, Any] = json.loads(self.client.texts("response")[-1])
        assert answer["id"] == self._number
        return answer

    def run(self, story: Callable[[], Any]) -> None:
        async def both() -> None:
            task = asyncio.create_task(self.mqtt.run())
            await story()
            assert not task.done() and self.mqtt.errors == 0, self.client.error
            self.mqtt.stop()
            await task

        asyncio.run(both())


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


@pytest.mark.parametrize("days", [1, 7, 12])
def test_the_state_comes_at_once_after_an_outage_of_days(bench: Bench, days: int) -> None:
    async def story() -> None:
        bench.up()
        await bench.past(3)
        assert 2 <= len(bench.client.texts("state")) <= 4
        bench.client.connected = False
        await bench.past(days * DAY_S, HOUR_S / 2)
        bench.client.said.clear()
        bench.up()
        await bench.past(3)
        assert 2 <= len(bench.client.texts("state")) <= 4
        assert len(bench.client.texts("outlet/bed1/state")) == 1

    bench.run(story)


@pytest.mark.parametrize("days", [1, 7, 12])
def test_commands_are_obeyed_after_days_of_silence(bench: Bench, days: int) -> None:
    async def story() -> None:
        bench.up()
        await bench.past(1)
        answers = [bench.ask("version")["ok"] for _ in range(12)]
        assert answers == [True] * 10 + [False] * 2
        await bench.past(days * DAY_S, HOUR_S / 2)
        for _ in range(3):
            answers = [bench.ask("version")["ok"] for _ in range(12)]
            assert answers == [True] * 10 + [False] * 2
            await bench.past(3)

    bench.run(story)


@pytest.mark.parametrize("days", [1, 7, 12])
def test_a_loss_is_on_record_however_long_the_broker_was_there(bench: Bench, days: int) -> None:
    def link() -> list[int]:
        return [row[3] for row in bench.app.journal.since(0) if row[1] == events.LINK]

    async def story() -> None:
        bench.up()
        await bench.past(days * DAY_S, HOUR_S / 2)
        bench.client.connected = False
        await bench.past(4)
        assert link() == [events.BROKER_UP], "too short for a record"
        await bench.past(2)
        assert link() == [events.BROKER_UP, events.BROKER_DOWN]
        bench.up()
        await bench.past(1)
        assert link() == [events.BROKER_UP, events.BROKER_DOWN, events.BROKER_UP]
        bench.client.connected = False
        await bench.past(30)
        assert len(link()) == 3, "one a minute at most"
        await bench.past(40)
        assert link()[-1] == events.BROKER_DOWN

    bench.run(story)


def hour_begins(bench: Bench) -> None:
    """The time is known, and the first hour runs."""
    energy = bench.app.energy
    energy.is_known = True
    energy.periods[0] += 1


def test_energy_comes_with_each_hour_and_after_a_reconnect(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from firmware.interfaces import energytable

    class Table:
        @staticmethod
        def parts() -> Any:
            yield f'"hour":{bench.app.energy.periods[0]}}}'

    monkeypatch.setattr(energytable, "table", lambda app, words: Table)
    monkeypatch.setattr(mqtt.pieces, "drop", lambda *names: None)
    hours = bench.client.texts

    async def story() -> None:
        bench.up()
        await bench.past(1)
        assert hours("energy") == [], "the time is not known"
        hour_begins(bench)
        await bench.past(5)
        assert hours("energy") == ['{"hour":0}']
        hour_begins(bench)
        await bench.past(5)
        assert hours("energy") == ['{"hour":0}', '{"hour":1}']
        bench.client.connected = False
        await bench.past(5)
        bench.up()  # a broker that has started again has perhaps kept nothing
        await bench.past(9)
        assert len(hours("energy")) == 2, "not with all else that is said then"
        await bench.past(2)
        assert hours("energy") == ['{"hour":0}', '{"hour":1}', '{"hour":1}']
        assert [kept for _, topic, _, kept in bench.client.said if topic.endswith("/energy")] == [
            True
        ] * 3
        bench.mqtt.forget()
        await bench.past(5)
        hour_begins(bench)
        await bench.past(5)
        assert hours("energy")[3:] == [""], "forgotten until the next start"

    bench.run(story)


class Flash:
    """A journal on flash that moves a record while somebody reads: `gaps` are what the first,
    the second, ... reader does not see."""

    def __init__(self, rows: list[Any], *gaps: tuple[int, ...]) -> None:
        self._rows = rows
        self._gaps = list(gaps)

    def older(self, seq: int, log: None) -> Any:
        gap = self._gaps.pop(0) if self._gaps else ()
        return (row for row in self._rows if row[0] >= seq and row[0] not in gap)


def outage(bench: Bench) -> list[Any]:
    """300 events, of which the ring has dropped the first; all of them."""
    journal = bench.app.journal
    rows = []
    for number in range(300):
        journal.add(events.TRIPPED, number % 5, events.THERMAL, 27000, events.BY_CONTROL)
        rows.append(journal.get(journal.last_seq))
    assert journal.first_seq > 40, "the ring has dropped them"
    return rows


@pytest.mark.parametrize(
    ("gaps", "lost"),
    [
        ((), []),
        (((22,),), []),  # it is where it belongs when the reader begins once more
        (((1,), (22, 23), (30,)), []),
        (((22,), (22,)), [22]),  # it is not there at all: that is counted, and goes on
        ((range(1, 400), (9,)), []),
    ],
)
def test_events_that_move_on_flash_while_they_are_read_are_not_lost(
    bench: Bench, gaps: tuple[tuple[int, ...], ...], lost: list[int]
) -> None:
    bench.app.keeper.journal_store = Flash(outage(bench), *gaps)  # type: ignore[assignment]

    async def story() -> None:
        bench.up()
        await bench.past(20)
        seqs = [json.loads(text)["seq"] for text in bench.client.texts("event")]
        assert seqs == [seq for seq in range(1, 302) if seq not in lost]
        assert bench.mqtt.events_lost == len(lost)

    bench.run(story)


def test_an_event_that_there_was_no_memory_for_comes_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.app.keeper.journal_store = Flash(outage(bench))  # type: ignore[assignment]
    real = bench.app.event
    short = {3, 17, 18, 44, 100, 299}

    def event(app: FakeApp, record: Any) -> dict[str, Any]:
        if record[0] in short:
            short.remove(record[0])
            raise MemoryError
        return dict(real(app, record))

    monkeypatch.setattr(bench.app, "event", event)

    async def story() -> None:
        bench.up()
        await bench.past(30)
        seqs = [json.loads(text)["seq"] for text in bench.client.texts("event")]
        assert seqs == list(range(1, 302)) and not short
        assert bench.mqtt.events_lost == 0
        bench.mqtt.errors = 0  # some were the task's own, which goes on after a second

    bench.run(story)
