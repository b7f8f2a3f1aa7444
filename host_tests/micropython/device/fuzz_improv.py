# Throws packets at the console, as a browser would send them and as it never would, on the real
# MicroPython unix port. Run by test_improv_on_micropython.py: `fuzz_improv.py SEED COUNT`.
# Prints one JSON object: how many packets came back of each kind, and what was found wrong.

import asyncio
import gc
import json
import random
import sys

from firmware.interfaces import console
from host_tests.fakes.fake_console_app import FakeApp, FakePort
from host_tests.fakes.improv_peer import Radio, Reader, call, credentials, framed

PASSWORD = "hush-wifi-1"
BATCH = 50


async def _turn(ms=0):
    await asyncio.sleep_ms(0)


console._sleep_ms = _turn  # a pause is a number of turns here


def rand(most):
    return random.getrandbits(30) % most


class Fuzz:
    def __init__(self, seed):
        random.seed(seed)
        self.app = FakeApp(folder="")
        self.app.settings.save = list  # no files
        self.radio = self.app.network = Radio({"Barn": PASSWORD}, _turn)
        self.port = FakePort()
        self.console = console.Console(self.app, self.port)
        self.reader = Reader()
        self.good = credentials("Barn", PASSWORD)
        self.kinds = [0, 0, 0, 0, 0]
        self.joined = 0
        self.wrong = []

    def junk(self, most):
        return bytes([random.getrandbits(8) for _ in range(rand(most))])

    def packet(self):
        """(bytes, whether it is a call that joins)."""
        kind = rand(16)
        if kind == 0:
            return self.good, True
        if kind == 1:
            return framed(rand(256), self.junk(255)), False
        if kind == 2:
            return framed(3, self.junk(40)), False
        if kind == 3:
            return call(1, self.junk(100)), False
        if kind == 4:
            return b"IMPROV" + self.junk(30) + b"\n", False
        if kind == 5:
            return self.junk(60) + b"\n", False
        if kind == 6:
            return call(rand(12), self.junk(20)), False
        if kind == 7:
            return credentials("Barn", "wrong-%d" % rand(1000)), False
        if kind < 11:
            return call(2 + rand(3)), False
        if kind == 11:
            return self.beheaded(), False
        data = bytearray(self.good)
        for _ in range(1 + rand(3)):
            data[7 + rand(len(data) - 8)] ^= 1 << rand(8)
        if data != self.good and sum(data[:-2]) & 255 == data[-2]:
            data[-2] ^= 1  # two errors that outweigh each other make another call of it
        if kind > 13:
            data = data[: 7 + rand(len(data) - 7)]
        return bytes(data), bytes(data) == self.good

    def beheaded(self):
        """The good one, its head damaged, cut or behind noise: it joins nothing."""
        data = bytearray(self.good)
        kind = rand(4)
        if kind == 0:
            return bytes(data[1 + rand(4) :])
        if kind == 1:
            return b"~" + self.junk(20).replace(b"\x03", b"!") + bytes(data)
        for _ in range(kind):
            data[rand(7)] ^= 1 << rand(8)
        if data == self.good:  # the same bit twice
            data[0] ^= 1
        return bytes(data)

    def complain(self, why, packet):
        if len(self.wrong) < 5:
            self.wrong.append([why, repr(packet)[:300]])

    async def settle(self):
        quiet = 0
        while quiet < 60:  # more turns than the pause that ends a packet has
            await asyncio.sleep_ms(0)
            task = self.console._joining
            idle = self.port.is_idle() and not self.console._busy and not self.port.out
            quiet = quiet + 1 if idle and (task is None or task.done()) else 0
            if self.port.out:
                self.reader.feed(bytes(self.port.out))
                self.port.out = bytearray()

    async def batch(self):
        """Some packets in one stream, then a line of text that must be answered."""
        for _ in range(BATCH):
            packet, joins = self.packet()
            before = len(self.radio.asked)
            self.port.send(packet)
            await self.settle()
            asked = self.radio.asked[before:]
            if joins and asked != [("Barn", PASSWORD)]:
                self.complain("not tried", packet)
            if self.radio.ssid:
                self.joined += 1
                self.radio.ssid = ""
                if asked != [("Barn", PASSWORD)]:
                    self.complain("joined", packet)
            self.radio.asked.clear()
        self.port.send(b"\x03\noff bed1\n")
        await self.settle()
        text = self.reader.text
        self.reader.text = b""
        if b"\nok bed1\r\n" not in text and not text.startswith(b"ok bed1\r\n"):
            self.complain("no answer to a line", text[-200:])
        if PASSWORD.encode() in text or b"internal error" in text:
            self.complain("said", text[-200:])
        for kind, data in self.reader.take():
            self.kinds[kind] += 1
            if PASSWORD.encode() in data or (kind == 2 and data[0] not in (0, 1, 2, 3, 5, 255)):
                self.complain("sent", data)
        self.app.controller.log.clear()

    async def run(self, count):
        task = asyncio.create_task(self.console.run())
        first = 0
        for n in range(count // BATCH):
            await self.batch()
            if n == 4:
                gc.collect()
                first = gc.mem_alloc()
        gc.collect()
        grown = gc.mem_alloc() - first
        task.cancel()
        print(
            json.dumps(
                {
                    "packets": count // BATCH * BATCH,
                    "kinds": self.kinds,
                    "joined": self.joined,
                    "grown": grown,
                    "wrong": self.wrong,
                }
            )
        )


asyncio.run(Fuzz(int(sys.argv[1])).run(int(sys.argv[2])))
