"""A fleet at a broker: members, a judge that listens, and the figures."""

from __future__ import annotations

import json
import os
import random
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho

from tools.fleet.members import Loop, Member, serve
from tools.fleet.record import Recording
from tools.progress import ToolError, step
from tools.runtime.broker import Mosquitto

_DRAIN_S = 3.0
_CONNECT_S = 60.0
_ASK_S = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Judge:
    """Subscribes to everything that a consumer would, and keeps the times."""

    states: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    events: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    online: set[str] = field(default_factory=set)
    answers: dict[str, float] = field(default_factory=dict)
    received: int = 0
    connected: bool = False

    def client(self) -> paho.Client:
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id="fleet-judge", clean_session=False
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


def _usage(pid: int) -> tuple[float, float]:
    """(CPU seconds, resident MB) of a process; zeros where /proc does not tell."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            words = stream.read().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / _TICKS, int(words[21]) * 4096 / 1e6
    except (OSError, ValueError, IndexError):
        return 0.0, 0.0


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
    ) -> None:
        chance = random.Random(seed)
        self._chance = chance
        self._own = own
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
        judge = self._judge.client()
        self._loop.add(judge)
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
            back_s = None
            if restart:
                serve(self._loop, seconds / 2, lambda now: self._talking(now, judge))
                back_s = self._restart(judge)
                serve(self._loop, seconds / 2, lambda now: self._talking(now, judge))
            else:
                serve(self._loop, seconds, lambda now: self._talking(now, judge))
            took_s = time.monotonic() - begin
            after = self._usage()
            serve(self._loop, _DRAIN_S, lambda now: False)
            return self._figures(took_s, connect_s, back_s, before, after)
        finally:
            for member in self.members:
                member.leave()
            judge.disconnect()
            serve(self._loop, 1.0, lambda now: False)
            self._loop.close()

    def _usage(self) -> tuple[float, float]:
        return _usage(self._own.pid) if self._own else (0.0, 0.0)

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

    def _figures(
        self,
        took_s: float,
        connect_s: float,
        back_s: float | None,
        before: tuple[float, float],
        after: tuple[float, float],
    ) -> dict[str, Any]:
        latencies = []
        sent = lost = events = events_lost = twice = 0
        for member in self.members:
            heard = self._judge.states[member.device_id]
            sent += len(member.sent)
            for uptime, at in member.sent.items():
                if uptime in heard:
                    latencies.append(heard[uptime] - at)
                else:
                    lost += 1
            numbers = self._judge.events[member.device_id]
            events += member.events
            events_lost += len(set(range(1, member.events + 1)) - set(numbers))
            twice += len(numbers) - len(set(numbers))
        answers = [
            self._judge.answers[k] - t for k, t in self._asked.items() if k in self._judge.answers
        ]
        return {
            "members": len(self.members),
            "seconds": round(took_s, 1),
            "connect_s": round(connect_s, 1),
            "back_after_restart_s": None if back_s is None else round(back_s, 1),
            "messages_per_s": round(self._judge.received / took_s, 1),
            "states": {"sent": sent, "lost": lost},
            "events": {"sent": events, "lost": events_lost, "twice": twice},
            "state_ms": percentiles(latencies),
            "commands": {"sent": len(self._asked), "answered": len(answers)},
            "command_ms": percentiles(answers),
            "broker_cpu_percent": round((after[0] - before[0]) / took_s * 100, 1),
            "broker_mb": round(after[1], 1),
        }
