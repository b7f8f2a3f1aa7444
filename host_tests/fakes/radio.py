"""The simulated chip's radio on CPython, and tasks on a clock that no real time passes for.

`air()` says what is in reach (see tools/simulator/chip/network.py, which is the fake), `Tasks`
runs coroutines of the firmware: each sleep ends at its own instant, in order.
"""

from __future__ import annotations

import heapq
import importlib.util
import json
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tools.simulator.device import CHIP


class _Sleep:
    def __init__(self, ms: int) -> None:
        self.ms = ms

    def __await__(self) -> Generator[int, None, None]:
        yield self.ms


class Tasks:
    """A clock and the coroutines that wait for it. `us`: its time, for tools.cpython.install()."""

    def __init__(self) -> None:
        self.us = 0
        self.tick: Callable[[int], None] = lambda ms: None  # told of each step of the clock
        self._waiting: list[tuple[int, int, Coroutine[Any, Any, Any]]] = []
        self._started = 0
        self.results: list[Any] = []
        self.asyncio = SimpleNamespace(
            sleep=lambda s: _Sleep(round(s * 1000)), sleep_ms=lambda ms: _Sleep(ms)
        )

    def now_us(self) -> int:
        return self.us

    def block_ms(self, ms: int) -> None:
        """Time passes, and nobody runs: a call that stops Python."""
        self.us += ms * 1000
        self.tick(ms)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        self._wait(coroutine, 0)
        return coroutine  # for drop()

    def _wait(self, coroutine: Coroutine[Any, Any, Any], ms: int) -> None:
        self._started += 1
        heapq.heappush(self._waiting, (self.us + ms * 1000, self._started, coroutine))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.us + round(seconds * 1e6)
        while self._waiting and self._waiting[0][0] <= end:
            due, _, coroutine = heapq.heappop(self._waiting)
            if due > self.us:
                self.block_ms((due - self.us) // 1000)
            try:
                self._wait(coroutine, coroutine.send(None))
            except StopIteration as done:
                self.results.append(done.value)
        if end > self.us:
            self.block_ms((end - self.us) // 1000)

    def finish(self, coroutine: Coroutine[Any, Any, Any], within: float = 120) -> Any:
        """Run a coroutine beside the others, and return its result."""
        before = len(self.results)
        self._wait(coroutine, 0)
        end = self.us + within * 1e6
        while len(self.results) == before:
            assert self.us < end, "it does not come to an end"
            self.run(0.1)
        return self.results[-1]

    def drop(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Cancel a coroutine, as asyncio does."""
        self._waiting = [row for row in self._waiting if row[2] is not coroutine]
        heapq.heapify(self._waiting)
        coroutine.close()


def air(folder: Path, *networks: tuple[str, str, int], **more: Any) -> None:
    """What is in reach from now on: (name, password, strength in dBm), and the fields of
    radio.json."""
    rows = [{"ssid": ssid, "password": word, "rssi": dbm} for ssid, word, dbm in networks]
    text = json.dumps({"networks": rows, **more})
    new = folder / "radio.new"
    new.write_text(text)
    new.replace(folder / "radio.json")


def log(folder: Path) -> list[str]:
    """What the firmware asked of the radio, without the times."""
    path = folder / "radio.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split(" ", 1)[1] for line in lines]


def module() -> ModuleType:
    """A fresh one, as after power-on; the folder of the air is the present one."""
    spec = importlib.util.spec_from_file_location("network", CHIP / "network.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made
