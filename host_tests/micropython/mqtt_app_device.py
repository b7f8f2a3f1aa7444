# Runs firmware/interfaces/mqtt.py with a fake app on the real MicroPython unix port, steered by
# test_mqtt_interface.py: JSON objects, one a line, in on stdin and out on stdout. The first one
# in: settings by name (`__` for the dot).

import asyncio
import gc
import json
import sys
import time

# the largest source first, while the heap is empty: compiling it takes most
from host_tests.fakes.fake_app import FakeApp  # isort: skip
from firmware import pieces
from firmware.hal import network  # noqa: F401  (the app has it anyway)
from firmware.interfaces import discovery, discovery_controls
from firmware.interfaces.mqtt import Mqtt

# The table of interned names doubles when it is full, which would count as the client's: on a
# board most names of the interface are in flash or short (tools/shrink.py).
del discovery, discovery_controls
pieces.drop("firmware.interfaces.discovery", "firmware.interfaces.discovery_controls")


class Device:
    def __init__(self, settings):
        self.app = FakeApp(**settings)
        gc.collect()
        before = gc.mem_alloc()
        self.mqtt = self.app.mqtt = Mqtt(self.app, self.app)
        self.before = before
        self.on = True

    def say(self, **fields):
        print(json.dumps(fields))

    async def trips(self, count, pause_ms):
        for i in range(count):
            self.app.trip(i % 5)
            await asyncio.sleep_ms(pause_ms)
        self.say(trips_done=self.app.journal.last_seq)

    def obey(self, order):
        what = order.pop("do")
        app = self.app
        if what == "stats":
            gc.collect()
            self.say(stats=self.mqtt.status(), heap_client=gc.mem_alloc() - self.before)
        elif what == "log":
            log = app.controller.log
            self.say(log=[entry[:2] for entry in log], ticks_ms=[entry[2] for entry in log])
        elif what == "clock":
            app.clock.offset_s = order["wall_s"]
        elif what == "set":
            app.settings.set(order["name"], order["value"])
        elif what == "forget":
            self.mqtt.forget()
        elif what == "veto":
            app.controller.veto = order["why"]
        elif what == "stop":
            self.mqtt.stop()
            self.on = False
        else:
            self.task = asyncio.create_task(getattr(self, what)(**order))

    async def run(self):
        task = asyncio.create_task(self.mqtt.run())
        stdin = asyncio.StreamReader(sys.stdin)
        while self.on:
            line = await stdin.readline()
            if not line:
                self.mqtt.stop()
                break
            self.obey(json.loads(line))
        await task
        self.say(stopped=time.ticks_ms())


asyncio.run(Device(json.loads(sys.stdin.readline())).run())
