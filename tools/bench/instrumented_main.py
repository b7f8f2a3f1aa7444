# main.py of the instrumented image: the firmware as it is, with a few console commands more that
# get in its way and measure it. Frozen in place of main.py for benches and tests on the emulated
# chip (tools/bench/image.py); never part of what is deployed.

import asyncio
import gc
import json
import time

from firmware import pieces

pieces.make_room()

from firmware import report
from firmware.app import App
from firmware.interfaces import commands

_W_SCAN = 5  # of a window, as sensing/kernel.py has it


class Instrumented(App):
    """The app, with its control step timed."""

    def __init__(self):
        App.__init__(self)
        self._plain_step = self.controller.step
        self.controller.step = self._timed_step
        self._plain_turn = self.keeper.turn
        self.keeper.turn = self._timed_turn
        self.clear()
        self.under_load = False
        self.loads = {"reports": 0, "collections": 0, "saves": 0, "blocks": 0}

    def clear(self):
        self.n = self.total_us = self.max_us = self.gap_us = self.late_us = 0
        self._last_us = None
        self._flash_us = 0
        self._flash_from = None

    def _timed_step(self):
        t0 = time.ticks_us()
        if self._last_us is not None:
            self.gap_us = max(self.gap_us, time.ticks_diff(t0, self._last_us))
            self.late_us = max(self.late_us, self._late_us(t0))
        self._last_us = t0
        self._flash_us = 0
        count = self._plain_step()
        if count == 1:
            us = time.ticks_diff(time.ticks_us(), t0)
            self.n += 1
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

    async def _after_boot(self):
        loads = (self._reports, self._collections, self._saves, self._blocks)
        self.load_tasks = [asyncio.create_task(load()) for load in loads]
        await App._after_boot(self)

    async def _reports(self):
        while True:
            await asyncio.sleep_ms(250)
            if self.under_load:
                json.dumps(report.state(self))
                self.loads["reports"] += 1

    async def _collections(self):
        while True:
            await asyncio.sleep_ms(170)
            if self.under_load:
                gc.collect()
                self.loads["collections"] += 1

    async def _saves(self):
        margin = 100
        while True:
            await asyncio.sleep_ms(700)
            if self.under_load:
                margin = 300 - margin
                self.settings.set("shed.margin_w", margin)
                self.settings.save()
                self.loads["saves"] += 1

    async def _blocks(self):
        while True:
            await asyncio.sleep_ms(4000)
            if self.under_load:
                self.breathe()  # two in a row would say nothing of either
                time.sleep_ms(1000)
                self.loads["blocks"] += 1


def _block(self, args, source):
    # as a DNS query or a TLS handshake does: Python stands still, interrupts do not
    time.sleep_ms(int(args[0]))
    return {"blocked_ms": int(args[0])}


def _hang(self, args, source):
    while True:
        pass


def _deaf(self, args, source):
    # as a timer ends whose callback had no C stack left
    self._app.fast._timer.deinit()
    return {}


def _load(self, args, source):
    self._app.under_load = args[0] == "on"
    return {"load": args[0], "done": self._app.loads}


def _stats(self, args, source):
    app = self._app
    result = {
        "step_us_mean": app.total_us / app.n if app.n else 0,
        "step_us_max": app.max_us,
        "steps": app.n,
        "merged": app.fast.windows_merged(),
        "lost": app.fast.windows_lost(),
        "gap_us_max": app.gap_us,
        # the age of the oldest window at a step, without the storage task's time
        "late_us_max": app.late_us,
    }
    app.clear()
    return result


def _busy(self, args, source):
    # MQTT as busy as it gets, with a broker in memory: `busy` and words of busy_broker.start();
    # without words what came of it
    from lib import busy_broker

    app = self._app
    if args:
        app.load_tasks += busy_broker.start(app, args)
        return {}
    turn_us, busy_broker.turn_us = busy_broker.turn_us, 0
    return {"turn_us_max": turn_us, "broker": busy_broker.count, "mqtt": app.mqtt.status()}


def _alloc(self, args, source):
    # bytes that the control step allocates, over windows with everything going on
    app = self._app
    step = app._plain_step
    worst = windows = 0
    gc.collect()
    gc.disable()
    while windows < int(args[0]):
        before = gc.mem_alloc()
        count = step()
        after = gc.mem_alloc()
        if count:
            windows += count
            worst = max(worst, after - before)
    gc.enable()
    return {"windows": windows, "worst_bytes": worst}


def _scan(self, args, source):
    # the scan itself, called by hand with the timer stopped (relays open: the bench's last act)
    from firmware.sensing import kernel_viper

    app = self._app
    app.fast.stop()
    scan = kernel_viper.scan
    n = int(args[0])
    ticks, diff = time.ticks_us, time.ticks_diff
    total = worst = 0
    for _ in range(n):
        t0 = ticks()
        scan(None)
        us = diff(ticks(), t0)
        total += us
        if us > worst:
            worst = us
    t0 = ticks()
    for _ in range(n):
        t1 = ticks()
        diff(ticks(), t1)
    empty = diff(ticks(), t0) / n
    return {"scans": n, "mean_us": total / n, "max_us": worst, "clock_us": empty / 2}


def _mem(self, args, source):
    gc.collect()
    free = gc.mem_free()
    low, high = 0, free
    while high - low > 256:
        middle = (low + high) // 2
        try:
            bytearray(middle)
            low = middle
        except MemoryError:
            high = middle
        gc.collect()
    return {"free": free, "largest": low}


for _name, _function in (
    ("block", _block),
    ("hang", _hang),
    ("deaf", _deaf),
    ("load", _load),
    ("stats", _stats),
    ("alloc", _alloc),
    ("busy", _busy),
    ("scan", _scan),
    ("mem", _mem),
):
    commands.TABLE = commands.TABLE + ((_name, "", "instrumentation", 0, 0, ()),)
    setattr(commands.Commands, "_" + _name, _function)

gc.collect()
_app = Instrumented()
_app.run()
