"""Fixtures for tests on the real MicroPython unix port. No runtime: they fail, none skips."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tests.micropython import running
from host_tests.micropython.running import ROOT


@pytest.fixture(scope="session")
def micropython() -> str:
    """Path of the interpreter; tools.runtime.unix fetches one on first use."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.runtime.unix", "--print"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"no MicroPython: {done.stderr.strip()}"
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The repository's tree, with room for a main.py of the test's own."""
    return running.make_tree(tmp_path)


class Device:
    """A MicroPython process that speaks JSON lines: `tell` writes one, `expect` waits for one."""

    def __init__(self, command: list[str]) -> None:
        # An argument of more than 255 bytes ends the unix port before it starts.
        assert all(len(word.encode()) <= 255 for word in command)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=running.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.seen: list[Any] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def tell(self, **order: Any) -> None:
        """Send one order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def expect(self, key: str, timeout_s: float = 10.0, **fields: Any) -> dict[str, Any]:
        """The next line with `key` (and equal `fields`); lines before it are passed over."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            try:
                line = self._lines.get(timeout=max(left, 0.001))
            except queue.Empty:
                pytest.fail(f"no {key!r} {fields} within {timeout_s} s; seen: {self.seen[-20:]}")
            if line is None:
                pytest.fail(f"the device ended before {key!r} {fields}: {self.seen[-20:]}")
            try:
                said = json.loads(line)
            except ValueError:
                said = {"text": line}
            self.seen.append(said)
            if (
                isinstance(said, dict)
                and key in said
                and all(said.get(k) == v for k, v in fields.items())
            ):
                return said

    def stats(self) -> dict[str, Any]:
        """The client's counters, with heap_client, heap_module and worst_ms of the process."""
        self.tell(do="stats")
        said = self.expect("stats")
        stats: dict[str, Any] = {**said, **said["stats"]}
        return stats

    def wait_for(
        self,
        good: Callable[[dict[str, Any]], bool],
        timeout_s: float = 10.0,
        pause_s: float = 0.1,
    ) -> dict[str, Any]:
        """Ask for `stats` until `good` is content with them."""
        deadline = time.monotonic() + timeout_s
        while True:
            stats = self.stats()
            if good(stats):
                return stats
            if time.monotonic() > deadline:
                pytest.fail(f"not reached within {timeout_s} s: {stats}")
            time.sleep(pause_s)

    def end(self, timeout_s: float = 5.0) -> int:
        """Close its input and wait for its end; the exit code."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        return self.process.wait(timeout=timeout_s)

    def kill(self) -> None:
        """As a power cut would."""
        running.close(self.process)


@pytest.fixture
def start_device(micropython: str) -> Iterator[Callable[..., Device]]:
    """`start_device(script, *args, heap="256k")` runs a script of this folder on MicroPython."""
    started: list[Device] = []

    def start(script: str, *args: str, heap: str = "256k") -> Device:
        path = str(Path(__file__).with_name(script))
        device = Device([micropython, "-X", f"heapsize={heap}", path, *args])
        started.append(device)
        return device

    yield start
    for device in started:
        device.kill()
