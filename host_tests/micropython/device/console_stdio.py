# The console on MicroPython's own stdin and stdout, around a fake app. `selftest` tells the heap
# in use; `reboot yes` ends the program.

import asyncio
import gc

from firmware.interfaces.console import Console, StdioPort
from host_tests.fakes.fake_console_app import FakeApp

app = FakeApp(folder="/dev/null/data")
turns = 0
worst_ms = 0


def selftest():
    gc.collect()
    return [("heap", True, str(gc.mem_alloc()), 0), ("worst_ms", True, str(worst_ms), 0)]


async def control():
    """The control lane's place: how late does the console make it?"""
    import time

    global worst_ms
    last = time.ticks_ms()
    while not app.stopped:
        await asyncio.sleep_ms(8)
        now = time.ticks_ms()
        worst_ms = max(worst_ms, time.ticks_diff(now, last) - 8)
        last = now


async def main():
    app.selftest = selftest
    console = Console(app, StdioPort())
    console.note("the console of a test")
    task = asyncio.create_task(console.run())
    await control()
    await asyncio.sleep_ms(100)
    task.cancel()


asyncio.run(main())
