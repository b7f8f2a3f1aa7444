"""The console at a fake port, served while a test's coroutine runs. Used by the tests of the
console and of what comes over its port."""

import asyncio

from firmware.interfaces.console import Console
from host_tests.fakes.fake_console_app import FakeApp, FakePort


class ConsoleBench:
    """`network`: what the app has of it."""

    def __init__(self, folder, network=None):
        self.app = FakeApp(folder=folder)
        if network is not None:
            self.app.network = network
        self.port = FakePort()
        self.console = Console(self.app, self.port)

    def session(self, script):
        """Run `script(self)` while the console is served."""

        async def body():
            task = asyncio.create_task(self.console.run())
            try:
                return await asyncio.wait_for(script(self), 60)
            finally:
                task.cancel()

        return asyncio.run(body())

    def is_idle(self):
        """All input is taken, and nothing is being done."""
        return self.port.is_idle() and not self.console._busy

    async def settle(self):
        """Until all input is taken and all output is out."""
        quiet = 0
        while quiet < 3:
            before = len(self.port.out)
            await asyncio.sleep(0.03)
            quiet = quiet + 1 if self.is_idle() and len(self.port.out) == before else 0


def quicken(monkeypatch):
    """Pauses of the console are 10 ms at the most."""
    from firmware.interfaces import console

    monkeypatch.setattr(console, "_sleep_ms", lambda ms: asyncio.sleep(min(ms, 10) / 1000))
