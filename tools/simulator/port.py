"""`python -m tools.simulator.port`: the simulated truck's firmware on a serial port of its own.

The chip runs in real time in the background, and its console is a pseudo-terminal that any
program opens like a board's USB port: the client, the monitor, a terminal program. Lines of
standard input go to the truck (`plug bed1 circular_saw`), `power off|on` to the chip. Tests use
`SimulatedPort` directly.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import queue
import select
import sys
import threading
import time
import tty
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tools.progress import ToolError, fail, step
from tools.simulator.device import DeviceError, SimulatedDevice, load_board, write_settings

_BACKLOG = 1 << 16  # bytes kept for a reader that is slow; more is lost, as on a port unread
_LONG_US = 10**12


class SimulatedPort:
    """A running SimulatedDevice whose console is at `path`; use with `with`.

    Its thread alone touches the device: `sim()` and `call()` hand it work and wait.
    """

    def __init__(self, device: SimulatedDevice, speed: float = 1.0) -> None:
        """`speed`: times real time."""
        self.device = device
        self._speed = speed
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        # _theirs stays open: reading ours would fail whenever no program has the port open
        self.path = os.ttyname(self._theirs)
        self._out = bytearray()
        self._work: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue()
        self._stop = False
        self.error: BaseException | None = None
        device.on_output = self._output
        self._thread = threading.Thread(target=self._run, name="simulated chip", daemon=True)

    def __enter__(self) -> SimulatedPort:
        self.device.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join(10)
        self.device.stop()
        os.close(self._ours)
        os.close(self._theirs)

    def sim(self, line: str) -> str:
        """Obey a simulator command; SimError when it cannot be."""
        return str(self.call(lambda: self.device.sim(line)))

    def call(self, work: Callable[[], Any]) -> Any:
        """Run `work()` between two steps of the chip and return its result."""
        if not self._thread.is_alive():
            raise DeviceError(f"the simulated chip has ended: {self.error}")
        future: Future[Any] = Future()
        self._work.put((work, future))
        return future.result(30)

    # -- its thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.device.run_paced(self.device.now_us + _LONG_US, self._speed, self._between)
        except BaseException as error:
            self.error = error

    def _output(self, data: bytes) -> None:
        self._out += data
        del self._out[: max(0, len(self._out) - _BACKLOG)]

    def _between(self, seconds: float) -> bool:
        """Carry bytes both ways while the chip is ahead of the clock; True to end."""
        until = time.monotonic() + seconds
        while True:
            wanted = [self._ours] if self._out else []
            left = max(0.0, min(0.01, until - time.monotonic()))
            readable, writable, _ = select.select([self._ours], wanted, [], left)
            with contextlib.suppress(BlockingIOError):
                if readable:
                    self.device.write(os.read(self._ours, 1024))
                if writable:
                    del self._out[: os.write(self._ours, self._out)]
            while not self._work.empty():
                work, future = self._work.get()
                try:
                    future.set_result(work())
                except Exception as error:
                    future.set_exception(error)
            if self._stop or readable or time.monotonic() >= until:
                return self._stop


def _obey(port: SimulatedPort, line: str) -> str:
    device = port.device
    if line in ("power off", "power on"):
        port.call(device.power_cut if line == "power off" else device.power_on)
        return f"the chip's supply is {line.split()[1]}"
    return port.sim(line)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    from tools.simulator.run import parse_broker
    from tools.simulator.truck import SimError

    parser = argparse.ArgumentParser(prog="python -m tools.simulator.port", description=__doc__)
    parser.add_argument("--flash", type=Path, metavar="DIR", help="kept (default: forgotten)")
    parser.add_argument("--broker", default="none", metavar="HOST:PORT|none", help="for MQTT")
    parser.add_argument("--board", default="simulated", help="a board table with soft timer")
    parser.add_argument("--seed", type=int, default=0, help="of noise and sensor tolerances")
    options = parser.parse_args(argv)
    try:
        broker = parse_broker(options.broker)
        host, tcp = broker or ("", 1883)
        device = SimulatedDevice(
            load_board(options.board),
            flash=options.flash,
            seed=options.seed,
            unix_time=int(time.time()),
        )
        device.flash.mkdir(parents=True, exist_ok=True)
        write_settings(device.flash, {"mqtt.host": host, "mqtt.port": tcp})
        with SimulatedPort(device) as port:
            step("the simulated truck's console is on this port; Ctrl-C ends")
            print(port.path, flush=True)
            for line in sys.stdin:
                try:
                    print(_obey(port, line.strip().removeprefix("sim ")), flush=True)
                except SimError as error:
                    print(f"error: {error}", flush=True)
            port._thread.join()  # without a standard input it runs until it is killed
    except (ToolError, DeviceError) as error:
        return fail(error)
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
