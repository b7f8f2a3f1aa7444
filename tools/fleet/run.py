"""A fleet at a broker: members, a judge that listens, and the figures."""

from __future__ import annotations

import itertools
import json
import random
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho

from tools.fleet.members import Loop, Member, serve
from tools.fleet.record import Recording
from tools.fleet.store import Store, usage
from tools.progress import ToolError, step
from tools.runtime.broker import Mosquitto

_DRAIN_S = 3.0
_CONNECT_S = 60.0
_ASK_S = 0.05
_FORGET_S = 10.0
# Beyond this the figures are those of this tool and its computer, not of the broker.
_BUSY_PERCENT = 80.0
_LATE_MS = 200.0


@dataclass
class Judge:
    """Subscribes to everything that a consumer would, and keeps the times."""

    states: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    events: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    online: set[str] = field(default_factory=set)
    answers: dict[str, float] = field(default_factory=dict)
    received: int = 0
    connected: bool = False

    def client(self, clean: bool) -> paho.Client:
        """`clean`: the broker keeps nothing for it while it is away, nor afterwards."""
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id="fleet-judge", clean_session=clean
        )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        self.connected = True
        client.subscribe([(f"tailgate/+/{rest}", 1) for rest in ("state", "event", "response")])
        client.subscribe("tailgate/+/availability", 1)

    def _on_disconnect(self, *_: Any) -> None:
        self.connected = False

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        now = time.monotonic()
        self.received += 1
        _, device, kind = message.topic.split("/", 2)
        if kind == "state":
            self.states[device][json.loads(message.payload)["uptime_s"]] = now
        elif kind == "event":
            self.events[device].append(json.loads(message.payload)["seq"])
        elif kind == "response":
            self.answers[json.loads(message.payload)["id"]] = now
        elif message.payload == b"online":
            self.online.add(device)
        else:
            self.online.discard(device)


