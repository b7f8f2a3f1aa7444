# Keeps the tasks alive and the watchdog fed. The watchdog is fed only while the control lane
# beats; an outer task that crashes is started again and never takes the others along.
# Called by app (boot) and as a task of its own.

import asyncio
import sys
import time

from micropython import const

from firmware import events

_CHECK_MS = const(500)
_CONTROL_MS = const(2500)  # a TLS handshake may hold Python for 1 s
_WATCHDOG_MS = const(8000)
_RESTART_MS = const(1000)
_RESTART_MAX_MS = const(60_000)


class Supervisor:
    """Heartbeat of the control lane, guards around the others."""

    def __init__(self, journal, watchdog):
        self._journal = journal
        self._watchdog = watchdog
        self._beat = time.ticks_ms()
        self.crashes = 0
        self.last_crash = ""

    def beat(self):
        """The control lane is alive."""
        self._beat = time.ticks_ms()

    def start_watchdog(self):
        self._watchdog.start(_WATCHDOG_MS)

    async def watch(self):
        """Task: feed the watchdog while the control lane beats. When it stops for good, the lease
        has opened the relays long before the watchdog resets the chip."""
        while True:
            if time.ticks_diff(time.ticks_ms(), self._beat) < _CONTROL_MS:
                self._watchdog.feed()
            await asyncio.sleep_ms(_CHECK_MS)

    async def guard(self, name: str, run):
        """Task: run `await run()` for ever; a crash is recorded and followed by a new start."""
        wait_ms = _RESTART_MS
        while True:
            started = time.ticks_ms()
            try:
                await run()
                return
            except Exception as error:
                self.crashes += 1
                self._journal.add(events.FAULT, -1, events.CRASH, self.crashes, events.BY_CONTROL)
                self.last_crash = name
                try:
                    self.last_crash = "%s: %s %s" % (name, type(error).__name__, error)
                    sys.print_exception(error)
                except MemoryError:  # which may be why it crashed: the task starts again
                    pass
            if time.ticks_diff(time.ticks_ms(), started) > _RESTART_MAX_MS:
                wait_ms = _RESTART_MS
            await asyncio.sleep_ms(wait_ms)
            wait_ms = min(wait_ms * 2, _RESTART_MAX_MS)
