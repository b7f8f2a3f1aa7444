"""The MQTT broker of `make run`: amqtt in a process of its own, loopback only, nothing kept.

`python -m tools.simulator.broker --port 1883` prints one line, `listening on <port>`, once it
accepts connections, and ends when its standard input closes, its parent dies, or on SIGINT or
SIGTERM. Port 0 takes any free port. `EmbeddedBroker` starts it as a child: run.py uses that.
Meant for one person's simulator, not for a fleet: there is no authentication.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tools.progress import ToolError, fail

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
_READY = "listening on "


async def _serve(port: int) -> None:
    from amqtt.broker import Broker

    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"{LOOPBACK}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = Broker(config)
    await broker.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def wait_for_end_of_input() -> None:
        with contextlib.suppress(OSError, ValueError):
            while sys.stdin.buffer.read(64):
                pass
        with contextlib.suppress(RuntimeError):  # the loop may have ended first
            loop.call_soon_threadsafe(stop.set)

    # A thread, because any kind of standard input can be read so; daemon, so it holds nothing up.
    threading.Thread(target=wait_for_end_of_input, daemon=True).start()
    bound = broker._servers["default"].instance.sockets[0].getsockname()[1]
    print(f"{_READY}{bound}", flush=True)
    parent = os.getppid()
    while not stop.is_set() and os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
    # amqtt waits for clients that do not hang up by themselves; nothing here is worth waiting for.
    with contextlib.suppress(Exception):
        await asyncio.wait_for(broker.shutdown(), 2.0)


class EmbeddedBroker:
    """The broker as a child process; `port` holds the port it listens on.

    The child ends by itself when this process does, however that happens.
    """

    def __init__(self, port: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.simulator.broker", "--port", str(port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal is run.py's to handle
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line.startswith(_READY):
            _, errors = self._process.communicate(timeout=10)
            reason = [x for x in errors.strip().splitlines() if x] or ["it ended at once"]
            raise ToolError(f"the embedded MQTT broker did not start: {reason[-1]}")
        self.port = int(line[len(_READY) :])

    def running(self) -> bool:
        """Whether it is still there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it and wait for that."""
        process = self._process
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(timeout=4)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=4)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> EmbeddedBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def main(argv: list[str] | None = None) -> int:
    """Command line of the child process."""
    parser = argparse.ArgumentParser(prog="python -m tools.simulator.broker")
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 takes any free one")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.CRITICAL)
    try:
        asyncio.run(_serve(options.port))
        return 0
    except ImportError as error:
        return fail(f"amqtt is not installed in this environment ({error})")
    except Exception as error:  # amqtt wraps a taken port in its own exception
        cause = error.__cause__ or error
        return fail(f"port {options.port} on the loopback interface: {cause}")


if __name__ == "__main__":
    # Outstanding amqtt tasks would only print complaints while the interpreter winds down.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