def percentiles(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and worst of times in seconds, as ms."""
    if not values:
        return {"p50": 0.0, "p95": 0.0, "max": 0.0}
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered) * 1000, 1),
        "p95": round(ordered[int(len(ordered) * 0.95)] * 1000, 1),
        "max": round(ordered[-1] * 1000, 1),
    }


class Fleet:
    """`size` members at `broker`; `own`: the mosquitto that was started for them, or None."""

    def __init__(
        self,
        size: int,
        recording: Recording,
        broker: tuple[str, int],
        own: Mosquitto | None = None,
        interval_s: float = 1.0,
        seed: int = 1,
        store: Store | None = None,
    ) -> None:
        chance = random.Random(seed)
        self._chance = chance
        self._own = own
        self._store = store
        self._broker = broker
        self._interval_s = interval_s
        self._loop = Loop()
        self._judge = Judge()
        self._asked: dict[str, float] = {}
        self._ask_at = 0.0
        self.members = [Member(i, recording, broker, interval_s, chance) for i in range(size)]
        for member in self.members:
            self._loop.add(member.client)

    def run(self, seconds: float, restart: bool = False) -> dict[str, Any]:
        """Let it talk for `seconds`; with `restart` the broker is killed half-way. The figures."""
        step(f"{len(self.members)} controllers at {self._broker[0]}:{self._broker[1]}")
        judge = self._judge.client(clean=not restart)
        self._loop.add(judge, lambda: self._judge.received)
        judge.connect(*self._broker, keepalive=30)
        begin = time.monotonic()
        try:
            serve(self._loop, _CONNECT_S, self._connecting)
            connect_s = time.monotonic() - begin
            if not self._all_there():
                raise ToolError(
                    f"{sum(m.connected for m in self.members)} of {len(self.members)} connected"
                )
            before = self._usage()
            begin = time.monotonic()
            self._judge.received = 0
            for member in self.members:
                member.begin(begin)
            own = time.process_time()
            back_s = None
            if restart:
                serve(self._loop, seconds / 2, lambda now: self._talking(now, judge))
                back_s = self._restart(judge)
                serve(self._loop, seconds / 2, lambda now: self._talking(now, judge))
            else:
                serve(self._loop, seconds, lambda now: self._talking(now, judge))
            took_s = time.monotonic() - begin
            rate = self._judge.received / took_s
            tool = (time.process_time() - own) / took_s * 100
            after = self._usage()
            cpu = None if restart else (after[0] - before[0]) / took_s * 100
            self._drain()
            stored = self._store.figures() if self._store else {}
            return {
                "members": len(self.members),
                "seconds": round(took_s, 1),
                "connect_s": round(connect_s, 1),
                "back_after_restart_s": None if back_s is None else round(back_s, 1),
                "messages_per_s": round(rate, 1),
                **self._figures(),
                **stored,
                "broker_cpu_percent": None if cpu is None or not self._own else round(cpu, 1),
                "broker_mb": round(after[1], 1) if self._own else None,
                "tool_cpu_percent": round(tool, 1),
            }
        finally:
            for member in self.members:
                member.forget()
            serve(self._loop, _FORGET_S, lambda now: all(m.forgotten() for m in self.members))
            for member in self.members:
                member.leave()
            judge.disconnect()
            serve(self._loop, 0.3, lambda now: False)
            self._loop.close()

    def _usage(self) -> tuple[float, float]:
        return usage(self._own.pid) if self._own else (0.0, 0.0)

    def _all_there(self) -> bool:
        return self._judge.connected and len(self._judge.online) == len(self.members)

    def _connecting(self, now: float) -> bool:
        for member in self.members:
            member.turn(now, False)
        return self._all_there()

    def _talking(self, now: float, judge: paho.Client) -> bool:
        for member in self.members:
            member.turn(now, True)
        if now >= self._ask_at and self._judge.connected:
            self._ask_at = now + _ASK_S
            member = self._chance.choice(self.members)
            if member.connected:
                name = str(len(self._asked))
                self._asked[name] = time.monotonic()
                text = json.dumps({"id": name, "cmd": "energy"})
                judge.publish(f"tailgate/{member.device_id}/command", text, 1)
        return False

    def _restart(self, judge: paho.Client) -> float:
        """Kill the broker and start it again; seconds until everybody is back."""
        if self._own is None:
            raise ToolError("only a broker that was started for the fleet can be restarted")
        self._own.stop()
        serve(self._loop, 0.5, lambda now: self._talking(now, judge))
        self._own.start()
        begin = time.monotonic()
        retry = 0.0

        def back(now: float) -> bool:
            nonlocal retry
            if not self._judge.connected and now >= retry:
                retry = now + 0.5
                try:
                    judge.reconnect()
                except OSError:
                    return False
            self._talking(now, judge)
            return self._judge.connected and all(m.connected for m in self.members)

        serve(self._loop, _CONNECT_S, back)
        return time.monotonic() - begin

    def _drain(self) -> None:
        """Wait for what is under way: events and answers, until there are none or it is too late.
        States (QoS 0) are there within the first half second, or never."""
        serve(self._loop, 0.5, lambda now: False)

        def all_here(now: float) -> bool:
            heard = sum(len(set(numbers)) for numbers in self._judge.events.values())
            events = sum(member.events for member in self.members)
            return heard >= events and len(self._judge.answers) >= len(self._asked)

        serve(self._loop, _DRAIN_S - 0.5, all_here)

    def _figures(self) -> dict[str, Any]:
        latencies: list[float] = []
        late: list[float] = []
        sent = lost = skipped = events = events_lost = twice = disordered = 0
        for member in self.members:
            heard = self._judge.states[member.device_id]
            sent += len(member.sent)
            skipped += member.skipped
            late += member.late
            for uptime, at in member.sent.items():
                if uptime in heard:
                    latencies.append(heard[uptime] - at)
                else:
                    lost += 1
            numbers = self._judge.events[member.device_id]
            first = list(dict.fromkeys(numbers))  # each when it came first
            events += member.events
            events_lost += len(set(range(1, member.events + 1)) - set(numbers))
            twice += len(numbers) - len(first)
            disordered += sum(a > b for a, b in itertools.pairwise(first))
        answers = [
            self._judge.answers[k] - t for k, t in self._asked.items() if k in self._judge.answers
        ]
        return {
            "states": {"sent": sent, "lost": lost, "skipped": skipped},
            "events": {
                "sent": events,
                "lost": events_lost,
                "twice": twice,
                "disordered": disordered,
            },
            "late_ms": percentiles(late),
            "state_ms": percentiles(latencies),
            "commands": {"sent": len(self._asked), "answered": len(answers)},
            "command_ms": percentiles(answers),
        }


def saturated(figures: dict[str, Any]) -> str:
    """Why the figures say more of this tool than of the broker, in a sentence; "" when not."""
    if figures["states"]["skipped"]:
        return f"{figures['states']['skipped']} states were not sent: this computer is too slow"
    if figures["tool_cpu_percent"] > _BUSY_PERCENT:
        return f"this tool used {figures['tool_cpu_percent']:.0f} % of a core"
    if figures["late_ms"]["p95"] > _LATE_MS:
        return f"one state in twenty was sent {figures['late_ms']['p95']:.0f} ms late or more"
    return ""
