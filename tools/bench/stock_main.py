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
        self.steps = self.windows = self.total_us = self.max_us = self.held_us = 0
        self._flash_us = 0
        self._end_us = time.ticks_us()

    def _timed_step(self):
        t0 = time.ticks_us()
        self.held_us = max(self.held_us, time.ticks_diff(t0, self._end_us) - self._flash_us)
        self._flash_us = 0
        count = self._plain_step()
        self._end_us = time.ticks_us()
        self.windows += count
        if count == 1:
            us = time.ticks_diff(self._end_us, t0)
            self.steps += 1
            self.total_us += us
            if us > self.max_us:
                self.max_us = us
        return count

    def _timed_turn(self, *args):
        # the storage task, which stands still while flash is written: apart from all others
        t0 = time.ticks_us()
        self._plain_turn(*args)
        self._flash_us += time.ticks_diff(time.ticks_us(), t0)

    async def watch(self):
        self.tasks = ()
        while True:
            await asyncio.sleep_ms(1000)
            line = {
                "windows": self.windows,
                "alone": self.steps,
                "step_us": self.total_us // (self.steps or 1),
                "step_us_max": self.max_us,
                "held_us": self.held_us,
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
