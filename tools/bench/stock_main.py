# main.py of a board whose modules are in the heap, for stock.py: the firmware as it is, a broker
# in its memory, and a line a second of how its control lane goes. main.py is not made small like
# the modules, and what it names keeps its name, so stock.py puts the broker's text into this.

import asyncio
import json
import time

from firmware import pieces

pieces.make_room()

from lib.busy_broker import count, start

from firmware.app import App

WORDS = ()
_W_SCAN = 5  # of a window, as sensing/kernel.py has it


class Watched(App):
    """The app, with the turns of its control lane timed."""

    def __init__(self):
        App.__init__(self)
        self._plain_step = self.controller.step
        self.controller.step = self._timed_step
        self._plain_turn = self.keeper.turn
        self.keeper.turn = self._timed_turn
        self.clear()

    def clear(self):
        self.steps = self.windows = self.total_us = self.max_us = self.late_us = 0
        self._flash_us = 0
        self._flash_from = None

    def _timed_step(self):
        t0 = time.ticks_us()
        self.late_us = max(self.late_us, self._late_us(t0))
        self._flash_us = 0
        count = self._plain_step()
        us = time.ticks_diff(time.ticks_us(), t0)
        self.windows += count
        if count == 1:
            self.steps += 1
            self.total_us += us
            if us > self.max_us:
                self.max_us = us
        return count

    def _late_us(self, now_us):
        """For how long the oldest finished window has waited, the storage task's time apart."""
        fast = self.fast
        at = fast.window()
        if at < 0:
            return 0
        late_us = (fast.now() - fast.ring[at + _W_SCAN] & 0x1FFFFFFF) * fast.period_us
        if self._flash_from is not None:  # it lets this lane have its turn in between
            late_us -= time.ticks_diff(now_us, self._flash_from)
            self._flash_from = now_us
        return late_us - self._flash_us

    def _timed_turn(self, *args):
        # the storage task, which stands still while flash is written: apart from all others
        self._flash_from = time.ticks_us()
        self._plain_turn(*args)
        self._flash_us += time.ticks_diff(time.ticks_us(), self._flash_from)
        self._flash_from = None

    async def watch(self):
        self.tasks = ()
        while True:
            await asyncio.sleep_ms(1000)
            line = {
                "windows": self.windows,
                "alone": self.steps,
                "step_us": self.total_us // (self.steps or 1),
                "step_us_max": self.max_us,
                "late_us": self.late_us,
                "gathered": self._gathered,
                "messages": count["messages"],
                "published": count["published"],
            }
            print("watch", json.dumps(line))
            self.clear()
            if WORDS and not self.tasks and self.clock.now_s > 1:
                self.tasks = start(self, WORDS)


app = Watched()
asyncio.create_task(app.watch())
app.run()
