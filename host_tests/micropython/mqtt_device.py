# Runs lib/mqtt.py on the real MicroPython unix port, steered by test_mqtt_client.py: JSON objects,
# one a line, in on stdin and out on stdout. The first one in: the client's arguments (not on the
# command line: an argument of more than 255 bytes ends the unix port before it starts).

import asyncio
import gc
import json
import sys
import time

gc.collect()
_BARE = gc.mem_alloc()

from lib import mqtt  # noqa: E402

gc.collect()
_IMPORTED = gc.mem_alloc()


def say(**fields):
    print(json.dumps(fields))


class Device:
    def __init__(self, options):
        tls = options.pop("tls", None)
        if tls:
            blobs = []
            for name in ("ca", "cert", "key"):
                path = tls.get(name)
                if path:
                    with open(path, "rb") as f:
                        blobs.append(f.read())
                else:
                    blobs.append(None)
            options["tls"] = mqtt.tls_context(*blobs, verify=tls.get("verify", True))
        dns_port = options.pop("dns_port", 0)
        if dns_port:
            self.dns_port = dns_port
            options["resolve"] = self.resolve
        leave = options.pop("leave", 0)
        if leave:  # bytes of the heap, somebody else has the rest
            self.ballast = []
            gc.collect()
            while gc.mem_free() > leave + 1024:
                self.ballast.append(bytearray(1000))
        self.fail_callback = options.pop("fail_callback", False)
        self.quiet = options.pop("quiet", False)
        options.setdefault("host", "127.0.0.1")
        self.client = mqtt.Client(
            on_message=self.message,
            on_oversize=self.oversize,
            on_connect=self.up,
            on_ack=self.acked,
            **options,
        )
        self.enough = False
        self.worst_ms = 0
        self.stopping = False

    async def resolve(self, host):
        from lib import datagram

        return await datagram.lookup(host, "127.0.0.1", self.dns_port)

    def message(self, topic, payload, retained, dup, qos):
        if self.fail_callback:
            raise ValueError("callback")
        if not self.quiet:
            text = payload.decode() if len(payload) < 200 else "%d bytes" % len(payload)
            say(message=topic, payload=text, retained=bool(retained), dup=bool(dup), qos=qos)

    def oversize(self, topic, length):
        say(oversize=topic, length=length)

    def up(self, present):
        say(up=present)

    def acked(self, pid):
        if not self.quiet:
            say(ack=pid)

    async def events(self, pause_ms):
        """Publish numbered events until told `enough`; one that is refused is offered again, as
        the journal would."""
        count = 0
        while not self.enough:
            i = count
            count += 1
            while not self.client.publish("t/event", str(i), qos=1, event=True):
                await asyncio.sleep_ms(5)
            await asyncio.sleep_ms(pause_ms)
        while self.client.events.count:
            await asyncio.sleep_ms(10)
        say(events_done=count)

    async def parts(self, topic, count, size):
        def make():
            for i in range(count):
                yield chr(97 + i % 26) * size

        say(parts=await self.client.publish_parts(topic, make, True))

    async def telemetry(self, size, pause_ms):
        """Publish numbered telemetry until told `enough`; tells the last number."""
        number = 0
        while not self.enough:
            number += 1
            self.client.publish("t/telemetry", "%d:" % number + "x" * size)
            await asyncio.sleep_ms(pause_ms)
        say(telemetry_done=number)

    def obey(self, order):
        what = order.pop("do")
        if what == "publish":
            say(queued=int(self.client.publish(**order)))
        elif what == "stop":
            self.stopping = True
        elif what == "enough":
            self.enough = True
        elif what == "stats":
            gc.collect()
            say(
                stats=self.client.stats(),
                heap_client=gc.mem_alloc() - _IMPORTED,
                heap_module=_IMPORTED - _BARE,
                worst_ms=self.worst_ms,
            )
            self.worst_ms = 0
        else:
            self.task = asyncio.create_task(getattr(self, what)(**order))

    async def heartbeat(self):
        """What another task sees: how long the loop is away at worst, in ms beyond its sleep."""
        while True:
            start = time.ticks_ms()
            await asyncio.sleep_ms(10)
            self.worst_ms = max(self.worst_ms, time.ticks_diff(time.ticks_ms(), start) - 10)

    async def run(self):
        self.beat = asyncio.create_task(self.heartbeat())
        self.client.start()
        stdin = asyncio.StreamReader(sys.stdin)
        while not self.stopping:
            line = await stdin.readline()
            if not line:
                break
            self.obey(json.loads(line))
        await self.client.stop()
        say(stopped=True)


asyncio.run(Device(json.loads(sys.stdin.readline())).run())
